/* SPDX-License-Identifier: Apache-2.0 */
/* The least or greatest text of each key, or its ten greatest, in memory, one core: by the library's table of groups, or by a loop as one
 * writes it by hand for just this: linear probing over slots that hold where the texts lie. The library copies them, as rows do not
 * stay. Texts are of 8 to 24 hexadecimal digits; keys, of --groups, are drawn at random. */
#include "dpi_job.h"

#include <stdlib.h>

#include "flows/reduce/reduce.h"
#include "flows/row.h"

enum { TOP = 10, RUN = 1024 };

static struct options o;
static bool least, top;

struct input {
	DPI_Record *row; /* as the flow's layout has them */
	int64_t *key;
	DPI_Value *text; /* in the rows */
	size_t count;
};

static void *array(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		die(1, "no memory for %zu times %zu bytes", count, size);
	return memory;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static struct dpi_schema *schema_new(void)
{
	static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "text", DPI_TYPE_UTF8, 0, 0, 0, 0 } };
	struct dpi_schema *s;

	need(dpi_schema_new(columns, 2, &s));
	return s;
}

/* --footprint: bytes of rows, of 48 at most. */
static struct input input_new(const struct dpi_schema *s)
{
	size_t count = o.footprint / 48, used = 0, size;
	struct input in = { array(count, sizeof *in.row), array(count, sizeof *in.key), array(count, sizeof *in.text), count };
	unsigned char *memory = memory_touched(o.footprint + 48);

	for (size_t i = 0; i < count; i++) {
		uint64_t r = mix(2 * i + 1), more = mix(2 * i + 2);
		char text[33];
		DPI_Value value[2] = { { .type = DPI_TYPE_INT64, .i = (int64_t)mix((r >> 11) % o.groups + 1) },
				       { .type = DPI_TYPE_UTF8, .size = (uint32_t)(8 + more % 17), .data = text } };

		snprintf(text, sizeof text, "%016llx%016llx", (unsigned long long)mix(r), (unsigned long long)mix(more));
		need(dpi_row_pack(s, value, memory + used, 48, &size));
		in.row[i] = (DPI_Record){ memory + used, size };
		in.key[i] = value[0].i;
		need(dpi_row_value(s, memory + used, size, 1, &in.text[i]));
		used += (size + 7) / 8 * 8;
	}
	return in;
}

/* Of the results of a group, so that both ways can be compared. */
static uint64_t digest(uint64_t sum, const void *text, size_t size)
{
	const unsigned char *p = text;

	for (size_t i = 0; i < size; i++)
		sum = sum * 31 + p[i];
	return sum;
}

/* ----------------------------------------------------------------------------------------------------------- by hand */

struct slot {
	int64_t key;
	uint32_t texts;		/* 0: no key */
	const DPI_Value *text[]; /* the greatest first */
};

struct hand {
	unsigned char *slots;
	size_t each, mask, groups;
	uint32_t most;
};

static struct slot *slot_at(const struct hand *h, size_t at)
{
	return (struct slot *)(void *)(h->slots + at * h->each);
}

static struct slot *slot_of(const struct hand *h, int64_t key)
{
	size_t at = (uint64_t)key * 0x9e3779b97f4a7c15u >> 20 & h->mask;
	struct slot *s;

	while ((s = slot_at(h, at))->texts && s->key != key)
		at = (at + 1) & h->mask;
	return s;
}

static struct hand hand_new(size_t slots)
{
	struct hand h = { .mask = slots - 1, .most = top ? TOP : 1 };

	h.each = sizeof(struct slot) + h.most * sizeof(DPI_Value *);
	h.slots = array(slots, h.each);
	return h;
}

static void hand_grow(struct hand *h)
{
	struct hand next = hand_new(2 * (h->mask + 1));

	for (size_t i = 0; i <= h->mask; i++)
		if (slot_at(h, i)->texts)
			memcpy(slot_of(&next, slot_at(h, i)->key), slot_at(h, i), h->each);
	next.groups = h->groups;
	free(h->slots);
	*h = next;
}

/* Does a come before b? */
static bool before(const DPI_Value *a, const DPI_Value *b)
{
	int order = memcmp(a->data, b->data, a->size < b->size ? a->size : b->size);

	if (!order)
		order = (a->size > b->size) - (a->size < b->size);
	return least ? order < 0 : order > 0;
}

