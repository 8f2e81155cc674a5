/* SPDX-License-Identifier: Apache-2.0
 * columnar_target.c: columnar segments at a target: lent as Arrow arrays where they lie, or made into rows.
 *
 * Offsets of variable values are copied before they are checked, so that whoever wrote the segment cannot lead a reader out of it;
 * all else is lent as it lies in the ring. An array may be released by any thread, at any time: that only says so. The target's
 * next call gives the room back, in the order in which it was lent. */
#include "columnar.h"

#include <stdlib.h>
#include <string.h>

#include "arrow.h"
#include "target.h"

/* A segment that is being read. */
struct dpi_columns_in {
	struct dpi_column_reader reader;
	struct dpi_columns_in *next; /* of the spare ones */
};

const char *dpi_columns_take(struct dpi_target *t, struct dpi_inlet *i, const uint8_t *data, uint64_t size, struct dpi_piece *piece)
{
	struct dpi_schema *s = t->flow->definition->schema;
	struct dpi_columns_in *c = t->spare;
	if ((uintptr_t)data % DPI_COLUMN_ALIGN) return "a columnar segment that does not begin a line";
	if (!c) {
		c = calloc(1, sizeof *c);
		if (!c || dpi_column_reader_new(s, &c->reader)) {
			free(c);
			return "no memory for its columns";
		}
		c->next = NULL;
	}
	t->spare = c->next;
	*piece = (struct dpi_piece){ .columns = c };
	if (dpi_column_read(&c->reader, data, size, DPI_COLUMN_UNSAFE, NULL) || !c->reader.batch.rows) {
		dpi_columns_done(t, piece);
		*piece = (struct dpi_piece){ 0 };
		return "columns that are none of a segment's";
	}
	*piece = (struct dpi_piece){ .inlet = i, .some = true, .source = i->source, .ring = i->ring, .begin = i->ring->reader.read - size, .end = i->ring->reader.read,
				     .before = i->rows, .columns = c };
	uint64_t rows = c->reader.batch.rows, before = dpi_inlet_before(i, rows), bytes = (rows - before) * s->row_size;
	for (uint32_t k = 0; k < s->columns && s->varies; k++)
		if (s->column[k].variable) bytes += (uint64_t)(c->reader.vector[k].offset[rows] - c->reader.vector[k].offset[before]);
	i->rows += rows;
	DPI_ADD(t->stats.passed, before);
	if (before == rows) {
		dpi_columns_done(t, piece);
		*piece = (struct dpi_piece){ 0 };
		return NULL;
	}
	piece->skip = before;
	piece->before += before;
	rows -= before;
	i->out++;
	i->lent++;
	i->ring->lent++;
	if (__builtin_expect(t->sketch != NULL, 0)) dpi_target_sketch_batch(t, &c->reader.batch, before);
	DPI_ADD(t->stats.rows, rows);
	DPI_ADD(t->stats.bytes, bytes);
	DPI_ADD(t->stats.batches, 1);
	return NULL;
}

const struct dpi_batch *dpi_columns_batch(const struct dpi_piece *piece)
{
	return &piece->columns->reader.batch;
}

void dpi_columns_spare_free(struct dpi_target *t)
{
	while (t->spare) {
		struct dpi_columns_in *c = t->spare;
		t->spare = c->next;
		dpi_column_reader_free(&c->reader);
		free(c);
	}
}

/* -------------------------------------------------------------------------------------------------------------- rows */

/* Rows of one size, back to back. */
static void *make_rows(const struct dpi_schema *s, const struct dpi_batch *b)
{
	uint8_t *rows = malloc(b->rows * s->row_size);
	struct dpi_row_writer w = { .at = rows, .stride = s->row_size, .segment = rows };
	if (!rows) return NULL;
	w.last = rows + (b->rows - 1) * s->row_size;
	dpi_row_from_batch(s, b, 0, b->rows, &w);
	return rows;
}

/* The list of rows that vary, and behind it the rows, each at a multiple of 8. */
static void *make_records(const struct dpi_schema *s, const struct dpi_batch *b)
{
	uint64_t size = b->rows * sizeof(DPI_Record);
	for (size_t i = 0; i < b->rows; i++) size += (dpi_row_size_in_batch(s, b, i) + 7) & ~UINT64_C(7);
	DPI_Record *list = malloc(size);
	uint8_t *at = (uint8_t *)(list + b->rows);
	for (size_t i = 0; list && i < b->rows; i++) {
		list[i] = (DPI_Record){ at, dpi_row_write_from_batch(s, b, i, at) };
		at += (list[i].size + 7) & ~(size_t)7;
	}
	return list;
}

/* For the next call that takes. */
static void keep(struct dpi_target *t, struct dpi_piece *p)
{
	t->kept.found = DPI_FOUND_ROWS;
	t->kept.piece = *p;
	*p = (struct dpi_piece){ 0 };
}

