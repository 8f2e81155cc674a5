/* SPDX-License-Identifier: Apache-2.0
 * expr_program_test.c: programs as bytes, states, batches that do not fit, and the loops of each instruction set. */
#include <sys/resource.h>

#include "expr_kit.h"
#include "flows/expr/image.h"
#include "flows/expr/kernel.h"

static struct dpi_expr *made(const char *text)
{
	struct dpi_expr *e;
	if (compile(text, &e)) FAIL("%s: %s", text, dpi_detail());
	return e;
}

static struct dpi_expr_state *state(const struct dpi_expr *e, enum dpi_expr_on_error on_error)
{
	struct dpi_expr_state *s;
	CHECK_DPI(dpi_expr_state_new(&e, 1, on_error, &s));
	return s;
}

/* ------------------------------------------------------------------------------------------------------- bytes */

static const char long_text[] = "CASE WHEN i64 IN (1, 5, 9) THEN txt || 'x' WHEN dec * (1 - rate) > 10 THEN UPPER(\"Word\") "
				"ELSE CAST(d AS UTF8) END";

TEST(expr_program_knows_its_columns, "", 0)
{
	struct dpi_expr *e = made("j64 + i8 + j64");
	int count;
	const int *c = dpi_expr_columns(e, &count);
	CHECK(count == 2 && c[0] == COL_I8 && c[1] == COL_J64);
	CHECK(dpi_expr_result(e)->type == DPI_TYPE_INT64 && dpi_expr_result(e)->nullable);
	dpi_expr_free(e);
	e = made("j64 = 3 OR \"Word\" = 'a'"); /* columns that are never NULL, nothing that has errors */
	CHECK(!dpi_expr_result(e)->nullable);
	dpi_expr_free(e);
	dpi_expr_free(NULL);
}

TEST(expr_bytes_are_refused_when_cut_or_changed, "X-34 X-35", 0)
{
	static uint8_t image[8192], bytes[8192];
	struct dpi_expr *e = made(long_text), *f;
	struct draws d = draws_from(1);
	struct table t;
	size_t size, room;
	int refused = 0;
	table_make(&t, 70, &d);
	CHECK_DPI(dpi_expr_serialise(e, image, sizeof image, &size));
	memset(bytes, 77, sizeof bytes);
	CHECK_DPI(dpi_expr_serialise(e, bytes, size - 1, &room)); /* too little room: nothing is written */
	CHECK(room == size && bytes[0] == 77);
	for (size_t n = 0; n < size; n++) {
		uint8_t *cut = (uint8_t *)guarded(n ? n : 1);
		memcpy(cut, image, n);
		CHECK_ERROR(dpi_expr_load(cut, n, columns, COLS, &f), DPI_ERR_CORRUPT, "damaged");
		guarded_free(cut, n ? n : 1);
	}
	CHECK_ERROR(dpi_expr_load(image, size + 1, columns, COLS, &f), DPI_ERR_CORRUPT, "damaged");
	for (size_t i = 0; i < size; i++)
		for (int bit = 0; bit < 8; bit++) {
			memcpy(bytes, image, size);
			bytes[i] ^= (uint8_t)(1 << bit);
			int error = dpi_expr_load(bytes, size, columns, COLS, &f);
			refused += error != 0;
			if (i == 4 || i == 5) CHECK_ERROR(error, DPI_ERR_VERSION, "this library runs 1");
			else if (error && error != DPI_ERR_CORRUPT && error != DPI_ERR_ARGUMENT)
				FAIL("byte %zu: %s", i, dpi_detail());
			if (error) continue;
			struct dpi_expr_state *s = state(f, DPI_EXPR_NULL); /* another program, and as safe */
			struct dpi_vector v;
			error = dpi_expr_project(s, &t.batch, NULL, &v);
			CHECK(!error || error == DPI_ERR_CORRUPT);
			dpi_expr_state_free(s);
			dpi_expr_free(f);
		}
	CHECK_INT(refused, >, (int)size * 4);
	CHECK_ERROR(dpi_expr_load(NULL, 9, columns, COLS, &f), DPI_ERR_ARGUMENT, "NULL");
	CHECK_ERROR(dpi_expr_serialise(e, NULL, 5, &room), DPI_ERR_ARGUMENT, "NULL");
	dpi_expr_free(e);
	table_free(&t);
}

