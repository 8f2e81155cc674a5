/* SPDX-License-Identifier: Apache-2.0
 * ack.c: rows that wait for acknowledgements: see ack.h. */
#include "ack.h"

#include <stdlib.h>

#include "error.h"

/* --------------------------------------------------------------------------------------------------------- lists */

static void take_off(struct dpi_acks *a, uint32_t n)
{
	struct dpi_ack_entry *e = a->entry + n;
	struct dpi_ack_list *l = a->list + e->list;
	if (e->previous == DPI_ACK_NOBODY) l->first = e->next;
	else a->entry[e->previous].next = e->next;
	if (e->next == DPI_ACK_NOBODY) l->last = e->previous;
	else a->entry[e->next].previous = e->previous;
	l->count -= e->rows;
}

static void put_on(struct dpi_acks *a, uint32_t n, uint8_t list)
{
	struct dpi_ack_entry *e = a->entry + n;
	struct dpi_ack_list *l = a->list + list;
	e->list = list;
	e->previous = l->last;
	e->next = DPI_ACK_NOBODY;
	if (l->last == DPI_ACK_NOBODY) l->first = n;
	else a->entry[l->last].next = n;
	l->last = n;
	l->count += e->rows;
}

static void move(struct dpi_acks *a, uint32_t n, uint8_t list)
{
	if (a->entry[n].list == list) return;
	take_off(a, n);
	put_on(a, n, list);
}

int dpi_acks_new(uint32_t of, uint32_t quorum, bool up_to, uint32_t room, uint32_t targets, struct dpi_acks **out)
{
	struct dpi_acks *a = calloc(1, sizeof *a);
	if (a) {
		*a = (struct dpi_acks){ .of = of, .quorum = quorum, .up_to = up_to, .room = room, .targets = targets };
		for (int i = 0; i < DPI_ACK_LISTS; i++) a->list[i] = (struct dpi_ack_list){ DPI_ACK_NOBODY, DPI_ACK_NOBODY, 0 };
		a->entry = calloc(room, sizeof *a->entry);
		a->queue = calloc(targets, sizeof *a->queue);
	}
	*out = a;
	if (a && a->entry && a->queue) return DPI_SUCCESS;
	dpi_acks_free(a);
	*out = NULL;
	return dpi_fail(DPI_ERR_MEMORY, "no memory for %u rows that wait for acknowledgements", room);
}

void dpi_acks_free(struct dpi_acks *a)
{
	if (!a) return;
	for (uint32_t t = 0; a->queue && t < a->targets; t++) free(a->queue[t].reference);
	free(a->queue);
	free(a->entry);
	free(a);
}

/* ------------------------------------------------------------------------------------------------------ states */

static uint32_t needed(const struct dpi_acks *a, const struct dpi_ack_entry *e)
{
	return a->of == DPI_ACK_QUORUM && a->quorum < e->targets ? a->quorum : e->targets;
}

static bool lost(const struct dpi_acks *a, const struct dpi_ack_entry *e)
{
	return e->acked < needed(a, e) && e->targets - e->gone < needed(a, e);
}

/* Nothing that could come would change it. */
static bool finished(const struct dpi_acks *a, const struct dpi_ack_entry *e)
{
	if (a->of == DPI_ACK_COUNT) return e->acked + e->gone == e->targets;
	return e->acked >= needed(a, e) || lost(a, e);
}

/* How many rows of an entry a key means: with up_to its first ones, else one at most. */
static uint32_t matches(const struct dpi_acks *a, const struct dpi_ack_entry *e, uint64_t key)
{
	uint64_t first = dpi_ack_first_key(e);
	if (!a->up_to) return key - first < e->rows;
	return e->key <= key ? e->rows : first <= key ? (uint32_t)(key - first) + 1 : 0;
}

