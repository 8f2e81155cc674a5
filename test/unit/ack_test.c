/* SPDX-License-Identifier: Apache-2.0
 * ack_test.c: flows/ack.h against a model that keeps every row for ever and looks through all of them. */
#include "unit.h"

#include <dpi.h>
#include <stdlib.h>

#include "flows/ack.h"
#include "flows/ack_steps.h"

enum { ROWS = 3000, TARGETS = 5 };

struct row { /* of the model */
	uint64_t key, at[TARGETS]; /* at 0: not for this target */
	uint32_t targets, acked, gone;
	uint32_t told; /* count: acknowledgements that were told */
	bool done;
};

struct model {
	struct row row[ROWS];
	uint32_t rows, of, quorum;
	bool up_to, gone[TARGETS];
	uint64_t sent[TARGETS], acked[TARGETS];
	struct dpi_acks *a;
};

static uint64_t pick(uint64_t *s, uint64_t below)
{
	*s = *s * 6364136223846793005u + 1442695040888963407u;
	return (*s >> 33) % below;
}

static uint32_t needed(const struct model *m, const struct row *r)
{
	return m->of == DPI_ACK_QUORUM && r->targets ? m->quorum : r->targets;
}
static bool lost(const struct model *m, const struct row *r)
{
	return r->acked < needed(m, r) && r->targets - r->gone < needed(m, r);
}
static bool finished(const struct model *m, const struct row *r)
{
	return m->of == DPI_ACK_COUNT ? r->acked + r->gone == r->targets : r->acked >= needed(m, r) || lost(m, r);
}

static void push(struct model *m, uint64_t *seed, uint64_t key)
{
	uint32_t to[TARGETS], count = 0;
	for (uint32_t t = 0; t < TARGETS; t++)
		if (pick(seed, 2)) to[count++] = t;
	if (m->of == DPI_ACK_QUORUM && count < m->quorum) count = 0;
	int error = dpi_acks_prepare(m->a, to, count);
	uint32_t waiting = 0;
	for (uint32_t i = 0; i < m->rows; i++) waiting += !m->row[i].done;
	CHECK_INT(error, ==, waiting == m->a->room ? DPI_ERR_AGAIN : DPI_SUCCESS);
	if (error || m->rows == ROWS) return;
	struct row *r = m->row + m->rows++;
	*r = (struct row){ .key = key, .targets = count };
	uint32_t e = dpi_acks_add(m->a, key, count);
	for (uint32_t i = 0; i < count; i++) {
		if (m->gone[to[i]]) r->gone++;
		else r->at[to[i]] = ++m->sent[to[i]];
		dpi_acks_refer(m->a, e, to[i], m->sent[to[i]]);
	}
	dpi_acks_added(m->a, e);
}

/* Several rows for one target, with consecutive keys; the last key is returned. */
static uint64_t push_rows(struct model *m, uint64_t *seed, uint64_t key)
{
	uint32_t t = (uint32_t)pick(seed, TARGETS), most = 1 + (uint32_t)pick(seed, 20), room = dpi_acks_room(m->a);
	if (m->gone[t] || (m->of == DPI_ACK_QUORUM && m->quorum > 1)) return key - 1;
	if (most > room) most = room;
	if (most > ROWS - m->rows) most = ROWS - m->rows;
	if (!most) return key - 1;
	CHECK_DPI(dpi_acks_prepare(m->a, &t, 1));
	dpi_acks_add_rows(m->a, key, most, t, m->sent[t] + 1);
	for (uint32_t i = 0; i < most; i++) {
		m->row[m->rows] = (struct row){ .key = key + i, .targets = 1 };
		m->row[m->rows++].at[t] = ++m->sent[t];
	}
	return key + most - 1;
}

static void acknowledge(struct model *m, uint32_t t, uint64_t at)
{
	if (!m->gone[t])
		for (uint32_t i = 0; i < m->rows; i++) m->row[i].acked += m->row[i].at[t] > m->acked[t] && m->row[i].at[t] <= at;
	if (at > m->acked[t]) m->acked[t] = at;
	dpi_acks_told(m->a, t, at);
}

