/* SPDX-License-Identifier: Apache-2.0
 * flow_model.c: random flows against a model. Every rank draws the same plan from the seed and the scenario's number: the flow's definition,
 * who has which sources and targets, and what each does (flow_plan.h). The model is the plan: it says of each row of each source to which targets it
 * goes, so a target knows which rows must come next. A source's progress stands in shared memory, for marks and for kills.
 *
 * TEST_FIRST=N begins with scenario N, as a failure names it; flow_model_soak goes on for TEST_SOAK seconds. */
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "flow_arrow.h"

ENROL_WITH_FAULTS;

/* ------------------------------------------------------------------------------------------------------ shared memory */

struct progress { /* of one scenario */
	_Atomic uint32_t opened, killed;
	_Atomic uint64_t pushed[SOURCES], flushed[SOURCES]; /* rows */
	_Atomic uint64_t mark[SOURCES];			    /* the last, before it is pushed */
	_Atomic uint32_t number[SOURCES];		    /* what targets call it, + 1 */
	_Atomic uint64_t came[TARGETS][SOURCES];	    /* rows that a target has taken */
};

struct shared {
	_Atomic int done[RANKS]; /* scenarios */
	_Atomic int last;	 /* no scenario from here on */
	_Atomic int up, kills;	 /* processes that have begun, and were killed */
	struct progress progress[2];
};

struct scenario {
	struct plan p;
	struct progress *now;
	DPI_Flow flow;
};

struct endpoint {
	struct scenario *s;
	uint32_t index;
	pthread_t thread;
};

#define LOST(e, ...)                                                                                   \
	do {                                                                                           \
		char text[300];                                                                        \
		snprintf(text, sizeof text, __VA_ARGS__);                                              \
		FAIL("scenario %d (with %u, dist %d, %u sources, %u targets, segment %u, kills %d): %s", (e)->s->p.number, (e)->s->p.with, (e)->s->p.attr.dist, (e)->s->p.sources, (e)->s->p.targets, (e)->s->p.attr.segment, (e)->s->p.kills, text);                                       \
	} while (0)