static void settle(struct dpi_acks *a, uint32_t n, bool was_finished)
{
	struct dpi_ack_entry *e = a->entry + n;
	bool is = finished(a, e);
	if (!was_finished && is && a->awaiting) a->left -= matches(a, e, a->awaited);
	if (!is && a->of != DPI_ACK_COUNT) return;
	e->settled = true;
	if (!a->up_to) move(a, n, DPI_ACK_SETTLED);
}

/* Its program knows of it. */
static void told(struct dpi_acks *a, uint32_t n)
{
	a->entry[n].generation++;
	move(a, n, DPI_ACK_FREE);
}

static uint32_t new_entry(struct dpi_acks *a)
{
	uint32_t n = a->list[DPI_ACK_FREE].first;
	if (n == DPI_ACK_NOBODY) return a->used++;
	take_off(a, n);
	return n;
}

/* Make the first rows of an entry that has more one of their own, before it, to which no reference leads. */
static uint32_t split(struct dpi_acks *a, uint32_t n, uint32_t rows)
{
	uint32_t front = new_entry(a), generation = a->entry[front].generation;
	struct dpi_ack_entry *e = a->entry + n, *f = a->entry + front;
	*f = *e;
	f->generation = generation;
	f->rows = rows;
	e->rows -= rows;
	f->key -= e->rows;
	f->next = n;
	e->previous = front;
	if (f->previous == DPI_ACK_NOBODY) a->list[e->list].first = front;
	else a->entry[f->previous].next = front;
	return front;
}

/* ------------------------------------------------------------------------------------------------------- pushing */

/* Leave out what nobody waits for. */
static void squeeze(const struct dpi_acks *a, struct dpi_ack_queue *q)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < q->count; i++) {
		struct dpi_ack_reference r = q->reference[(q->first + i) & (q->room - 1)];
		if (a->entry[r.entry].generation == r.generation) q->reference[(q->first + kept++) & (q->room - 1)] = r;
	}
	q->count = kept;
}

static int grow(struct dpi_acks *a, struct dpi_ack_queue *q)
{
	/* at most as many are not stale as there are entries, so at least half of a queue that large is squeezed out, and its cost is spread */
	if (q->room >= 2 * a->room) {
		squeeze(a, q);
		return DPI_SUCCESS;
	}
	uint32_t room = q->room ? 2 * q->room : 64;
	struct dpi_ack_reference *r = malloc(room * sizeof *r);
	if (!r) return dpi_fail(DPI_ERR_MEMORY, "no memory for %u rows that wait for acknowledgements", room);
	for (uint32_t i = 0; i < q->count; i++) r[i] = q->reference[(q->first + i) & (q->room - 1)];
	free(q->reference);
	q->reference = r;
	q->first = 0;
	q->room = room;
	return DPI_SUCCESS;
}

int dpi_acks_prepare(struct dpi_acks *a, const uint32_t *to, uint32_t count)
{
	if (!dpi_acks_room(a)) return DPI_ERR_AGAIN;
	for (uint32_t i = 0; i < count; i++) {
		struct dpi_ack_queue *q = a->queue + to[i];
		int error = q->count == q->room && !q->gone ? grow(a, q) : DPI_SUCCESS;
		if (error) return error;
	}
	return DPI_SUCCESS;
}

uint32_t dpi_acks_add(struct dpi_acks *a, uint64_t key, uint32_t targets)
{
	uint32_t n = new_entry(a);
	a->entry[n] = (struct dpi_ack_entry){ .key = key, .rows = 1, .generation = a->entry[n].generation, .targets = targets };
	put_on(a, n, DPI_ACK_WAITING);
	return n;
}

void dpi_acks_refer(struct dpi_acks *a, uint32_t entry, uint32_t target, uint64_t at)
{
	struct dpi_ack_queue *q = a->queue + target;
	struct dpi_ack_entry *e = a->entry + entry;
	if (q->gone) {
		e->gone++;
		e->who = target;
		return;
	}
	q->reference[(q->first + q->count++) & (q->room - 1)] = (struct dpi_ack_reference){ at, entry, e->generation };
}

void dpi_acks_added(struct dpi_acks *a, uint32_t entry)
{
	if (finished(a, a->entry + entry)) settle(a, entry, true);
}

