/* SPDX-License-Identifier: Apache-2.0
 * flow_columns_kit.c: see flow_columns_kit.h. */
#include "flow_columns_kit.h"

static const DPI_Column columns[COL_COUNT] = {
	[COL_KEY] = { "key", DPI_TYPE_INT64, 0, 0, 0, 0 },
	[COL_FROM] = { "from", DPI_TYPE_UINT8, 0, 0, 0, 0 },
	[COL_SMALL] = { "small", DPI_TYPE_INT16, 1, 0, 0, 0 },
	[COL_PRICE] = { "price", DPI_TYPE_DECIMAL128, 1, 0, 20, 2 },
	[COL_FLAG] = { "flag", DPI_TYPE_BOOL, 1, 0, 0, 0 },
	[COL_FIXED] = { "fixed", DPI_TYPE_FIXED, 0, 3, 0, 0 },
	[COL_TEXT] = { "text", DPI_TYPE_UTF8, 1, 0, 0, 0 },
};

static size_t columns_of(bool varies)
{
	return varies ? COL_COUNT : COL_TEXT;
}

DPI_Schema columns_schema(bool varies)
{
	DPI_Schema s;
	CHECK_DPI(DPI_Create_Schema(columns, columns_of(varies), &s));
	return s;
}

DPI_Flow columns_flow(const char *name, bool varies, DPI_Flow_Attr *a, DPI_Context ctx)
{
	static const char *const key[] = { "key" };
	DPI_Flow flow;
	a->create = DPI_CREATE_OR_OPEN;
	a->schema = columns_schema(varies);
	if (a->dist != DPI_DIST_ROUND_ROBIN && a->dist != DPI_DIST_BROADCAST && !a->group && !a->key) a->key = key, a->key_count = 1;
	CHECK_QUIET(DPI_Create_Flow(name, a, ctx, &flow));
	CHECK_DPI(DPI_Free_Schema(a->schema));
	return flow;
}

/* ------------------------------------------------------------------------------------------------------------ values */

static bool null(int64_t number, int column)
{
	return columns[column].nullable && (number + column) % 5 == 0;
}

static uint32_t text_of(int rank, int64_t number, char *text)
{
	uint32_t size = (uint32_t)((number * 7 + rank) % 41);
	for (uint32_t i = 0; i < size; i++) text[i] = (char)('a' + (number + i) % 26);
	return size;
}

void columns_values(int rank, int64_t number, DPI_Value v[COL_COUNT], char *text)
{
	char *fixed = text + COLS_TEXT - 3;
	memset(v, 0, COL_COUNT * sizeof *v);
	for (int k = 0; k < COL_COUNT; k++) v[k].type = null(number, k) ? DPI_TYPE_NULL : columns[k].type;
	v[COL_KEY].i = number;
	v[COL_FROM].u = (uint64_t)rank;
	v[COL_SMALL].i = (int16_t)(number * 3);
	v[COL_PRICE].w[0] = (uint64_t)-number, v[COL_PRICE].w[1] = number ? UINT64_MAX : 0;
	v[COL_FLAG].i = number % 3 == 0;
	memcpy(fixed, &number, 3);
	v[COL_FIXED].data = fixed, v[COL_FIXED].size = 3;
	v[COL_TEXT].size = text_of(rank, number, text), v[COL_TEXT].data = text;
}

size_t columns_row(DPI_Schema schema, bool varies, int rank, int64_t number, void *row, size_t room)
{
	DPI_Value v[COL_COUNT];
	char text[COLS_TEXT];
	size_t size;
	(void)varies;
	columns_values(rank, number, v, text);
	CHECK_DPI(DPI_Pack_Row(v, schema, row, room, &size));
	return size;
}

/* ------------------------------------------------------------------------------------------------------------- batches */

static void nothing(struct ArrowArray *a)
{
	for (int64_t k = 0; k < a->n_children; k++) a->children[k]->release = NULL;
	a->release = NULL;
}

static void set_bit(uint8_t *bits, int64_t i, bool value)
{
	if (value) bits[i / 8] |= (uint8_t)(1u << i % 8);
	else bits[i / 8] &= (uint8_t)~(1u << i % 8);
}

