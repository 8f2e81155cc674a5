/* SPDX-License-Identifier: Apache-2.0
 * pipe_source.c: rows on their way from a push to the lanes, through stages and reduce. */
#include "pipe.h"

#include <stdio.h>
#include <stdlib.h>

#include "ack_source.h"
#include "map.h"
#include "partial.h"

#define RUN_ROWS 512u /* as in push.c */

int dpi_pipe_open_source(struct dpi_source *s)
{
	const struct dpi_definition *d = s->flow->definition;
	int error = DPI_SUCCESS;
	if (!dpi_definition_source_pipe(d)) return DPI_SUCCESS;
	if (!(s->pipe = calloc(1, sizeof *s->pipe))) return dpi_fail(DPI_ERR_MEMORY, "no memory for the stages of a source");
	if (d->source_stages || d->grouped.in) error = dpi_maps_new_source(d, &s->pipe->maps);
	if (!error && d->partial) error = dpi_partial_open(s, &s->pipe->partial);
	return error;
}

void dpi_pipe_close_source(struct dpi_source *s)
{
	if (!s->pipe) return;
	dpi_maps_free(s->pipe->maps);
	dpi_partial_close(s->pipe->partial);
	free(s->pipe);
	s->pipe = NULL;
}

/* Rows were in the stages; a row's error that is not forgiven is the flow's failure. */
static int mapped(struct dpi_source *s, int error)
{
	char sentence[512];
	size_t row;
	if (!error) {
		dpi_maps_count(s->pipe->maps, &s->stats.sifted, &s->stats.row_errors);
		return DPI_SUCCESS;
	}
	if (error == DPI_ERR_MEMORY || dpi_maps_refused(s->pipe->maps, &row)) return error;
	snprintf(sentence, sizeof sentence, "source %u: %.400s", s->number, dpi_detail());
	dpi_flow_fail(s->flow, DPI_ERR_FLOW, sentence);
	return dpi_fail(error, "%s", sentence);
}

static int map(struct dpi_source *s, const struct dpi_rows *in, struct dpi_mapped *out)
{
	return mapped(s, dpi_maps_run(s->pipe->maps, in, out));
}

int dpi_pipe_map_columns(struct dpi_source *s, const struct dpi_batch *in, struct dpi_mapped_columns *out)
{
	return mapped(s, dpi_maps_run_columns(s->pipe->maps, in, out));
}

void dpi_pipe_map_again(struct dpi_source *s, const struct dpi_batch *in, size_t given)
{
	struct dpi_batch first = { given, in->columns, in->column };
	struct dpi_mapped_columns out;
	dpi_maps_back(s->pipe->maps);
	if (given) dpi_maps_run_columns(s->pipe->maps, &first, &out);
	dpi_maps_count(s->pipe->maps, &s->stats.sifted, &s->stats.row_errors);
}

static int give(struct dpi_source *s, const uint32_t *to, uint32_t count, const DPI_Record *row, bool wait)
{
	if (s->pipe->partial) return dpi_partial_push(s, to, count, row, wait);
	return dpi_push_to(s, to, count, row->data, row->size, wait);
}

/* A row whose key is known, and which is acknowledged at once if it goes nowhere. */
static int give_noted(struct dpi_source *s, const uint32_t *to, uint32_t count, const DPI_Record *row, bool wait)
{
	int error = s->ack ? dpi_ack_room(s, to, count, wait) : DPI_SUCCESS;
	if (!error && count) error = give(s, to, count, row, wait);
	if (!error && s->ack) dpi_ack_pushed(s, to, count);
	return error;
}

int dpi_pipe_push(struct dpi_source *s, const uint32_t *to, uint32_t count, const void *row, uint64_t size, bool wait)
{
	DPI_Record in = { row, (size_t)size };
	struct dpi_mapped out = { .record = &in, .count = 1 };
	struct dpi_rows rows = { .record = &in, .count = 1 };
	int error = s->pipe->maps ? map(s, &rows, &out) : DPI_SUCCESS;
	if (error) return error;
	error = give_noted(s, to, out.count ? count : 0, out.record, wait);
	if (error && s->pipe->maps) dpi_maps_back(s->pipe->maps);
	return error;
}

