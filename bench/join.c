/* SPDX-License-Identifier: Apache-2.0 */
#include "join.h"

#include <stdlib.h>
#include <sys/mman.h>

static uint64_t mix(uint64_t x) /* the finaliser of SplitMix64 */
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static void *array(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);

	if (!memory)
		die(1, "no memory for %zu times %zu bytes", count, size);
	return memory;
}

struct share share_new(double scale, unsigned process, unsigned processes)
{
	uint64_t all = (uint64_t)(scale * 1500000), first = all * process / processes, end = all * (process + 1) / processes;
	struct share s = { .orders = array(end - first, sizeof *s.orders), .items = array(7 * (end - first), sizeof *s.items) };

	/* as in TPC-H a quarter of the keys is used, and an order has 1 to 7 lines */
	for (uint64_t r = first; r < end; r++) {
		struct join_order *order = &s.orders[s.order_count++];
		uint64_t lines = 1 + mix(2 * r) % 7;

		*order = (struct join_order){ .key = (int64_t)(r / 8 * 32 + r % 8 + 1), .date = 8035 + (int64_t)(mix(2 * r + 1) % 2406) };
		for (uint64_t l = 0; l < lines; l++) {
			uint64_t random = mix(8 * r + l);
			struct join_item item = { .key = order->key, .price = 90000 + (int64_t)(random % 10000000) };

			item.discount = (int32_t)(random >> 33) % 11;
			item.ship_date = (int32_t)order->date + 1 + (int32_t)(random >> 48) % 121;
			order->total += item.price;
			s.items[s.item_count++] = item;
		}
	}
	return s;
}

void share_select(struct share *s, double fraction)
{
	size_t kept = 0;

	for (size_t o = 0; o < s->order_count; o++)
		if ((double)(mix((uint64_t)s->orders[o].key + 1) >> 11) < fraction * 0x1p53)
			s->orders[kept++] = s->orders[o];
	s->order_count = kept;
}

/* Each order has lines, and in a share they lie in the same sequence. */
struct answer share_answer(const struct share *s)
{
	struct answer a = { 0 };

	for (size_t o = 0, i = 0; o < s->order_count; o++) {
		while (i < s->item_count && s->items[i].key != s->orders[o].key)
			i++;
		for (; i < s->item_count && s->items[i].key == s->orders[o].key; i++) {
			a.rows++;
			a.price += s->items[i].price;
			a.total += s->orders[o].total;
		}
	}
	return a;
}

void answer_add(struct answer *to, const struct answer *a)
{
	to->rows += a->rows;
	to->price += a->price;
	to->total += a->total;
}

/* ----------------------------------------------------------------------------------------------------------- join */

struct join_slot {
	struct join_order order;
	uint64_t used;
};

/* Zeroed, in huge pages where there are any: faults and missing translations would be most of the time of the joins. */
static void *huge(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die(1, "no memory for %zu bytes of a table", bytes);
	madvise(memory, bytes, MADV_HUGEPAGE);
	return memory;
}

enum { FIRST = 1 << 17 }; /* orders that are kept before room is made for twice as many */

void join_keep(struct join_table *t, const struct join_order *orders, size_t count)
{
	if (t->count + count > t->room) {
		size_t room = t->room ? 2 * t->room : FIRST;
		struct join_order *kept;

		while (room < t->count + count)
			room *= 2;
		kept = huge(room * sizeof *kept);
		if (t->room) {
			memcpy(kept, t->kept, t->count * sizeof *kept);
			munmap(t->kept, t->room * sizeof *kept);
		}
		t->kept = kept;
		t->room = room;
	}
	memcpy(t->kept + t->count, orders, count * sizeof *orders);
	t->count += count;
}

enum { AHEAD = 16 }; /* rows whose slots are being fetched from memory while one is looked at */

void join_build(struct join_table *t)
{
	for (t->mask = 1023; t->mask < 2 * t->count; t->mask = 2 * t->mask + 1)
		;
	t->slot = huge((t->mask + 1) * sizeof *t->slot);
	for (size_t i = 0; i < t->count; i++) {
		uint64_t at = mix((uint64_t)t->kept[i].key) & t->mask;

		if (i + AHEAD < t->count)
			__builtin_prefetch(&t->slot[mix((uint64_t)t->kept[i + AHEAD].key) & t->mask], 1);
		while (t->slot[at].used)
			at = (at + 1) & t->mask;
		t->slot[at] = (struct join_slot){ t->kept[i], 1 };
	}
}

void join_probe(struct join_table *t, const struct join_item *items, size_t count)
{
	struct answer a = t->answer;

	for (size_t i = 0; i < count; i++) {
		if (i + AHEAD < count)
			__builtin_prefetch(&t->slot[mix((uint64_t)items[i + AHEAD].key) & t->mask]);
		for (uint64_t at = mix((uint64_t)items[i].key) & t->mask; t->slot[at].used; at = (at + 1) & t->mask)
			if (t->slot[at].order.key == items[i].key) {
				a.rows++;
				a.price += items[i].price;
				a.total += t->slot[at].order.total;
			}
	}
	t->answer = a;
}

void join_free(struct join_table *t)
{
	if (t->kept)
		munmap(t->kept, t->room * sizeof *t->kept);
	munmap(t->slot, (t->mask + 1) * sizeof *t->slot);
}

void join_print(const char *peer, const struct options *o, const struct join_outcome *all, unsigned processes)
{
	struct answer want = { 0 }, got = { 0 };
	uint64_t start = UINT64_MAX, end = 0, sent = 0;

	for (unsigned p = 0; p < processes; p++) {
		answer_add(&want, &all[p].want);
		answer_add(&got, &all[p].got);
		start = all[p].start < start ? all[p].start : start;
		sent += all[p].sent;
		end = all[p].end > end ? all[p].end : end;
	}
	if (want.rows != got.rows || want.price != got.price || want.total != got.total)
		die(1, "the join gave %llu rows and sums %lld and %lld, not %llu, %lld and %lld", (unsigned long long)got.rows,
		    (long long)got.price, (long long)got.total, (unsigned long long)want.rows, (long long)want.price, (long long)want.total);
	result_print("join", peer, o,
		     (struct metric[]){ { "join_ms", (double)(end - start) / 1e6 },
					{ "rows_per_s", (double)got.rows * 1e9 / (double)(end - start) },
					{ sent ? "sent_bytes" : NULL, (double)sent },
					{ NULL, 0 } });
}