int dpi_columns_rows(struct dpi_target *t, struct dpi_piece *p)
{
	const struct dpi_batch *b = &p->columns->reader.batch;
	if (p->data) return DPI_SUCCESS;
	p->own = t->stride ? make_rows(p->columns->reader.schema, b) : make_records(p->columns->reader.schema, b);
	if (!p->own) {
		keep(t, p);
		return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu rows of a segment", b->rows);
	}
	size_t stride = t->stride ? t->stride : sizeof(DPI_Record);
	p->data = (uint8_t *)p->own + p->skip * stride;
	p->stop = (uint8_t *)p->own + b->rows * stride;
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------------------- loans */

/* What an array knows of its target, and the other way. */
struct dpi_loan {
	struct dpi_target *target; /* NULL: it has taken it back, or was closed; under the lock */
	_Atomic bool back;	   /* the array was released */
	struct dpi_row_batch rows; /* a large row's columns */
};

static pthread_mutex_t loans = PTHREAD_MUTEX_INITIALIZER;

static void loan_free(struct dpi_loan *loan)
{
	if (loan->rows.schema) dpi_row_batch_free(&loan->rows);
	free(loan);
}

bool dpi_loan_back(const struct dpi_loan *loan)
{
	return atomic_load_explicit(&loan->back, memory_order_acquire);
}

/* Whichever of the two ends comes last frees. */
static void released(void *owner)
{
	struct dpi_loan *loan = owner;
	pthread_mutex_lock(&loans);
	struct dpi_target *t = loan->target;
	atomic_store_explicit(&loan->back, true, memory_order_release);
	if (t) dpi_bell_ring(&t->ctx->bells, t->home->bell);
	pthread_mutex_unlock(&loans);
	if (!t) loan_free(loan);
}

static void loan_end(struct dpi_loan *loan)
{
	pthread_mutex_lock(&loans);
	loan->target = NULL;
	bool last = dpi_loan_back(loan);
	pthread_mutex_unlock(&loans);
	if (last) loan_free(loan);
}

void dpi_columns_done(struct dpi_target *t, struct dpi_piece *p)
{
	if (p->loan) loan_end(p->loan);
	if (!p->columns) return;
	p->columns->next = t->spare;
	t->spare = p->columns;
}

/* The piece as an array: its columns from the first on that DPI_Next has not given. */
static int lend(struct dpi_target *t, struct dpi_piece *p, struct ArrowArray *array, size_t *rows)
{
	struct dpi_schema *s = t->flow->definition->schema;
	struct dpi_loan *loan = calloc(1, sizeof *loan);
	size_t first = p->skip;
	int error = DPI_SUCCESS;
	if (!loan) return dpi_fail(DPI_ERR_MEMORY, "no memory to lend a segment");
	const struct dpi_batch *b = p->columns ? &p->columns->reader.batch : &loan->rows.batch;
	if (!p->columns) error = dpi_row_batch_new(s, NULL, &loan->rows); /* a row that was larger than a segment */
	if (!p->columns && !error) error = dpi_row_batch_records(&loan->rows, (const DPI_Record *)(const void *)p->data, 1);
	if (!error) error = dpi_arrow_export(s, b, released, loan, array);
	if (error) {
		loan_free(loan);
		return error;
	}
	if (p->columns && p->data) first = (size_t)(p->data - (const uint8_t *)p->own) / (t->stride ? t->stride : sizeof(DPI_Record));
	*rows = b->rows - first;
	array->length = (int64_t)*rows;
	for (uint32_t k = 0; k < s->columns; k++) {
		array->children[k]->offset = (int64_t)first;
		array->children[k]->length = (int64_t)*rows;
	}
	loan->target = t;
	p->loan = loan;
	return DPI_SUCCESS;
}

int DPI_Next_Arrow(DPI_Target handle, DPI_Batch *batch, struct ArrowArray *array, struct ArrowSchema *schema)
{
	int error;
	uint64_t mark = 0;
	struct dpi_piece piece = { 0 };
	if (!batch || !array) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Next_Arrow: %s is NULL: pass where it may go", batch ? "array" : "batch");
	*batch = (DPI_Batch){ 0 };
	*array = (struct ArrowArray){ 0 };
	if (schema) *schema = (struct ArrowSchema){ 0 };
	struct dpi_target *t = dpi_target_begin(handle, "DPI_Next_Arrow", &error);
	if (!t) return error;
	dpi_target_collect(t);
	if (t->flow->definition->layout != DPI_LAYOUT_COLUMNS) {
		error = dpi_fail(DPI_ERR_USE, "DPI_Next_Arrow: the segments of flow '%s' are rows: create it with DPI_LAYOUT_COLUMNS, or take rows", t->flow->name);
	} else if (t->lents == DPI_LENT_MAX) {
		error = dpi_fail(DPI_ERR_LIMIT, "DPI_Next_Arrow: %d runs are lent: release the oldest", DPI_LENT_MAX);
	} else if (t->at != t->stop) {
		dpi_target_rest(t, &piece);
	} else {
		if (t->piece.some) dpi_piece_release(t, &t->piece);
		t->at = t->stop = NULL;
		error = dpi_target_take(t, true, "DPI_Next_Arrow", &piece, &mark);
	}
	if (!error && !piece.some) {
		batch->kind = DPI_TUPLE_MARK;
		batch->mark = mark;
	} else if (!error) {
		error = schema ? dpi_arrow_export_schema(t->flow->definition->schema, schema) : DPI_SUCCESS;
		if (!error) error = lend(t, &piece, array, &batch->count);
		if (error) {
			keep(t, &piece);
			if (schema && schema->release) schema->release(schema);
		} else {
			batch->source = piece.source;
			dpi_target_lend(t, &piece);
		}
	}
	dpi_target_leave(t);
	return error;
}