static void die(struct model *m, uint32_t t)
{
	if (m->gone[t]) return;
	m->gone[t] = true;
	for (uint32_t i = 0; i < m->rows; i++) m->row[i].gone += m->row[i].at[t] > m->acked[t];
	dpi_acks_gone(m->a, t);
}

/* With up_to rows may share a key, else none do. */
static struct row *row_of_key(struct model *m, uint64_t key)
{
	for (uint32_t i = 0; i < m->rows; i++)
		if (m->row[i].key == key && !m->row[i].done && (finished(m, m->row + i) || (m->of == DPI_ACK_COUNT && m->row[i].acked > m->row[i].told))) return m->row + i;
	return NULL;
}

static void check_told(struct model *m, const DPI_Acked *k)
{
	struct row *r = row_of_key(m, k->key);
	CHECK(r != NULL);
	if (m->up_to) {
		uint32_t n = 0;
		struct row *last = NULL;
		for (uint32_t i = 0; i < m->rows && n < k->rows; i++)
			if (!m->row[i].done) {
				last = m->row + i;
				CHECK(finished(m, last));
				CHECK_INT(lost(m, last), ==, k->error != 0);
				last->done = true;
				n++;
			}
		CHECK(last && n == k->rows && last->key == k->key);
		CHECK(!k->error || n == 1);
		CHECK(last->acked == k->acknowledged && last->targets == k->targets);
		return;
	}
	CHECK_INT(k->rows, ==, 1);
	CHECK_INT(k->acknowledged, ==, r->acked);
	CHECK_INT(k->targets, ==, r->targets);
	CHECK_INT(k->error, ==, lost(m, r) && finished(m, r) ? DPI_ERR_PEER : DPI_SUCCESS);
	r->told = r->acked;
	r->done = finished(m, r);
}

static void take(struct model *m, uint64_t *seed)
{
	DPI_Acked told[40];
	size_t max = 1 + pick(seed, 40), n = dpi_acks_take(m->a, told, max);
	for (size_t i = 0; i < n; i++) check_told(m, told + i);
	if (n == max) return;
	CHECK(!dpi_acks_some(m->a));
	for (uint32_t i = 0; i < m->rows; i++) /* nothing was left out */
		if (!m->row[i].done) {
			CHECK(m->up_to ? !finished(m, m->row + i) : !finished(m, m->row + i) && (m->of != DPI_ACK_COUNT || m->row[i].acked == m->row[i].told));
			if (m->up_to) break;
		}
}

static void await_key(struct model *m, uint64_t key, uint64_t *seed)
{
	uint64_t left = 0;
	bool some_lost = false;
	const struct dpi_ack_entry *found;
	dpi_acks_await(m->a, key);
	if (pick(seed, 2)) acknowledge(m, 0, m->sent[0]); /* while it waits */
	if (pick(seed, 100) == 0) die(m, 1);
	for (uint32_t i = 0; i < m->rows; i++) {
		struct row *r = m->row + i;
		if (r->done || (m->up_to ? r->key > key : r->key != key)) continue;
		left += !finished(m, r);
		some_lost |= finished(m, r) && lost(m, r);
	}
	CHECK_INT(m->a->left, ==, left);
	uint32_t t = dpi_acks_laggard(m->a, key);
	CHECK((t != DPI_ACK_NOBODY) == (left != 0));
	dpi_acks_awaited(m->a, &found);
	CHECK((found != NULL) == (!left && some_lost));
	if (left || some_lost) return;
	for (uint32_t i = 0; i < m->rows; i++)
		if (m->up_to ? m->row[i].key <= key : m->row[i].key == key) m->row[i].done = true;
}

