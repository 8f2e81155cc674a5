/* SPDX-License-Identifier: Apache-2.0
 * columnar_map.c: columns through the stages of a source. */
#include <stdio.h>

#include "columnar.h"
#include "map.h"
#include "pipe.h"

/* To one target each, as the rows that they were made of. */
static int deal(struct dpi_source *s, const struct dpi_batch *in, const struct dpi_mapped_columns *out, const struct dpi_batch *made, size_t *given)
{
	uint16_t *part = s->columns->part;
	size_t went = 0;
	dpi_route_batch(s->route, in, 0, in->rows, part);
	for (size_t i = 0; i < out->count; i++) part[i] = part[out->from[i]];
	int error = dpi_columns_deal(s, made, 0, out->count, part, &went);
	*given = error ? out->from[went] : in->rows;
	dpi_route_back(s->route, in->rows - *given);
	return error;
}

/* Where a function says of each of these rows. */
static int by_function(struct dpi_source *s, const struct dpi_batch *in, const struct dpi_mapped_columns *out, const struct dpi_batch *made, size_t *given)
{
	size_t went = 0;
	int error = DPI_SUCCESS;
	for (*given = 0; *given < in->rows && !error; *given += !error) {
		const uint32_t *to;
		uint32_t targets;
		size_t ignored = 0;
		bool passes = went < out->count && out->from[went] == *given;
		error = dpi_columns_route(s, in, *given, &to, &targets);
		if (!error && passes && targets) error = dpi_columns_same(s, to, targets, made, went, 1, true, &ignored);
		if (!error && !targets) DPI_ADD(s->stats.filtered, 1);
		went += passes && !error;
	}
	return error;
}

static int map_run(struct dpi_source *s, const struct dpi_batch *in, size_t *given);

/* The group function refuses a row of the run: those before it go. */
static int before_refused(struct dpi_source *s, const struct dpi_batch *in, int error, size_t *given)
{
	char sentence[DPI_DETAIL_MAX];
	size_t row;
	if (!dpi_maps_refused(s->pipe->maps, &row) || !row) return error;
	snprintf(sentence, sizeof sentence, "%s", dpi_detail());
	int earlier = map_run(s, &(struct dpi_batch){ row, in->columns, in->column }, given);
	return earlier ? earlier : dpi_fail(error, "%s", sentence);
}

/* One run. *given: the first ones, which were pushed, also on an error: then the stages are as if no others had come. */
static int map_run(struct dpi_source *s, const struct dpi_batch *in, size_t *given)
{
	struct dpi_mapped_columns out;
	struct dpi_row_batch *mapped = &s->columns->mapped;
	uint32_t targets = 0;
	const uint32_t *all = dpi_route_all(s->route, &targets);
	size_t went = 0;
	char sentence[DPI_DETAIL_MAX];
	*given = 0;
	int error = dpi_pipe_map_columns(s, in, &out);
	if (error) return before_refused(s, in, error, given);
	const struct dpi_batch *made = out.bits ? &mapped->batch : &out.batch;
	if (out.bits && out.count) error = dpi_row_batch_gather(mapped, &out.batch, out.bits, out.count);
	if (!error && all) {
		if (out.count) error = dpi_columns_same(s, all, targets, made, 0, out.count, true, &went);
		*given = error ? out.from[went] : in->rows;
	} else if (!error) {
		error = (dpi_route_single(s->route) ? deal : by_function)(s, in, &out, made, given);
	}
	if (!error) return DPI_SUCCESS;
	snprintf(sentence, sizeof sentence, "%s", dpi_detail());
	dpi_pipe_map_again(s, in, *given);
	return error == DPI_ERR_AGAIN ? error : dpi_fail(error, "%s", sentence);
}

int dpi_columns_map(struct dpi_source *s, const struct dpi_batch *batch, size_t first, size_t count, size_t *done)
{
	int error = DPI_SUCCESS;
	for (size_t end = first + count, given; first < end && !error; first += given, *done += given) {
		size_t n = end - first < DPI_PUSH_RUN ? end - first : DPI_PUSH_RUN;
		error = map_run(s, dpi_slice(&s->columns->run, batch, first, n), &given);
	}
	return error;
}
