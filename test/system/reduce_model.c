/* SPDX-License-Identifier: Apache-2.0
 * reduce_model.c: random flows that reduce against a model. Every rank draws the same plan from the seed and the scenario's number; a
 * target adds up by itself, from the plan, what each window is to give, and crosses off what comes.
 *
 * TEST_FIRST=N begins with scenario N, as a failure names it; reduce_model_fresh draws others in each run (TEST_SEED=N repeats them where the
 * command line names the case); reduce_model_soak goes on for TEST_SOAK seconds. */
#include <pthread.h>

#include "flow_codecs.h"

ENROL_WITH_FAULTS;

enum { RANKS = 3, SOURCES = 5, WINDOWS = 5, MOST_KEYS = 2000 };

/* ---------------------------------------------------------------------------------------------------------- the plan */

struct plan {
	uint64_t seed, rows[SOURCES];
	int64_t keys;
	uint32_t sources, targets, marks; /* source i and target i are of rank i modulo RANKS */
	bool distinct;			  /* one more aggregate, whose states are large */
	bool sparse;			  /* each source has marks of its own */
	bool nulls;			  /* what is added up may be NULL */
	DPI_Codec codec[3];
	DPI_Flow_Attr attr;
	char name[32];
};

struct row {
	int64_t key, a;
	bool null;
};
struct result {
	int64_t key, sum, n, most, values; /* the last are the model's; a result has 0 if there are none */
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
	p.nulls = draw(&d, 2);
	if (draw(&d, 3) == 0) p.attr.layout = DPI_LAYOUT_COLUMNS;
	if (p.attr.layout && p.attr.segment < 4096) p.attr.segment = 4096;
	if (draw(&d, 3) == 0) p.attr.codec_count = draw_codecs(&d, p.codec);
	uint64_t ring = 4096;
	while (ring < 5 * (uint64_t)p.attr.segment + 1024) ring *= 2;
	p.attr.memory = draw(&d, 2) || p.attr.codec_count ? 0 : ring * p.sources;
	p.attr.reduce = (int)draw(&d, 2);
	p.attr.reduce_memory = draw(&d, 2) ? 0 : 65536;
	p.attr.window = (int[]){ DPI_WINDOW_END, DPI_WINDOW_MARKS, DPI_WINDOW_MARKS, DPI_WINDOW_ROWS }[draw(&d, 4)];
	if (p.attr.window == DPI_WINDOW_ROWS) p.attr.reduce = DPI_REDUCE_TARGET, p.attr.window_rows = 1 + draw(&d, draw(&d, 2) ? 30 : 2000);
	p.marks = (uint32_t)draw(&d, WINDOWS + 1);
	p.sparse = draw(&d, 2);
	/* when the program has got a row's results, it may have to be pushed on for, or nobody can say which they are */
	p.attr.ack = (int)draw(&d, p.attr.window == DPI_WINDOW_MARKS && !p.sparse ? 4 : 2);
	p.attr.ack_up_to = p.attr.ack != DPI_ACK_NONE;
	for (uint32_t i = 0; i < p.sources; i++) p.rows[i] = draw(&d, 4) ? draw(&d, 3000) : 0;
	return p;
}

static struct row row_of(const struct plan *p, uint32_t source, uint64_t number)
{
	uint64_t r = mix(p->seed ^ mix(source * 31 + 7) ^ mix(number + 77));
	return (struct row){ p->attr.dist == DPI_DIST_BROADCAST ? 0 : (int64_t)(r % (uint64_t)p->keys), (int64_t)(r >> 40) - (1 << 22), p->nulls && mix(r + 1) % 3 == 0 };
}

#define ROW_BYTES 24 /* at most: behind the values a bit for NULL */

/* As it is pushed; what stands in place of a NULL does not matter. */
static size_t write_row(const struct plan *p, struct row r, void *to)
{
	uint64_t words[3] = { (uint64_t)r.key, (uint64_t)r.a, 0xa4 | r.null };
	memcpy(to, words, sizeof words);
	return p->nulls ? sizeof words : 16;
}

/* Its marks: the first is number 1. */
static uint32_t marks_of(const struct plan *p, uint32_t source)
{
	return p->sparse ? (uint32_t)(mix(p->seed + 50 + source) % (p->marks + 1)) : p->marks;
}

