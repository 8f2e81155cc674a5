/* SPDX-License-Identifier: Apache-2.0
 * flow_taker.h: a target of flow_model.c: it takes by all calls that there are, and knows what must come next. */
#ifndef FLOW_TAKER_H
#define FLOW_TAKER_H

#include "flow_arrow.h"
#include "flow_fate.h"

struct check { /* what a target knows */
	struct endpoint *target;
	uint64_t next[SOURCES], robin[SOURCES]; /* of each source: the next row, and how many before it went round robin */
	uint32_t number[SOURCES];		/* + 1 */
	uint64_t mark, rows;
	uint32_t last; /* number of the source of the last row */
	bool marked;
	uint8_t *expected, *row;
	bool given[KEYS]; /* sums */
	uint8_t *room[3]; /* for values */
	uint64_t sure[SOURCES]; /* rows of each source that are in the sums, as it was looked at last */
};

/* Does the next row of a source come here? */
static bool comes(struct check *c, uint32_t s)
{
	const struct plan *p = &c->target->s->p;
	return kept(p, s, c->next[s]) && goes_to(p, s, c->next[s], c->number[s] - 1, c->robin[s], c->target->index);
}

static void pass(struct check *c, uint32_t s)
{
	uint32_t target;
	c->robin[s] += !in_place(&c->target->s->p, s, c->next[s], &target);
	c->next[s]++;
}

static void rows_until(struct check *c, uint32_t s, uint64_t number, const char *when)
{
	for (; c->next[s] < number; pass(c, s))
		if (comes(c, s)) LOST(c->target, "target %u: row %" PRIu64 " of source %u did not come before %s", c->target->index, c->next[s], s, when);
}

/* Is a row in the sums of a group, where these are? */
static bool adds_up(const struct plan *p, uint32_t source, uint64_t number, int64_t group)
{
	int64_t key = key_of(p, source, number);
	return p->group[key] == group && passes(p, key) && kept(p, source, number);
}

/* Of a source that died while the flow goes on: in each group of a target the first rows, and all that were flushed (FL-330). Do the rows and
 * the sum that came beyond what is certain come from such? first: of these sources. */
static bool from_lossy(struct check *c, int64_t group, uint32_t first, int64_t count, int64_t sum)
{
	const struct scenario *s = c->target->s;
	const struct plan *p = &s->p;
	while (first < p->sources && !lossy(s, first)) first++;
	if (first == p->sources) return !count && !sum;
	if (from_lossy(c, group, first + 1, count, sum)) return true;
	for (uint64_t n = 0; count && n < p->rows[first]; n++) {
		if (!adds_up(p, first, n, group) || n < c->sure[first]) continue;
		count--, sum -= (int64_t)n;
		if (from_lossy(c, group, first + 1, count, sum)) return true;
	}
	return false;
}

/* Rows of a group that are certain to be in its sums, and what they have in the measured column. */
struct sums {
	int64_t count, sum, values;
	DPI_Value least, most; /* what they point to lies with the check */
	bool lossy;
};

static void keep_value(DPI_Value *to, const DPI_Value *v, uint8_t *room)
{
	*to = *v;
	if (v->type < DPI_TYPE_FIXED) return;
	to->data = memcpy(room, v->data, v->size);
}

static void add_measured(struct check *c, uint32_t source, uint64_t number, struct sums *sums)
{
	const struct plan *p = &c->target->s->p;
	uint8_t *room = c->room[0];
	DPI_Value v = value_of(&p->columns, p->measured, of_value(&p->columns, p->measured, key_of(p, source, number), source, number), &room);
	if (v.type == DPI_TYPE_NULL) return;
	if (!sums->values || compare_values(&v, &sums->least) < 0) keep_value(&sums->least, &v, c->room[1]);
	if (!sums->values || compare_values(&v, &sums->most) > 0) keep_value(&sums->most, &v, c->room[2]);
	sums->values++;
}

static struct sums sums_of(struct check *c, int64_t group)
{
	const struct plan *p = &c->target->s->p;
	struct sums sums = { 0 };
	for (uint32_t s = 0; s < p->sources; s++) {
		bool loses = lossy(c->target->s, s);
		c->sure[s] = loses ? c->target->s->now->flushed[s] : rows_of(c->target, s);
		sums.lossy |= loses;
		for (uint64_t n = 0; n < c->sure[s]; n++) {
			if (!adds_up(p, s, n, group)) continue;
			sums.count++, sums.sum += (int64_t)n;
			if (p->measured) add_measured(c, s, n, &sums);
		}
	}
	return sums;
}

