/* SPDX-License-Identifier: Apache-2.0
 * pipe_target.c: rows on their way from the inlets to the program, through reduce and stages. */
#include "pipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ack_target.h"
#include "final.h"
#include "map.h"

#define PIECES 256 /* a look reads no more of them that give nothing */

int dpi_pipe_open_target(struct dpi_target *t)
{
	const struct dpi_definition *d = t->flow->definition;
	int error = DPI_SUCCESS;
	if (!dpi_definition_target_pipe(d)) return DPI_SUCCESS;
	if (!(t->pipe = calloc(1, sizeof *t->pipe))) return dpi_fail(DPI_ERR_MEMORY, "no memory for the stages of a target");
	if (d->reduction) error = dpi_final_open(t, &t->pipe->final);
	if (!error && d->source_stages < d->stages) error = dpi_maps_new(d, d->source_stages, d->stages - d->source_stages, &t->pipe->maps);
	return error;
}

void dpi_pipe_let_go(struct dpi_target *t)
{
	if (t->pipe && t->pipe->ahead.some) dpi_piece_release(t, &t->pipe->ahead);
	if (t->pipe && t->pipe->rest.some) dpi_piece_release(t, &t->pipe->rest);
}

void dpi_pipe_close_target(struct dpi_target *t)
{
	if (!t->pipe) return;
	dpi_final_close(t->pipe->final);
	dpi_maps_free(t->pipe->maps);
	dpi_ack_windows_free(&t->pipe->windows);
	free(t->pipe);
	t->pipe = NULL;
}

/* The rows of a piece as they travelled. */
static struct dpi_rows rows_of(const struct dpi_target *t, const struct dpi_piece *p)
{
	size_t size = (size_t)(p->stop - p->data);
	if (t->wire_stride) return (struct dpi_rows){ .rows = p->data, .stride = t->wire_stride, .count = size / t->wire_stride };
	return (struct dpi_rows){ .record = (const DPI_Record *)(const void *)p->data, .count = size / sizeof(DPI_Record) };
}

/* A piece of copies of these rows. from: of each where it comes from, to be kept, too; NULL: not. */
static int copy(const struct dpi_target *t, const DPI_Record *record, size_t count, const uint32_t *from, uint32_t source, struct dpi_piece *piece)
{
	size_t size = 0, places = from ? count * sizeof *from : 0;
	for (size_t i = 0; i < count; i++) size += t->stride ? t->stride : sizeof *record + ((record[i].size + 7) & ~(size_t)7);
	size = (size + 7) & ~(size_t)7;
	uint8_t *own = malloc(size + places ? size + places : 1), *at = own;
	if (!own) return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu rows of flow '%s'", count, t->flow->name);
	DPI_Record *list = (DPI_Record *)(void *)own;
	if (!t->stride) at = (uint8_t *)(list + count);
	for (size_t i = 0; i < count; i++) {
		memcpy(at, record[i].data, record[i].size);
		if (!t->stride) list[i] = (DPI_Record){ at, record[i].size };
		at += t->stride ? t->stride : (record[i].size + 7) & ~(size_t)7;
	}
	*piece = (struct dpi_piece){ .some = true, .source = source, .data = own, .stop = t->stride ? at : (uint8_t *)(list + count), .own = own };
	if (from) piece->from = memcpy(own + size, from, places);
	return DPI_SUCCESS;
}

static int fail(struct dpi_target *t, int error)
{
	char sentence[512];
	if (error == DPI_ERR_MEMORY) return error;
	snprintf(sentence, sizeof sentence, "target %u: %.400s", t->index, dpi_detail());
	dpi_flow_fail(t->flow, DPI_ERR_FLOW, sentence);
	return dpi_fail(error, "%s", sentence);
}

/* Rows through the stages, to a piece; piece->some is false if none passed. */
static int map(struct dpi_target *t, const struct dpi_rows *rows, uint32_t source, struct dpi_piece *piece)
{
	struct dpi_maps *maps = t->pipe->maps;
	struct dpi_mapped out = { 0 };
	DPI_Record *record = NULL;
	int error = DPI_SUCCESS;
	piece->some = false;
	if (maps) {
		error = dpi_maps_run(maps, rows, &out);
		if (error) return fail(t, error);
		dpi_maps_count(maps, &t->stats.sifted, &t->stats.row_errors);
	} else {
		if (!(record = malloc(rows->count * sizeof *record))) return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu rows", rows->count);
		for (size_t i = 0; i < rows->count; i++) record[i] = dpi_rows_at(rows, i);
		out = (struct dpi_mapped){ .record = record, .count = rows->count };
	}
	const uint32_t *from = !t->pipe->final && dpi_ack_answers(t) ? out.from : NULL;
	if (out.count) error = copy(t, out.record, out.count, from, source, piece);
	if (error && maps) dpi_maps_back(maps);
	free(record);
	return error;
}