/* Do rows go on the run that is the last entry? Its reference is the queue's last, so it is of this target alone, which has not acknowledged it. */
static bool goes_on(const struct dpi_acks *a, uint64_t key, const struct dpi_ack_queue *q, uint64_t at)
{
	uint32_t n = a->list[DPI_ACK_WAITING].last;
	if (n == DPI_ACK_NOBODY || !q->count) return false;
	const struct dpi_ack_entry *e = a->entry + n;
	const struct dpi_ack_reference *r = q->reference + ((q->first + q->count - 1) & (q->room - 1));
	return r->entry == n && r->generation == e->generation && e->targets == 1 && e->key + 1 == key && key && r->at + 1 == at;
}

void dpi_acks_add_rows(struct dpi_acks *a, uint64_t key, uint32_t rows, uint32_t target, uint64_t at)
{
	struct dpi_ack_queue *q = a->queue + target;
	if (!goes_on(a, key, q, at)) {
		uint32_t n = dpi_acks_add(a, key, 1);
		dpi_acks_refer(a, n, target, at);
		rows--;
	}
	if (!rows) return;
	a->entry[a->list[DPI_ACK_WAITING].last].rows += rows;
	a->entry[a->list[DPI_ACK_WAITING].last].key += rows;
	a->list[DPI_ACK_WAITING].count += rows;
	q->reference[(q->first + q->count - 1) & (q->room - 1)].at += rows;
}

/* ------------------------------------------------------------------------------------------------------- hearing */

/* One more target has acknowledged it. */
static void acknowledged(struct dpi_acks *a, uint32_t n)
{
	bool was = finished(a, a->entry + n);
	a->entry[n].acked++;
	settle(a, n, was);
}

/* The oldest reference of a queue, if its entry still waits for it. */
static struct dpi_ack_entry *pop(struct dpi_acks *a, struct dpi_ack_queue *q)
{
	struct dpi_ack_reference r = q->reference[q->first++ & (q->room - 1)];
	q->count--;
	return a->entry[r.entry].generation == r.generation ? a->entry + r.entry : NULL;
}

void dpi_acks_told(struct dpi_acks *a, uint32_t target, uint64_t at)
{
	struct dpi_ack_queue *q = a->queue + target;
	while (q->count && q->reference[q->first & (q->room - 1)].at <= at) {
		struct dpi_ack_entry *e = pop(a, q);
		if (e) acknowledged(a, (uint32_t)(e - a->entry));
	}
	if (!q->count) return;
	/* of a run the first rows only? */
	const struct dpi_ack_reference *r = q->reference + (q->first & (q->room - 1));
	uint64_t behind = r->at - at;
	const struct dpi_ack_entry *e = a->entry + r->entry;
	if (e->generation == r->generation && behind < e->rows) acknowledged(a, split(a, r->entry, e->rows - (uint32_t)behind));
}

void dpi_acks_gone(struct dpi_acks *a, uint32_t target)
{
	struct dpi_ack_queue *q = a->queue + target;
	q->gone = true;
	while (q->count) {
		struct dpi_ack_entry *e = pop(a, q);
		if (!e) continue;
		bool was = finished(a, e);
		e->gone++;
		e->who = target;
		if (finished(a, e)) settle(a, (uint32_t)(e - a->entry), was);
	}
}

/* ------------------------------------------------------------------------------------------------------- telling */

static uint32_t next_to_tell(const struct dpi_acks *a)
{
	uint32_t n = a->list[a->up_to ? DPI_ACK_WAITING : DPI_ACK_SETTLED].first;
	return n != DPI_ACK_NOBODY && a->entry[n].settled ? n : DPI_ACK_NOBODY;
}

bool dpi_acks_some(const struct dpi_acks *a)
{
	return next_to_tell(a) != DPI_ACK_NOBODY;
}

static int verdict(const struct dpi_acks *a, const struct dpi_ack_entry *e)
{
	return lost(a, e) && finished(a, e) ? DPI_ERR_PEER : DPI_SUCCESS;
}

