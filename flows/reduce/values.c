/* SPDX-License-Identifier: Apache-2.0
 * values.c: states that vary in size: the least, the largest or the first of texts and bytes, and a top k with such in it. An entry has
 * the place and the size of its value, which lies at the other end of the arena: entries grow upwards, values downwards. A value that
 * outgrows its room gets another; what it leaves is taken back when room is short, by moving the other values together.
 *
 * Room for the values of some rows is seen to before their groups are looked for, for the worst that they may need: so that states are
 * brought up to date without an error on the way. */
#include <string.h>
#include <sys/mman.h>

#include "error.h"
#include "table.h"

/* A value has a head, its bytes, and the size of these, in words, once more: values are walked from the last to the first. */
struct head {
	uint32_t owner; /* place of its entry */
	uint32_t words;
};
#define AROUND 16u /* bytes of both */

static size_t block_bytes(size_t size)
{
	return AROUND + dpi_words8(size + size / 4 + 1);
}

static size_t top_of(const struct dpi_table *t)
{
	return t->limit & ~(size_t)7;
}

static uint32_t place_of(const struct dpi_table *t, const uint8_t *entry)
{
	return (uint32_t)((size_t)(entry - t->arena) / 8);
}

static struct head head_of(const struct dpi_table *t, uint32_t place)
{
	struct head h;
	memcpy(&h, t->arena + (size_t)place * 8 - sizeof h, sizeof h);
	return h;
}

static uint32_t allocate(struct dpi_table *t, const uint8_t *entry, size_t bytes)
{
	uint64_t words = dpi_words8(bytes ? bytes : 1) / 8;
	struct head h = { place_of(t, entry), (uint32_t)words };
	t->values += AROUND + 8 * words;
	uint8_t *at = t->arena + top_of(t) - t->values;
	memcpy(at, &h, sizeof h);
	memcpy(at + sizeof h + 8 * words, &words, sizeof words);
	return place_of(t, at + sizeof h);
}

uint8_t *dpi_value_resize(struct dpi_table *t, uint8_t *entry, const struct dpi_column *c, uint32_t size, size_t room)
{
	uint32_t at[2], words = 0;
	memcpy(at, entry + c->offset, sizeof at);
	if (at[0]) words = head_of(t, at[0]).words;
	if (!at[0] || room > (uint64_t)words * 8) {
		uint32_t next = allocate(t, entry, at[0] ? room + room / 4 : room);
		if (at[0]) {
			memcpy(t->arena + (size_t)next * 8, t->arena + (size_t)at[0] * 8, at[1]);
			t->garbage += AROUND + (size_t)words * 8;
		}
		at[0] = next;
	}
	at[1] = size;
	memcpy(entry + c->offset, at, sizeof at);
	if (size > t->largest) t->largest = size;
	return t->arena + (size_t)at[0] * 8;
}

void dpi_value_put(struct dpi_table *t, uint8_t *entry, const struct dpi_column *c, const void *data, uint32_t size)
{
	uint8_t *to = dpi_value_resize(t, entry, c, size, size);
	if (size) memcpy(to, data, size);
	entry[c->null_at] &= (uint8_t)~c->null_mask;
}

/* ------------------------------------------------------------------------------------------------------------- room */

/* Bytes that row i may need for its values at most. so_far: for each aggregate, of
 * what the rows before it may have put into the same state. */
static size_t row_need(const struct dpi_table *t, const struct dpi_feed *f, size_t i, size_t *so_far)
{
	size_t need = 0;
	for (uint32_t k = 0; k < t->r->count; k++) {
		const struct dpi_aggregate *a = t->r->aggregate + k;
		if (!a->varies) continue;
		const struct dpi_strided *from = f->column + (f->partial ? (int)a->state : a->column);
		if (a->function != DPI_AGGREGATE_TOP_K) {
			if (!dpi_strided_is_null(from, i)) need += block_bytes((uint32_t)(from->offset[i + 1] - from->offset[i]));
			continue;
		}
		so_far[k] += f->partial ? (uint32_t)(from->offset[i + 1] - from->offset[i]) : dpi_top_record_bytes(a, f, i);
		need += block_bytes(t->largest + so_far[k]);
	}
	return need;
}

/* Of n rows, how many have room whatever their values are, also if each is the first of its key; what the values take is reserved. */
static size_t reserve(struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t n)
{
	size_t taken = dpi_table_bytes(t), room = t->limit > taken ? t->limit - taken : 0, i = 0, so_far[DPI_AGGREGATES_MAX];
	for (uint32_t k = 0; k < t->r->count; k++) so_far[k] = DPI_TOP_HEAD;
	for (t->reserved = 0; i < n; i++) {
		size_t entry = t->filled ? 0 : 8 + dpi_words8(dpi_key_entry_size(t, f, first, i)), need = row_need(t, f, first + i, so_far);
		if (entry + need > room - t->reserved) break;
		room -= entry;
		t->reserved += need;
	}
	return i;
}