TEST(expr_bytes_are_refused_for_other_columns, "X-34", 0)
{
	struct dpi_expr_column other[COLS];
	uint8_t image[4096];
	struct dpi_expr *e = made("dec + i64"), *f;
	size_t size;
	CHECK_DPI(dpi_expr_serialise(e, image, sizeof image, &size));
	CHECK_ERROR(dpi_expr_load(image, size, columns, 4, &f), DPI_ERR_ARGUMENT, "but there are 4 columns");
	memcpy(other, columns, sizeof other);
	other[COL_DEC].scale = 3;
	CHECK_ERROR(dpi_expr_load(image, size, other, COLS, &f), DPI_ERR_ARGUMENT,
		    "reads column 13 as DECIMAL(15,2), but it is DECIMAL(15,3)");
	memcpy(other, columns, sizeof other);
	other[COL_I64].nullable = other[COL_DEC].nullable = false;
	other[COL_TEXT].type = 99; /* not used */
	CHECK_DPI(dpi_expr_load(image, size, other, COLS, &f));
	dpi_expr_free(f);
	other[COL_I64].type = 99;
	CHECK_ERROR(dpi_expr_load(image, size, other, COLS, &f), DPI_ERR_ARGUMENT, "has type 99");
	dpi_expr_free(e);
}

/* What no compiler makes: each is one change of a good program. */
TEST(expr_programs_are_checked, "X-34", 0)
{
	struct dpi_expr *e = made("i64 + j64 > 3 AND i64 IN (1, 2)");
	struct dpi_instruction *i = e->instruction, was = *i;
	CHECK_INT(dpi_program_check(e), ==, DPI_SUCCESS);
#define WRONG(change, part)                                                                                                 \
	do {                                                                                                                \
		change;                                                                                                     \
		CHECK_ERROR(dpi_program_check(e), DPI_ERR_CORRUPT, part);                                                   \
		*i = was;                                                                                                   \
	} while (0)
	CHECK_INT(i->op, ==, OP_ADD);
	WRONG(i->op = 0, "is none that there is");
	WRONG(i->op = OP_COUNT, "is none that there is");
	WRONG(i->a = (uint16_t)(e->columns + e->constants), "not there yet");
	WRONG(i->b = DPI_VALUE_NONE, "not there yet");
	WRONG(i->c = 0, "an operand too many");
	WRONG(i->imm = 1, "not for it");
	WRONG(i->op = OP_AND, "not for it");
	WRONG(i->mask = 0, "a mask that is none");
	WRONG(i->mask = 9999, "a mask that is none");
	for (; i->op != OP_IN; i++) {
	}
	was = *i;
	WRONG(i->imm = 100, "no list of constants");
	WRONG(i->imm = UINT32_MAX, "no list of constants");
	WRONG(i->b = 0, "no list of constants");
	struct dpi_constant *list = e->constant + i->b - e->columns, had = *list;
	WRONG(list->bytes[0] = 9, "not in order");
	*list = had;
	had = *++list;
	WRONG(list->kind = KIND_I32, "constants of another kind");
	*list = had;
	was = *i;
	e->result.type = DPI_TYPE_INT64;
	CHECK_ERROR(dpi_program_check(e), DPI_ERR_CORRUPT, "another type");
	e->result.type = DPI_TYPE_BOOL;
	e->root = (uint16_t)e->values;
	CHECK_ERROR(dpi_program_check(e), DPI_ERR_CORRUPT, "head");
	dpi_expr_free(e);
	e = made("COALESCE(fix, CAST('abcd' AS FIXED(4)))");
	e->result.width = 1 << 30;
	CHECK_ERROR(dpi_program_check(e), DPI_ERR_CORRUPT, "a width that no column has");
	dpi_expr_free(e);
}

TEST(expr_fixed_bytes_of_a_wrong_width_end_the_call, "X-34", 0)
{
	struct dpi_expr *e = made("COALESCE(fix, CAST('abcd' AS FIXED(4)))");
	struct draws d = draws_from(2);
	struct table t;
	struct dpi_vector v;
	table_make(&t, 100, &d);
	e->result.width = 5;
	CHECK_INT(dpi_program_check(e), ==, DPI_SUCCESS); /* only values show it */
	struct dpi_expr_state *s = state(e, DPI_EXPR_NULL);
	CHECK_ERROR(dpi_expr_project(s, &t.batch, NULL, &v), DPI_ERR_CORRUPT, "gives 4 bytes where it says 5");
	dpi_expr_state_free(s);
	dpi_expr_free(e);
	table_free(&t);
}

/* ------------------------------------------------------------------------------------------------------ states */