static DPI_Acked acked(const struct dpi_ack_entry *e, uint64_t key, uint32_t rows, int error)
{
	return (DPI_Acked){ .key = key, .rows = rows, .acknowledged = e->acked, .targets = e->targets, .error = error };
}

size_t dpi_acks_take(struct dpi_acks *a, DPI_Acked *acks, size_t max)
{
	size_t count = 0;
	for (uint32_t n; (n = next_to_tell(a)) != DPI_ACK_NOBODY;) {
		struct dpi_ack_entry *e = a->entry + n;
		int error = verdict(a, e);
		DPI_Acked *last = count ? acks + count - 1 : NULL;
		bool goes_on = a->up_to && last && !last->error && !error && last->rows <= UINT32_MAX - e->rows;
		for (; (!a->up_to || error) && e->rows > 1 && count < max; e->rows--, a->list[e->list].count--) /* row by row */
			acks[count++] = acked(e, dpi_ack_first_key(e), 1, error);
		if (!goes_on && count == max) break;
		acks[goes_on ? count - 1 : count] = acked(e, e->key, goes_on ? last->rows + e->rows : e->rows, error);
		count += !goes_on;
		if (finished(a, e)) {
			told(a, n);
		} else { /* more of a count may come */
			e->settled = false;
			move(a, n, DPI_ACK_WAITING);
		}
	}
	return count;
}

/* ------------------------------------------------------------------------------------------------ waiting for a key */

static const uint8_t kept[] = { DPI_ACK_WAITING, DPI_ACK_SETTLED };

void dpi_acks_await(struct dpi_acks *a, uint64_t key)
{
	a->awaiting = true;
	a->awaited = key;
	a->left = 0;
	for (int l = 0; l < 2; l++)
		for (uint32_t n = a->list[kept[l]].first; n != DPI_ACK_NOBODY; n = a->entry[n].next) {
			if (a->up_to && dpi_ack_first_key(a->entry + n) > key) break;
			if (!finished(a, a->entry + n)) a->left += matches(a, a->entry + n, key);
		}
}

/* An entry of the rows of this one that the key means: at least one. */
static uint32_t of_key(struct dpi_acks *a, uint32_t n, uint64_t key)
{
	struct dpi_ack_entry *e = a->entry + n;
	uint32_t rows = matches(a, e, key);
	if (!a->up_to && dpi_ack_first_key(e) != key) split(a, n, (uint32_t)(key - dpi_ack_first_key(e)));
	return rows < e->rows ? split(a, n, rows) : n;
}

void dpi_acks_awaited(struct dpi_acks *a, const struct dpi_ack_entry **found)
{
	*found = NULL;
	a->awaiting = false;
	if (a->left) return;
	for (int take = 0; take < 2; take++) /* look first */
		for (int l = 0; l < 2; l++)
			for (uint32_t n = a->list[kept[l]].first, next; n != DPI_ACK_NOBODY; n = next) {
				const struct dpi_ack_entry *e = a->entry + n;
				next = e->next;
				if (a->up_to && dpi_ack_first_key(e) > a->awaited) break;
				if (!matches(a, e, a->awaited)) continue;
				if (take) told(a, of_key(a, n, a->awaited));
				else if (verdict(a, e)) {
					*found = e;
					return;
				}
			}
}

uint32_t dpi_acks_laggard(const struct dpi_acks *a, uint64_t key)
{
	for (uint32_t t = 0; t < a->targets; t++) {
		const struct dpi_ack_queue *q = a->queue + t;
		for (uint32_t i = 0; i < q->count; i++) {
			const struct dpi_ack_reference *r = q->reference + ((q->first + i) & (q->room - 1));
			const struct dpi_ack_entry *e = a->entry + r->entry;
			if (e->generation == r->generation && matches(a, e, key) && !finished(a, e)) return t;
		}
	}
	return DPI_ACK_NOBODY;
}