static uint64_t mark_of(const struct plan *p, uint32_t source, uint32_t number)
{
	return p->sparse ? 4 * number - mix(p->seed + source * 100 + number) % 4 : number;
}

/* A mark stands behind so many rows of a source. */
static uint64_t rows_before(const struct plan *p, uint32_t source, uint32_t mark)
{
	return mark > marks_of(p, source) ? p->rows[source] : p->rows[source] * (mix(p->seed + source) % 3 + mark) / (p->marks + 3);
}

static DPI_Flow open_flow(struct plan *p, DPI_Context ctx)
{
	static const char *const key[] = { "key" };
	DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "a", DPI_TYPE_INT64, p->nulls, 0, 0, 0 } };
	DPI_Aggregate a[] = { { .function = DPI_AGGREGATE_SUM, .column = "a", .name = "sum" },
			      { .function = DPI_AGGREGATE_COUNT_ALL, .name = "n" },
			      { .function = DPI_AGGREGATE_MAX, .column = "a", .name = "most" },
			      { .function = DPI_AGGREGATE_COUNT_DISTINCT, .column = "a", .name = "distinct", .precision = 9 } };
	DPI_Flow f;
	CHECK_DPI(DPI_Create_Schema(columns, 2, &p->attr.schema));
	if (p->attr.dist != DPI_DIST_BROADCAST) p->attr.key = key, p->attr.key_count = 1;
	p->attr.aggregates = a;
	p->attr.aggregate_count = 3 + p->distinct;
	if (p->attr.codec_count) p->attr.codecs = p->codec;
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

/* Windows of which a target has all results; and is a source closed, or about to be? */
static _Atomic uint32_t *windows_of(uint32_t target)
{
	return (_Atomic uint32_t *)harness_shared() + 1 + target;
}

static _Atomic uint32_t *closes(uint32_t source)
{
	return (_Atomic uint32_t *)harness_shared() + 1 + RANKS + source;
}

/* Rows first … end - 1 are those of a window, all before it were acknowledged. */
static void wait_acks(const struct source *s, uint64_t first, uint64_t end, uint32_t window)
{
	if (first == end) return;
	CHECK_DPI(DPI_Wait_Ack(end, s->handle));
	for (uint64_t i = first; i < end && s->p->attr.ack != DPI_ACK_RECEIVED; i++) {
		uint8_t row[ROW_BYTES];
		uint32_t to[RANKS], count;
		CHECK_DPI(DPI_Route(row, write_row(s->p, row_of(s->p, s->index, i), row), s->flow, to, &count));
		for (uint32_t t = 0; t < count; t++) CHECK_INT(*windows_of(to[t]), >=, window);
	}
}

enum { AT_ONCE = 200 };

static void released(struct ArrowArray *a)
{
	a->release = NULL;
}

static void push_columns(const struct source *s, uint64_t first, size_t n, size_t *pushed)
{
	int64_t value[2][AT_ONCE];
	uint8_t valid[AT_ONCE / 8 + 1] = { 0 };
	const void *none[1] = { NULL }, *buffer[2][2] = { { NULL, value[0] }, { s->p->nulls ? valid : NULL, value[1] } };
	struct ArrowArray child[2], *children[2] = { child, child + 1 };
	for (size_t i = 0; i < n; i++) {
		struct row r = row_of(s->p, s->index, first + i);
		value[0][i] = r.key, value[1][i] = r.a;
		valid[i / 8] |= (uint8_t)(!r.null << i % 8);
	}
	for (int c = 0; c < 2; c++) child[c] = (struct ArrowArray){ .length = (int64_t)n, .null_count = c && s->p->nulls ? -1 : 0, .n_buffers = 2, .buffers = buffer[c], .release = released };
	struct ArrowArray batch = { .length = (int64_t)n, .n_buffers = 1, .buffers = none, .n_children = 2, .children = children, .release = released };
	CHECK_DPI(DPI_Push_Arrow(&batch, NULL, s->handle, pushed));
}

