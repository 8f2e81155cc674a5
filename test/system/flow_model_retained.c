/* SPDX-License-Identifier: Apache-2.0
 * flow_model_retained.c: random retained flows against the model of flow_plan.h. Processes with targets or sources are killed, and come again;
 * targets are bound anew while they live, sources taken over, targets that lag are detached. What a program has done it stores (store.h); who
 * comes after it goes on from there, with positions; or without, and then rows may come again, from where nothing is missing. Where a target
 * reduces, each of its windows is to be the sums of the rows that it says it has taken since the last one, and all together those of all rows.
 *
 * TEST_FIRST=N begins with scenario N, as a failure names it; flow_model_retained_soak goes on for TEST_SOAK seconds. */
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "flow_arrow.h"
#include "flow_definition.h"
#include "flow_loop.h"
#include "store.h"

ENROL_WITH_FAULTS;

#define KILLS 3
#define DETACH_US 30000

/* ---------------------------------------------------------------------------------------------------------- the fate */

enum what { CALM, TARGETS_DIE, SOURCES_DIE, BOTH_DIE, REBOUND, TAKEN_OVER, DETACHED, WHATS };

/* What happens in a scenario, beyond its plan. */
struct fate {
	enum what what;
	int kills;	       /* of the victim */
	uint64_t after[KILLS]; /* rows that it has pushed and taken since the last */
	bool positions;	       /* targets go on from what they have stored; else from what was not acknowledged */
	bool anew;	       /* sources push everything again; else from where they have stored */
	uint32_t which;	       /* target or source that is bound anew, detached, or taken over … */
	uint64_t when;	       /* … when it has taken or pushed so many rows, */
	int by;		       /* by this rank */
};

struct scenario {
	struct plan p;
	struct fate f;
	struct progress *now;
	DPI_Flow flow;
};

/* Does a stage there drop rows? */
static bool dropped_at(const struct plan *p, int place)
{
	return p->with & FILTER && p->place == place;
}

/* Do sums travel? How many of them is not known. */
static bool partial(const struct plan *p)
{
	return p->with & SUMS && p->attr.reduce == DPI_REDUCE_BOTH;
}

/* Without positions a window may come again with some of its rows, which nobody can tell from others. */
static void draw_reduction(struct plan *p, struct fate *f, uint64_t *d)
{
	DPI_Flow_Attr *a = &p->attr;
	draw_sums(p, d);
	if (f->what == SOURCES_DIE || f->what == BOTH_DIE || f->what == TAKEN_OVER) a->reduce = DPI_REDUCE_TARGET;
	a->window = a->reduce == DPI_REDUCE_TARGET && one_in(d, 3) ? DPI_WINDOW_ROWS : DPI_WINDOW_MARKS;
	a->window_rows = a->window == DPI_WINDOW_ROWS ? 1 + draw(d, 100) : 0;
	f->positions = true;
}

static void draw_definition(struct plan *p, struct fate *f, uint64_t *d)
{
	DPI_Flow_Attr *a = &p->attr;
	static const uint32_t kinds[] = { PLAIN, PLAIN, COLUMNS, FILTER, PROJECT, FILTER | PROJECT, CODECS, CODECS, CODECS | FILTER, CODECS | PROJECT,
					  COLUMNS | FILTER, COLUMNS | CODECS, COLUMNS | CODECS, COLUMNS | CODECS | FILTER | PROJECT,
					  SUMS, SUMS, SUMS | FILTER, SUMS | CODECS, COLUMNS | SUMS, COLUMNS | SUMS | FILTER | CODECS };
	uint32_t kind = kinds[draw(d, sizeof kinds / sizeof *kinds)];
	p->with = RETAINED | (f->what == DETACHED ? PLAIN : kind); /* what lags is full when so many rows lie there */
	p->codecs = p->with & CODECS ? draw_codecs(d, p->codec) : 0;
	p->place = (int)draw(d, 2);
	p->kills = false;
	p->sealer = 0;
	a->reduce = a->ack = a->ack_up_to = 0;
	a->layout = p->with & COLUMNS ? DPI_LAYOUT_COLUMNS : DPI_LAYOUT_ROWS;
	if (p->with & SUMS) draw_reduction(p, f, d);
	if (p->with & (COLUMNS | SUMS) && a->segment < 4096) a->segment = 4096;
	if (p->with & (FILTER | PROJECT) && p->place == DPI_AT_SOURCE && a->dist == DPI_DIST_ROUND_ROBIN) f->anew = true; /* whose turn it was is not known */
	a->on_death = (int)draw(d, 2);
	a->retain = f->what == DETACHED && one_in(d, 3) ? 0 : one_in(d, 2) ? DPI_ACK_RELEASED : DPI_ACK_CONFIRMED;
	if (a->retain) a->resume_us = 120000000;
	if (f->what != DETACHED && !(p->with & SUMS) && one_in(d, 2)) a->ack = a->retain, a->ack_up_to = 1, a->ack_column = "number";
	p->declared = f->what == DETACHED || one_in(d, 2);
	if (f->what == DETACHED) {
		static const uint32_t segments[] = { 512, 1000, 2048 };
		a->dist = DPI_DIST_BROADCAST;
		a->targets = p->targets = 2 + (uint32_t)draw(d, TARGETS - 1);
		a->segment = segments[draw(d, 3)];
		a->detach_us = DETACH_US;
		if (p->sources > 2) p->sources = 2;
	}
	a->sources = p->declared ? p->sources : 0;
	uint64_t ring = 4096, window = p->with & SUMS ? 64 * (uint64_t)a->segment + 65536 : 0;
	while (ring < (f->what == DETACHED ? 5 : 16) * (uint64_t)a->segment + 1024 + window) ring *= 2;
	a->memory = p->declared ? ring * p->sources << (f->what == DETACHED ? 0 : draw(d, 4)) : 0;
	if (p->with & SUMS) a->memory *= 4; /* a source that comes late may have most of its rows before a mark that ends a window */
}

