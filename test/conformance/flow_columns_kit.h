/* SPDX-License-Identifier: Apache-2.0
 * flow_columns_kit.h: what the cases of columnar flows share: rows of every kind of column whose values follow from who pushed them and
 * their number, as record batches and one by one. */
#ifndef FLOW_COLUMNS_KIT_H
#define FLOW_COLUMNS_KIT_H

#include "flow_kit.h"

enum { COL_KEY, COL_FROM, COL_SMALL, COL_PRICE, COL_FLAG, COL_FIXED, COL_TEXT, COL_COUNT }; /* the last only where rows vary */
#define COLS_MOST 4096 /* rows of a batch */

/* rows that vary, or not */
DPI_Schema columns_schema(bool varies);
/* Create or open a flow of columns with these rows. */
#define COLUMNS_FLOW(name, varies, ctx, ...) columns_flow(name, varies, FLOW_ATTR(.layout = DPI_LAYOUT_COLUMNS, __VA_ARGS__), ctx)
DPI_Flow columns_flow(const char *name, bool varies, DPI_Flow_Attr *attr, DPI_Context ctx);

/* Values of row number of a rank; text: its bytes are in the caller's memory, of more than COLS_TEXT bytes. */
#define COLS_TEXT 64
void columns_values(int rank, int64_t number, DPI_Value values[COL_COUNT], char *text);
/* Rows first … of a rank as a batch of the caller's; it stands until the next call or it is released. skip: rows that stand before them in
 * each column's buffers. */
void columns_batch(bool varies, int rank, int64_t first, int64_t count, int64_t skip, struct ArrowArray *array);
/* The row with these values. */
size_t columns_row(DPI_Schema schema, bool varies, int rank, int64_t number, void *row, size_t room);

/* Take rows: each is what it should be, those of a rank rise. */
void columns_take_row(DPI_Schema schema, bool varies, const void *row, size_t size, struct flow_tally *t);
void columns_take_batch(bool varies, const struct ArrowArray *array, struct flow_tally *t);

/* A thread that takes until the end: by this way of five, or 5: by each in turn. */
struct columns_taker {
	DPI_Target target;
	DPI_Schema schema;
	struct flow_tally tally;
	int way;
	bool varies;
};
void *columns_take(void *taker);
/* Push rows 0 … count - 1: 0: batches of columns; 1: one by one; 2: trying; 3: batches of rows, which do not vary. */
void columns_push_by(int way, bool varies, DPI_Schema schema, DPI_Source source, int rank, int64_t count);

#endif
