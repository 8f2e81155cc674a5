/* SPDX-License-Identifier: Apache-2.0
 * columnar_target.c: columnar segments at a target: lent as Arrow arrays where they lie, or made into rows. Rows that came as such, or
 * that reduce has made, are lent as columns that are made of them.
 *
 * Offsets of variable values are copied before they are checked, so that whoever wrote the segment cannot lead a reader out of it;
 * all else is lent as it lies in the ring. An array may be released by any thread, at any time: that only says so. The target's
 * next call gives the room back, in the order in which it was lent. */
#include "columnar.h"

#include <stdlib.h>
#include <string.h>

#include "arrow.h"
#include "map.h"
#include "target.h"

/* A segment that is being read; or what stages made. */
struct dpi_columns_in {
	const struct dpi_batch *batch;
	struct dpi_schema *schema;
	struct dpi_column_reader reader;
	struct dpi_columns_in *next; /* of the spare ones */
	struct dpi_row_batch made;   /* of stages: schema NULL: a segment */
	uint32_t *from;
};

static void columns_free(struct dpi_columns_in *c)
{
	if (c->made.schema) dpi_row_batch_free(&c->made);
	if (c->reader.schema) dpi_column_reader_free(&c->reader);
	free(c->from);
	free(c);
}

const char *dpi_columns_take(struct dpi_target *t, struct dpi_inlet *i, const uint8_t *data, uint64_t size, struct dpi_decoded *decoded, struct dpi_piece *piece)
{
	struct dpi_schema *s = t->flow->definition->wire;
	struct dpi_columns_in *c = t->spare;
	if ((uintptr_t)data % DPI_COLUMN_ALIGN) return "a columnar segment that does not begin a line";
	if (!c) {
		c = calloc(1, sizeof *c);
		if (!c || dpi_column_reader_new(s, &c->reader)) {
			free(c);
			return "no memory for its columns";
		}
		c->next = NULL;
		c->batch = &c->reader.batch;
		c->schema = c->reader.schema;
	}
	t->spare = c->next;
	*piece = (struct dpi_piece){ .columns = c };
	if (dpi_column_read(&c->reader, data, size, decoded ? 0 : DPI_COLUMN_UNSAFE, NULL) || !c->reader.batch.rows) {
		dpi_columns_done(t, piece);
		*piece = (struct dpi_piece){ 0 };
		return "columns that are none of a segment's";
	}
	*piece = (struct dpi_piece){ .inlet = i, .some = true, .source = i->source, .before = i->rows, .decoded = decoded, .columns = c };
	if (!decoded) piece->ring = i->ring, piece->end = i->ring->reader.read, piece->begin = piece->end - size;
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
	if (!decoded) i->lent++, i->ring->lent++;
	if (__builtin_expect(t->sketch != NULL, 0)) dpi_target_sketch_batch(t, &c->reader.batch, before);
	DPI_ADD(t->stats.rows, rows);
	DPI_ADD(t->stats.bytes, bytes);
	DPI_ADD(t->stats.batches, 1);
	return NULL;
}

const struct dpi_batch *dpi_columns_batch(const struct dpi_piece *piece)
{
	return piece->columns->batch;
}

int dpi_columns_make(const struct dpi_target *t, const struct dpi_mapped_columns *mapped, bool from, uint32_t source, struct dpi_piece *piece)
{
	struct dpi_columns_in *c = calloc(1, sizeof *c);
	if (!c) return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu rows of flow '%s'", mapped->count, t->flow->name);
	int error = dpi_row_batch_new(t->flow->definition->output, NULL, &c->made);
	if (!error) error = dpi_row_batch_gather(&c->made, &mapped->batch, mapped->bits, mapped->count);
	if (!error && from) {
		if ((c->from = malloc(mapped->count * sizeof *c->from))) memcpy(c->from, mapped->from, mapped->count * sizeof *c->from);
		else error = dpi_fail(DPI_ERR_MEMORY, "no memory for %zu rows of flow '%s'", mapped->count, t->flow->name);
	}
	if (error) {
		columns_free(c);
		return error;
	}
	c->batch = &c->made.batch;
	c->schema = c->made.schema;
	*piece = (struct dpi_piece){ .some = true, .source = source, .from = c->from, .columns = c };
	return DPI_SUCCESS;
}

void dpi_columns_spare_free(struct dpi_target *t)
{
	while (t->spare) {
		struct dpi_columns_in *c = t->spare;
		t->spare = c->next;
		columns_free(c);
	}
}

/* -------------------------------------------------------------------------------------------------------------- rows */

int dpi_columns_rows(struct dpi_piece *p)
{
	struct dpi_rows rows;
	if (p->data) return DPI_SUCCESS;
	const struct dpi_batch *b = p->columns->batch;
	p->own = dpi_rows_from_batch(p->columns->schema, b, &rows);
	if (!p->own) return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu rows of a segment", b->rows);
	size_t stride = rows.rows ? rows.stride : sizeof(DPI_Record);
	p->data = (uint8_t *)p->own + p->skip * stride;
	p->stop = (uint8_t *)p->own + b->rows * stride;
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------------------- loans */

/* What an array knows of its target, and the other way. */
struct dpi_loan {
	struct dpi_target *target; /* NULL: it has taken it back, or was closed; under the lock */
	_Atomic bool back;	   /* the array was released */
	struct dpi_row_batch rows; /* columns that were made of rows */
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
	if (p->columns->made.schema) {
		columns_free(p->columns);
		return;
	}
	p->columns->next = t->spare;
	t->spare = p->columns;
}

/* Columns of a piece of rows. */
static int make_columns(const struct dpi_target *t, const struct dpi_piece *p, struct dpi_row_batch *to)
{
	size_t size = (size_t)(p->stop - p->data);
	int error = dpi_row_batch_new(t->flow->definition->output, NULL, to);
	if (error) return error;
	if (t->stride) return dpi_row_batch_strided(to, p->data, t->stride, size / t->stride);
	return dpi_row_batch_records(to, (const DPI_Record *)(const void *)p->data, size / sizeof(DPI_Record));
}

/* The piece as an array: its columns from the first on that DPI_Next has not given. */
static int lend(struct dpi_target *t, struct dpi_piece *p, struct ArrowArray *array, size_t *rows)
{
	struct dpi_schema *s = t->flow->definition->output;
	struct dpi_loan *loan = calloc(1, sizeof *loan);
	size_t first = p->skip;
	int error = DPI_SUCCESS;
	if (!loan) return dpi_fail(DPI_ERR_MEMORY, "no memory to lend a segment");
	const struct dpi_batch *b = p->columns ? p->columns->batch : &loan->rows.batch;
	if (!p->columns) error = make_columns(t, p, &loan->rows);
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
	if (t->lents == DPI_LENT_MAX) {
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
		error = schema ? dpi_arrow_export_schema(t->flow->definition->output, schema) : DPI_SUCCESS;
		if (!error) error = lend(t, &piece, array, &batch->count);
		if (error) {
			dpi_target_keep(t, &piece);
			if (schema && schema->release) schema->release(schema);
		} else {
			batch->source = piece.source;
			dpi_target_lend(t, &piece);
		}
	}
	dpi_target_leave(t);
	return error;
}