/* How many values, the least and the largest. */
static void check_measured(struct check *c, const void *row, size_t size, const struct sums *sums)
{
	const struct plan *p = &c->target->s->p;
	uint32_t first = (p->columns.keys ? p->columns.keys : 1) + 2;
	DPI_Value got[3];
	for (uint32_t i = 0; i < 3; i++) CHECK_DPI(DPI_Get_Value(row, size, first + i, p->columns.output, got + i));
	if (got[0].i != sums->values) LOST(c->target, "target %u: a group of %" PRId64 " values, not of %" PRId64, c->target->index, got[0].i, sums->values);
	if (!same_value(got + 1, &sums->least) || !same_value(got + 2, &sums->most)) LOST(c->target, "target %u: the least or the most of %" PRId64 " values is another", c->target->index, sums->values);
}

/* A group's sums: of all its rows. */
static void check_sums(struct check *c, const void *row, size_t size)
{
	const struct plan *p = &c->target->s->p;
	uint32_t t = c->target->index;
	int64_t got[2], group = group_of(p, row, size, got);
	if (group < 0 || c->given[group] || !(p->mask[group] >> t & 1)) LOST(c->target, "target %u: sums of group %" PRId64 ", in %zu bytes", t, group, size);
	c->given[group] = true;
	struct sums sums = sums_of(c, group);
	if (got[0] <= 0 || !from_lossy(c, group, 0, got[0] - sums.count, got[1] - sums.sum))
		LOST(c->target, "target %u: key %" PRId64 " has %" PRId64 " rows and the sum %" PRId64 ", not %" PRId64 " and %" PRId64, t, group, got[0], got[1], sums.count, sums.sum);
	if (p->measured && !sums.lossy) check_measured(c, row, size, &sums);
	c->rows++;
}

static void check_all_sums(struct check *c)
{
	const struct plan *p = &c->target->s->p;
	for (int64_t group = 0; group < KEYS; group++)
		if (p->mask[group] >> c->target->index & 1 && !c->given[group] && p->group[group] == group && sums_of(c, group).count)
			LOST(c->target, "target %u: no sums of key %" PRId64, c->target->index, group);
}

static void check_row(struct check *c, const void *row, size_t size, uint32_t number)
{
	const struct plan *p = &c->target->s->p;
	uint32_t t = c->target->index;
	int64_t head[4];
	if (p->with & SUMS) {
		check_sums(c, row, size);
		return;
	}
	if (size < HEAD) LOST(c->target, "target %u: a row of %zu bytes", t, size);
	memcpy(head, row, HEAD);
	if (head[2] < 0 || head[2] >= (int64_t)p->sources) LOST(c->target, "target %u: a row of source %" PRId64, t, head[2]);
	uint32_t s = (uint32_t)head[2];
	uint64_t n = (uint64_t)head[1];
	c->number[s] = c->target->s->now->number[s];
	c->last = number;
	if (c->number[s] != number + 1) LOST(c->target, "target %u: source %u is %u and %u", t, s, number, c->number[s] - 1);
	if (n < c->next[s] || n >= p->rows[s]) LOST(c->target, "target %u: row %" PRIu64 " of source %u: the next is %" PRIu64, t, n, s, c->next[s]);
	rows_until(c, s, n, "a later one");
	if (!comes(c, s)) LOST(c->target, "target %u: row %" PRIu64 " of source %u does not belong here", t, n, s);
	uint32_t whole = make_output(p, s, n, c->expected);
	if (!as_expected(p, row, size, c->expected, whole)) LOST(c->target, "target %u: row %" PRIu64 " of source %u has other bytes, or %zu of %u", t, n, s, size, whole);
	pass(c, s);
	c->rows++;
	c->target->s->now->came[t][s]++;
}

/* Every source that has sent something and is not over has pushed it or a later one, and what it pushed before was taken. */
static void check_mark(struct check *c, uint64_t mark)
{
	const struct plan *p = &c->target->s->p;
	if (c->marked && mark <= c->mark) LOST(c->target, "target %u: mark %" PRIu64 " after %" PRIu64, c->target->index, mark, c->mark);
	c->marked = true;
	c->mark = mark;
	if (p->with & SUMS) return;
	for (uint32_t s = 0; s < p->sources; s++) {
		if (!c->number[s] || lossy(c->target->s, s)) continue;
		uint64_t n = 0;
		while (n < p->rows[s] && mark_after(p, s, n) < mark) n++;
		/* where no mark of it is that high: it is over */
		rows_until(c, s, n < p->rows[s] ? n + 1 : n, "a mark");
		if (n < p->rows[s] && c->target->s->now->mark[s] < mark)
			LOST(c->target, "target %u: mark %" PRIu64 ", and source %u is at %" PRIu64, c->target->index, mark, s, c->target->s->now->mark[s]);
	}
}

