/* SPDX-License-Identifier: Apache-2.0
 * reduce_test.c: flows/reduce: tables of groups against the model. */
#include "reduce_kit.h"

static void add_all(struct dpi_table *t, const struct kit *k, struct draws *d)
{
	for (size_t i = 0; i < k->rows;) {
		int error;
		size_t n = 1 + draw_below(d, 2000);
		if (n > k->rows - i) n = k->rows - i;
		bool columns = draw_below(d, 3) == 0;
		size_t taken = columns ? hand_in_batch(t, k->schema, k->row + i, n)
				       : hand_in(t, k->schema, k->row + i, n, d, false, &error);
		CHECK_INT(taken, ==, n);
		i += n;
	}
}

TEST(reduce_at_once, "FL-300 FL-301 FL-303 FL-305 FL-307 FL-308 FL-309 FL-310 FL-311", 0, .deadline_s = 120)
{
	struct draws d = draws_from(1);
	register_polys();
	for (int round = rounds(60); round--;) {
		struct kit k = kit_new(&d, draw_below(&d, 3000), 1 + draw_below(&d, 1000),
				       (int)draw_below(&d, 2) * KIT_NUMBER_KEY);
		struct dpi_table *t = table_of(k.r, 256 << 20, DPI_TABLE_LIMITED);
		add_all(t, &k, &d);
		check_results(t, &k);
		add_all(t, &k, &d); /* it is as new */
		check_results(t, &k);
		dpi_table_free(t);
		kit_free(&k);
	}
}

/* The partial rows of a source, on their way. */
static void travel(struct dpi_table *from, struct dpi_table *to, const struct kit *k, struct draws *d)
{
	struct dpi_rows run;
	for (;;) {
		CHECK_OK(dpi_table_next_partial(from, &run));
		if (!run.count) break;
		DPI_Record *copy = calloc(run.count, sizeof *copy);
		for (size_t i = 0; i < run.count; i++) {
			size_t size = run.rows ? k->r->state->row_size : run.record[i].size;
			const void *row = run.rows ? (const uint8_t *)run.rows + i * run.stride : run.record[i].data;
			CHECK_OK(dpi_row_check(k->r->state, row, size, true));
			uint8_t *there = guarded(size); /* what lies behind it cannot be read */
			memcpy(there, row, size);
			copy[i] = (DPI_Record){ there, size };
		}
		for (size_t i = 0; i < run.count;) {
			int error;
			size_t n = 1 + draw_below(d, run.count - i);
			CHECK_INT(hand_in(to, k->r->state, copy + i, n, d, true, &error), ==, n);
			i += n;
		}
		for (size_t i = 0; i < run.count; i++) guarded_free((void *)(uintptr_t)copy[i].data, copy[i].size);
		free(copy);
	}
}

TEST(reduce_in_parts, "FL-312 FL-308 FL-315", 0, .deadline_s = 120)
{
	struct draws d = draws_from(2);
	register_polys();
	for (int round = rounds(40); round--;) {
		struct kit k = kit_new(&d, draw_below(&d, 3000), 1 + draw_below(&d, 1000),
				       KIT_MERGES | (int)draw_below(&d, 2) * KIT_NUMBER_KEY);
		struct dpi_table *target = table_of(k.r, 256 << 20, DPI_TABLE_LIMITED);
		size_t sources = 1 + draw_below(&d, 4);
		for (size_t s = 0, i = 0; s < sources; s++) {
			uint64_t least = DPI_TABLE_LEAST + k.r->state->row_size;
			struct dpi_table *t = table_of(k.r, least + draw_below(&d, 2) * (draw_below(&d, 1 << 20)),
						       DPI_TABLE_DRAINS);
			for (size_t end = s + 1 == sources ? k.rows : i + draw_below(&d, k.rows - i + 1); i < end;) {
				int error;
				size_t n = 1 + draw_below(&d, end - i),
				       taken = hand_in(t, k.schema, k.row + i, n, &d, false, &error);
				CHECK(error || taken == n);
				i += taken;
				if (error || draw_below(&d, 8) == 0) travel(t, target, &k, &d);
			}
			travel(t, target, &k, &d);
			dpi_table_free(t);
		}
		check_results(target, &k);
		dpi_table_free(target);
		kit_free(&k);
	}
}

TEST(reduce_spills, "FL-315 FL-316", 0, .deadline_s = 120)
{
	struct draws d = draws_from(3);
	register_polys();
	for (int round = rounds(20); round--;) {
		struct kit k = kit_new(&d, 2000 + draw_below(&d, 6000), 6000, (int)draw_below(&d, 2) * KIT_NUMBER_KEY);
		struct dpi_table *t = table_of(k.r, DPI_TABLE_LEAST + 2 * k.r->state->row_size, DPI_TABLE_SPILLS);
		struct dpi_table_stats s;
		add_all(t, &k, &d);
		dpi_table_stats(t, &s);
		CHECK_INT(s.bytes, <=, DPI_TABLE_LEAST + 2 * k.r->state->row_size);
		check_results(t, &k);
		dpi_table_free(t);
		kit_free(&k);
	}
}