static struct plan make_retained(int number, struct fate *f)
{
	struct plan p = make_plan(number);
	uint64_t d = mix(p.seed + 5);
	*f = (struct fate){ .what = (enum what)draw(&d, WHATS), .positions = one_in(&d, 2), .anew = one_in(&d, 2) };
	draw_definition(&p, f, &d);
	draw_keys(&p, &d);
	limit_large(&p, 3 * (uint64_t)p.attr.segment);
	bool sources_die = f->what == SOURCES_DIE || f->what == BOTH_DIE, targets_die = f->what == TARGETS_DIE || f->what == BOTH_DIE;
	f->anew |= targets_die; /* what it had flushed may have gone with the target */
	f->kills = sources_die || targets_die ? 1 + (int)draw(&d, KILLS) : 0;
	/* a source's rings wait for the marks of others, and there is memory for two of each source */
	if (p.with & SUMS && p.declared && sources_die) f->kills = 1;
	for (int i = 0; i < KILLS; i++) f->after[i] = draw(&d, 400);
	f->which = (uint32_t)draw(&d, f->what == TAKEN_OVER ? p.sources : p.targets);
	f->when = 1 + draw(&d, 300);
	for (uint32_t i = 0; i < p.targets; i++) {
		p.target_rank[i] = targets_die && !i ? VICTIM : (int)draw(&d, sources_die && !targets_die ? RANKS - 1 : RANKS);
		p.target_slow[i] |= p.target_rank[i] == VICTIM;
	}
	for (uint32_t i = 0; i < p.sources; i++) {
		p.source_rank[i] = sources_die && !i ? VICTIM : (int)draw(&d, targets_die && !sources_die ? RANKS - 1 : RANKS);
		p.source_slow[i] |= p.source_rank[i] == VICTIM;
		if (f->what == DETACHED) p.rows[i] = 1500 + draw(&d, 1000);
	}
	f->by = (int)draw(&d, RANKS);
	return p;
}

/* Can a source be lost? */
static bool has_id(const struct scenario *s, uint32_t source)
{
	if (!s->p.attr.retain || partial(&s->p)) return false;
	return source % 2 || (s->f.what == TAKEN_OVER && source == s->f.which) || (s->f.kills && s->p.source_rank[source] == VICTIM);
}

/* ------------------------------------------------------------------------------------------------------ shared memory */

struct progress { /* of one scenario */
	_Atomic int killed;
	_Atomic uint32_t detached;	      /* targets that were told so */
	_Atomic uint64_t steps;		      /* rows that the victim has pushed and taken */
	_Atomic int idle;		      /* it has nothing more to do */
	_Atomic int opened[SOURCES];	      /* once */
	_Atomic uint32_t number[SOURCES];     /* what targets call it, + 1 */
	_Atomic uint64_t pushed[SOURCES];     /* by the life that has pushed most */
	_Atomic uint64_t mark[SOURCES];	      /* the last, before it is pushed; likewise */
	_Atomic int source_over[SOURCES], target_over[TARGETS];
	struct store source[SOURCES], target[TARGETS];
};

struct shared {
	_Atomic int done[RANKS]; /* scenarios */
	_Atomic int last;	 /* no scenario from here on */
	struct progress progress[2];
};
_Static_assert(sizeof(struct shared) <= HARNESS_SHARED && SOURCES <= PLACES && TARGETS <= PLACES, "it fits");

struct endpoint {
	struct scenario *s;
	uint32_t index;
	int rank;
	bool second; /* it takes the place of another that lives */
	pthread_t thread;
};

static void raise_to(_Atomic uint64_t *what, uint64_t to)
{
	uint64_t is = *what;
	while (is < to && !atomic_compare_exchange_weak(what, &is, to)) {}
}

#define LOST(e, ...)                                                                                   \
	do {                                                                                           \
		char text[400], columns[200];                                                                        \
		snprintf(text, sizeof text, __VA_ARGS__);                                              \
		FAIL("scenario %d (what %d, with %#x, place %d, retain %d, ack %d, dist %d, %u sources, %u targets, segment %u, memory %" PRIu64 ", varies %d, positions %d, anew %d, kills %d, reduce %d, window %d of %" PRIu64 ", columns %s): %s", \
		     (e)->s->p.number, (e)->s->f.what, (e)->s->p.with, (e)->s->p.place, (e)->s->p.attr.retain, (e)->s->p.attr.ack, (e)->s->p.attr.dist, (e)->s->p.sources, (e)->s->p.targets,                    \
		     (e)->s->p.attr.segment, (e)->s->p.attr.memory, (e)->s->p.columns.varies, (e)->s->f.positions, (e)->s->f.anew, (e)->s->f.kills, (e)->s->p.attr.reduce, (e)->s->p.attr.window, (e)->s->p.attr.window_rows, columns_text(&(e)->s->p.columns, columns), text);                             \
	} while (0)
static void good(struct endpoint *e, int error, const char *call)
{
	const char *sentence = "";
	if (!error) return;
	DPI_Get_Error_Detail(&sentence);
	LOST(e, "rank %d, endpoint %u%s: %s: %d: %s", e->rank, e->index, e->second ? ", the second" : "", call, error, sentence);
}
#define GOOD(e, call) good(e, call, #call)