#define GOOD(e, call)                                                                                  \
	do {                                                                                           \
		int good = (call);                                                                     \
		const char *sentence = "";                                                             \
		DPI_Get_Error_Detail(&sentence);                                                       \
		if (good) LOST(e, "%s %u: %s: %d: %s", #e, (e)->index, #call, good, sentence);         \
	} while (0)

/* ------------------------------------------------------------------------------------------------------------ sources */

static void push_one(struct endpoint *source, DPI_Source handle, uint64_t number, uint8_t *row, uint64_t *d)
{
	struct plan *p = &source->s->p;
	uint32_t size = make_row(p, source->index, number, row), target;
	int error;
	if (in_place(p, source->index, number, &target)) {
		void *room;
		for (bool again = one_in(d, 4);; again = false) {
			GOOD(source, DPI_Reserve(size, target, handle, &room));
			if (!again) break;
			memset(room, 0xee, size);
			GOOD(source, DPI_Discard(handle));
		}
		memcpy(room, row, size);
		GOOD(source, DPI_Commit(size, handle));
		return;
	}
	switch (draw(d, size > p->attr.segment / 2 ? 2 : 3)) {
	case 0: GOOD(source, DPI_Push(row, size, handle)); break;
	case 1: GOOD(source, (DPI_Push)(row, size, handle)); break;
	default:
		/* to connect to a process for the first time has a deadline of its own, which a busy machine may pass */
		while ((error = DPI_Try_Push(row, size, handle)) == DPI_ERR_AGAIN || error == DPI_ERR_TIMEOUT) harness_pause();
		GOOD(source, error);
	}
}

/* What the source has pushed to each target, and its program is to get, so far. */
static void count_targets(struct plan *p, uint32_t s, uint64_t first, uint64_t end, uint32_t number, uint64_t *robin, uint64_t to[TARGETS])
{
	uint32_t target;
	for (uint64_t n = first; n < end; n++) {
		for (uint32_t t = 0; t < p->targets; t++) to[t] += kept(p, n) && goes_to(p, s, n, number, *robin, t);
		*robin += !in_place(p, s, n, &target);
	}
}

/* All that was pushed is acknowledged, so each target has it; its program, too, where it has to. */
static void wait_acks(struct endpoint *source, uint64_t pushed, const uint64_t to[TARGETS], DPI_Source handle)
{
	struct plan *p = &source->s->p;
	uint64_t position;
	GOOD(source, DPI_Wait_Ack(pushed, handle));
	GOOD(source, DPI_Get_Source_Position(handle, &position));
	if (position != pushed) LOST(source, "source %u: its position is %" PRIu64 " after %" PRIu64 " rows", source->index, position, pushed);
	for (uint32_t t = 0; t < p->targets && p->attr.ack != DPI_ACK_RECEIVED; t++)
		if (source->s->now->came[t][source->index] < to[t])
			LOST(source, "source %u: %" PRIu64 " rows are acknowledged, and target %u has taken %" PRIu64 " of %" PRIu64, source->index, pushed, t,
			     source->s->now->came[t][source->index], to[t]);
}

/* Several at once, where rows do not vary: how many. */
static uint64_t push_batch(struct endpoint *source, DPI_Source handle, uint64_t number, uint8_t *rows, uint64_t *d)
{
	struct plan *p = &source->s->p;
	uint64_t most = 1 + draw(d, 300), n = 0;
	uint32_t target;
	size_t pushed;
	for (; n < most && number + n < p->rows[source->index] && !in_place(p, source->index, number + n, &target); n++) {
		make_row(p, source->index, number + n, rows + n * fixed_part(p));
		if (mark_after(p, source->index, number + n)) {
			n++;
			break;
		}
	}
	if (!n) return 0;
	GOOD(source, DPI_Push_Batch(rows, n, handle, &pushed));
	if (pushed != n) LOST(source, "%zu of %" PRIu64 " rows were pushed", pushed, n);
	return n;
}

/* The same as columns, also of rows that vary. */
static uint64_t push_columns(struct endpoint *source, DPI_Source handle, uint64_t number, uint8_t *row, uint64_t *d)
{
	struct plan *p = &source->s->p;
	uint64_t most = 1 + draw(d, ARROW_ROWS);
	struct arrow_rows *a = malloc(sizeof *a);
	uint32_t target, size;
	size_t pushed;
	a->rows = a->bytes = 0;
	a->offset[0] = 0;
	for (uint64_t n = number; a->rows < most && n < p->rows[source->index] && !in_place(p, source->index, n, &target); n++) {
		size = make_row(p, source->index, n, row);
		if (a->bytes + size > ARROW_BYTES) break;
		arrow_add(p, row, size, a);
		if (mark_after(p, source->index, n)) break;
	}
	uint64_t n = a->rows;
	if (n) {
		GOOD(source, arrow_push(p, a, handle, &pushed));
		if (pushed != n) LOST(source, "%zu of %" PRIu64 " rows were pushed", pushed, n);
	}
	free(a);
	return n;
}

static void *be_source(void *arg)
{
	struct endpoint *source = arg;
	struct plan *p = &source->s->p;
	struct progress *now = source->s->now;
	uint32_t s = source->index;
	uint64_t d = mix(p->seed + s + 1000), n = 0, robin = 0, to[TARGETS] = { 0 };
	uint32_t called;
	uint8_t *row = malloc(ROW_MOST);
	DPI_Source handle;
	pause_us(p->source_late[s]);
	DPI_Source_Attr attr = DPI_SOURCE_ATTR_INIT;
	attr.timeout_us = WAIT_US;
	GOOD(source, DPI_Open_Source(source->s->flow, &attr, &handle));
	GOOD(source, DPI_Get_Source_Number(handle, &called));
	now->opened++;
	while (n < p->rows[s]) {
		uint64_t more = !p->varies && one_in(&d, 8) ? push_batch(source, handle, n, row, &d) : 0;
		if (!more && one_in(&d, p->with & COLUMNS ? 4 : 32)) more = push_columns(source, handle, n, row, &d);
		if (!more) push_one(source, handle, n, row, &d), more = 1;
		count_targets(p, s, n, n + more, called, &robin, to);
		n += more;
		now->pushed[s] = n;
		uint64_t mark = mark_after(p, s, n - 1);
		if (mark) {
			now->mark[s] = mark;
			GOOD(source, DPI_Push_Mark(mark, handle));
		}
		if (one_in(&d, 100)) {
			GOOD(source, DPI_Flush_Source(handle));
			now->flushed[s] = n;
			if (p->with & ACKS) wait_acks(source, n, to, handle);
		}
		if (p->source_slow[s] && one_in(&d, 50)) pause_us(draw(&d, 2000));
	}
	if (p->with & ACKS) wait_acks(source, n, to, handle);
	GOOD(source, DPI_Close_Source(handle));
	now->flushed[s] = n;
	free(row);
	return NULL;
}

/* ------------------------------------------------------------------------------------------------------------ targets */

struct check { /* what a target knows */
	struct endpoint *target;
	uint64_t next[SOURCES], robin[SOURCES]; /* of each source: the next row, and how many before it went round robin */
	uint32_t number[SOURCES];		/* + 1 */
	uint64_t mark, rows;
	bool marked;
	uint8_t *expected;
	bool given[KEYS]; /* sums */
};

/* Does the next row of a source come here? */
static bool comes(struct check *c, uint32_t s)
{
	const struct plan *p = &c->target->s->p;
	return kept(p, c->next[s]) && goes_to(p, s, c->next[s], c->number[s] - 1, c->robin[s], c->target->index);
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

/* A key's sums: of all its rows. */
static void check_sums(struct check *c, const void *row, size_t size)
{
	const struct plan *p = &c->target->s->p;
	uint32_t t = c->target->index;
	int64_t got[3], count = 0, sum = 0;
	if (size != sizeof got) LOST(c->target, "target %u: sums of %zu bytes", t, size);
	memcpy(got, row, sizeof got);
	if (p->grouped && got[0] % 7) LOST(c->target, "target %u: %" PRId64 " is what no key becomes", t, got[0]);
	if (p->grouped) got[0] /= 7; /* see group() */
	if (got[0] < 0 || got[0] >= KEYS || c->given[got[0]]) LOST(c->target, "target %u: sums of key %" PRId64, t, got[0]);
	c->given[got[0]] = true;
	for (uint32_t s = 0; s < p->sources; s++)
		for (uint64_t n = 0; n < p->rows[s] && p->mask[got[0]] >> t & 1; n++)
			if (kept(p, n) && key_of(p, s, n) == got[0]) count++, sum += (int64_t)n;
	if (!count || got[1] != count || got[2] != sum)
		LOST(c->target, "target %u: key %" PRId64 " has %" PRId64 " rows and the sum %" PRId64 ", not %" PRId64 " and %" PRId64, t, got[0], got[1], got[2], count, sum);
	c->rows++;
}

static void check_all_sums(struct check *c)
{
	const struct plan *p = &c->target->s->p;
	for (uint32_t s = 0; s < p->sources; s++)
		for (uint64_t n = 0; n < p->rows[s]; n++) {
			int64_t key = key_of(p, s, n);
			if (kept(p, n) && p->mask[key] >> c->target->index & 1 && !c->given[key]) LOST(c->target, "target %u: no sums of key %" PRId64, c->target->index, key);
		}
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
	if (!c->number[s]) c->target->s->now->number[s] = c->number[s] = number + 1;
	if (c->number[s] != number + 1) LOST(c->target, "target %u: source %u is %u and %u", t, s, number, c->number[s] - 1);
	if (n < c->next[s] || n >= p->rows[s]) LOST(c->target, "target %u: row %" PRIu64 " of source %u: the next is %" PRIu64, t, n, s, c->next[s]);
	rows_until(c, s, n, "a later one");
	if (!comes(c, s)) LOST(c->target, "target %u: row %" PRIu64 " of source %u does not belong here", t, n, s);
	uint32_t whole = make_output(p, s, n, c->expected);
	if (size != whole || memcmp(c->expected, row, size)) LOST(c->target, "target %u: row %" PRIu64 " of source %u has other bytes, or %zu of %u", t, n, s, size, whole);
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
		if (!c->number[s] || (p->kills && p->source_rank[s] == VICTIM)) continue;
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
		uint64_t rows = p->kills && p->source_rank[s] == VICTIM ? now->flushed[s] : p->rows[s];
		if (!rows) continue;
		if (p->attr.dist == DPI_DIST_ROUND_ROBIN) { /* it may be known to others only */
			AWAIT(now->number[s]);
			c->number[s] = now->number[s];
		}
		rows_until(c, s, rows, "the end");
	}
}

/* Runs that are lent, looked at once more when they are given back. */
struct lent {
	DPI_Batch batch[DPI_LENT_MAX];
	uint64_t digest[DPI_LENT_MAX];
	size_t count;
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
	memmove(l->batch, l->batch + count, l->count * sizeof *l->batch);
	memmove(l->digest, l->digest + count, l->count * sizeof *l->digest);
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
	/* what is lent keeps its source waiting, at four segments for good */
	uint64_t bytes = 0;
	for (size_t i = 0; i < l->count; i++)
		for (size_t k = 0; k < l->batch[i].count; k++) bytes += (l->batch[i].record ? 8 + l->batch[i].record[k].size : l->batch[i].stride);
	if (c->target->s->p.with & ACKS || bytes > c->target->s->p.attr.segment || !one_in(d, 3)) give_back(c->target, l, l->count, handle);
	return DPI_SUCCESS;
}

static int take_one(struct check *c, DPI_Target handle, uint64_t *d)
{
	DPI_Tuple u;
	size_t index;
	int error;
	/* a wait gives back no row, for which its source may wait before it pushes another */
	uint64_t way = draw(d, 4);
	switch (way == 1 && c->target->s->p.attr.ack == DPI_ACK_RELEASED ? 0 : way) {
	case 0:
		while ((error = DPI_Try_Next(handle, &u)) == DPI_ERR_AGAIN) harness_pause();
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

static int take_columns(struct check *c, DPI_Target handle, uint8_t *row)
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
		size_t size = arrow_row(&c->target->s->p, &a, i, row);
		check_row(c, row, size, b.source);
	}
	a.release(&a);
	GOOD(c->target, DPI_Release_Batch(0, handle)); /* takes back what was released */
	return DPI_SUCCESS;
}

static void *be_target(void *arg)
{
	struct endpoint *target = arg;
	struct plan *p = &target->s->p;
	uint32_t t = target->index;
	uint64_t d = mix(p->seed + t + 2000);
	struct check c = { .target = target, .expected = malloc(ROW_MOST) };
	struct lent l = { .count = 0 };
	int error = DPI_SUCCESS, way = (int)draw(&d, 3);
	uint8_t *row = malloc(ROW_MOST);
	DPI_Target handle;
	pause_us(p->target_late[t]);
	DPI_Target_Attr attr = { .size = sizeof attr, .timeout_us = WAIT_US };
	GOOD(target, DPI_Open_Target(t, &attr, target->s->flow, &handle));
	while (!error) {
		if (way == 1 && one_in(&d, p->with & COLUMNS ? 3 : 12)) {
			error = take_columns(&c, handle, row);
		} else if (way == 0 || (way == 1 && draw(&d, 2))) {
			error = take_batch(&c, &l, handle, &d);
		} else {
			give_back(target, &l, l.count, handle);
			error = take_one(&c, handle, &d);
		}
		if (!error && p->attr.ack == DPI_ACK_CONFIRMED) GOOD(target, DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, handle));
		if (p->target_slow[t] && one_in(&d, 100)) pause_us(draw(&d, 2000));
	}
	const char *sentence = "";
	DPI_Get_Error_Detail(&sentence);
	if (error != DPI_ERR_END) LOST(target, "target %u: error %d: %s", t, error, sentence);
	check_end(&c);
	DPI_Target_Stats stats = { .size = sizeof stats };
	GOOD(target, DPI_Get_Target_Stats(handle, &stats));
	if ((p->with & SUMS ? stats.results : stats.rows - stats.sifted) != c.rows) LOST(target, "target %u: its statistics say %" PRIu64 " rows, and %" PRIu64 " came", t, stats.rows, c.rows);
	give_back(target, &l, l.count, handle);
	GOOD(target, DPI_Close_Target(handle));
	free(c.expected);
	free(row);
	return NULL;
}