static void check_end(struct check *c)
{
	const struct plan *p = &c->target->s->p;
	struct progress *now = c->target->s->now;
	if (p->with & SUMS) {
		check_all_sums(c);
		return;
	}
	for (uint32_t s = 0; s < p->sources; s++) {
		uint64_t rows = lossy(c->target->s, s) ? now->flushed[s] : rows_of(c->target, s);
		if (!rows) continue;
		c->number[s] = now->number[s]; /* it may be known to others only */
		rows_until(c, s, rows, "the end");
	}
}

/* Runs that are lent, looked at once more when they are given back. */
struct lent {
	DPI_Batch batch[DPI_LENT_MAX];
	uint64_t digest[DPI_LENT_MAX];
	size_t count;
	uint64_t bytes; /* taken since the oldest was lent: its source has none of their room before that one is given back (FL-477) */
};

static uint64_t digest_of(const DPI_Batch *b)
{
	uint64_t h = b->count;
	for (size_t i = 0; i < b->count; i++) {
		const uint8_t *row = b->record ? b->record[i].data : (const uint8_t *)b->rows + i * b->stride;
		size_t size = b->record ? b->record[i].size : b->stride;
		for (size_t k = 0; k < size; k += 7) h = h * 31 + row[k];
	}
	return h;
}

static void give_back(struct endpoint *target, struct lent *l, size_t count, DPI_Target handle)
{
	if (!count) return;
	for (size_t i = 0; i < count; i++)
		if (digest_of(&l->batch[i]) != l->digest[i]) LOST(target, "target %u: rows changed while they were lent", target->index);
	GOOD(target, DPI_Release_Batch(count, handle));
	l->count -= count;
	if (!l->count) l->bytes = 0;
	memmove(l->batch, l->batch + count, l->count * sizeof *l->batch);
	memmove(l->digest, l->digest + count, l->count * sizeof *l->digest);
}

/* Are there rows that need all of a ring? Then nothing is to be held. */
static bool fills_rings(const struct plan *p)
{
	return p->columns.large_most > 3 * p->attr.segment;
}

static int take_batch(struct check *c, struct lent *l, DPI_Target handle, uint64_t *d)
{
	if (l->count == DPI_LENT_MAX) give_back(c->target, l, 1 + draw(d, DPI_LENT_MAX), handle);
	DPI_Batch *b = &l->batch[l->count];
	int error = DPI_Next_Batch(handle, b);
	if (error) return error;
	if (b->kind == DPI_TUPLE_MARK) {
		check_mark(c, b->mark);
		return DPI_SUCCESS;
	}
	for (size_t i = 0; i < b->count; i++) {
		if (b->record) check_row(c, b->record[i].data, b->record[i].size, b->source);
		else check_row(c, (const uint8_t *)b->rows + i * b->stride, b->stride, b->source);
	}
	l->digest[l->count++] = digest_of(b);
	for (size_t k = 0; k < b->count; k++) l->bytes += b->record ? 8 + b->record[k].size : b->stride;
	/* what is lent keeps its source waiting, at four segments for good */
	if (c->target->s->p.with & ACKS || fills_rings(&c->target->s->p) || l->bytes > c->target->s->p.attr.segment || !one_in(d, 3)) give_back(c->target, l, l->count, handle);
	return DPI_SUCCESS;
}

static int take_one(struct check *c, DPI_Target handle, uint64_t *d)
{
	DPI_Tuple u;
	size_t index;
	int error;
	/* a wait gives back no row, for which its source may wait before it pushes another */
	uint64_t way = draw(d, 4);
	bool holds = fills_rings(&c->target->s->p) || c->target->s->p.attr.ack == DPI_ACK_RELEASED;
	switch (way == 1 && (c->target->loops || holds) ? 0 : way) {
	case 0:
		while ((error = DPI_Try_Next(handle, &u)) == DPI_ERR_AGAIN) rest(c->target);
		break;
	case 1:
		GOOD(c->target, DPI_Wait_Targets(&handle, 1, WAIT_US, &index));
		error = DPI_Next(handle, &u);
		break;
	case 2: error = (DPI_Next)(handle, &u); break;
	default: error = DPI_Next(handle, &u); break;
	}
	if (error) return error;
	if (u.kind == DPI_TUPLE_MARK) check_mark(c, u.mark);
	else check_row(c, u.data, u.size, u.source);
	return DPI_SUCCESS;
}

