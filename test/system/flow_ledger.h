/* SPDX-License-Identifier: Apache-2.0
 * flow_ledger.h: what a source of flow_model.c has pushed, and what it may be told of that. Who takes rows has counted them in came before
 * it acknowledges them. */
#ifndef FLOW_LEDGER_H
#define FLOW_LEDGER_H

#include "flow_plan.h"

/* A row that was pushed, the rows that each target's program has got with it, and how many have acknowledged it as far as was told. */
struct pushed {
	uint64_t key, to[TARGETS];
	uint32_t mask, acknowledged;
	bool over; /* nothing more is told of it */
};

struct ledger {
	const struct plan *p;
	uint32_t source, dying; /* targets that may die */
	_Atomic uint64_t (*came)[SOURCES];
	struct pushed *row;
	uint64_t rows, first, left; /* none before the first is left */
	uint64_t to[TARGETS];	    /* that its program is to get */
	uint64_t sent, sent_to_dying, unmatched;
	char why[200];
};

#define WRONG(l, ...) (snprintf((l)->why, sizeof(l)->why, __VA_ARGS__), (l)->why)

static void ledger_open(struct ledger *l, const struct plan *p, uint32_t source, uint32_t dying, _Atomic uint64_t (*came)[SOURCES])
{
	*l = (struct ledger){ .p = p, .source = source, .dying = dying, .came = came, .row = malloc((p->rows[source] + 1) * sizeof *l->row) };
}

static uint64_t ack_key(const struct plan *p, uint32_t source, uint64_t number, uint64_t position)
{
	if (p->attr.ack_function) return number * 3 + 7;
	if (!p->attr.ack_column) return position;
	return strcmp(p->attr.ack_column, "key") ? number : (uint64_t)key_of(p, source, number);
}

/* called: what targets call the source; robin: how many of its rows went round robin before. */
static void ledger_push(struct ledger *l, uint64_t number, uint32_t called, uint64_t robin)
{
	const struct plan *p = l->p;
	struct pushed *r = l->row + l->rows++;
	bool stays = p->with & FILTER && p->place == DPI_AT_SOURCE && !kept(p, l->source, number);
	*r = (struct pushed){ .key = ack_key(p, l->source, number, l->rows) };
	for (uint32_t t = 0; t < p->targets && !stays; t++) {
		if (!goes_to(p, l->source, number, called, robin, t)) continue;
		r->mask |= 1u << t;
		l->to[t] += kept(p, l->source, number);
		l->sent++;
		l->sent_to_dying += l->dying >> t & 1;
	}
	memcpy(r->to, l->to, sizeof r->to);
	l->unmatched += !passes(p, key_of(p, l->source, number));
	l->left++;
}

static uint32_t targets_of(const struct pushed *r)
{
	return (uint32_t)__builtin_popcount(r->mask);
}

/* Targets that have to acknowledge it. */
static uint32_t needed(const struct ledger *l, const struct pushed *r)
{
	uint32_t n = targets_of(r);
	return l->p->attr.ack_of == DPI_ACK_QUORUM && l->p->attr.ack_quorum < n ? l->p->attr.ack_quorum : n;
}

/* Targets that could have acknowledged it by now. */
static uint32_t possible(const struct ledger *l, const struct pushed *r)
{
	uint32_t n = 0;
	for (uint32_t t = 0; t < TARGETS; t++)
		n += (r->mask >> t & 1) && (l->p->attr.ack == DPI_ACK_RECEIVED || l->came[t][l->source] >= r->to[t]);
	return n;
}

static bool may_be_lost(const struct ledger *l, const struct pushed *r)
{
	return targets_of(r) - (uint32_t)__builtin_popcount(r->mask & l->dying) < needed(l, r);
}

static void over(struct ledger *l, struct pushed *r)
{
	r->over = true;
	l->left--;
	while (l->first < l->rows && l->row[l->first].over) l->first++;
}