static void push_some(const struct source *s, uint64_t first, uint64_t end, uint64_t *d)
{
	uint8_t rows[AT_ONCE * ROW_BYTES + ROW_BYTES];
	while (first < end) {
		size_t n = 1 + draw(d, AT_ONCE), pushed = 0, size = 0;
		if (n > end - first) n = (size_t)(end - first);
		for (size_t i = 0; i < n; i++) size = write_row(s->p, row_of(s->p, s->index, first + i), rows + i * size);
		switch (draw(d, 4)) {
		case 0:
			CHECK_DPI(DPI_Push_Batch(rows, n, s->handle, &pushed));
			break;
		case 1:
			for (; pushed < n; pushed++) CHECK_DPI(DPI_Push(rows + pushed * size, size, s->handle));
			break;
		case 2:
			push_columns(s, first, n, &pushed);
			CHECK_INT(pushed, ==, n);
			break;
		default:
			while (pushed < n) {
				int error = DPI_Try_Push(rows + pushed * size, size, s->handle);
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
	uint32_t marks = marks_of(s->p, s->index);
	for (uint32_t mark = 1; mark <= marks + 1; mark++) {
		uint64_t first = done;
		done = rows_before(s->p, s->index, mark);
		push_some(s, first, done, &d);
		if (mark <= marks) CHECK_DPI(DPI_Push_Mark(mark_of(s->p, s->index, mark), s->handle));
		if (s->p->attr.ack && (mark <= marks || s->p->attr.ack == DPI_ACK_RECEIVED)) wait_acks(s, first, done, mark);
	}
	*closes(s->index) = 1;
	CHECK_DPI(DPI_Close_Source(s->handle));
	return NULL;
}

/* ------------------------------------------------------------------------------------------------------------ targets */

struct model {
	const struct plan *p;
	bool *here; /* keys whose rows come to this target */
	struct result *group;
	uint32_t window, target, left; /* groups that have not come */
	uint64_t next[SOURCES];	       /* of each source: the first row behind the window */
	uint64_t mark, room;	       /* reported last; windows of rows: how many of them have not come in results yet */
	uint32_t *last;		       /* windows of rows: of each key, the last in which it came */
	struct result *early;	       /* results of a window of which only the mark says what is in it */
	size_t earlies;
};

static void came(const struct model *m)
{
	if (!m->left) *windows_of(m->target) = m->window;
}

static void add(struct model *m, uint32_t source, uint64_t end)
{
	for (uint64_t *i = &m->next[source]; *i < end; ++*i) {
		struct row r = row_of(m->p, source, *i);
		struct result *g = m->group + r.key;
		if (!m->here[r.key]) continue;
		m->left += !g->n;
		g->n++;
		if (r.null) continue;
		g->sum += r.a;
		if (!g->values++ || r.a > g->most) g->most = r.a;
	}
}

/* What is in a window that a mark ends, or with 0 the end. */
static void add_until(struct model *m, uint64_t mark)
{
	for (uint32_t s = 0; s < m->p->sources; s++) {
		uint32_t i = 1, marks = marks_of(m->p, s);
		while (mark && i <= marks && mark_of(m->p, s, i) < mark) i++;
		add(m, s, mark ? rows_before(m->p, s, i) : m->p->rows[s]);
	}
}

/* Of one source, all of whose rows come in order: the next window of rows. */
static void add_rows(struct model *m)
{
	uint64_t end = m->next[0];
	for (uint64_t rows = 0; end < m->p->rows[0] && rows < m->p->attr.window_rows; end++) rows += m->here[row_of(m->p, 0, end).key];
	add(m, 0, end);
}

static void begin_window(struct model *m)
{
	const struct plan *p = m->p;
	m->window++;
	m->room = p->attr.window_rows;
	if (p->attr.window == DPI_WINDOW_ROWS && p->sources == 1) add_rows(m);
	else if (p->attr.window != DPI_WINDOW_MARKS) add_until(m, 0);
	else if (!p->sparse) add_until(m, m->window <= p->marks ? m->window : 0);
}

static void cross_off(struct model *m, struct result r)
{
	if (!r.n || r.n != m->group[r.key].n || !r.values != !m->group[r.key].values || r.sum != m->group[r.key].sum || r.most != m->group[r.key].most)
		FAIL("%s, window %u, key %" PRId64 ": %" PRId64 " rows, sum %" PRId64 ", most %" PRId64, m->p->name, m->window, r.key, r.n, r.sum, r.most);
	m->group[r.key].n = 0;
	m->left--;
	came(m);
}

static void end_window(struct model *m)
{
	for (size_t i = 0; i < m->earlies; i++) cross_off(m, m->early[i]);
	m->earlies = 0;
	for (int k = 0; k < MOST_KEYS; k++)
		if (m->group[k].n) FAIL("%s, window %u: key %d did not come", m->p->name, m->window, k);
	memset(m->group, 0, MOST_KEYS * sizeof *m->group);
}

/* Rows of several sources: which ones are in a window of rows depends on how they came, but each is in one, and each window has as many. */
static void take_off(struct model *m, struct result r)
{
	struct result *g = m->group + r.key;
	bool last_of_all = (uint64_t)r.n == (uint64_t)g->n;
	if (m->last[r.key] == m->window) FAIL("%s, window %u: key %" PRId64 " came twice", m->p->name, m->window, r.key);
	if (r.n <= 0 || r.n > g->n || (uint64_t)r.n > m->room || (r.values && r.most > g->most) || (last_of_all && r.sum != g->sum))
		FAIL("%s, window %u, key %" PRId64 ": %" PRId64 " rows of %" PRId64 ", sum %" PRId64 " of %" PRId64 ", room for %" PRIu64, m->p->name, m->window, r.key, r.n, g->n,
		     r.sum, g->sum, m->room);
	m->last[r.key] = m->window;
	g->n -= r.n;
	g->sum -= r.sum;
	m->room -= (uint64_t)r.n;
	if (m->room) return;
	m->window++;
	m->room = m->p->attr.window_rows;
}

/* Of a row, or of row i of an array. */
static struct result result_of(const struct plan *p, const void *row, const struct ArrowArray *a, size_t i)
{
	bool keyed = p->attr.dist != DPI_DIST_BROADCAST;
	int64_t word[4] = { 0 };
	int words = 3 + keyed;
	uint8_t nulls = 0;
	if (row) {
		memcpy(word + !keyed, row, 8 * (size_t)words);
		if (p->nulls) nulls = ((const uint8_t *)row)[8 * (words + p->distinct)] & 3;
	}
	for (int k = 0; !row && k < words; k++) {
		const struct ArrowArray *c = a->children[k];
		const uint8_t *valid = c->buffers[0];
		word[k + !keyed] = ((const int64_t *)c->buffers[1])[i];
		if (valid && !(valid[i / 8] >> i % 8 & 1)) nulls |= k + !keyed == 1 ? 1 : 2;
	}
	struct result r = { word[0], word[1], word[2], word[3], !nulls };
	if (nulls && nulls != 3) FAIL("%s: one of sum and most is NULL, and not the other", p->name);
	if (nulls) r.sum = r.most = 0;
	return r;
}

static void take_result(struct model *m, struct result r)
{
	const struct plan *p = m->p;
	if (r.key < 0 || r.key >= MOST_KEYS) FAIL("%s: key %" PRId64, p->name, r.key);
	if (p->attr.window == DPI_WINDOW_ROWS && p->sources > 1) {
		take_off(m, r);
	} else if (p->attr.window == DPI_WINDOW_MARKS && p->sparse) {
		if (m->earlies == MOST_KEYS) FAIL("%s, window %u: more results than keys", p->name, m->window);
		m->early[m->earlies++] = r;
	} else {
		cross_off(m, r);
		if (p->attr.window != DPI_WINDOW_ROWS || m->left) return;
		end_window(m);
		begin_window(m);
	}
}

/* Every source has passed it, or is closed, and one has pushed it. */
static void check_mark(struct model *m, uint64_t mark)
{
	const struct plan *p = m->p;
	bool some = false;
	CHECK_INT(mark, >, m->mark);
	for (uint32_t s = 0; s < p->sources; s++) {
		uint32_t marks = marks_of(p, s);
		for (uint32_t i = 1; i <= marks; i++) some |= mark_of(p, s, i) == mark;
		if ((!marks || mark_of(p, s, marks) < mark) && !*closes(s)) FAIL("%s: mark %" PRIu64 ", and source %u has not passed it", p->name, mark, s);
	}
	if (!some) FAIL("%s: nobody pushed mark %" PRIu64, p->name, mark);
	m->mark = mark;
	if (p->attr.window != DPI_WINDOW_MARKS) return;
	if (p->sparse) add_until(m, mark);
	else CHECK_INT(mark, ==, m->window);
	end_window(m);
	begin_window(m);
}

static void be_target(const struct plan *p, uint32_t index, DPI_Flow flow, DPI_Target t)
{
	struct model m = { .p = p, .target = index, .here = calloc(MOST_KEYS, 1), .group = calloc(MOST_KEYS, sizeof *m.group),
			   .last = calloc(MOST_KEYS, sizeof *m.last), .early = calloc(MOST_KEYS, sizeof *m.early) };
	uint64_t d = mix(p->seed + 99 + index);
	int error;
	CHECK(m.here && m.group && m.last && m.early);
	for (int64_t k = 0; k < p->keys; k++) {
		uint8_t row[ROW_BYTES];
		uint32_t to[RANKS], count;
		CHECK_DPI(DPI_Route(row, write_row(p, (struct row){ k, 0, false }, row), flow, to, &count));
		for (uint32_t i = 0; i < count; i++) m.here[k] |= to[i] == index;
	}
	begin_window(&m);
	for (;;) {
		DPI_Batch b;
		DPI_Tuple u = { .kind = DPI_TUPLE_ROW };
		struct ArrowArray a;
		uint64_t way = draw(&d, 3);
		if (way == 0) {
			error = DPI_Next(t, &u);
			if (!error && u.kind == DPI_TUPLE_ROW) take_result(&m, result_of(p, u.data, NULL, 0));
		} else if (way == 1) {
			if (!(error = DPI_Next_Arrow(t, &b, &a, NULL))) {
				u.kind = b.kind, u.mark = b.mark;
				for (size_t i = 0; i < b.count; i++) take_result(&m, result_of(p, NULL, &a, i));
				if (b.kind == DPI_TUPLE_ROW) a.release(&a);
				CHECK_DPI(DPI_Release_Batch(0, t)); /* takes back what was released */
			}
		} else if (!(error = DPI_Next_Batch(t, &b))) {
			u.kind = b.kind, u.mark = b.mark;
			for (size_t i = 0; i < b.count; i++) take_result(&m, result_of(p, (const char *)b.rows + i * b.stride, NULL, 0));
			if (b.kind == DPI_TUPLE_ROW) CHECK_DPI(DPI_Release_Batch(1, t));
		}
		if (!error && p->attr.ack == DPI_ACK_CONFIRMED) CHECK_DPI(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, t));
		if (error) break;
		if (u.kind == DPI_TUPLE_MARK) check_mark(&m, u.mark);
	}
	CHECK_ERROR(error, DPI_ERR_END, "ended");
	if (p->attr.window == DPI_WINDOW_MARKS && p->sparse) add_until(&m, 0);
	end_window(&m);
	CHECK(p->attr.window != DPI_WINDOW_MARKS || p->sparse || m.window == p->marks + 1);
	CHECK_DPI(DPI_Close_Target(t));
	free(m.here), free(m.group), free(m.last), free(m.early);
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
		*closes(i) = 0;
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

static void run_model(int rank, int scenarios, int seconds)
{
	const char *text = getenv("TEST_FIRST");
	int first = text ? atoi(text) : 0;
	_Atomic int *last = harness_shared();
	struct timespec begin, now;
	DPI_Context ctx;
	hold_key();
	CHECK_DPI(DPI_Init(&ctx));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (int n = 0; n < scenarios && !*last; n++) {
		play(first + n, rank, ctx);
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (rank == 0 && now.tv_sec - begin.tv_sec >= seconds) *last = 1; /* few scenarios do on a slow machine */
		harness_barrier();
	}
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(reduce_model, "", RANKS, .deadline_s = 270)
{
	run_model(rank, 60, 8);
}

/* Other ones each time. */
TEST(reduce_model_fresh, "", RANKS, .deadline_s = 270, .fresh = true)
{
	run_model(rank, 60, 4);
}

TEST(reduce_model_soak, "", RANKS, .deadline_s = 1000000, .only_named = true)
{
	const char *text = getenv("TEST_SOAK");
	run_model(rank, 1 << 30, text ? atoi(text) : 3600);
}