TEST(expr_a_state_refuses_what_does_not_fit, "", 0)
{
	struct dpi_expr *e = made("dec > 1");
	struct draws d = draws_from(3);
	struct table t;
	struct dpi_vector v, vectors[COLS];
	struct dpi_expr_state *s;
	uint8_t select[20];
	size_t count;
	CHECK_ERROR(dpi_expr_state_new(NULL, 1, DPI_EXPR_FAIL, &s), DPI_ERR_ARGUMENT, "no program");
	CHECK_ERROR(dpi_expr_state_new((const struct dpi_expr *const *)&e, 1, (enum dpi_expr_on_error)3, &s),
		    DPI_ERR_ARGUMENT, "3 is no way");
	table_make(&t, 100, &d);
	s = state(e, DPI_EXPR_DROP);
	CHECK_ERROR(dpi_expr_project(s, &t.batch, NULL, &v), DPI_ERR_ARGUMENT, "select");
	CHECK_ERROR(dpi_expr_filter(s, &t.batch, NULL, NULL, &count), DPI_ERR_ARGUMENT, "select");
	CHECK_ERROR(dpi_expr_filter(s, &(struct dpi_batch){ 1, 3, t.vector }, NULL, select, &count), DPI_ERR_ARGUMENT,
		    "column 13 of the batch");
	CHECK_ERROR(dpi_expr_filter(s, &(struct dpi_batch){ 1, 0, NULL }, NULL, select, &count), DPI_ERR_ARGUMENT,
		    "column 13 of the batch");
	memcpy(vectors, t.vector, sizeof vectors);
	vectors[COL_DEC].scale = 1;
	CHECK_ERROR(dpi_expr_filter(s, &(struct dpi_batch){ 1, COLS, vectors }, NULL, select, &count), DPI_ERR_ARGUMENT,
		    "DECIMAL(15,2)");
	CHECK_ERROR(dpi_expr_filter(s, NULL, NULL, select, &count), DPI_ERR_ARGUMENT, "NULL");
	CHECK_DPI(dpi_expr_filter(s, &(struct dpi_batch){ 0, COLS, t.vector }, NULL, select, &count));
	CHECK_INT(count, ==, 0);
	dpi_expr_state_free(s);
	dpi_expr_free(e);
	dpi_expr_state_free(NULL);
	table_free(&t);
}

TEST(expr_a_limit_of_text_holds, "", 0)
{
	struct dpi_expr *e = made("\"Word\" || CAST(j64 AS UTF8) || 'abcdefgh'");
	struct draws d = draws_from(4);
	struct table t;
	struct dpi_vector v;
	table_make(&t, 2000, &d);
	struct dpi_expr_state *s = state(e, DPI_EXPR_FAIL);
	dpi_expr_state_limit(s, 4096);
	CHECK_ERROR(dpi_expr_project(s, &t.batch, NULL, &v), DPI_ERR_LIMIT, "more than 4096 bytes of text");
	dpi_expr_state_limit(s, 1 << 20);
	CHECK_DPI(dpi_expr_project(s, &t.batch, NULL, &v));
	CHECK_INT(v.offset[2000], >, 2000 * 9);
	dpi_expr_state_free(s);
	dpi_expr_free(e);
	table_free(&t);
}

/* Several programs in one state: their results stand side by side, a column is lent, rows are dropped for all. */
TEST(expr_programs_share_a_state, "X-31", 0)
{
	struct dpi_expr *e[4] = { made("j64 * 2 + 1"), made("\"Word\" || '-' || UPPER(\"Word\")"), made("j64"),
				  made("100 / j64") };
	struct draws d = draws_from(5);
	struct table t;
	struct dpi_vector v[4];
	struct dpi_expr_state *s;
	table_make(&t, 3000, &d);
	CHECK_DPI(dpi_expr_state_new((const struct dpi_expr *const *)e, 4, DPI_EXPR_DROP, &s));
	uint8_t select[375];
	memset(select, 255, sizeof select);
	CHECK_DPI(dpi_expr_project(s, &t.batch, select, v));
	const int64_t *j = t.vector[COL_J64].data;
	uint64_t dropped = 0;
	CHECK(v[2].data == j && v[2].type == DPI_TYPE_INT64); /* lent, not copied */
	for (size_t i = 0; i < t.rows; i++) {
		const struct dpi_vector *w = t.vector + COL_WORD;
		int n = w->offset[i + 1] - w->offset[i];
		CHECK_INT(((const int64_t *)v[0].data)[i], ==, j[i] * 2 + 1);
		CHECK_INT(v[1].offset[i + 1] - v[1].offset[i], ==, 2 * n + 1);
		CHECK_INT(((const char *)v[1].data)[v[1].offset[i] + n], ==, '-');
		CHECK_INT(dpi_bit(select, i), ==, j[i] != 0);
		if (j[i]) CHECK_INT(((const int64_t *)v[3].data)[i], ==, 100 / j[i]);
		dropped += !j[i];
	}
	CHECK_INT(dpi_expr_state_dropped(s), ==, dropped);
	for (int i = 0; i < 4; i++) CHECK(i == 3 || !v[i].valid);
	dpi_expr_state_free(s);
	for (int i = 0; i < 4; i++) dpi_expr_free(e[i]);
	table_free(&t);
}