/* Only the first given rows of a run went: the stages are as if no others had come. */
static void again(struct dpi_source *s, const uint8_t *rows, uint32_t size, size_t given)
{
	struct dpi_rows first = { .rows = rows, .stride = size, .count = given };
	struct dpi_mapped out;
	dpi_maps_back(s->pipe->maps);
	if (given) dpi_maps_run(s->pipe->maps, &first, &out);
	dpi_maps_count(s->pipe->maps, &s->stats.sifted, &s->stats.row_errors);
}

/* To one target each. */
static int give_run(struct dpi_source *s, const struct dpi_mapped *out, const uint16_t *part, size_t *given)
{
	int error = DPI_SUCCESS;
	for (*given = 0; *given < out->count && !error; *given += !error) {
		uint32_t to = part[*given];
		error = give(s, &to, 1, out->record + *given, true);
	}
	return error;
}

/* The group function refuses a row of the run: those before it go. */
static int before_refused(struct dpi_source *s, const uint8_t *rows, uint32_t size, int error, size_t *given)
{
	char sentence[DPI_DETAIL_MAX];
	size_t row;
	if (!dpi_maps_refused(s->pipe->maps, &row) || !row) return error;
	snprintf(sentence, sizeof sentence, "%s", dpi_detail());
	int earlier = dpi_pipe_push_run(s, rows, size, row, given);
	return earlier ? earlier : dpi_fail(error, "%s", sentence);
}

int dpi_pipe_push_run(struct dpi_source *s, const uint8_t *rows, uint32_t size, size_t count, size_t *given)
{
	struct dpi_rows in = { .rows = rows, .stride = size, .count = count };
	struct dpi_mapped out;
	DPI_Record record[RUN_ROWS];
	uint16_t part[RUN_ROWS];
	bool single = dpi_route_single(s->route) && !s->ack;
	int error = DPI_SUCCESS;
	*given = 0;
	if (s->pipe->maps) {
		error = map(s, &in, &out);
		if (error) return before_refused(s, rows, size, error, given);
	} else {
		for (size_t i = 0; i < count; i++) record[i] = (DPI_Record){ rows + i * size, size };
		out = (struct dpi_mapped){ .record = record, .count = count };
	}
	size_t took = 0;
	if (single) {
		dpi_route_rows(s->route, rows, size, count, part);
		for (size_t i = 0; out.from && i < out.count; i++) part[i] = part[out.from[i]];
		error = give_run(s, &out, part, &took);
		*given = !error ? count : out.from ? out.from[took] : took;
		dpi_route_back(s->route, count - *given);
	} else {
		for (; *given < count && !error; *given += !error) {
			const uint32_t *to;
			uint32_t targets;
			bool passes = took < out.count && (!out.from || out.from[took] == *given);
			error = dpi_route_row(s->route, rows + *given * size, size, &to, &targets);
			if (error) break;
			if (s->ack) error = dpi_ack_key(s, rows + *given * size, size);
			if (!error) error = give_noted(s, to, passes ? targets : 0, out.record + took, true);
			if (!targets && !error) DPI_ADD(s->stats.filtered, 1);
			took += passes;
			if (error) dpi_route_back(s->route, 1);
		}
	}
	if (error && s->pipe->maps) {
		char sentence[DPI_DETAIL_MAX];
		snprintf(sentence, sizeof sentence, "%s", dpi_detail());
		again(s, rows, size, *given);
		if (error != DPI_ERR_AGAIN) dpi_fail(error, "%s", sentence);
	}
	return error;
}

int dpi_pipe_drain(struct dpi_source *s, int64_t deadline)
{
	return s->pipe->partial ? dpi_partial_drain(s, deadline) : DPI_SUCCESS;
}