static bool is_of(const struct dpi_table *t, uint32_t owner, uint32_t place, uint8_t **field)
{
	if ((size_t)owner * 8 >= t->used) return false;
	for (uint32_t k = 0; k < t->r->count; k++) {
		const struct dpi_aggregate *a = t->r->aggregate + k;
		uint32_t at;
		*field = t->arena + (size_t)owner * 8 + t->r->state->column[a->state].offset;
		if (a->varies && (memcpy(&at, *field, sizeof at), at == place)) return true;
	}
	return false;
}

/* Move the values that somebody has together. */
static void compact(struct dpi_table *t)
{
	size_t from = top_of(t), to = from, low = from - t->values;
	while (from > low) {
		uint64_t words;
		uint8_t *field;
		memcpy(&words, t->arena + from - sizeof words, sizeof words);
		size_t size = AROUND + 8 * (size_t)words, at = from - size;
		uint32_t place = place_of(t, t->arena + at + sizeof(struct head)), owner = head_of(t, place).owner;
		from = at;
		if (!is_of(t, owner, place, &field)) continue;
		to -= size;
		memmove(t->arena + to, t->arena + at, size);
		place = place_of(t, t->arena + to + sizeof(struct head));
		memcpy(field, &place, sizeof place);
	}
	t->values = top_of(t) - to;
	t->garbage = 0;
}

static size_t values_bytes(const struct dpi_table *t, const uint8_t *entry)
{
	size_t bytes = 0;
	for (uint32_t k = 0; k < t->r->count; k++) {
		const struct dpi_aggregate *a = t->r->aggregate + k;
		uint32_t at;
		if (!a->varies) continue;
		memcpy(&at, entry + t->r->state->column[a->state].offset, sizeof at);
		if (at) bytes += AROUND + (size_t)head_of(t, at).words * 8;
	}
	return bytes;
}

/* The groups that came last go to the file, each as a partial row before all later rows of its key; those that came first stay, with
 * keep bytes, and one at least. */
static int send_away(struct dpi_table *t, size_t keep)
{
	size_t cut = DPI_ARENA_FIRST, bytes = 0, next;
	uint64_t groups = 0;
	for (; cut < t->used && (bytes < keep || !groups); cut = next, groups++) {
		uint64_t size;
		memcpy(&size, t->arena + cut, sizeof size);
		next = cut + 8 + dpi_words8((size_t)size);
		bytes += next - cut + values_bytes(t, t->arena + cut + 8);
	}
	t->filled = true; /* from now on a key that is not here is in the file, or may be */
	if (cut >= t->used) return DPI_SUCCESS;
	for (uint64_t i = 0; i <= t->mask; i++) {
		const uint8_t *entry = t->arena + (size_t)(uint32_t)t->slot[i] * 8;
		uint64_t size;
		uint8_t *row;
		size_t row_size;
		if (!t->slot[i] || (size_t)(entry - t->arena) < cut) continue;
		memcpy(&size, entry - 8, sizeof size);
		int error = dpi_finish_partial(t, entry, (size_t)size, &row, &row_size);
		if (!error) error = dpi_spill_group(t, row, row_size, t->slot[i] >> 32);
		if (error) return error;
	}
	t->used = cut;
	t->groups = groups;
	return dpi_slots_cut(t, (uint32_t)(cut / 8));
}

int dpi_values_reserve(struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t *n)
{
	size_t fit = reserve(t, f, first, *n);
	bool spills = t->full == DPI_TABLE_SPILLS;
	int error = DPI_SUCCESS;
	t->tight = false;
	if (!fit && t->garbage >= t->limit / 16) compact(t), fit = reserve(t, f, first, *n);
	for (int all = 0; !fit && spills && t->groups > 1 && all < 2; all++) {
		error = send_away(t, all ? 0 : t->limit / 2);
		if (error) return error;
		compact(t);
		fit = reserve(t, f, first, *n);
	}
	if (!fit) {
		t->reserved = 0;
		error = dpi_table_no_room(t);
		fit = !error;
		t->tight = true; /* the row's place can only be the file */
	}
	*n = fit;
	return error;
}

int dpi_values_tight(const struct dpi_table *t)
{
	return dpi_fail(DPI_ERR_LIMIT,
			"a single key with its values does not fit the %zu bytes that the reduction may use: give it more", t->limit);
}