/* Values that lie at odd addresses, and at the very end of memory. */
TEST(expr_columns_lie_anywhere, "", 0)
{
	struct dpi_expr *e = made("(i64 > j64) = (huge < 5) OR txt LIKE '%a' OR fix = bin OR b AND f64 <> 1.5");
	struct draws d = draws_from(6);
	for (size_t rows = 1; rows < 1200; rows += 131) {
		struct table t;
		struct dpi_vector vectors[COLS];
		uint8_t expected[200] = { 0 }, select[200] = { 0 };
		size_t count, again;
		void *freed[3 * COLS];
		size_t sizes[3 * COLS];
		int pieces = 0;
		table_make(&t, rows, &d);
		struct dpi_expr_state *s = state(e, DPI_EXPR_FAIL);
		CHECK_DPI(dpi_expr_filter(s, &t.batch, NULL, expected, &count));
		memcpy(vectors, t.vector, sizeof vectors);
		for (int c = 0; c < COLS; c++) {
			struct dpi_vector *v = vectors + c;
			size_t size = v->offset	 ? (size_t)v->offset[rows]
				      : v->width ? v->width * rows
						 : (rows + 7) / 8,
			       odd = c % 3 ? 0 : 1;
			uint8_t *p = guarded(size + odd); /* ends at a page's end, or a byte before it */
			freed[pieces] = p, sizes[pieces++] = size + odd;
			memcpy(p, v->data, size);
			v->data = p;
			if (!v->valid) continue;
			p = guarded((rows + 7) / 8);
			freed[pieces] = p, sizes[pieces++] = (rows + 7) / 8;
			v->valid = memcpy(p, v->valid, (rows + 7) / 8);
		}
		CHECK_DPI(dpi_expr_filter(s, &(struct dpi_batch){ rows, COLS, vectors }, NULL, select, &again));
		CHECK(count == again && !memcmp(expected, select, sizeof select));
		while (pieces--) guarded_free(freed[pieces], sizes[pieces]);
		dpi_expr_state_free(s);
		table_free(&t);
	}
	dpi_expr_free(e);
}

/* Once warm, a state asks for no more memory: no page is touched that was not before. */
TEST(expr_a_warm_state_allocates_nothing, "", 0)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	SKIP("a sanitizer keeps freed memory for itself");
#endif
	struct dpi_expr *e[2] = { made("UPPER(txt) || CAST(i64 AS UTF8) || \"Word\""), made("i64 / j64 + i8 * 3") };
	struct draws d = draws_from(7);
	struct table t;
	struct dpi_vector v[2];
	struct dpi_expr_state *s;
	struct rusage before, after;
	table_make(&t, 20000, &d);
	CHECK_DPI(dpi_expr_state_new((const struct dpi_expr *const *)e, 2, DPI_EXPR_NULL, &s));
	for (int i = 0; i < 10; i++) CHECK_DPI(dpi_expr_project(s, &t.batch, NULL, v));
	const void *data = v[0].data;
	getrusage(RUSAGE_SELF, &before);
	for (int i = 0; i < 50; i++) CHECK_DPI(dpi_expr_project(s, &t.batch, NULL, v));
	getrusage(RUSAGE_SELF, &after);
	CHECK(data == v[0].data);
	CHECK_INT(after.ru_minflt - before.ru_minflt, <, 20);
	dpi_expr_state_free(s);
	for (int i = 0; i < 2; i++) dpi_expr_free(e[i]);
	table_free(&t);
}

TEST(expr_a_large_list_is_searched, "X-9", 0)
{
	static char text[100000];
	size_t n = (size_t)sprintf(text, "i32 IN (");
	for (int i = 0; i < 4000; i++) n += (size_t)sprintf(text + n, "%d,", i % 2 ? i : -i * 3);
	strcpy(text + n - 1, ")");
	struct dpi_expr *e = made(text);
	int32_t values[5000];
	uint8_t select[625];
	size_t count, expected = 0;
	struct dpi_vector v[COLS] = { [COL_I32] = { .type = DPI_TYPE_INT32, .width = 4, .data = values } };
	for (int i = 0; i < 5000; i++) {
		values[i] = i * 3 - 7000;
		int x = values[i];
		expected += (x > 0 && x < 4000 && x % 2) || (x <= 0 && x > -12000 && x % 6 == 0);
	}
	struct dpi_expr_state *s = state(e, DPI_EXPR_FAIL);
	CHECK_DPI(dpi_expr_filter(s, &(struct dpi_batch){ 5000, COLS, v }, NULL, select, &count));
	CHECK_INT(count, ==, expected);
	dpi_expr_state_free(s);
	dpi_expr_free(e);
}

