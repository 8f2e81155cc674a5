/* SPDX-License-Identifier: Apache-2.0
 * reduce_model.c: random flows that reduce against a model. Every rank draws the same plan from the seed and the scenario's number; a
 * target adds up by itself, from the plan, what each window is to give, and crosses off what comes.
 *
 * TEST_FIRST=N begins with scenario N, as a failure names it. */
#include <pthread.h>

#include "kit.h"

ENROL_WITH_FAULTS;

enum { RANKS = 3, SOURCES = 5, WINDOWS = 5, MOST_KEYS = 2000 };

/* ---------------------------------------------------------------------------------------------------------- the plan */

struct plan {
	uint64_t seed, rows[SOURCES];
	int64_t keys;
	uint32_t sources, targets, marks; /* source i and target i are of rank i modulo RANKS */
	bool distinct;			  /* one more aggregate, whose states are large */
	DPI_Flow_Attr attr;
	char name[32];
};

struct row {
	int64_t key, a;
};
struct result {
	int64_t key, sum, n, most;
};

static struct plan make_plan(int number)
{
	static const uint32_t segments[] = { 1024, 2048, 4096, 16384 };
	static const int64_t keys[] = { 1, 8, 100, MOST_KEYS };
	static const int dists[] = { DPI_DIST_HASH, DPI_DIST_HASH, DPI_DIST_RADIX, DPI_DIST_BROADCAST };
	struct plan p = { .seed = mix(harness_seed() + (uint64_t)number * 7919) };
	uint64_t d = p.seed;
	snprintf(p.name, sizeof p.name, "reduce%d", number);
	p.sources = 1 + (uint32_t)draw(&d, SOURCES);
	p.keys = keys[draw(&d, 4)];
	p.distinct = draw(&d, 3) == 0;
	p.attr = (DPI_Flow_Attr)DPI_FLOW_ATTR_INIT;
	p.attr.create = DPI_CREATE_OR_OPEN;
	p.attr.dist = dists[draw(&d, 4)];
	p.targets = p.attr.dist == DPI_DIST_RADIX ? 1 + (uint32_t)draw(&d, 2) : 1 + (uint32_t)draw(&d, RANKS);
	p.attr.targets = p.targets;
	p.attr.sources = p.sources;
	p.attr.salt = p.attr.dist == DPI_DIST_HASH ? draw(&d, 1000) : 0;
	p.attr.segment = segments[draw(&d, 4)];
	uint64_t ring = 4096;
	while (ring < 5 * (uint64_t)p.attr.segment + 1024) ring *= 2;
	p.attr.memory = draw(&d, 2) ? 0 : ring * p.sources;
	p.attr.reduce = (int)draw(&d, 2);
	p.attr.reduce_memory = draw(&d, 2) ? 0 : 65536;
	p.attr.window = draw(&d, 2) ? DPI_WINDOW_END : DPI_WINDOW_MARKS;
	p.marks = (uint32_t)draw(&d, WINDOWS + 1);
	p.attr.ack = (int)draw(&d, p.attr.window == DPI_WINDOW_END ? 2 : 4);
	p.attr.ack_up_to = p.attr.ack != DPI_ACK_NONE;
	for (uint32_t i = 0; i < p.sources; i++) p.rows[i] = draw(&d, 4) ? draw(&d, 3000) : 0;
	return p;
}

static struct row row_of(const struct plan *p, uint32_t source, uint64_t number)
{
	uint64_t r = mix(p->seed ^ mix(source * 31 + 7) ^ mix(number + 77));
	return (struct row){ p->attr.dist == DPI_DIST_BROADCAST ? 0 : (int64_t)(r % (uint64_t)p->keys), (int64_t)(r >> 40) - (1 << 22) };
}

/* Marks 1 … stand behind so many rows of a source. */
static uint64_t rows_before(const struct plan *p, uint32_t source, uint32_t mark)
{
	return mark > p->marks ? p->rows[source] : p->rows[source] * (mix(p->seed + source) % 3 + mark) / (p->marks + 3);
}

static DPI_Flow open_flow(struct plan *p, DPI_Context ctx)
{
	static const char *const key[] = { "key" };
	DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "a", DPI_TYPE_INT64, 0, 0, 0, 0 } };
	DPI_Aggregate a[] = { { .function = DPI_AGGREGATE_SUM, .column = "a", .name = "sum" },
			      { .function = DPI_AGGREGATE_COUNT_ALL, .name = "n" },
			      { .function = DPI_AGGREGATE_MAX, .column = "a", .name = "most" },
			      { .function = DPI_AGGREGATE_COUNT_DISTINCT, .column = "a", .name = "distinct", .precision = 9 } };
	DPI_Flow f;
	CHECK_DPI(DPI_Create_Schema(columns, 2, &p->attr.schema));
	if (p->attr.dist != DPI_DIST_BROADCAST) p->attr.key = key, p->attr.key_count = 1;
	p->attr.aggregates = a;
	p->attr.aggregate_count = 3 + p->distinct;
	CHECK_DPI(DPI_Create_Flow(p->name, &p->attr, ctx, &f));
	CHECK_DPI(DPI_Free_Schema(p->attr.schema));
	return f;
}