static const char *check_acknowledged(struct ledger *l, const struct pushed *r)
{
	if (possible(l, r) >= needed(l, r)) return NULL;
	return WRONG(l, "the row with key %" PRIu64 " is acknowledged, and %u of the %u programs that have to have it do", r->key, possible(l, r), needed(l, r));
}

/* What one entry says of its last row. */
static const char *check_told(struct ledger *l, struct pushed *r, const DPI_Acked *a)
{
	bool count = l->p->attr.ack_of == DPI_ACK_COUNT;
	if (a->targets != targets_of(r)) return WRONG(l, "key %" PRIu64 " went to %u targets, not to %u", a->key, targets_of(r), a->targets);
	if (a->acknowledged > possible(l, r)) return WRONG(l, "key %" PRIu64 ": %u targets are said to have acknowledged it, and %u can", a->key, a->acknowledged, possible(l, r));
	if (a->error) {
		if (a->error != DPI_ERR_PEER || a->rows != 1 || a->acknowledged >= needed(l, r) || !may_be_lost(l, r))
			return WRONG(l, "key %" PRIu64 " is said to be lost (%d): %u rows, %u of %u", a->key, a->error, a->rows, a->acknowledged, a->targets);
	} else if (count ? a->acknowledged <= r->acknowledged && a->targets : a->acknowledged < needed(l, r)) {
		return WRONG(l, "key %" PRIu64 ": %u of %u targets", a->key, a->acknowledged, a->targets);
	}
	r->acknowledged = a->acknowledged;
	return NULL;
}

/* The row that an entry speaks of, where keys come in any order. Of several rows of a key those that are lost are the last ones: what a target
 * took before it died came in order. */
static struct pushed *row_told(struct ledger *l, const DPI_Acked *a)
{
	for (uint64_t n = 0, rows = l->rows - l->first; n < rows; n++) {
		struct pushed *r = l->row + (a->error ? l->rows - 1 - n : l->first + n);
		if (!r->over && r->key == a->key && targets_of(r) == a->targets && a->acknowledged <= possible(l, r)) return r;
	}
	return NULL;
}

/* An entry of DPI_Next_Acks; NULL: as it may be. */
static const char *ledger_told(struct ledger *l, const DPI_Acked *a)
{
	bool up_to = l->p->attr.ack_up_to;
	if (!a->rows || (!up_to && a->rows != 1)) return WRONG(l, "an entry of %u rows", a->rows);
	if (up_to && (a->rows > l->rows - l->first)) return WRONG(l, "an entry of %u rows, and %" PRIu64 " wait", a->rows, l->rows - l->first);
	struct pushed *last = up_to ? l->row + l->first + a->rows - 1 : row_told(l, a);
	if (!last || last->key != a->key) return WRONG(l, "no row with key %" PRIu64 " waits, or not for %u of %u targets", a->key, a->acknowledged, a->targets);
	const char *why = check_told(l, last, a);
	for (struct pushed *r = up_to ? l->row + l->first : last; r < last && !why;) {
		why = check_acknowledged(l, r);
		over(l, r++);
	}
	if (a->error || l->p->attr.ack_of != DPI_ACK_COUNT || a->acknowledged == a->targets) over(l, last);
	return why;
}

static bool meant(const struct ledger *l, const struct pushed *r, uint64_t key)
{
	return !r->over && (l->p->attr.ack_up_to ? r->key <= key : r->key == key);
}

/* DPI_Wait_Ack has returned error, or DPI_Test_Ack. */
static const char *ledger_waited(struct ledger *l, uint64_t key, int error)
{
	const char *why = error ? WRONG(l, "key %" PRIu64 " is said to be lost", key) : NULL;
	for (uint64_t i = l->first; i < l->rows; i++) {
		struct pushed *r = l->row + i;
		if (!meant(l, r, key)) continue;
		if (error && may_be_lost(l, r)) return NULL;
		if (error) continue;
		if (!why) why = check_acknowledged(l, r);
		over(l, r);
	}
	return why;
}

#endif