/* ---------------------------------------------------------------------------------------------------------- scenarios */

static void kill_victim(struct scenario *s, _Atomic int *done, int scenarios)
{
	struct progress *now = s->now;
	uint64_t pushed = 0, rows = 0;
	do {
		pushed = rows = 0;
		for (uint32_t i = 0; i < s->p.sources; i++)
			if (s->p.source_rank[i] == VICTIM) pushed += now->pushed[i], rows += s->p.rows[i];
		harness_pause();
	} while (pushed < s->p.kill_at && pushed < rows);
	harness_kill(VICTIM, SIGKILL);
	AWAIT(!harness_alive(VICTIM));
	*done = scenarios;
	harness_spawn_rank(VICTIM);
}

static void play(struct shared *shared, int number, int rank, DPI_Context ctx)
{
	struct scenario s = { .p = make_plan(number), .now = &shared->progress[number % 2] };
	struct endpoint end[SOURCES + TARGETS];
	int ends = 0;
	s.flow = open_flow(&s.p, ctx);
	for (uint32_t i = 0; i < s.p.sources + s.p.targets; i++) {
		bool source = i < s.p.sources;
		uint32_t index = source ? i : i - s.p.sources;
		if ((source ? s.p.source_rank[index] : s.p.target_rank[index]) != rank) continue;
		end[ends] = (struct endpoint){ &s, index, 0 };
		if (pthread_create(&end[ends].thread, NULL, source ? be_source : be_target, &end[ends])) FAIL("pthread_create");
		ends++;
	}
	if (!s.p.declared && rank == s.p.sealer) {
		AWAIT(s.now->opened == s.p.sources);
		CHECK_DPI(DPI_Seal_Flow(s.flow));
	}
	if (s.p.kills && rank == 0) kill_victim(&s, &shared->done[VICTIM], shared->done[0] + 1), shared->kills++;
	for (int i = 0; i < ends; i++)
		if (pthread_join(end[i].thread, NULL)) FAIL("pthread_join");
	CHECK_DPI(DPI_Close_Flow(s.flow));
}

