/* SPDX-License-Identifier: Apache-2.0
 * pipe_target.c: rows on their way from the inlets to the program, through reduce and stages. */
#include "pipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

void dpi_pipe_close_target(struct dpi_target *t)
{
	if (!t->pipe) return;
	dpi_final_close(t->pipe->final);
	dpi_maps_free(t->pipe->maps);
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

/* A piece of copies of these rows. */
static int copy(const struct dpi_target *t, const DPI_Record *record, size_t count, uint32_t source, struct dpi_piece *piece)
{
	size_t size = 0;
	for (size_t i = 0; i < count; i++) size += t->stride ? t->stride : sizeof *record + ((record[i].size + 7) & ~(size_t)7);
	uint8_t *own = malloc(size ? size : 1), *at = own;
	if (!own) return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu rows of flow '%s'", count, t->flow->name);
	DPI_Record *list = (DPI_Record *)(void *)own;
	if (!t->stride) at = (uint8_t *)(list + count);
	for (size_t i = 0; i < count; i++) {
		memcpy(at, record[i].data, record[i].size);
		if (!t->stride) list[i] = (DPI_Record){ at, record[i].size };
		at += t->stride ? t->stride : (record[i].size + 7) & ~(size_t)7;
	}
	*piece = (struct dpi_piece){ .some = true, .source = source, .data = own, .stop = t->stride ? at : (uint8_t *)(list + count), .own = own };
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
	if (out.count) error = copy(t, out.record, out.count, source, piece);
	free(record);
	return error;
}

/* The results that the table has still to give, and then what they came before. */
static enum dpi_found results(struct dpi_target *t, struct dpi_piece *piece, uint64_t *mark, int *error)
{
	struct dpi_pipe_target *p = t->pipe;
	for (;;) {
		struct dpi_rows rows;
		*error = dpi_final_next(p->final, &rows);
		if (*error) *error = fail(t, *error);
		if (!*error && rows.count) *error = map(t, &rows, DPI_SOURCE_NONE, piece);
		if (*error) return DPI_FOUND_ERROR;
		if (rows.count && piece->some) return DPI_FOUND_ROWS;
		if (!rows.count) break;
	}
	p->results = false;
	*mark = p->mark;
	if (p->then == DPI_FOUND_END) t->ended = true;
	return p->then;
}

/* What the table makes of it: nothing yet, or its results begin. */
static enum dpi_found reduce(struct dpi_target *t, enum dpi_found found, struct dpi_piece *piece, uint64_t mark, int *error)
{
	struct dpi_pipe_target *p = t->pipe;
	if (found == DPI_FOUND_ROWS) {
		*error = dpi_final_take(p->final, piece, &p->results);
		dpi_piece_release(t, piece);
		p->then = DPI_FOUND_NOTHING;
		if (!*error) return DPI_FOUND_NOTHING;
		*error = fail(t, *error);
		return DPI_FOUND_ERROR;
	}
	if (found != DPI_FOUND_MARK && found != DPI_FOUND_END) return found;
	if (!dpi_final_closes(p->final, found, mark)) return found;
	if (found == DPI_FOUND_END) t->ended = false; /* not before its results are taken */
	p->results = true;
	p->then = found;
	p->mark = mark;
	return DPI_FOUND_NOTHING;
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
		found = dpi_target_look(t, &in, mark, error);
		if (found == DPI_FOUND_NOTHING) return found;
		if (t->pipe->final) {
			found = reduce(t, found, &in, *mark, error);
			if (found != DPI_FOUND_NOTHING) return found;
			continue;
		}
		if (found != DPI_FOUND_ROWS) return found;
		struct dpi_rows rows = rows_of(t, &in);
		*error = map(t, &rows, in.source, piece);
		dpi_piece_release(t, &in);
		if (*error) return DPI_FOUND_ERROR;
		if (piece->some) return DPI_FOUND_ROWS;
	}
	return DPI_FOUND_NOTHING;
}