/* ----------------------------------------------------------------------------------------------------- kernels */

static void same_bits(const uint64_t *a, const uint64_t *b, size_t rows)
{
	for (size_t i = 0; i < rows; i++)
		if ((a[i / 64] >> i % 64 & 1) != (b[i / 64] >> i % 64 & 1)) FAIL("row %zu differs", i);
}

static void same_loops(const struct dpi_kernels *p, const struct dpi_kernels *q, const uint8_t *a, const uint8_t *b,
		       size_t rows)
{
	static _Alignas(64) uint64_t x[2200], y[2200];
	for (int loop = 0; loop < DPI_LOOP_COMPARES; loop++)
		for (int k = 0; k < KIND_COUNT; k++) {
			if (!p->compare[loop][k]) continue;
			p->compare[loop][k](a, b, rows, x), q->compare[loop][k](a, b, rows, y), same_bits(x, y, rows);
			p->compare_one[loop][k](a, b, rows, x), q->compare_one[loop][k](a, b, rows, y),
				same_bits(x, y, rows);
			p->compare_one_swapped[loop][k](a, b, rows, x), q->compare_one_swapped[loop][k](a, b, rows, y),
				same_bits(x, y, rows);
		}
	for (int k = 0; k < DPI_LOOP_NUMBERS; k++) {
		dpi_arithmetic_loop *const f[] = { p->add[k], p->sub[k], p->mul[k], q->add[k], q->sub[k], q->mul[k] };
		for (int op = 0; op < 3; op++) {
			uint64_t bad = f[op](a, b, rows, x), again = f[op + 3](a, b, rows, y);
			CHECK(!bad == !again);
			for (size_t i = 0; i < rows; i++) { /* which of two NaNs a sum is, is the processor's choice */
				double u, v;
				memcpy(&u, x + i, 8), memcpy(&v, y + i, 8);
				CHECK(x[i] == y[i] || (k == DPI_LOOP_F64 && u != u && v != v));
			}
		}
	}
	for (int k = 0; k < KIND_COUNT; k++) {
		if (!p->widen[k]) continue;
		p->widen[k](a, rows, x), q->widen[k](a, rows, y);
		for (size_t i = 0; i < rows; i++) {
			double u, v;
			memcpy(&u, x + i, 8), memcpy(&v, y + i, 8);
			CHECK(x[i] == y[i] || (k == KIND_F32 && u != u && v != v));
		}
	}
	CHECK(!p->beyond(a, rows, NULL) == !q->beyond(a, rows, NULL));
	for (int w = 0; w < 5; w++) {
		p->select[w]((const void *)b, a, b, rows, x), q->select[w]((const void *)b, a, b, rows, y);
		CHECK(!memcmp(x, y, rows << w));
	}
	CHECK_INT(p->count((const void *)a, rows / 64 + 1), ==, q->count((const void *)a, rows / 64 + 1));
}

TEST(expr_loops_of_all_instruction_sets_agree, "", 0)
{
	static _Alignas(64) uint8_t a[16 * 1100], b[16 * 1100];
	struct draws d = draws_from(8);
	const struct dpi_kernels *plain = dpi_kernels_level(0);
	CHECK(dpi_kernels() && dpi_kernels_level(3) == NULL);
	for (int level = 1; level <= 2; level++) {
		const struct dpi_kernels *k = dpi_kernels_level(level);
		if (!k) {
			printf("no loops of level %d on this processor\n", level);
			continue;
		}
		for (int i = 0; i < rounds(60); i++) {
			for (size_t n = 0; n < sizeof a; n += 8) {
				int64_t x = draw_integer(&d), y = draw_below(&d, 3)
									  ? (int64_t)((uint64_t)x + draw_below(&d, 3) - 1)
									  : draw_integer(&d);
				double r = draw_real(&d);
				if (i % 3 == 1) memcpy(&x, &r, 8), y = draw_below(&d, 2) ? x : y;
				if (i % 3 == 2) x = (int32_t)x, y = (int32_t)y;
				memcpy(a + n, &x, 8), memcpy(b + n, &y, 8);
			}
			same_loops(plain, k, a, b, i < 3 ? (size_t)i : 1 + draw_below(&d, 1024));
		}
	}
}