static void hand_add(struct hand *h, int64_t key, const DPI_Value *text)
{
	struct slot *s = slot_of(h, key);
	bool new = !s->texts;
	uint32_t at;

	s->key = key;
	if (s->texts < h->most)
		at = s->texts++;
	else if (before(text, s->text[at = h->most - 1]))
		;
	else
		return;
	for (; at && before(text, s->text[at - 1]); at--)
		s->text[at] = s->text[at - 1];
	s->text[at] = text;
	if (new && ++h->groups > h->mask / 2)
		hand_grow(h);
}

static uint64_t by_hand(const struct input *in, uint64_t *sum)
{
	uint64_t start = now_ns();
	struct hand h = hand_new(1024);

	for (size_t i = 0; i < in->count; i++)
		hand_add(&h, in->key[i], in->text + i);
	start = now_ns() - start;
	for (size_t i = 0; i <= h.mask; i++) {
		struct slot *s = slot_at(&h, i);
		uint64_t group = (uint64_t)s->key;

		for (uint32_t t = 0; t < s->texts; t++)
			group = digest(group, s->text[t]->data, s->text[t]->size);
		*sum += s->texts ? group : 0;
	}
	free(h.slots);
	return start;
}

/* ------------------------------------------------------------------------------------------------------- by the library */

static struct dpi_reduction *reduction(struct dpi_schema *s)
{
	DPI_Aggregate a = { .function = top ? DPI_AGGREGATE_TOP_K : least ? DPI_AGGREGATE_MIN : DPI_AGGREGATE_MAX, .column = "text",
			    .k = top ? TOP : 0 };
	struct dpi_reduction *r;

	need(dpi_reduction_new(s, (uint16_t[]){ 0 }, 1, &a, 1, &r));
	return r;
}

/* The ten of a group lie behind one another, each behind its size. */
static uint64_t digest_result(uint64_t sum, const DPI_Value *result)
{
	const unsigned char *at = result->data, *end = at + result->size;
	uint32_t size;

	if (!top)
		return digest(sum, at, result->size);
	for (; at < end; at += size) {
		memcpy(&size, at, sizeof size);
		at += sizeof size;
		sum = digest(sum, at, size);
	}
	return sum;
}

static uint64_t results(const struct dpi_reduction *r, struct dpi_table *t)
{
	struct dpi_rows run;
	uint64_t sum = 0;

	for (;;) {
		need(dpi_table_next_result(t, &run));
		if (!run.count)
			return sum;
		for (size_t i = 0; i < run.count; i++) {
			DPI_Record row = dpi_rows_at(&run, i);
			DPI_Value key, result;

			need(dpi_row_value(r->output, row.data, row.size, 0, &key));
			need(dpi_row_value(r->output, row.data, row.size, 1, &result));
			sum += digest_result((uint64_t)key.i, &result);
		}
	}
}

static uint64_t by_library(const struct dpi_reduction *r, const struct input *in, uint64_t *sum)
{
	struct dpi_table_attr attr = { .budget = UINT64_C(4) << 30, .full = DPI_TABLE_LIMITED };
	struct dpi_table *t;
	size_t taken;
	uint64_t start = now_ns();

	need(dpi_table_new(r, &attr, &t));
	for (size_t i = 0; i < in->count; i += RUN) { /* as segments come */
		struct dpi_rows run = { .record = in->row + i, .count = in->count - i < RUN ? in->count - i : RUN };

		need(dpi_table_add(t, &run, &taken));
	}
	start = now_ns() - start;
	*sum += results(r, t);
	dpi_table_free(t);
	return start;
}

int main(int argc, char **argv)
{
	uint64_t taken = 0, rows = 0, sum = 0, other = 0;
	struct dpi_reduction *r;
	struct dpi_schema *s;
	struct input in;
	bool hand;

	options_parse(&o, "footprint groups by aggregate seconds", argc, argv);
	hand = !strcmp(o.by, "hand");
	least = !strcmp(o.aggregate, "min");
	top = !strcmp(o.aggregate, "top");
	if (!least && !top && strcmp(o.aggregate, "max"))
		die(2, "--aggregate takes min, max or top here");
	s = schema_new();
	in = input_new(s);
	r = reduction(s);
	pin_consumer();
	if (!hand && by_hand(&in, &sum) && by_library(r, &in, &other) && sum != other)
		die(1, "the results by hand and by the library differ");
	timer_start(o.seconds);
	for (; !time_is_up; rows += in.count)
		taken += hand ? by_hand(&in, &sum) : by_library(r, &in, &sum);
	keep(sum);
	result_print("reduce_text", hand ? "hand" : "dpi", &o,
		     (struct metric[]){ { "records_per_s", (double)rows / ((double)taken * 1e-9) }, { NULL, 0 } });
	dpi_reduction_unref(r);
	dpi_schema_unref(s);
	return 0;
}