/* ------------------------------------------------------------------------------------------------------------ sources */

struct source {
	const struct plan *p;
	uint32_t index;
	DPI_Source handle;
	DPI_Flow flow;
};

/* Windows of which a target has all results. */
static _Atomic uint32_t *windows_of(uint32_t target)
{
	return (_Atomic uint32_t *)harness_shared() + 1 + target;
}

/* Rows first … end - 1 are those of a window, all before it were acknowledged. */
static void wait_acks(const struct source *s, uint64_t first, uint64_t end, uint32_t window)
{
	if (first == end) return;
	CHECK_DPI(DPI_Wait_Ack(end, s->handle));
	for (uint64_t i = first; i < end && s->p->attr.ack != DPI_ACK_RECEIVED; i++) {
		struct row r = row_of(s->p, s->index, i);
		uint32_t to[RANKS], count;
		CHECK_DPI(DPI_Route(&r, sizeof r, s->flow, to, &count));
		for (uint32_t t = 0; t < count; t++) CHECK_INT(*windows_of(to[t]), >=, window);
	}
}

static void push_some(const struct source *s, uint64_t first, uint64_t end, uint64_t *d)
{
	struct row rows[200];
	while (first < end) {
		size_t n = 1 + draw(d, 200), pushed = 0;
		if (n > end - first) n = (size_t)(end - first);
		for (size_t i = 0; i < n; i++) rows[i] = row_of(s->p, s->index, first + i);
		switch (draw(d, 3)) {
		case 0:
			CHECK_DPI(DPI_Push_Batch(rows, n, s->handle, &pushed));
			break;
		case 1:
			for (; pushed < n; pushed++) CHECK_DPI(DPI_Push(rows + pushed, sizeof *rows, s->handle));
			break;
		default:
			while (pushed < n) {
				int error = DPI_Try_Push(rows + pushed, sizeof *rows, s->handle);
				if (error == DPI_ERR_AGAIN) harness_pause();
				else CHECK_DPI(error);
				pushed += !error;
			}
		}
		if (draw(d, 8) == 0) CHECK_DPI(DPI_Flush_Source(s->handle));
		first += n;
	}
}

static void *be_source(void *arg)
{
	const struct source *s = arg;
	uint64_t d = mix(s->p->seed + s->index), done = 0;
	for (uint32_t mark = 1; mark <= s->p->marks + 1; mark++) {
		uint64_t first = done;
		done = rows_before(s->p, s->index, mark);
		push_some(s, first, done, &d);
		if (mark <= s->p->marks) CHECK_DPI(DPI_Push_Mark(mark, s->handle));
		if (s->p->attr.ack && (mark <= s->p->marks || s->p->attr.ack == DPI_ACK_RECEIVED)) wait_acks(s, first, done, mark);
	}
	CHECK_DPI(DPI_Close_Source(s->handle));
	return NULL;
}

/* ------------------------------------------------------------------------------------------------------------ targets */

struct model {
	const struct plan *p;
	bool *here; /* keys whose rows come to this target */
	struct result *group;
	uint32_t window, target, left; /* groups that have not come */
};

static void came(const struct model *m)
{
	if (!m->left) *windows_of(m->target) = m->window;
}

static void begin_window(struct model *m)
{
	const struct plan *p = m->p;
	bool all = p->attr.window == DPI_WINDOW_END;
	memset(m->group, 0, MOST_KEYS * sizeof *m->group);
	m->window++;
	for (uint32_t s = 0; s < p->sources; s++) {
		uint64_t first = all || m->window == 1 ? 0 : rows_before(p, s, m->window - 1);
		for (uint64_t i = first; i < (all ? p->rows[s] : rows_before(p, s, m->window)); i++) {
			struct row r = row_of(p, s, i);
			struct result *g = m->group + r.key;
			if (!m->here[r.key]) continue;
			m->left += !g->n;
			g->sum += r.a;
			if (!g->n++ || r.a > g->most) g->most = r.a;
		}
	}
}

static void cross_off(struct model *m, const void *row)
{
	struct result r = { 0 };
	bool keyed = m->p->attr.dist != DPI_DIST_BROADCAST;
	memcpy((char *)&r + (keyed ? 0 : 8), row, sizeof r - (keyed ? 0 : 8));
	if (r.key < 0 || r.key >= MOST_KEYS || !r.n || r.n != m->group[r.key].n || r.sum != m->group[r.key].sum || r.most != m->group[r.key].most)
		FAIL("%s, window %u, key %" PRId64 ": %" PRId64 " rows, sum %" PRId64 ", most %" PRId64, m->p->name, m->window, r.key, r.n, r.sum, r.most);
	m->group[r.key].n = 0;
	m->left--;
	came(m);
}

