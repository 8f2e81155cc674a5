/* SPDX-License-Identifier: Apache-2.0 */
/* A filter over columns of int64, in memory, one core: by an expression's program, in batches of 1024 rows as stages run them, or by
 * the same condition in C: hand: compiled for this processor, with -O3; plain: as the rest is. They set a bit, or a byte, for
 * each row and count those that stay. Filter one: a comparison; two: two of them; sum: with arithmetic, where the
 * expression looks for overflow and the loops do not. */
#include "dpi_job.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "flows/expr/expr.h"

#define BATCH ((size_t)1024)

static struct options o;
static const char *const filters[] = { "one", "two", "sum" };
static const char *const texts[] = { "a < 500", "a < 500 and b > c", "a + b < c" };

static int64_t *column(size_t count, uint64_t *state)
{
	int64_t *c = mmap(NULL, count * sizeof *c, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (c == MAP_FAILED)
		die(1, "no memory for %zu rows", count);
	for (size_t i = 0; i < count; i++) {
		*state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
		c[i] = (int64_t)(*state >> 20) % 1000;
	}
	return c;
}

/* A byte for each row is what compilers make vectors of, if they are asked to. */
#define LOOP(condition)                                                                                \
	for (size_t i = 0; i < count; i++) {                                                           \
		keep_it[i] = condition;                                                                \
		found += keep_it[i];                                                                   \
	}

#define BODY                                                                                           \
	size_t found = 0;                                                                              \
	if (which == 0)                                                                                \
		LOOP(a[i] < 500)                                                                       \
	else if (which == 1)                                                                           \
		LOOP((a[i] < 500) & (b[i] > c[i]))                                                     \
	else                                                                                           \
		LOOP(a[i] + b[i] < c[i])                                                               \
	return found;

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((optimize("O3"), target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
static size_t by_vectors(int which, const int64_t *restrict a, const int64_t *restrict b, const int64_t *restrict c, size_t count,
			 uint8_t *restrict keep_it)
{
	BODY
}

static size_t by_loop(int which, const int64_t *a, const int64_t *b, const int64_t *c, size_t count, uint8_t *keep_it)
{
	BODY
}

static size_t by_library(struct dpi_expr_state *s, const struct dpi_batch *batch, uint8_t *select)
{
	size_t found;

	need(dpi_expr_filter(s, batch, NULL, select, &found));
	return found;
}

int main(int argc, char **argv)
{
	static const struct dpi_expr_column columns[] = { { .name = "a", .type = DPI_TYPE_INT64 }, { .name = "b", .type = DPI_TYPE_INT64 },
							  { .name = "c", .type = DPI_TYPE_INT64 } };
	uint8_t select[BATCH / 8], keep_it[BATCH];
	uint64_t state = 88172645463325252u, rows = 0, found = 0, start, end;
	struct dpi_expr *e;
	struct dpi_expr_state *s;
	int which = 0;

	options_parse(&o, "footprint filter by seconds", argc, argv);
	size_t count = o.footprint / 24 / BATCH * BATCH;
	if (!count)
		die(2, "the footprint holds no batch of %zu rows of 24 bytes", BATCH);
	while (strcmp(filters[which], o.filter))
		which++;
	int64_t *a = column(count, &state), *b = column(count, &state), *c = column(count, &state);
	need(dpi_expr_compile(texts[which], strlen(texts[which]), columns, 3, &e));
	need(dpi_expr_state_new((const struct dpi_expr *const *)&e, 1, DPI_EXPR_FAIL, &s));
	bool library = !strcmp(o.by, "library"), plain = !strcmp(o.by, "plain");
	struct dpi_vector v[3] = { { .type = DPI_TYPE_INT64 }, { .type = DPI_TYPE_INT64 }, { .type = DPI_TYPE_INT64 } };
	struct dpi_batch batch = { .rows = BATCH, .columns = 3, .column = v };

	pin_consumer();
	timer_start(o.seconds);
	start = now_ns();
	for (size_t at = 0; !time_is_up; at = at + BATCH < count ? at + BATCH : 0, rows += BATCH) {
		v[0].data = a + at, v[1].data = b + at, v[2].data = c + at;
		found += library ? by_library(s, &batch, select)
			 : plain ? by_loop(which, a + at, b + at, c + at, BATCH, keep_it)
				 : by_vectors(which, a + at, b + at, c + at, BATCH, keep_it);
	}
	end = now_ns();
	v[0].data = a, v[1].data = b, v[2].data = c;
	by_loop(which, a, b, c, BATCH, keep_it);
	by_library(s, &batch, select);
	for (size_t i = 0; i < BATCH; i++)
		if (keep_it[i] != (select[i / 8] >> i % 8 & 1))
			die(1, "the expression and the loop choose different rows");
	keep(found);
	double rate = (double)rows / ((double)(end - start) * 1e-9);
	result_print("filter", library ? "dpi" : o.by, &o, (struct metric[]){ { "rows_per_s", rate }, { NULL, 0 } });
	dpi_expr_state_free(s);
	dpi_expr_free(e);
	return 0;
}
