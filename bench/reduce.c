/* SPDX-License-Identifier: Apache-2.0 */
/* Group-by sum over rows of an int64 key and two int64 values, in memory, one core: by the library's table of groups, or by
 * a loop as one writes it by hand for just this: linear probing over slots that hold key and sums, and no NULL, no overflow,
 * no budget. groups: different keys, drawn at random. Mode one: what one core takes in alone; two: as a source and a target
 * do, partial rows merged in a second table. */
#include "dpi_job.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "flows/reduce/reduce.h"

static struct options o;

struct row {
	int64_t key, a, b;
};

static void *memory(size_t size)
{
	void *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED)
		die(1, "no memory of %zu bytes", size);
	return m;
}

static struct row *rows_new(size_t count, uint64_t groups)
{
	struct row *row = memory(count * sizeof *row);
	uint64_t state = 88172645463325252u;

	for (size_t i = 0; i < count; i++) {
		state ^= state << 13, state ^= state >> 7, state ^= state << 17;
		uint64_t key = (state >> 11) % groups *
			       0xd6e8feb86659fd93u; /* no row of numbers, which some hashes spread too well */
		row[i] = (struct row){ (int64_t)((key ^ key >> 32) * 0xd6e8feb86659fd93u), (int64_t)(state >> 40),
				       -(int64_t)(state >> 50) };
	}
	return row;
}

/* ------------------------------------------------------------------------------------------------------------ by hand */

struct slot {
	int64_t key, a, b, rows;
};

struct hand {
	struct slot *slot;
	size_t mask, groups;
};

static void hand_grow(struct hand *h)
{
	struct hand next = { calloc(2 * (h->mask + 1), sizeof *next.slot), 2 * h->mask + 1, h->groups };

	if (!next.slot)
		die(1, "no memory");
	for (size_t i = 0; i <= h->mask; i++) {
		size_t at = (uint64_t)h->slot[i].key * 0x9e3779b97f4a7c15u >> 20 & next.mask;

		if (!h->slot[i].rows)
			continue;
		while (next.slot[at].rows)
			at = (at + 1) & next.mask;
		next.slot[at] = h->slot[i];
	}
	free(h->slot);
	*h = next;
}

static void hand_add(struct hand *h, const struct row *row, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t at = (uint64_t)row[i].key * 0x9e3779b97f4a7c15u >> 20 & h->mask;

		while (h->slot[at].rows && h->slot[at].key != row[i].key)
			at = (at + 1) & h->mask;
		struct slot *s = h->slot + at;
		s->key = row[i].key;
		s->a += row[i].a;
		s->b += row[i].b;
		if (!s->rows++ && ++h->groups > h->mask / 2)
			hand_grow(h);
	}
}

static uint64_t by_hand(const struct row *row, size_t count, uint64_t *sum)
{
	struct hand h = { calloc(1024, sizeof *h.slot), 1023, 0 };
	uint64_t start = now_ns();

	hand_add(&h, row, count);
	start = now_ns() - start;
	for (size_t i = 0; i <= h.mask; i++)
		*sum += (uint64_t)(h.slot[i].a ^ h.slot[i].b);
	free(h.slot);
	return start;
}

/* ------------------------------------------------------------------------------------------------------- by the library */

static struct dpi_reduction *reduction(void)
{
	static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 },
					      { "a", DPI_TYPE_INT64, 0, 0, 0, 0 },
					      { "b", DPI_TYPE_INT64, 0, 0, 0, 0 } };
	DPI_Aggregate sums[] = { { .function = DPI_AGGREGATE_SUM, .column = "a" },
				 { .function = DPI_AGGREGATE_SUM, .column = "b" } };
	struct dpi_schema *s;
	struct dpi_reduction *r;

	need(dpi_schema_new(columns, 3, &s));
	need(dpi_reduction_new(s, (uint16_t[]){ 0 }, 1, sums, 2, &r));
	dpi_schema_unref(s);
	return r;
}

static uint64_t results(struct dpi_table *t)
{
	struct dpi_rows run;
	uint64_t sum = 0;

	for (;;) {
		need(dpi_table_next_result(t, &run));
		if (!run.count)
			return sum;
		for (size_t i = 0; i < run.count; i++) {
			struct row r;
			memcpy(&r, (const char *)run.rows + i * run.stride, sizeof r);
			sum += (uint64_t)(r.a ^ r.b);
		}
	}
}

static uint64_t by_library(const struct dpi_reduction *r, const struct row *row, size_t count, bool twice, uint64_t *sum)
{
	struct dpi_table_attr attr = { .budget = UINT64_C(1) << 30, .full = DPI_TABLE_LIMITED };
	struct dpi_table *t, *target;
	struct dpi_rows run;
	size_t taken;
	uint64_t start = now_ns();

	need(dpi_table_new(r, &attr, &t));
	for (size_t i = 0; i < count; i += 4096) { /* as segments come */
		run = (struct dpi_rows){ row + i, sizeof *row, NULL, count - i < 4096 ? count - i : 4096 };
		need(dpi_table_add(t, &run, &taken));
	}
	if (twice) {
		need(dpi_table_new(r, &attr, &target));
		for (;;) {
			need(dpi_table_next_partial(t, &run));
			if (!run.count)
				break;
			need(dpi_table_merge(target, &run, &taken));
		}
		dpi_table_free(t);
		t = target;
	}
	start = now_ns() - start;
	*sum += results(t);
	dpi_table_free(t);
	return start;
}

int main(int argc, char **argv)
{
	uint64_t taken = 0, rows = 0, sum = 0;
	double rate;

	options_parse(&o, "footprint groups by mode seconds", argc, argv);
	size_t count = o.footprint / sizeof(struct row);
	struct row *row = rows_new(count, o.groups);
	struct dpi_reduction *r = reduction();

	pin_consumer();
	if (strcmp(o.by, "hand") && by_hand(row, count, &sum) && by_library(r, row, count, false, &rows) && sum != rows)
		die(1, "the sums by hand and by the library differ");
	rows = 0;
	timer_start(o.seconds);
	for (; !time_is_up; rows += count)
		taken += strcmp(o.by, "hand") ? by_library(r, row, count, !strcmp(o.mode, "two"), &sum)
					      : by_hand(row, count, &sum);
	keep(sum);
	rate = (double)rows / ((double)taken * 1e-9);
	result_print("reduce", strcmp(o.by, "hand") ? "dpi" : "hand", &o,
		     (struct metric[]){ { "rows_per_s", rate }, { "bytes_per_s", rate * sizeof(struct row) }, { NULL, 0 } });
	dpi_reduction_unref(r);
	return 0;
}