void columns_batch(bool varies, int rank, int64_t first, int64_t count, int64_t skip, struct ArrowArray *array)
{
	static uint8_t valid[COL_COUNT][COLS_MOST / 8 + 8], data[COL_COUNT][COLS_MOST * 16 + 64], text[COLS_MOST * COLS_TEXT];
	static int32_t offset[COLS_MOST + 64];
	static const void *buffer[COL_COUNT][3], *none[1];
	static struct ArrowArray child[COL_COUNT], *children[COL_COUNT];
	static const size_t width[COL_COUNT] = { 8, 1, 2, 16, 0, 3, 0 };
	CHECK(count + skip <= COLS_MOST);
	memset(valid, 0xa5, sizeof valid);
	offset[skip] = 0;
	for (int64_t n = 0; n < count; n++) {
		DPI_Value v[COL_COUNT];
		int64_t at = skip + n;
		columns_values(rank, first + n, v, (char *)text + offset[at]);
		for (int k = 0; k < COL_COUNT; k++) {
			set_bit(valid[k], at, v[k].type != DPI_TYPE_NULL);
			if (k == COL_FLAG) set_bit(data[k], at, v[k].i);
			else if (k == COL_FIXED) memcpy(data[k] + at * 3, v[k].data, 3);
			else if (k != COL_TEXT) memcpy(data[k] + (size_t)at * width[k], &v[k].i, width[k]);
		}
		offset[at + 1] = offset[at] + (v[COL_TEXT].type == DPI_TYPE_NULL ? 0 : (int32_t)v[COL_TEXT].size);
	}
	for (int k = 0; k < COL_COUNT; k++) {
		buffer[k][0] = columns[k].nullable ? valid[k] : NULL;
		buffer[k][1] = k == COL_TEXT ? (const void *)offset : data[k];
		buffer[k][2] = text;
		child[k] = (struct ArrowArray){ .length = count, .offset = skip, .null_count = columns[k].nullable ? -1 : 0,
						.n_buffers = k == COL_TEXT ? 3 : 2, .buffers = buffer[k], .release = nothing };
		children[k] = child + k;
	}
	*array = (struct ArrowArray){ .length = count, .n_buffers = 1, .buffers = none, .n_children = (int64_t)columns_of(varies), .children = children,
				      .release = nothing };
}

/* ------------------------------------------------------------------------------------------------------------- taking */

/* The row's rank and number; the rest follows. */
static void check_values(bool varies, const DPI_Value *v, struct flow_tally *t)
{
	DPI_Value w[COL_COUNT];
	char text[COLS_TEXT];
	CHECK(v[COL_FROM].u < HARNESS_RANKS);
	columns_values((int)v[COL_FROM].u, v[COL_KEY].i, w, text);
	for (size_t k = 0; k < columns_of(varies); k++) {
		CHECK_INT(v[k].type, ==, w[k].type);
		if (w[k].type == DPI_TYPE_NULL) continue;
		if (k == COL_FIXED || k == COL_TEXT) {
			CHECK_INT(v[k].size, ==, w[k].size);
			CHECK(!w[k].size || !memcmp(v[k].data, w[k].data, w[k].size));
		} else {
			CHECK_INT(v[k].w[0], ==, w[k].w[0]);
			if (k == COL_PRICE) CHECK_INT(v[k].w[1], ==, w[k].w[1]);
		}
	}
	uint64_t from = v[COL_FROM].u;
	if (t->rows[from]) CHECK_INT(v[COL_KEY].i, >, t->last[from]);
	t->last[from] = v[COL_KEY].i;
	t->rows[from]++;
	t->total++;
}

void columns_take_row(DPI_Schema schema, bool varies, const void *row, size_t size, struct flow_tally *t)
{
	DPI_Value v[COL_COUNT];
	CHECK_DPI(DPI_Check_Row(row, size, 1, schema));
	memset(v, 0, sizeof v);
	for (size_t k = 0; k < columns_of(varies); k++) CHECK_DPI(DPI_Get_Value(row, size, k, schema, &v[k]));
	check_values(varies, v, t);
}

static bool bit(const void *bits, int64_t i)
{
	return ((const uint8_t *)bits)[i / 8] >> i % 8 & 1;
}

static DPI_Value value_of(int column, const struct ArrowArray *a, int64_t i)
{
	DPI_Value v;
	const uint8_t *data = a->buffers[1];
	memset(&v, 0, sizeof v);
	i += a->offset;
	v.type = a->buffers[0] && !bit(a->buffers[0], i) ? DPI_TYPE_NULL : columns[column].type;
	if (v.type == DPI_TYPE_NULL) return v;
	switch (column) {
	case COL_KEY: memcpy(&v.i, data + i * 8, 8); break;
	case COL_FROM: v.u = data[i]; break;
	case COL_SMALL: {
		int16_t small;
		memcpy(&small, data + i * 2, 2);
		v.i = small;
		break;
	}
	case COL_PRICE: memcpy(v.w, data + i * 16, 16); break;
	case COL_FLAG: v.i = bit(data, i); break;
	case COL_FIXED: v.data = data + i * 3, v.size = 3; break;
	default: {
		const int32_t *offset = a->buffers[1];
		v.data = (const char *)a->buffers[2] + offset[i], v.size = (uint32_t)(offset[i + 1] - offset[i]);
	}
	}
	return v;
}