/* The same of columns, which stay columns. */
static int map_columns(struct dpi_target *t, const struct dpi_batch *in, uint32_t source, struct dpi_piece *piece)
{
	struct dpi_maps *maps = t->pipe->maps;
	struct dpi_mapped_columns out;
	piece->some = false;
	int error = dpi_maps_run_columns(maps, in, &out);
	if (error) return fail(t, error);
	if (out.count) error = dpi_columns_make(t, &out, dpi_ack_answers(t), source, piece);
	if (error) dpi_maps_back(maps);
	else dpi_maps_count(maps, &t->stats.sifted, &t->stats.row_errors);
	return error;
}

/* The table refuses the rows of a source: it is cut off; or it fails, and so does the flow. */
static enum dpi_found broken(struct dpi_target *t, struct dpi_inlet *i, int *error)
{
	char sentence[512];
	if (*error == DPI_ERR_CORRUPT && i) {
		snprintf(sentence, sizeof sentence, "%.300s", dpi_detail());
		return dpi_inlet_cut(t, i, sentence, error);
	}
	snprintf(sentence, sizeof sentence, "target %u: %.400s", t->index, dpi_detail());
	dpi_flow_fail(t->flow, DPI_ERR_FLOW, sentence);
	*error = dpi_flow_check(t->flow);
	return DPI_FOUND_ERROR;
}

/* Some of the results that the table has still to give; piece->some is false if there are none. */
static int next_results(struct dpi_target *t, struct dpi_piece *piece)
{
	struct dpi_pipe_target *p = t->pipe;
	piece->some = false;
	while (!p->last && !piece->some) {
		struct dpi_rows rows;
		int error = dpi_final_next(p->final, &rows);
		if (error) {
			broken(t, NULL, &error);
			return error;
		}
		if (rows.count) error = map(t, &rows, DPI_SOURCE_NONE, piece);
		if (error) return error;
		if (piece->some) dpi_ack_window_gives(t, piece);
		p->last = !rows.count;
	}
	return DPI_SUCCESS;
}

/* Results, and then what they came before. Which ones are the last is known when they are given: so what is next is made before. */
static enum dpi_found results(struct dpi_target *t, struct dpi_piece *piece, uint64_t *mark, int *error)
{
	struct dpi_pipe_target *p = t->pipe;
	*error = p->ahead.some ? DPI_SUCCESS : next_results(t, &p->ahead);
	if (*error) return DPI_FOUND_ERROR;
	struct dpi_piece now = p->ahead;
	if (now.some) {
		*error = next_results(t, &p->ahead);
		if (*error) {
			p->ahead = now;
			return DPI_FOUND_ERROR;
		}
		*piece = now;
	}
	if (p->last && !p->ahead.some) dpi_ack_window_complete(t);
	if (now.some) return DPI_FOUND_ROWS;
	p->results = false;
	*mark = p->mark;
	if (p->then == DPI_FOUND_END) t->ended = true;
	return p->then;
}

/* All that came before is taken in. */
static void results_begin(struct dpi_target *t, enum dpi_found then, uint64_t mark)
{
	struct dpi_pipe_target *p = t->pipe;
	p->results = true;
	p->last = false;
	p->then = then;
	p->mark = mark;
	dpi_ack_window_ends(t);
}