static void run_model(uint32_t of, uint32_t quorum, bool up_to, uint32_t room, bool deaths, uint64_t seed)
{
	struct model *m = calloc(1, sizeof *m);
	m->of = of, m->quorum = quorum, m->up_to = up_to;
	CHECK_DPI(dpi_acks_new(of, quorum, up_to, room, TARGETS, &m->a));
	uint64_t key = 0;
	for (int step = 0; step < 4000 && m->rows < ROWS; step++) {
		uint32_t t = (uint32_t)pick(&seed, TARGETS);
		switch (pick(&seed, 8)) {
		case 0: /* a target that lags is passed over */
			if (t != 4 || pick(&seed, 10) == 0) acknowledge(m, t, m->acked[t] + pick(&seed, m->sent[t] - m->acked[t] + 1));
			break;
		case 1: take(m, &seed); break;
		case 2:
			if (pick(&seed, 4) == 0 && key) await_key(m, up_to ? pick(&seed, key + 2) : key - pick(&seed, 20 < key ? 20 : key), &seed);
			break;
		case 3:
			if (deaths && pick(&seed, 200) == 0) die(m, t);
			break;
		case 4: key = push_rows(m, &seed, key + 1); break;
		default:
			key += up_to ? pick(&seed, 3) : 1;
			push(m, &seed, key);
		}
	}
	for (uint32_t t = 0; t < TARGETS; t++) acknowledge(m, t, UINT64_MAX); /* a target may claim anything */
	while (dpi_acks_some(m->a)) take(m, &seed);
	for (uint32_t i = 0; i < m->rows; i++) CHECK(m->row[i].done);
	CHECK_INT(dpi_acks_waiting(m->a), ==, 0);
	dpi_acks_free(m->a);
	free(m);
}

TEST(ack_model, "", 0, .deadline_s = 180)
{
	for (uint64_t round = 0; round < 10; round++)
		for (uint32_t of = 0; of < 3; of++)
			for (int up_to = 0; up_to < (of == DPI_ACK_COUNT ? 1 : 2); up_to++)
				run_model(of, 1 + (uint32_t)round % 3, up_to, round % 2 ? 17 : 400, round % 3 == 0, harness_seed() + round);
}

/* A target that never says anything costs a bounded queue, and its rows, acknowledged by others, are told. */
TEST(ack_laggard_is_bounded, "", 0)
{
	struct dpi_acks *a;
	uint32_t to[] = { 0, 1, 2 };
	DPI_Acked told[8];
	CHECK_DPI(dpi_acks_new(DPI_ACK_QUORUM, 2, true, 100, 3, &a));
	for (uint64_t n = 1; n <= 100000; n++) {
		CHECK_DPI(dpi_acks_prepare(a, to, 3));
		uint32_t e = dpi_acks_add(a, n, 3);
		for (uint32_t t = 0; t < 3; t++) dpi_acks_refer(a, e, t, n);
		dpi_acks_added(a, e);
		if (n % 50) continue;
		dpi_acks_told(a, 0, n), dpi_acks_told(a, 1, n - 10);
		CHECK_INT(dpi_acks_take(a, told, 8), ==, 1);
		CHECK(told[0].key == n - 10 && told[0].acknowledged == 2);
		CHECK_INT(a->queue[2].room, <=, 256);
	}
	dpi_acks_told(a, 2, 100000); /* at last */
	CHECK_INT(dpi_acks_take(a, told, 8), ==, 1);
	CHECK_INT(dpi_acks_waiting(a), ==, 0);
	dpi_acks_free(a);
}

/* ------------------------------------------------------------------------------------------------------------ steps */

/* What was pushed is acknowledged with the least that was sent behind it, and never before. */
TEST(ack_steps, "FL-519", 0)
{
	enum { STEPS = 1000 };
	struct dpi_ack_steps s = { 0 };
	struct draws d = draws_from(1);
	uint64_t sent[STEPS], pushed[STEPS], told = 0;
	size_t n = 0, due = 0;
	CHECK_INT(dpi_ack_steps_take(&s, 5), ==, 0);
	while (due < STEPS) {
		if (n < STEPS && draw_below(&d, 3)) {
			sent[n] = (n ? sent[n - 1] : 0) + draw_below(&d, 3); /* a table that was empty sends nothing */
			pushed[n] = (n ? pushed[n - 1] : 0) + draw_below(&d, 100);
			dpi_ack_steps_add(&s, sent[n], pushed[n]);
			n++;
			continue;
		}
		if (n) told += draw_below(&d, 4);
		if (n && told > sent[n - 1]) told = sent[n - 1];
		while (due < n && sent[due] <= told) due++;
		CHECK_INT(dpi_ack_steps_take(&s, told), ==, due ? pushed[due - 1] : 0);
	}
	dpi_ack_steps_free(&s);
}