static void end_window(const struct model *m)
{
	for (int k = 0; k < MOST_KEYS; k++)
		if (m->group[k].n) FAIL("%s, window %u: key %d did not come", m->p->name, m->window, k);
}

static void be_target(const struct plan *p, uint32_t index, DPI_Flow flow, DPI_Target t)
{
	struct model m = { .p = p, .target = index, .here = calloc(MOST_KEYS, 1), .group = calloc(MOST_KEYS, sizeof *m.group) };
	uint64_t d = mix(p->seed + 99 + index), marks = 0;
	int error;
	CHECK(m.here && m.group);
	for (int64_t k = 0; k < p->keys; k++) {
		struct row r = { k, 0 };
		uint32_t to[RANKS], count;
		CHECK_DPI(DPI_Route(&r, sizeof r, flow, to, &count));
		for (uint32_t i = 0; i < count; i++) m.here[k] |= to[i] == index;
	}
	begin_window(&m);
	for (;;) {
		DPI_Batch b;
		DPI_Tuple u = { .kind = DPI_TUPLE_ROW };
		if (draw(&d, 2)) {
			error = DPI_Next(t, &u);
			if (!error && u.kind == DPI_TUPLE_ROW) cross_off(&m, u.data);
		} else if (!(error = DPI_Next_Batch(t, &b))) {
			u.kind = b.kind, u.mark = b.mark;
			for (size_t i = 0; i < b.count; i++) cross_off(&m, (const char *)b.rows + i * b.stride);
			if (b.kind == DPI_TUPLE_ROW) CHECK_DPI(DPI_Release_Batch(1, t));
		}
		if (!error && p->attr.ack == DPI_ACK_CONFIRMED) CHECK_DPI(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, t));
		if (error) break;
		if (u.kind == DPI_TUPLE_ROW) continue;
		CHECK_INT(u.mark, >, marks);
		if (p->attr.window == DPI_WINDOW_MARKS) {
			CHECK_INT(u.mark, ==, m.window);
			end_window(&m);
			begin_window(&m);
		}
		marks = u.mark;
	}
	CHECK_ERROR(error, DPI_ERR_END, "ended");
	end_window(&m);
	CHECK(p->attr.window != DPI_WINDOW_MARKS || m.window == p->marks + 1);
	CHECK_DPI(DPI_Close_Target(t));
	free(m.here), free(m.group);
}

/* ---------------------------------------------------------------------------------------------------------- scenarios */

static void play(int number, int rank, DPI_Context ctx)
{
	struct plan p = make_plan(number);
	DPI_Flow flow = open_flow(&p, ctx);
	struct source source[SOURCES];
	pthread_t thread[SOURCES];
	DPI_Target target = NULL;
	if ((uint32_t)rank < p.targets) *windows_of((uint32_t)rank) = 0;
	if ((uint32_t)rank < p.targets) CHECK_DPI(DPI_Open_Target((uint32_t)rank, NULL, flow, &target));
	for (uint32_t i = (uint32_t)rank; i < p.sources; i += RANKS) {
		source[i] = (struct source){ &p, i, NULL, flow };
		CHECK_DPI(DPI_Open_Source(flow, NULL, &source[i].handle));
	}
	harness_barrier(); /* a mark waits for those sources that are open */
	for (uint32_t i = (uint32_t)rank; i < p.sources; i += RANKS)
		if (pthread_create(&thread[i], NULL, be_source, &source[i])) FAIL("pthread_create");
	if (target) be_target(&p, (uint32_t)rank, flow, target);
	for (uint32_t i = (uint32_t)rank; i < p.sources; i += RANKS)
		if (pthread_join(thread[i], NULL)) FAIL("pthread_join");
	CHECK_DPI(DPI_Close_Flow(flow));
	harness_barrier(); /* nobody is in it any more */
	if (rank == 0) CHECK_DPI(DPI_Destroy_Flow(p.name, ctx));
}

TEST(reduce_model, "", RANKS, .deadline_s = 270)
{
	const char *text = getenv("TEST_FIRST");
	int first = text ? atoi(text) : 0;
	_Atomic int *last = harness_shared();
	struct timespec begin, now;
	DPI_Context ctx;
	CHECK_DPI(DPI_Init(&ctx));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (int n = 0; n < 60 && !*last; n++) {
		play(first + n, rank, ctx);
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (rank == 0 && now.tv_sec - begin.tv_sec >= 8) *last = 1; /* few scenarios do on a slow machine */
		harness_barrier();
	}
	CHECK_DPI(DPI_Finalize(ctx));
}
