/* SPDX-License-Identifier: Apache-2.0
 * arrow_push.c: record batches into a flow: as columns where these travel, else as rows that are made of them. */
#include <stdlib.h>

#include "arrow.h"
#include "columnar.h"
#include "pipe.h"

#define RUN_ROWS 512u /* as in push.c */

/* Rows are reduced as rows, and acknowledged one by one. */
static bool stay_columns(const struct dpi_source *s)
{
	return s->columns && !s->ack && !(s->pipe && s->pipe->partial);
}

static int push_some_size(struct dpi_source *s, const struct dpi_batch *batch, size_t *done)
{
	const struct dpi_schema *schema = s->flow->definition->schema;
	size_t stride = schema->row_size;
	uint8_t *rows = malloc(RUN_ROWS * stride);
	int error = rows ? DPI_SUCCESS : dpi_fail(DPI_ERR_MEMORY, "no memory for rows of %zu bytes", stride);
	while (*done < batch->rows && !error) {
		size_t n = batch->rows - *done < RUN_ROWS ? batch->rows - *done : RUN_ROWS, given;
		struct dpi_row_writer w = { .at = rows, .last = rows + (n - 1) * stride, .stride = (uint32_t)stride, .segment = rows };
		dpi_row_from_batch(schema, batch, *done, n, &w);
		error = dpi_push_rows(s, rows, n, "DPI_Push_Arrow", &given);
		*done += given;
	}
	free(rows);
	return error;
}

static int push_any_size(struct dpi_source *s, const struct dpi_batch *batch, size_t *done)
{
	const struct dpi_definition *d = s->flow->definition;
	uint8_t *row = NULL;
	size_t room = 0;
	int error = DPI_SUCCESS;
	for (; *done < batch->rows && !error; *done += !error) {
		uint32_t size;
		error = dpi_row_make(d->schema, batch, *done, &row, &room, &size);
		if (!error && d->partial) error = dpi_row_check(d->schema, row, size, true);
		if (!error) error = dpi_push_noted_row(s, row, size);
	}
	free(row);
	return error;
}

static int push_rows(struct dpi_source *s, const struct dpi_batch *batch, size_t *done)
{
	return (s->push_size ? push_some_size : dpi_push_makes(s) ? dpi_push_made : push_any_size)(s, batch, done);
}

/* Has the batch the flow's columns? */
static int check_schema(const struct dpi_source *s, const struct ArrowSchema *arrow)
{
	char text[512];
	struct dpi_schema *yours;
	int error = dpi_arrow_import_schema(arrow, &yours);
	if (error) return error;
	if (!dpi_schema_equal(s->flow->definition->schema, "the flow's schema", yours, "the batch's", text, sizeof text))
		error = dpi_fail(DPI_ERR_SCHEMA, "DPI_Push_Arrow: flow '%s': %s", s->flow->name, text);
	dpi_schema_unref(yours);
	return error;
}

int DPI_Push_Arrow(const struct ArrowArray *array, const struct ArrowSchema *schema, DPI_Source handle, size_t *pushed)
{
	struct dpi_arrow_batch batch;
	int error;
	size_t done = 0;
	if (pushed) *pushed = 0;
	struct dpi_source *s = dpi_source_begin(handle, "DPI_Push_Arrow", &error);
	if (!s) return error;
	if (!array) error = dpi_fail(DPI_ERR_ARGUMENT, "DPI_Push_Arrow: array is NULL: pass the ArrowArray to push");
	else if (s->reserved >= 0) error = dpi_fail(DPI_ERR_STATE, "DPI_Push_Arrow: room is handed out: DPI_Commit or DPI_Discard comes first");
	if (!error && schema) error = check_schema(s, schema);
	if (!error) error = dpi_arrow_batch_new(s->flow->definition->schema, &batch);
	if (!error) {
		error = dpi_arrow_import(&batch, array);
		if (!error) error = (stay_columns(s) ? dpi_columns_push_filtered : push_rows)(s, &batch.batch, &done);
		if (error == DPI_ERR_AGAIN) error = dpi_push_no_room(s, true, "DPI_Push_Arrow");
		dpi_arrow_batch_free(&batch);
	}
	dpi_source_leave(s);
	if (pushed) *pushed = done;
	return error;
}