static int take_columns(struct check *c, struct lent *l, DPI_Target handle)
{
	struct ArrowArray a;
	DPI_Batch b;
	int error = DPI_Next_Arrow(handle, &b, &a, NULL);
	if (error) return error;
	if (b.kind == DPI_TUPLE_MARK) {
		check_mark(c, b.mark);
		return DPI_SUCCESS;
	}
	if (a.length != (int64_t)b.count || a.length < 1) LOST(c->target, "target %u: an array of %" PRId64 " rows in a run of %zu", c->target->index, a.length, b.count);
	for (size_t i = 0; i < b.count; i++) {
		size_t size = arrow_row(&c->target->s->p, &a, i, c->row);
		check_row(c, c->row, size, b.source);
		if (l->count) l->bytes += size;
	}
	a.release(&a);
	GOOD(c->target, DPI_Release_Batch(0, handle)); /* takes back what was released */
	if (l->bytes > c->target->s->p.attr.segment) give_back(c->target, l, l->count, handle);
	return DPI_SUCCESS;
}

/* What was taken is confirmed: of every source, or of the last row's. */
static void confirm(struct check *c, DPI_Target handle, uint64_t *d)
{
	uint64_t rows;
	if (!c->rows || one_in(d, 2)) {
		GOOD(c->target, DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, handle));
		return;
	}
	GOOD(c->target, DPI_Get_Taken(c->last, handle, &rows));
	GOOD(c->target, DPI_Ack(c->last, rows, handle));
	if (rows > 1) GOOD(c->target, DPI_Ack(c->last, rows / 2, handle)); /* changes nothing */
}

__attribute__((noinline)) static void take_all(struct endpoint *e, struct check *c, struct lent *l)
{
	struct plan *p = &e->s->p;
	uint32_t t = e->index;
	int error = DPI_SUCCESS, way = (int)draw(&e->d, 3);
	pause_us(p->target_late[t]);
	DPI_Target_Attr attr = { .size = sizeof attr, .timeout_us = e->loops ? DPI_NO_WAIT : WAIT_US };
	if ((error = DPI_Open_Target(t, &attr, e->s->flow, &e->target))) e->target = NULL;
	GOOD(e, error);
	e->s->now->target[t] = OPEN;
	while (!error) {
		if (way == 1 && one_in(&e->d, p->with & COLUMNS ? 3 : 12)) {
			error = take_columns(c, l, e->target);
		} else if (way == 0 || (way == 1 && draw(&e->d, 2))) {
			error = take_batch(c, l, e->target, &e->d);
		} else {
			give_back(e, l, l->count, e->target);
			error = take_one(c, e->target, &e->d);
		}
		if (would_wait(e, error)) {
			rest(e);
			error = DPI_SUCCESS;
			continue;
		}
		if (!error && p->attr.ack == DPI_ACK_CONFIRMED) confirm(c, e->target, &e->d);
		if (p->target_slow[t] && one_in(&e->d, 100)) pause_us(draw(&e->d, 2000));
	}
	if (error != DPI_ERR_END) stop(e, __LINE__, "it takes", error);
	check_end(c);
	DPI_Target_Stats stats = { .size = sizeof stats };
	GOOD(e, DPI_Get_Target_Stats(e->target, &stats));
	if ((p->with & SUMS ? stats.results : stats.rows - stats.sifted) != c->rows) LOST(e, "target %u: its statistics say %" PRIu64 " rows, and %" PRIu64 " came", t, stats.rows, c->rows);
	give_back(e, l, l->count, e->target);
}

static void *be_target(void *arg)
{
	struct endpoint *e = arg;
	struct check c = { .target = e, .expected = malloc(ROW_MOST), .row = malloc(ROW_MOST) };
	struct lent l = { .count = 0 };
	for (int i = 0; i < 3; i++) CHECK((c.room[i] = malloc(ROW_MOST)));
	e->row = c.expected;
	e->d = mix(e->s->p.seed + e->index + 2000);
	if (!setjmp(e->out)) take_all(e, &c, &l);
	const char *sentence = "";
	int error = e->target ? DPI_Close_Target(e->target) : DPI_SUCCESS;
	DPI_Get_Error_Detail(&sentence);
	if (error) LOST(e, "target %u is closed: error %d: %s", e->index, error, sentence);
	e->s->now->target[e->index] = OVER;
	free(e->row);
	free(c.row);
	for (int i = 0; i < 3; i++) free(c.room[i]);
	return NULL;
}

#endif