/* Rows into the table, up to the window's end. */
static enum dpi_found take_in(struct dpi_target *t, struct dpi_piece *piece, int *error)
{
	struct dpi_pipe_target *p = t->pipe;
	struct dpi_inlet *i = piece->inlet;
	struct dpi_ack_part *part;
	bool ends = false;
	size_t taken;
	*error = piece->columns ? dpi_columns_rows(piece) : DPI_SUCCESS;
	if (!*error) *error = dpi_ack_window_takes(t, piece, &part);
	if (*error) {
		p->rest = *piece;
		return DPI_FOUND_ERROR;
	}
	struct dpi_rows rows = rows_of(t, piece);
	*error = dpi_final_take(p->final, &rows, &taken, &ends);
	if (part) part->to = piece->before + taken;
	if (*error || taken == rows.count) {
		dpi_piece_release(t, piece);
	} else {
		piece->data += taken * (t->wire_stride ? t->wire_stride : sizeof(DPI_Record));
		piece->before += taken;
		p->rest = *piece;
	}
	if (ends) results_begin(t, DPI_FOUND_NOTHING, 0);
	return *error ? broken(t, i, error) : DPI_FOUND_NOTHING;
}

/* What the table makes of it: nothing yet, or its results begin. */
static enum dpi_found reduce(struct dpi_target *t, enum dpi_found found, struct dpi_piece *piece, uint64_t mark, int *error)
{
	struct dpi_pipe_target *p = t->pipe;
	if (found == DPI_FOUND_ROWS) return take_in(t, piece, error);
	if (found == DPI_FOUND_ERROR || !dpi_final_closes(p->final, found)) return found;
	t->ended = false; /* not before its results are taken */
	results_begin(t, found, mark);
	return DPI_FOUND_NOTHING;
}

/* A piece through the stages. If it is acknowledged, what comes out of it stands for it. */
static enum dpi_found stages(struct dpi_target *t, struct dpi_piece *in, struct dpi_piece *piece, int *error)
{
	size_t rows = 0;
	if (in->columns && !in->skip) {
		rows = dpi_columns_batch(in)->rows;
		*error = map_columns(t, dpi_columns_batch(in), in->source, piece);
	} else {
		*error = in->columns ? dpi_columns_rows(in) : DPI_SUCCESS;
		struct dpi_rows run = rows_of(t, in);
		rows = run.count;
		if (!*error) *error = map(t, &run, in->source, piece);
	}
	if (*error == DPI_ERR_MEMORY) t->pipe->rest = *in;
	else if (*error) dpi_piece_release(t, in);
	if (*error) return DPI_FOUND_ERROR;
	if (dpi_ack_answers(t)) {
		size_t out = !piece->some ? 0 : piece->columns ? dpi_columns_batch(piece)->rows : (size_t)(piece->stop - piece->data) / (t->stride ? t->stride : sizeof(DPI_Record));
		dpi_ack_nothing(t, in->inlet, in->before + (out ? piece->from[out - 1] + 1 : 0), in->before + rows);
		if (out) dpi_piece_follow(t, piece, in);
	}
	if (in->some) dpi_piece_release(t, in);
	return piece->some ? DPI_FOUND_ROWS : DPI_FOUND_NOTHING;
}

/* The end of a retained flow waits for its sources, and these for what comes of their rows: so the last window ends when all have come. */
static bool ends_early(const struct dpi_target *t)
{
	return t->pipe->final && t->flow->definition->retain && t->pipe->windows.open && dpi_target_all_sent(t);
}

enum dpi_found dpi_pipe_find(struct dpi_target *t, struct dpi_piece *piece, uint64_t *mark, int *error)
{
	for (int n = 0; n < PIECES; n++) {
		struct dpi_piece in;
		enum dpi_found found;
		if (t->pipe->results) {
			found = results(t, piece, mark, error);
			if (found != DPI_FOUND_NOTHING) return found;
		}
		piece->some = false;
		in = t->pipe->rest;
		t->pipe->rest.some = false;
		found = in.some ? DPI_FOUND_ROWS : dpi_target_look(t, &in, mark, error);
		if (found == DPI_FOUND_NOTHING && ends_early(t)) {
			results_begin(t, DPI_FOUND_NOTHING, 0);
			continue;
		}
		if (found == DPI_FOUND_NOTHING) return found;
		if (t->pipe->final) {
			found = reduce(t, found, &in, *mark, error);
			if (found != DPI_FOUND_NOTHING) return found;
			continue;
		}
		if (found != DPI_FOUND_ROWS) return found;
		found = stages(t, &in, piece, error);
		if (found != DPI_FOUND_NOTHING) return found;
	}
	/* There may be more, of which no source tells again: who listens for this thread (descriptor.h) is to have it look again. */
	dpi_bell_ring(&t->ctx->bells, t->home->bell);
	return DPI_FOUND_NOTHING;
}