static void step(struct endpoint *e)
{
	if (e->rank == VICTIM) e->s->now->steps++;
}

/* ------------------------------------------------------------------------------------------------------------ sources */

struct pusher {
	struct endpoint *e;
	DPI_Source handle;
	uint64_t n, d, to[PLACES]; /* rows pushed, and those that travel to each target */
	uint64_t until[PLACES];	   /* of these, up to the last that comes out of it */
	uint32_t number, life;
	uint8_t *row;
	bool loops; /* it sleeps on its descriptor */
	int fd;
};

/* Fenced, where it may be: the end of this life. */
static bool fenced(struct pusher *u, int error, const char *call)
{
	if (error == DPI_ERR_FENCED && u->e->s->now->source[u->e->index].now >> 32 != u->life) return true;
	good(u->e, error, call);
	return false;
}
#define TRY(u, call)                                                                                   \
	do {                                                                                           \
		if (fenced(u, call, #call)) return false;                                              \
	} while (0)

/* A row on its way between the stages of source and target. */
static bool travels(const struct plan *p, uint32_t source, uint64_t row, uint32_t number, uint32_t target)
{
	return goes_to(p, source, row, number, row, target) && (kept(p, source, row) || dropped_at(p, DPI_AT_TARGET));
}

/* There was no room: false: it is fenced. */
static bool rest_source(struct pusher *u)
{
	struct turn turn = { .loop = NULL };
	int ready = 0;
	if (u->loops && u->fd < 0) TRY(u, DPI_Get_Source_Descriptor(u->handle, &u->fd));
	if (u->loops) TRY(u, DPI_Arm_Source(u->handle, &ready));
	if (!u->loops || ready) turn_pause(&turn);
	else if (!turn_sleep(&turn, u->fd)) LOST(u->e, "rank %d, source %u slept through what it waited for", u->e->rank, u->e->index);
	return true;
}

/* Several at once, as rows where these do not vary, or as columns. pushed: out. */
static bool push_several(struct pusher *u, uint64_t *pushed)
{
	struct plan *p = &u->e->s->p;
	const struct columns *c = &p->columns;
	uint64_t most = 1 + draw(&u->d, ARROW_ROWS);
	bool rows = !c->varies && one_in(&u->d, 2);
	struct arrow_rows *a = arrow_new(c, &u->d);
	uint32_t s = u->e->index, target;
	size_t n = 0, done = 0;
	int error = DPI_SUCCESS;
	while (n < most && u->n + n < p->rows[s] && !in_place(p, s, u->n + n, &target)) {
		uint8_t *at = u->row + (rows ? n * c->fixed : 0);
		uint32_t size = make_row(p, s, u->n + n, at);
		if (!rows && !arrow_add(c, at, size, a)) break;
		if (mark_after(p, s, u->n + n++)) break;
	}
	if (n) error = rows ? DPI_Push_Batch(u->row, n, u->handle, &done) : arrow_push(c, a, u->handle, &done);
	arrow_free(c, a);
	*pushed = done;
	TRY(u, error);
	if (done != n) LOST(u->e, "source %u: %zu of %zu rows were pushed", s, done, n);
	return true;
}

static bool push_one(struct pusher *u)
{
	struct plan *p = &u->e->s->p;
	uint32_t size = make_row(p, u->e->index, u->n, u->row), target;
	int error;
	if (in_place(p, u->e->index, u->n, &target)) {
		void *room;
		error = DPI_Reserve(size, target, u->handle, &room);
		if (error == DPI_ERR_PEER && u->e->s->f.what == DETACHED) { /* there is no room at a target that is detached */
			u->to[target]--;
			return true;
		}
		TRY(u, error);
		memcpy(room, u->row, size);
		TRY(u, DPI_Commit(size, u->handle));
		return true;
	}
	if (size > p->attr.segment / 2 || one_in(&u->d, 2)) {
		TRY(u, DPI_Push(u->row, size, u->handle));
		return true;
	}
	while ((error = DPI_Try_Push(u->row, size, u->handle)) == DPI_ERR_AGAIN || error == DPI_ERR_TIMEOUT)
		if (!rest_source(u)) return false;
	TRY(u, error);
	return true;
}

/* Everything pushed is acknowledged, so each target's program has stored it. */
static bool wait_acks(struct pusher *u)
{
	struct scenario *s = u->e->s;
	struct state stored;
	if (!s->p.attr.ack || !u->n) return true;
	TRY(u, DPI_Wait_Ack(u->n - 1, u->handle));
	for (uint32_t t = 0; t < s->p.targets; t++) {
		store_read(&s->now->target[t], &stored);
		if (stored.count[u->e->index] < u->until[t])
			LOST(u->e, "source %u: row %" PRIu64 " is acknowledged, and target %u has stored %" PRIu64 " of %" PRIu64, u->e->index, u->n - 1, t,
			     stored.count[u->e->index], u->until[t]);
	}
	return true;
}

static bool flush(struct pusher *u)
{
	struct scenario *s = u->e->s;
	struct state state = { .next = { u->n } };
	TRY(u, DPI_Flush_Source(u->handle));
	TRY(u, DPI_Get_Source_Rows(u->handle, state.count));
	for (uint32_t t = 0; t < s->p.targets; t++)
		if (s->f.what != DETACHED && !partial(&s->p) && state.count[t] != u->to[t])
			LOST(u->e, "source %u: %" PRIu64 " rows pushed to target %u, not %" PRIu64, u->e->index, state.count[t], t, u->to[t]);
	if (!store_write(&s->now->source[u->e->index], u->life, &state)) return true; /* the next call is fenced, or the one that follows */
	return wait_acks(u);
}

static bool push_all(struct pusher *u)
{
	struct plan *p = &u->e->s->p;
	struct progress *now = u->e->s->now;
	uint32_t s = u->e->index;
	while (u->n < p->rows[s]) {
		uint64_t more = 0;
		if (one_in(&u->d, p->with & COLUMNS ? 4 : 32) && !push_several(u, &more)) return false;
		if (!more && !push_one(u)) return false;
		for (uint64_t end = u->n + (more ? more : 1); u->n < end; u->n++) {
			for (uint32_t t = 0; t < p->targets; t++) {
				u->to[t] += travels(p, s, u->n, u->number, t);
				if (kept(p, s, u->n) && travels(p, s, u->n, u->number, t)) u->until[t] = u->to[t];
			}
			step(u->e);
		}
		raise_to(&now->pushed[s], u->n);
		uint64_t mark = mark_after(p, s, u->n - 1);
		if (mark) {
			raise_to(&now->mark[s], mark);
			TRY(u, DPI_Push_Mark(mark, u->handle));
		}
		if (one_in(&u->d, 100) && !flush(u)) return false;
		if (p->source_slow[s] && one_in(&u->d, 50)) pause_us(draw(&u->d, 2000));
	}
	return wait_acks(u);
}

/* False: the source was closed before. */
static bool open_source(struct pusher *u, const struct state *stored)
{
	struct scenario *s = u->e->s;
	DPI_Source_Attr a = DPI_SOURCE_ATTR_INIT;
	uint32_t called;
	a.timeout_us = WAIT_US;
	a.id = has_id(s, u->e->index) ? 100 + u->e->index : 0;
	a.rows = a.id && !s->f.anew ? stored->count : NULL;
	a.takeover = a.id && (u->e->second || (u->life > 1 && one_in(&u->d, 2)));
	for (;;) {
		const char *sentence = "";
		int error = DPI_Open_Source(s->flow, &a, &u->handle);
		DPI_Get_Error_Detail(&sentence);
		if (error == DPI_ERR_EXISTS && strstr(sentence, "was closed")) return false;
		if (error != DPI_ERR_EXISTS || u->life == 1) GOOD(u->e, error);
		if (!error) break;
		harness_pause();
	}
	GOOD(u->e, DPI_Get_Source_Number(u->handle, &called));
	uint32_t before = atomic_exchange(&s->now->number[u->e->index], called + 1);
	if (before && before != called + 1) LOST(u->e, "source %u was number %u, and resumed is %u", u->e->index, before - 1, called);
	u->number = called;
	s->now->opened[u->e->index] = 1;
	return true;
}

static void check_counts(struct pusher *u)
{
	uint64_t all = 0;
	DPI_Source_Stats stats = { .size = sizeof stats };
	if (u->life > 1 || partial(&u->e->s->p)) return;
	GOOD(u->e, DPI_Get_Source_Stats(u->handle, &stats));
	for (uint32_t t = 0; t < u->e->s->p.targets; t++) all += u->to[t];
	if (stats.rows + stats.dropped != all || (stats.dropped && u->e->s->f.what != DETACHED))
		LOST(u->e, "source %u: its statistics say %" PRIu64 " rows and %" PRIu64 " dropped, of %" PRIu64, u->e->index, stats.rows, stats.dropped, all);
}

static void *be_source(void *arg)
{
	struct endpoint *e = arg;
	struct scenario *s = e->s;
	struct progress *now = s->now;
	struct state stored;
	if (e->second) AWAIT(now->source_over[e->index] || now->pushed[e->index] >= s->f.when);
	if (now->source_over[e->index]) return NULL;
	struct pusher u = { .e = e, .fd = -1 };
	pause_us(e->second ? 0 : s->p.source_late[e->index]);
	u.life = store_claim(&now->source[e->index], &stored);
	u.d = mix(s->p.seed + e->index + 1000 + u.life * 77);
	u.loops = one_in(&u.d, 2);
	if (s->f.anew) memset(&stored, 0, sizeof stored);
	u.n = stored.next[0];
	memcpy(u.to, stored.count, sizeof u.to);
	if (!open_source(&u, &stored)) {
		now->source_over[e->index] = 1;
		return NULL;
	}
	u.row = malloc(ROW_MOST);
	if (push_all(&u)) check_counts(&u);
	bool over = !fenced(&u, DPI_Close_Source(u.handle), "DPI_Close_Source");
	if (over) now->source_over[e->index] = 1;
	free(u.row);
	return NULL;
}

/* ------------------------------------------------------------------------------------------------------------ targets */

struct taker {
	struct endpoint *e;
	DPI_Target handle;
	struct state at;	/* of each source: the next row, and how many came */
	struct state most;	/* what was acknowledged before lies below it */
	bool fresh[SOURCES];	/* nothing came yet: rows may come again */
	uint32_t number[SOURCES]; /* + 1 */
	uint32_t life;
	uint64_t d, mark, rows;
	bool marked, behind; /* behind: there is something to confirm */
	uint64_t begin[SOURCES]; /* the next row when the target was bound */
	bool begun;		 /* something had come before */
	bool loops;		 /* it sleeps on its descriptor */
	int fd;
	bool last;	     /* of windows of rows: one that was not full has come */
	int64_t n[KEYS], sum[KEYS]; /* results since the last window */
	uint8_t *expected, *row;
};

/* The next row of a source: does it travel here, and does it come out? */
static bool counts(struct taker *k, uint32_t s)
{
	return travels(&k->e->s->p, s, k->at.next[s], k->number[s] - 1, k->e->index);
}

static bool comes(struct taker *k, uint32_t s)
{
	return counts(k, s) && kept(&k->e->s->p, s, k->at.next[s]);
}

static void rows_until(struct taker *k, uint32_t s, uint64_t number, const char *when)
{
	for (; k->at.next[s] < number; k->at.next[s]++) {
		if (comes(k, s)) LOST(k->e, "target %u: row %" PRIu64 " of source %u did not come before %s", k->e->index, k->at.next[s], s, when);
		k->at.count[s] += counts(k, s);
	}
}

/* The first row of a source since the target was bound, where no position was handed in: not behind what was stored. */
static void begin_again(struct taker *k, uint32_t s, uint64_t number)
{
	if (k->fresh[s] && !k->e->s->f.positions && number < k->at.next[s])
		while (k->at.next[s] > number) k->at.next[s]--, k->at.count[s] -= counts(k, s);
	k->fresh[s] = false;
}

static void check_row(struct taker *k, const void *row, size_t size, uint32_t number)
{
	const struct plan *p = &k->e->s->p;
	uint32_t t = k->e->index;
	int64_t head[4];
	if (size < HEAD) LOST(k->e, "target %u: a row of %zu bytes", t, size);
	memcpy(head, row, HEAD);
	if (head[2] < 0 || head[2] >= (int64_t)p->sources) LOST(k->e, "target %u: a row of source %" PRId64, t, head[2]);
	uint32_t s = (uint32_t)head[2];
	uint64_t n = (uint64_t)head[1];
	if (!k->number[s]) k->number[s] = number + 1;
	if (k->number[s] != number + 1) LOST(k->e, "target %u: source %u is %u and %u", t, s, number, k->number[s] - 1);
	begin_again(k, s, n);
	if (n < k->at.next[s] || n >= p->rows[s]) LOST(k->e, "target %u: row %" PRIu64 " of source %u: the next is %" PRIu64, t, n, s, k->at.next[s]);
	rows_until(k, s, n, "a later one");
	if (!comes(k, s)) LOST(k->e, "target %u: row %" PRIu64 " of source %u does not belong here", t, n, s);
	uint32_t whole = make_output(p, s, n, k->expected);
	if (!as_expected(p, row, size, k->expected, whole)) LOST(k->e, "target %u: row %" PRIu64 " of source %u has other bytes, or %zu of %u", t, n, s, size, whole);
	k->at.next[s]++;
	k->at.count[s]++;
	k->rows++;
	step(k->e);
}

/* Rows and their sum, of a key; of several keys these add up. */
static uint64_t weight(int64_t key, int64_t n, int64_t sum)
{
	return mix((uint64_t)key) * (uint64_t)n + mix((uint64_t)key + KEYS) * (uint64_t)sum;
}

/* Of the rows of a source that come here, those before its first mark that is not below this one, and those taken before the target was bound. */
static uint64_t weight_until(struct taker *k, uint32_t s, uint64_t mark)
{
	const struct plan *p = &k->e->s->p;
	uint64_t weighs = 0;
	for (uint64_t n = 0; n < p->rows[s] && (n < k->begin[s] || !n || mark_after(p, s, n - 1) < mark); n++)
		if (travels(p, s, n, 0, k->e->index)) weighs += weight(p->group[key_of(p, s, n)], 1, (int64_t)n);
	return weighs;
}

static void check_result(struct taker *k, const void *row, size_t size)
{
	int64_t got[2], key = group_of(&k->e->s->p, row, size, got);
	if (key < 0 || k->n[key] || got[0] <= 0) LOST(k->e, "target %u: %" PRId64 " rows of group %" PRId64 ", in %zu bytes", k->e->index, got[0], key, size);
	k->n[key] = got[0];
	k->sum[key] = got[1];
	k->rows++;
	step(k->e);
}

/* The results since the last window are those of the rows that were taken since. */
static void check_sums(struct taker *k, const int64_t n[KEYS], const int64_t sum[KEYS])
{
	for (int64_t key = 0; key < KEYS; key++) {
		if (k->n[key] != n[key] || k->sum[key] != sum[key])
			LOST(k->e, "target %u, life %u: key %" PRId64 " has %" PRId64 " rows and the sum %" PRId64 ", not %" PRId64 " and %" PRId64, k->e->index, k->life, key, k->n[key],
			     k->sum[key], n[key], sum[key]);
	}
}

/* Is a window at its end? Then positions have moved. */
static bool check_window(struct taker *k)
{
	const struct plan *p = &k->e->s->p;
	int64_t n[KEYS] = { 0 }, sum[KEYS] = { 0 };
	uint64_t rows = 0;
	for (uint32_t s = 0; s < p->sources; s++) {
		uint64_t taken;
		if (!(k->number[s] = k->e->s->now->number[s])) continue;
		GOOD(k->e, DPI_Get_Taken(k->number[s] - 1, k->handle, &taken));
		if (taken < k->at.count[s]) LOST(k->e, "target %u: %" PRIu64 " rows of source %u are taken, after %" PRIu64, k->e->index, taken, s, k->at.count[s]);
		rows += taken - k->at.count[s];
		if (partial(p)) k->at.count[s] = taken;
		for (; k->at.count[s] < taken; k->at.next[s]++) {
			if (k->at.next[s] == p->rows[s]) LOST(k->e, "target %u: %" PRIu64 " rows of source %u are taken", k->e->index, taken, s);
			if (!counts(k, s)) continue;
			int64_t key = p->group[key_of(p, s, k->at.next[s])];
			k->at.count[s]++;
			n[key]++;
			sum[key] += (int64_t)k->at.next[s];
		}
	}
	if (!rows) return false;
	if (!partial(p)) check_sums(k, n, sum);
	if (p->attr.window == DPI_WINDOW_ROWS && (k->last || rows > p->attr.window_rows)) LOST(k->e, "target %u: a window of %" PRIu64 " rows, behind the last %d", k->e->index, rows, k->last);
	k->last = rows < p->attr.window_rows;
	for (int64_t key = 0; key < KEYS; key++) k->at.sums += weight(key, k->n[key], k->sum[key]);
	memset(k->n, 0, sizeof k->n);
	memset(k->sum, 0, sizeof k->sum);
	return true;
}

/* What was taken is what the sources that have sent something pushed before it. Of sums that were taken before the target was bound nobody knows
 * what marks they lie behind. */
static void check_mark_of_sums(struct taker *k, uint64_t mark)
{
	const struct plan *p = &k->e->s->p;
	uint64_t weighs = 0;
	if ((k->begun && partial(p)) || p->attr.window == DPI_WINDOW_ROWS) return;
	for (uint32_t s = 0; s < p->sources; s++)
		if (k->at.count[s]) weighs += weight_until(k, s, mark);
	if (k->at.sums != weighs) LOST(k->e, "target %u, life %u: at mark %" PRIu64 " it has other sums", k->e->index, k->life, mark);
}

/* Every source that has sent something and is not over has pushed it or a later one, and what it pushed before was taken. */
static void check_mark(struct taker *k, uint64_t mark)
{
	const struct plan *p = &k->e->s->p;
	if (k->marked && mark <= k->mark) LOST(k->e, "target %u: mark %" PRIu64 " after %" PRIu64, k->e->index, mark, k->mark);
	k->marked = true;
	k->mark = mark;
	if (p->with & SUMS) {
		check_mark_of_sums(k, mark);
		return;
	}
	for (uint32_t s = 0; s < p->sources; s++) {
		if (!k->number[s]) continue;
		uint64_t n = 0;
		while (n < p->rows[s] && mark_after(p, s, n) < mark) n++;
		rows_until(k, s, n < p->rows[s] ? n + 1 : n, "a mark"); /* where no mark of it is that high: it is over */
		if (n < p->rows[s] && k->e->s->now->mark[s] < mark)
			LOST(k->e, "target %u: mark %" PRIu64 ", and source %u is at %" PRIu64, k->e->index, mark, s, k->e->s->now->mark[s]);
	}
}

static void check_end(struct taker *k)
{
	struct scenario *s = k->e->s;
	uint64_t weighs = 0;
	for (uint32_t i = 0; s->p.with & SUMS && i < s->p.sources; i++) weighs += weight_until(k, i, UINT64_MAX);
	if (k->at.sums != weighs) LOST(k->e, "target %u, life %u: at the end it has other sums", k->e->index, k->life);
	for (uint32_t i = 0; i < s->p.sources; i++) {
		if (!s->p.rows[i]) continue;
		AWAIT(s->now->number[i]);
		k->number[i] = s->now->number[i];
		if (!partial(&s->p)) rows_until(k, i, s->p.rows[i], "the end");
	}
}

/* What came is stored before it is acknowledged. False: somebody else has the target. */
static bool store(struct taker *k)
{
	for (uint32_t s = 0; s < k->e->s->p.sources; s++) {
		if (k->at.next[s] > k->most.next[s]) k->most.next[s] = k->at.next[s];
		if (k->at.count[s] > k->most.count[s]) k->most.count[s] = k->at.count[s];
	}
	k->most.sums = k->at.sums;
	return store_write(&k->e->s->now->target[k->e->index], k->life, &k->most);
}

/* What was taken is stored, and confirmed. */
static int confirm(struct taker *k)
{
	k->behind = false;
	return store(k) ? DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, k->handle) : DPI_ERR_FENCED;
}

/* a: the same rows as columns, or NULL. True: it can be stored. */
static bool check(struct taker *k, const DPI_Batch *b, const struct ArrowArray *a)
{
	bool sums = k->e->s->p.with & SUMS;
	for (size_t i = 0; b->kind == DPI_TUPLE_ROW && i < b->count; i++) {
		const void *row = a ? k->row : b->record ? b->record[i].data : (const uint8_t *)b->rows + i * b->stride;
		size_t size = a ? arrow_row(&k->e->s->p, a, i, k->row) : b->record ? b->record[i].size : b->stride;
		if (sums) check_result(k, row, size);
		else check_row(k, row, size, b->source);
	}
	bool window = !sums || check_window(k);
	if (b->kind == DPI_TUPLE_MARK) check_mark(k, b->mark);
	return window;
}

static void rest_target(struct taker *k)
{
	struct turn turn = { .loop = NULL };
	int ready = 0;
	if (k->loops && k->fd < 0) GOOD(k->e, DPI_Get_Target_Descriptor(k->handle, &k->fd));
	if (k->loops) GOOD(k->e, DPI_Arm_Target(k->handle, &ready));
	if (!k->loops || ready) turn_pause(&turn);
	else if (!turn_sleep(&turn, k->fd)) LOST(k->e, "rank %d, target %u slept through what it waited for", k->e->rank, k->e->index);
}

/* A row, a run or a mark: DPI_ERR_FENCED when it cannot be stored. */
static int take(struct taker *k)
{
	struct plan *p = &k->e->s->p;
	int error;
	bool released = p->attr.retain == DPI_ACK_RELEASED, some;
	if (!k->behind && one_in(&k->d, p->with & COLUMNS ? 3 : 12)) {
		DPI_Batch b;
		struct ArrowArray a;
		error = DPI_Next_Arrow(k->handle, &b, &a, NULL);
		if (error) return error;
		some = check(k, &b, &a);
		if (released && some && !store(k)) error = DPI_ERR_FENCED;
		if (b.kind == DPI_TUPLE_ROW) a.release(&a);
		if (error) return error;
		GOOD(k->e, DPI_Release_Batch(0, k->handle)); /* takes back what was released */
	} else if (!k->behind && one_in(&k->d, 2)) {
		DPI_Batch b;
		error = DPI_Next_Batch(k->handle, &b);
		if (error) return error;
		some = check(k, &b, NULL);
		if (released && some && !store(k)) return DPI_ERR_FENCED;
		if (b.kind == DPI_TUPLE_ROW) GOOD(k->e, DPI_Release_Batch(1, k->handle));
	} else {
		DPI_Tuple u;
		bool waits = !k->behind && !k->loops && one_in(&k->d, 2);
		while ((error = waits ? DPI_Next(k->handle, &u) : DPI_Try_Next(k->handle, &u)) == DPI_ERR_AGAIN) {
			if (k->behind && (error = confirm(k))) return error; /* a source may wait for it */
			rest_target(k);
		}
		if (error) return error;
		DPI_Batch b = { .kind = u.kind, .mark = u.mark, .source = u.source, .rows = u.data, .count = 1, .stride = u.size };
		some = check(k, &b, NULL);
		if (released && some && !store(k)) return DPI_ERR_FENCED;
	}
	if (p->attr.retain != DPI_ACK_CONFIRMED || !some) return DPI_SUCCESS;
	k->behind = true;
	return one_in(&k->d, 4) ? confirm(k) : DPI_SUCCESS;
}

/* One that is to be detached stops until some target is. */
static void lag(struct taker *k)
{
	DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
	while (!info.detached) {
		harness_pause();
		GOOD(k->e, DPI_Get_Flow_Info(k->e->s->flow, &info));
	}
}

/* Its calls say that it has the target no more: is that so? */
static void check_fenced(struct taker *k)
{
	struct scenario *s = k->e->s;
	DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
	if (s->now->target[k->e->index].now >> 32 != k->life) return;
	GOOD(k->e, DPI_Get_Flow_Info(s->flow, &info));
	if (s->f.what != DETACHED || !info.detached) LOST(k->e, "target %u: it is fenced, and nobody has it", k->e->index);
	s->now->detached++;
}

/* False: it is over. */
static bool open_target(struct taker *k)
{
	struct scenario *s = k->e->s;
	DPI_Target_Attr a = { .size = sizeof a, .timeout_us = WAIT_US };
	DPI_Position position[SOURCES];
	uint32_t t = k->e->index;
	bool anew = k->life > 1;
	a.rebind = anew || (s->p.attr.retain && one_in(&k->d, 2));
	for (uint32_t i = 0; anew && s->f.positions && i < s->p.sources; i++)
		if (s->now->number[i] && k->at.count[i]) position[a.positions++] = (DPI_Position){ s->now->number[i] - 1, k->at.count[i] };
	if (a.positions) a.position = position;
	for (uint32_t i = 0; i < s->p.sources; i++) {
		k->fresh[i] = true;
		if (k->at.count[i]) k->number[i] = s->now->number[i];
		k->begin[i] = k->at.next[i];
		k->begun |= k->at.count[i];
	}
	int error = DPI_Open_Target(t, &a, s->flow, &k->handle);
	if (error == DPI_ERR_EXISTS && anew && s->now->target_over[t]) return false;
	GOOD(k->e, error);
	return true;
}

static void *be_target(void *arg)
{
	struct endpoint *e = arg;
	struct scenario *s = e->s;
	struct state stored;
	uint32_t t = e->index;
	if (e->second) {
		for (uint64_t rows = 0; !s->now->target_over[t] && rows < s->f.when; harness_pause()) {
			store_read(&s->now->target[t], &stored);
			rows = 0;
			for (uint32_t i = 0; i < s->p.sources; i++) rows += stored.count[i];
		}
		AWAIT(s->now->target_over[t] || s->now->target[t].now >> 32);
	}
	if (s->now->target_over[t]) return NULL;
	pause_us(e->second ? 0 : s->p.target_late[t]);
	struct taker k = { .e = e, .expected = malloc(ROW_MOST), .row = malloc(ROW_MOST), .fd = -1 };
	k.life = store_claim(&s->now->target[t], &k.at);
	k.most = k.at;
	k.d = mix(s->p.seed + t + 2000 + k.life * 77);
	k.loops = one_in(&k.d, 2);
	int error = open_target(&k) ? DPI_SUCCESS : DPI_ERR_EXISTS;
	bool lags = s->f.what == DETACHED && t == s->f.which;
	while (!error) {
		if (lags && k.rows >= s->f.when) {
			lags = false;
			lag(&k);
		}
		error = take(&k);
		if (s->p.target_slow[t] && one_in(&k.d, 100)) pause_us(draw(&k.d, 2000));
	}
	const char *sentence = "";
	DPI_Get_Error_Detail(&sentence);
	if (error == DPI_ERR_END) {
		check_end(&k);
		DPI_Target_Stats stats = { .size = sizeof stats };
		GOOD(e, DPI_Get_Target_Stats(k.handle, &stats));
		if (s->p.with & SUMS) stats.rows = stats.results;
		if (stats.rows != k.rows && !dropped_at(&s->p, DPI_AT_TARGET)) LOST(e, "target %u: its statistics say %" PRIu64 " rows, and %" PRIu64 " came", t, stats.rows, k.rows);
		s->now->target_over[t] = 1;
	} else if (error == DPI_ERR_FENCED) {
		check_fenced(&k);
	} else if (error != DPI_ERR_EXISTS) {
		LOST(e, "rank %d, target %u%s, life %u: error %d: %s", e->rank, t, e->second ? ", the second" : "", k.life, error, sentence);
	}
	if (error != DPI_ERR_EXISTS) GOOD(e, DPI_Close_Target(k.handle));
	free(k.expected);
	free(k.row);
	return NULL;
}

/* ---------------------------------------------------------------------------------------------------------- scenarios */

static void kill_victim(struct scenario *s)
{
	struct progress *now = s->now;
	uint64_t before = 0;
	for (int i = 0; i < s->f.kills; i++) {
		AWAIT(now->idle || now->steps >= before + s->f.after[i]);
		harness_kill(VICTIM, SIGKILL);
		AWAIT(!harness_alive(VICTIM));
		before = now->steps;
		now->idle = 0;
		now->killed = i + 1;
		harness_spawn_rank(VICTIM);
	}
}

static bool all_opened(const struct scenario *s)
{
	for (uint32_t i = 0; i < s->p.sources; i++)
		if (!s->now->opened[i]) return false;
	return true;
}

static void play(struct shared *shared, int number, int rank, DPI_Context ctx)
{
	struct scenario s = { .now = &shared->progress[number % 2] };
	struct endpoint end[SOURCES + TARGETS + 1];
	int ends = 0;
	s.p = make_retained(number, &s.f);
	s.flow = open_flow(&s.p, ctx);
	for (uint32_t i = 0; i < s.p.sources + s.p.targets; i++) {
		bool source = i < s.p.sources;
		uint32_t index = source ? i : i - s.p.sources;
		bool twice = index == s.f.which && s.f.what == (source ? TAKEN_OVER : REBOUND);
		for (int second = 0; second <= (int)twice; second++) {
			if ((second ? s.f.by : source ? s.p.source_rank[index] : s.p.target_rank[index]) != rank) continue;
			end[ends] = (struct endpoint){ &s, index, rank, second, 0 };
			if (pthread_create(&end[ends].thread, NULL, source ? be_source : be_target, &end[ends])) FAIL("pthread_create");
			ends++;
		}
	}
	if (rank == 0 && !s.p.declared) {
		AWAIT(all_opened(&s));
		CHECK_DPI(DPI_Seal_Flow(s.flow));
	}
	if (rank == 0) kill_victim(&s);
	for (int i = 0; i < ends; i++)
		if (pthread_join(end[i].thread, NULL)) FAIL("pthread_join");
	if (rank == VICTIM) {
		s.now->idle = 1;
		AWAIT(s.now->killed == s.f.kills);
	}
	if (rank == 0) {
		DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
		int scenarios = shared->done[0] + 1;
		for (int r = 1; r < RANKS; r++) AWAIT(shared->done[r] >= scenarios); /* nobody is in it any more */
		CHECK_DPI(DPI_Get_Flow_Info(s.flow, &info));
		CHECK_INT(info.detached, ==, s.now->detached);
		CHECK_INT(!info.detached, ==, s.f.what != DETACHED);
		CHECK_INT(info.failed, ==, 0);
		CHECK_INT(info.sources, ==, s.p.sources);
	}
	close_flow(&s.p, s.flow);
}

#define LEAST 30 /* scenarios, however long they take */

static void run_model(int rank, int most, double limit)
{
	struct shared *shared = harness_shared();
	DPI_Context ctx;
	double start = seconds();
	int first = number_from("TEST_FIRST", 0);
	CHECK_DPI(DPI_Register_Dist("model_dist", 1, dist, NULL));
	CHECK_DPI(DPI_Register_Group("model_group", 1, group, NULL));
	CHECK_DPI(DPI_Register_Map("model_map", 1, map, NULL));
	hold_key();
	CHECK_DPI(DPI_Init(&ctx));
	if (rank == 0) shared->last = most;
	for (int n = shared->done[rank]; n < most; n = shared->done[rank]) {
		for (int r = 0; r < RANKS; r++) AWAIT(shared->done[r] >= n);
		if (n >= shared->last && n) break;
		play(shared, first + n, rank, ctx);
		if (rank == 0) {
			char name[32];
			snprintf(name, sizeof name, "model%d", first + n);
			CHECK_DPI(DPI_Destroy_Flow(name, ctx));
			memset(&shared->progress[(first + n + 1) % 2], 0, sizeof *shared->progress);
			if (seconds() - start > limit && n + 1 >= LEAST) shared->last = n + 1;
		}
		shared->done[rank]++;
	}
	if (rank == 0) printf("%d scenarios in %.1f s\n", shared->done[0], seconds() - start);
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_model_retained, "", RANKS, .deadline_s = 270)
{
	run_model(rank, 100, 6); /* seconds: on a slow machine the least do */
}

TEST(flow_model_retained_soak, "", RANKS, .deadline_s = 1000000, .only_named = true)
{
	run_model(rank, 1 << 30, number_from("TEST_SOAK", 3600));
}