#define LEAST 100 /* scenarios, however long they take */

static void run_model(int rank, int most, double limit)
{
	struct shared *shared = harness_shared();
	DPI_Context ctx;
	double start = seconds();
	int first = number_from("TEST_FIRST", 0);
	CHECK_DPI(DPI_Register_Dist("model_dist", 1, dist, NULL));
	CHECK_DPI(DPI_Register_Group("model_group", 1, group, NULL));
	CHECK_DPI(DPI_Set_Key("model", "thirty-two bytes that are a key.", DPI_KEY_SIZE));
	CHECK_DPI(DPI_Init(&ctx));
	if (rank == 0) shared->last = most;
	shared->up++;
	for (int n = shared->done[rank]; n < most; n = shared->done[rank]) {
		for (int r = 0; r < RANKS; r++) AWAIT(shared->done[r] >= n);
		if (n >= shared->last && n) break;
		play(shared, first + n, rank, ctx);
		if (rank == 0) {
			for (int r = 1; r < RANKS; r++) AWAIT(shared->done[r] > n); /* nobody is in it any more */
			char name[32];
			snprintf(name, sizeof name, "model%d", first + n);
			CHECK_DPI(DPI_Destroy_Flow(name, ctx));
			memset(&shared->progress[(first + n + 1) % 2], 0, sizeof *shared->progress);
			if (seconds() - start > limit && n + 1 >= LEAST) shared->last = n + 1;
		}
		shared->done[rank]++;
	}
	if (rank == 0) AWAIT(shared->up == RANKS + shared->kills); /* the last to be killed needs the registry to begin */
	if (rank == 0) printf("%d scenarios in %.1f s\n", shared->done[0], seconds() - start);
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_model, "", RANKS, .deadline_s = 270)
{
	run_model(rank, 150, 15); /* seconds: on a slow machine the least do */
}

TEST(flow_model_soak, "", RANKS, .deadline_s = 1000000, .only_named = true)
{
	run_model(rank, 1 << 30, number_from("TEST_SOAK", 3600));
}