void columns_take_batch(bool varies, const struct ArrowArray *a, struct flow_tally *t)
{
	CHECK_INT(a->n_children, ==, columns_of(varies));
	CHECK_INT(a->offset, ==, 0);
	CHECK_INT(a->length, >, 0);
	for (int64_t i = 0; i < a->length; i++) {
		DPI_Value v[COL_COUNT];
		for (size_t k = 0; k < columns_of(varies); k++) {
			if (!i) CHECK_INT(a->children[k]->length, ==, a->length);
			v[k] = value_of((int)k, a->children[k], i);
		}
		check_values(varies, v, t);
	}
}

/* ---------------------------------------------------------------------------------------------------- every way each end */

/* Take one thing by this way; its rows into the tally. */
static int take_one(struct columns_taker *t, int way)
{
	struct ArrowArray array;
	struct ArrowSchema type;
	DPI_Batch b;
	DPI_Tuple u;
	int error, same;
	switch (way) {
	case 0:
		error = DPI_Next_Arrow(t->target, &b, &array, &type);
		if (error) return error;
		CHECK_INT(b.count, ==, array.length);
		columns_take_batch(t->varies, &array, &t->tally);
		DPI_Schema schema;
		CHECK_DPI(DPI_Import_Arrow_Schema(&type, &schema));
		CHECK_DPI(DPI_Compare_Schemas(schema, t->schema, &same, NULL, 0));
		CHECK(same);
		CHECK_DPI(DPI_Free_Schema(schema));
		type.release(&type);
		array.release(&array);
		return DPI_SUCCESS;
	case 1:
	case 2:
		error = way == 1 ? DPI_Next(t->target, &u) : (DPI_Next)(t->target, &u);
		if (!error) columns_take_row(t->schema, t->varies, u.data, u.size, &t->tally);
		return error;
	case 3:
		while ((error = DPI_Try_Next(t->target, &u)) == DPI_ERR_AGAIN) harness_pause();
		if (!error) columns_take_row(t->schema, t->varies, u.data, u.size, &t->tally);
		return error;
	default:
		error = DPI_Next_Batch(t->target, &b);
		for (size_t i = 0; i < b.count && !error; i++) {
			if (b.record) columns_take_row(t->schema, t->varies, b.record[i].data, b.record[i].size, &t->tally);
			else columns_take_row(t->schema, t->varies, (const char *)b.rows + i * b.stride, b.stride, &t->tally);
		}
		if (!error) CHECK_DPI(DPI_Release_Batch(1, t->target));
		return error;
	}
}

void *columns_take(void *arg)
{
	struct columns_taker *t = arg;
	int error = DPI_SUCCESS, n = 0;
	while (!error) error = take_one(t, t->way < 5 ? t->way : n++ % 5);
	CHECK_INT(error, ==, DPI_ERR_END);
	return NULL;
}

void columns_push_by(int way, bool varies, DPI_Schema schema, DPI_Source s, int rank, int64_t count)
{
	static char rows[256 * 200], row[256]; /* a process has one source that pushes so */
	struct ArrowSchema type;
	struct ArrowArray batch;
	CHECK_DPI(DPI_Export_Arrow_Schema(schema, &type));
	for (int64_t i = 0; i < count;) {
		size_t pushed = 0, size = 0;
		int64_t n = 1 + (i * 31 + rank) % 1500;
		int error;
		if (n > count - i) n = count - i;
		switch (way) {
		case 0:
			columns_batch(varies, rank, i, n, i % 11, &batch);
			CHECK_DPI(DPI_Push_Arrow(&batch, i % 2 ? &type : NULL, s, &pushed));
			CHECK_INT(pushed, ==, n);
			CHECK(batch.release != NULL);
			break;
		case 1:
			size = columns_row(schema, varies, rank, i, row, sizeof row);
			CHECK_DPI(DPI_Push(row, size, s));
			memset(row, 0xff, sizeof row);
			n = 1;
			break;
		case 2:
			size = columns_row(schema, varies, rank, i, row, sizeof row);
			while ((error = DPI_Try_Push(row, size, s)) == DPI_ERR_AGAIN) harness_pause();
			CHECK_DPI(error);
			n = 1;
			break;
		default:
			if (n > 200) n = 200;
			for (int64_t k = 0; k < n; k++) size = columns_row(schema, varies, rank, i + k, rows + (size_t)k * size, sizeof row);
			CHECK_DPI(DPI_Push_Batch(rows, (size_t)n, s, &pushed));
			CHECK_INT(pushed, ==, n);
		}
		i += n;
	}
	type.release(&type);
}
