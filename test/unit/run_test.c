/* SPDX-License-Identifier: Apache-2.0
 * run_test.c: src/memory/run.h: runs whose bytes appear while they are written, between a thread that writes, one that reads and
 * the linger service; and what a liar can do. One process is the whole cluster, as in linger_test.c. */
#include "unit.h"

#include "buffer.h"
#include "layer.h"
#include "run.h"

#define LEAST DPI_RING_LEAST
#define HELD 8 /* pieces that the reader looks at again before it gives them back */

/* What the writer does, known to the reader: byte i of all bytes ever written is byte_of(KEY, i). */
#define KEY 77

struct stream {
	struct dpi_buffer *b;
	struct dpi_home *home;
	uint64_t runs, largest;
	int64_t longest_idle;	   /* of either; 0: none */
	bool reader_dawdles;	   /* so that rings are full */
	_Atomic uint64_t *length;  /* of each run, when it is known: its bytes + 1 */
	_Atomic bool closed;	   /* the writer has closed its handle */
	uint64_t grown, early, empty, skipped, staged;
};

/* ------------------------------------------------------------------------------------------------------------ writer */

/* One piece, by the way that dpi.h has for rows or by the other. */
static void write_piece(struct stream *s, struct draws *d, const struct dpi_run *run, uint64_t size, uint64_t at)
{
	struct dpi_ring_writer *w = &s->b->appender.writer;
	uint64_t written = atomic_load_explicit(&w->written, memory_order_relaxed);
	CHECK(dpi_run_left(s->b, run) >= size);
	uint8_t *to = dpi_run_place(s->b);
	for (uint64_t i = 0; i < size; i++) to[i] = byte_of(KEY, at + i);
	if (written + size <= w->until && draw_below(d, 4)) {
		atomic_store_explicit(&w->written, written + size, memory_order_release);
		dpi_append_arm(s->b);
		s->skipped++;
		return;
	}
	CHECK_DPI(dpi_run_wrote(s->b, run, size));
}

static void *write_runs(void *arg)
{
	struct stream *s = arg;
	struct draws d = draws_from(1);
	uint64_t at = 0;
	for (uint64_t n = 0; n < s->runs; n++) {
		struct dpi_run run = { 0 };
		uint64_t how = draw_below(&d, 16);
		uint64_t size = how == 0 ? 0 : how == 1 ? s->largest : draw_below(&d, how < 10 && s->largest > 200 ? 200 : s->largest + 1);
		uint64_t want = draw_below(&d, 4) ? size : draw_below(&d, size + 1), done = 0;
		int error = draw_below(&d, 2) ? dpi_run_begin(s->b, &run, size, false) : DPI_ERR_AGAIN;
		if (error == DPI_ERR_AGAIN) error = dpi_run_begin(s->b, &run, size, true);
		CHECK_DPI(error);
		CHECK_INT(dpi_run_left(s->b, &run), ==, size);
		if (want < size) s->early++;
		if (!want) s->empty++;
		bool staged = false;
		while (done < want) {
			if (!staged && !draw_below(&d, 8)) {
				dpi_run_stage(s->b, &run);
				if ((staged = s->b->appender.stage.memory != NULL)) s->staged++;
			}
			uint64_t left = want - done, piece = 1 + draw_below(&d, draw_below(&d, 2) && left > 40 ? 40 : left);
			if (staged && piece > DPI_SMALL_BYTES) piece = DPI_SMALL_BYTES;
			write_piece(s, &d, &run, piece, at + done);
			done += piece;
			if (s->longest_idle) idle(&d, s->longest_idle);
			if (!draw_below(&d, 64)) CHECK_DPI(dpi_run_publish(s->b, &run));
			if (!draw_below(&d, 200)) CHECK_DPI(dpi_run_flush(s->b, &run));
		}
		at += want;
		atomic_store_explicit(&s->length[n], want + 1, memory_order_release);
		CHECK_DPI(dpi_run_end(s->b, &run));
		CHECK_INT(run.end, ==, 0);
		CHECK_INT(dpi_run_left(s->b, &run), ==, 0);
		if (s->longest_idle) idle(&d, s->longest_idle);
		if (!draw_below(&d, 16)) CHECK_DPI(dpi_run_publish(s->b, &run));
	}
	s->grown = s->b->stats.grows;
	CHECK_DPI(dpi_run_close(s->b, 40000000 * harness_slow()));
	atomic_store(&s->closed, true);
	return NULL;
}

/* ------------------------------------------------------------------------------------------------------------ reader */

struct held {
	struct dpi_ring_in *ring;
	const uint8_t *data;
	uint64_t size, at;
};

struct reader {
	struct stream *s;
	struct dpi_ring_in *ring;
	struct dpi_run_in run;
	struct held held[HELD];
	size_t helds;
	uint64_t next, got, at; /* runs that began, bytes of the last of them, bytes in all */
};

static bool as_written(const uint8_t *data, uint64_t size, uint64_t at)
{
	for (uint64_t i = 0; i < size; i++)
		if (data[i] != byte_of(KEY, at + i)) return false;
	return true;
}

/* As a target does it: a ring that was replaced goes when nothing of it is lent. */
static void give_back(struct reader *r)
{
	for (size_t i = 0; i < r->helds; i++) {
		struct held *h = &r->held[i];
		if (!as_written(h->data, h->size, h->at)) FAIL("bytes %" PRIu64 " … changed while they were lent", h->at);
		if (--h->ring->lent == 0 && h->ring != r->ring) dpi_ring_in_free(dpi_context(), r->s->home, h->ring);
	}
	r->helds = 0;
	dpi_run_give_back(r->ring, &r->run, r->ring->reader.read);
}

/* The last run that began is over: it was as long as the writer says. */
static void run_over(struct reader *r)
{
	if (!r->next) return;
	uint64_t length = atomic_load_explicit(&r->s->length[r->next - 1], memory_order_acquire);
	if (length != r->got + 1) FAIL("run %" PRIu64 " has %" PRIu64 " bytes, %" PRIu64 " came", r->next - 1, length - 1, r->got);
	r->got = 0;
}

static void take(struct reader *r, const uint8_t *data, uint64_t size, bool first)
{
	if (first) {
		run_over(r);
		/* empty runs do not show: the next that has bytes, of which the first is being written still */
		while (r->next < r->s->runs && atomic_load_explicit(&r->s->length[r->next], memory_order_acquire) == 1) r->next++;
		r->next++;
	}
	CHECK_INT(size, >, 0);
	CHECK(r->next > 0);
	if (!as_written(data, size, r->at)) FAIL("run %" PRIu64 ": bytes %" PRIu64 " … are others", r->next - 1, r->at);
	r->held[r->helds++] = (struct held){ r->ring, data, size, r->at };
	r->ring->lent++;
	r->got += size;
	r->at += size;
}

static void read_runs(struct stream *s)
{
	struct draws d = draws_from(3);
	struct reader r = { .s = s };
	int64_t give_up = patience();
	for (;;) {
		if (!r.ring && atomic_load_explicit(&s->home->changed, memory_order_acquire)) {
			pthread_mutex_lock(&s->home->lock);
			r.ring = s->home->incoming;
			s->home->incoming = r.ring->next;
			CHECK(!s->home->incoming); /* the larger ones come by LINK alone */
			atomic_store(&s->home->changed, false);
			pthread_mutex_unlock(&s->home->lock);
		}
		const uint8_t *data;
		uint64_t size;
		bool first, closed = atomic_load(&s->closed);
		enum dpi_ring_found found = r.ring ? dpi_run_next(dpi_context(), s->home, &r.ring, &r.run, &data, &size, &first) : DPI_RING_EMPTY;
		if (found == DPI_RING_FOUND) {
			take(&r, data, size, first);
			uint64_t more = r.helds < HELD && !draw_below(&d, 2) ? dpi_run_more(r.ring, &r.run, 1) : 0;
			if (more) take(&r, data + size, more, false);
			if (r.helds == HELD || !draw_below(&d, 3)) give_back(&r);
			if (s->reader_dawdles && !draw_below(&d, 64)) idle(&d, 5 * MS);
			give_up = patience();
		} else {
			CHECK_INT(found, ==, DPI_RING_EMPTY);
			if (closed && r.ring && dpi_ring_in_over(r.ring)) break;
			if (r.ring) give_back(&r);
			if (dpi_now() > give_up) FAIL("run %" PRIu64 " does not go on at byte %" PRIu64, r.next, r.at);
			sched_yield();
		}
		if (s->longest_idle) idle(&d, s->longest_idle);
	}
	run_over(&r);
	while (r.next < s->runs) CHECK_INT(atomic_load(&s->length[r.next++]), ==, 1);
	give_back(&r);
	r.ring->ended = true;
	dpi_ring_in_free(dpi_context(), s->home, r.ring);
}

static struct stream run_stream(uint64_t runs, uint64_t largest, uint64_t first, uint64_t max, int64_t linger_us, int64_t longest_idle, bool dawdles)
{
	struct dpi_context *ctx = dpi_context();
	struct stream s = { .runs = runs, .largest = largest, .longest_idle = longest_idle, .reader_dawdles = dawdles };
	struct dpi_buffer_shape shape = dpi_run_shape(largest, first, max, 0);
	uint64_t id;
	CHECK_DPI(dpi_run_queue(ctx, &shape, patience(), &id));
	s.home = dpi_home_find(ctx, id);
	CHECK(s.home);
	s.length = calloc(runs, sizeof *s.length);
	CHECK_DPI(dpi_run_open(ctx, "runs", ctx->node, id, 40000000 * harness_slow(), linger_us, patience(), &s.b));
	CHECK_INT(s.b->max_record, ==, largest);
	if (linger_us < 10) s.b->linger_us = 0; /* it comes by all the time */
	pthread_t writer = start_thread(write_runs, &s);
	read_runs(&s);
	end_thread(writer);
	dpi_run_queue_end(ctx, id);
	dpi_home_release(ctx, s.home);
	free((void *)s.length);
	s.length = NULL;
	return s;
}

static DPI_Context ctx;

TEST(run_between_two_threads, "", 0)
{
	CHECK_DPI(DPI_Init(&ctx));
	struct stream s = run_stream((uint64_t)rounds(100000), 300, 0, 0, 1, 0, false);
	CHECK(s.early > 0 && s.empty > 0 && s.skipped > 0 && s.staged > 0);
	run_stream((uint64_t)rounds(20000), 3000, 0, 0, 1, 0, false);
	run_stream((uint64_t)rounds(5000), 40001, 0, 0, 100, 0, false);
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(run_between_two_threads_that_dawdle, "", 0)
{
	CHECK_DPI(DPI_Init(&ctx));
	run_stream((uint64_t)rounds(2000), 300, 0, 0, 1, 50000, false);
	run_stream((uint64_t)rounds(500), 3000, 0, 0, 50, 50000, true);
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(run_with_real_fences, "", 0)
{
	forbid_membarrier();
	CHECK_DPI(DPI_Init(&ctx));
	run_stream((uint64_t)rounds(30000), 300, 0, 0, 1, 0, false);
	run_stream((uint64_t)rounds(500), 300, 0, 0, 20, 50000, false);
	CHECK_DPI(DPI_Finalize(ctx));
}

/* The ring is full again and again; with room for a larger one, it is replaced, and what is lent of the old one stays. */
TEST(run_in_full_rings, "", 0)
{
	CHECK_DPI(DPI_Init(&ctx));
	run_stream((uint64_t)rounds(10000), 800, 0, 0, 1, 0, true);
	for (uint64_t grown = 0, n = 0; n < (uint64_t)rounds(4) || !grown; n++) {
		struct stream s = run_stream((uint64_t)rounds(10000), 800, 0, 1 << 18, 1, 0, true);
		grown += s.grown;
		CHECK(n < 50);
	}
	CHECK_DPI(DPI_Finalize(ctx));
}

/* A reader that is not there yet: nothing is lost, and the ring fills. */
TEST(run_room_ends, "", 0)
{
	CHECK_DPI(DPI_Init(&ctx));
	struct dpi_context *c = dpi_context();
	struct dpi_buffer_shape shape = dpi_run_shape(300, 0, 0, 0);
	struct dpi_buffer *b;
	struct dpi_run run = { 0 };
	uint64_t id, runs = 0;
	CHECK_DPI(dpi_run_queue(c, &shape, patience(), &id));
	CHECK_DPI(dpi_run_open(c, "runs", c->node, id, 20000, 0, patience(), &b));
	int error = dpi_run_begin(b, &run, 300, true); /* it waits for the ring, too */
	for (; !error; error = dpi_run_begin(b, &run, 300, false), runs++) {
		memset(dpi_run_place(b), 1, 300);
		CHECK_DPI(dpi_run_wrote(b, &run, 300));
		CHECK_DPI(dpi_run_end(b, &run));
	}
	CHECK_INT(error, ==, DPI_ERR_AGAIN);
	CHECK_INT(run.end, ==, 0);
	CHECK_INT(runs, >=, DPI_RUNS_IN_RING);
	CHECK_INT(runs * 312, <=, shape.capacity);
	CHECK_ERROR(dpi_run_begin(b, &run, 300, true), DPI_ERR_TIMEOUT, " ");
	CHECK_DPI(dpi_run_close(b, 20000));
	dpi_run_queue_end(c, id);
	CHECK_DPI(DPI_Finalize(ctx));
}

/* ------------------------------------------------------------------------------------------------------------- liars */

struct liar {
	struct dpi_ring *ring;
	struct dpi_peer peer;
	struct dpi_ring_in in;
	struct dpi_run_in run;
	_Atomic bool over;
};

static void open_liar(struct liar *l)
{
	memset(l, 0, sizeof *l);
	dpi_log_set(DPI_LOG_ERROR, -1); /* what it says of liars would fill the screen */
	l->ring = guarded(DPI_RING_HEADER + LEAST);
	l->in.from = &l->peer;
}

static void start_at(struct liar *l, uint64_t base, uint64_t largest)
{
	l->in.reader = (struct dpi_ring_reader){ .ring = l->ring, .capacity = LEAST, .mask = LEAST - 1, .max_record = largest,
						 .tail = base, .read = base, .head = base, .head_told = base };
	l->in.ended = false;
	l->run = (struct dpi_run_in){ 0 };
}

/* What was found must lie in the ring and be no larger than a run may be. */
static enum dpi_ring_found look(struct liar *l)
{
	struct dpi_ring_in *in = &l->in;
	const struct dpi_ring_reader *r = &l->in.reader;
	const uint8_t *data;
	uint64_t size;
	bool first;
	static struct dpi_context none;
	enum dpi_ring_found found = dpi_run_next(&none, NULL, &in, &l->run, &data, &size, &first);
	CHECK(in == &l->in);
	CHECK(found == DPI_RING_FOUND || found == DPI_RING_EMPTY || found == DPI_RING_CORRUPT);
	CHECK((found == DPI_RING_CORRUPT) <= l->in.ended);
	if (found == DPI_RING_FOUND) {
		CHECK(size > 0 && size <= r->max_record);
		CHECK(data >= l->ring->data + 8 && data < l->ring->data + LEAST);
		CHECK(size <= (size_t)(l->ring->data + LEAST - data));
		for (uint64_t i = 0; i < size; i++) (void)__atomic_load_n(data + i, __ATOMIC_RELAXED);
	}
	CHECK(r->tail - r->head <= LEAST && r->tail - r->read <= LEAST);
	return found;
}

static uint64_t lie(struct draws *d, uint64_t at, uint64_t largest)
{
	uint64_t edge[] = { 0, largest, LEAST, LEAST - at, 8, UINT32_MAX, 0x7fffffff, draw_below(d, 400) };
	uint64_t size = edge[draw_below(d, 8)] + draw_below(d, 4) * 8 - draw_below(d, 20), how = draw_below(d, 16);
	uint64_t kind = how < 10 ? DPI_RING_RUN : how < 13 ? DPI_RING_PAD : how < 14 ? DPI_RING_LINK : draw_below(d, 6);
	return draw_below(d, 32) ? (size & UINT32_MAX) | kind << 32 : draw(d);
}

static uint64_t lying_tail(struct draws *d, const struct dpi_ring_reader *r)
{
	switch (draw_below(d, 8)) {
	case 0: return draw(d);
	case 1: return r->head + r->capacity + 8 * draw_below(d, 3);
	case 2: return r->tail - 8 * draw_below(d, 600);
	case 3: return r->read + draw_below(d, 60);
	default: return r->read + draw_below(d, r->capacity);
	}
}

TEST(run_reader_survives_any_bytes, "", 0)
{
	static struct liar l;
	struct draws d = draws_from(rank);
	uint64_t seen[4] = { 0 };
	open_liar(&l);
	for (int n = rounds(200000); n; n--) {
		uint64_t base = (draw_below(&d, 2) ? draw(&d) : draw_below(&d, 2 * LEAST)) & ~(uint64_t)7, largest = draw_below(&d, 4) ? 300 : draw_below(&d, 800);
		start_at(&l, base, largest);
		l.ring->tail = base;
		for (int i = 0; i < 30 && !l.in.ended; i++) {
			for (int k = draw_below(&d, 3) ? 1 : 8; k; k--) { /* where it looks next, and at the run that is open */
				uint64_t at = (draw_below(&d, 4) ? l.in.reader.read & ~(uint64_t)7 : l.run.at) + 8 * draw_below(&d, (uint64_t)k);
				uint64_t word = lie(&d, at & (LEAST - 1), largest);
				memcpy(l.ring->data + (at & (LEAST - 1)), &word, sizeof word);
			}
			if (draw_below(&d, 2)) l.ring->tail = lying_tail(&d, &l.in.reader);
			seen[look(&l)]++;
			if (!draw_below(&d, 4)) {
				uint64_t to = l.in.reader.read;
				if (l.run.end && (int64_t)(to - l.run.at) > 0) to = l.run.at;
				if ((int64_t)(to - l.in.reader.head) > 0) dpi_ring_release(&l.in.reader, to, to);
			}
		}
		if (l.in.ended) CHECK_INT(look(&l), ==, DPI_RING_EMPTY); /* cut off */
	}
	CHECK(seen[DPI_RING_FOUND] && seen[DPI_RING_EMPTY] && seen[DPI_RING_CORRUPT]);
	guarded_free(l.ring, DPI_RING_HEADER + LEAST);
}

TEST(run_reader_knows_lies, "", 0)
{
#define RUN(size) ((size) | (uint64_t)DPI_RING_RUN << 32)
#define PAD(size) ((size) | (uint64_t)DPI_RING_PAD << 32)
	static const struct {
		uint64_t at, tail, word, then_tail, then_word; /* after a first look that is no lie */
		enum dpi_ring_found found, then;
	} lies[] = {
		{ 0, 8, RUN(300), 100, RUN(300), DPI_RING_EMPTY, DPI_RING_FOUND },
		{ 0, 12, RUN(300), 308, RUN(300), DPI_RING_FOUND, DPI_RING_FOUND },
		{ 0, 12, RUN(300), 400, RUN(4), DPI_RING_FOUND, DPI_RING_CORRUPT },   /* ended early, then no word */
		{ 0, 12, RUN(300), 400, RUN(3), DPI_RING_FOUND, DPI_RING_CORRUPT },   /* before what was read */
		{ 0, 12, RUN(100), 400, RUN(101), DPI_RING_FOUND, DPI_RING_CORRUPT }, /* grown */
		{ 0, 12, RUN(300), 14, PAD(296), DPI_RING_FOUND, DPI_RING_CORRUPT },
		{ 0, 12, RUN(300), 15, RUN(4), DPI_RING_FOUND, DPI_RING_CORRUPT },    /* between its end and the next word */
		{ 0, 12, RUN(300), 16, RUN(4), DPI_RING_FOUND, DPI_RING_EMPTY },
		{ 0, 12, RUN(300), 17, RUN(4), DPI_RING_FOUND, DPI_RING_CORRUPT },    /* half a word */
		{ 0, 8, RUN(301), 8, 0, DPI_RING_CORRUPT, DPI_RING_EMPTY },	      /* above the largest */
		{ 0, 4, RUN(1), 8, 0, DPI_RING_CORRUPT, DPI_RING_EMPTY },	      /* half a word */
		{ LEAST - 8, 8, RUN(1), 8, 0, DPI_RING_CORRUPT, DPI_RING_EMPTY },     /* over the ring's end */
		{ LEAST - 8, 8, RUN(0), 16, RUN(0), DPI_RING_EMPTY, DPI_RING_CORRUPT },
		{ LEAST - 16, 16, RUN(8), 16, 0, DPI_RING_FOUND, DPI_RING_EMPTY },
		{ LEAST - 16, 8, PAD(8), 8, 0, DPI_RING_CORRUPT, DPI_RING_EMPTY },
		{ LEAST - 16, 24, PAD(16), 8, 0, DPI_RING_CORRUPT, DPI_RING_EMPTY },
		{ 0, 16, (uint64_t)DPI_RING_RECORD << 32, 8, 0, DPI_RING_CORRUPT, DPI_RING_EMPTY },
		{ 0, 8, (uint64_t)DPI_RING_LINK << 32, 8, 0, DPI_RING_CORRUPT, DPI_RING_EMPTY }, /* to nothing */
		{ 0, LEAST + 8, RUN(8), 8, 0, DPI_RING_CORRUPT, DPI_RING_EMPTY },
		{ 0, (uint64_t)-8, RUN(8), 8, RUN(0), DPI_RING_EMPTY, DPI_RING_EMPTY },
	};
	static struct liar l;
	open_liar(&l);
	for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
		uint8_t *word = l.ring->data + lies[i].at;
		memset(l.ring->data, 0, LEAST);
		start_at(&l, LEAST + lies[i].at, 300);
		memcpy(word, &lies[i].word, 8);
		l.ring->tail = LEAST + lies[i].at + lies[i].tail;
		if (look(&l) != lies[i].found) FAIL("lie %zu", i);
		memcpy(word, &lies[i].then_word, 8);
		l.ring->tail = LEAST + lies[i].at + lies[i].then_tail;
		enum dpi_ring_found then = look(&l);
		if (then != lies[i].then) FAIL("lie %zu, then %d", i, (int)then);
	}
	guarded_free(l.ring, DPI_RING_HEADER + LEAST);
}

/* Changes words while they are looked at: what was checked must be what is used. */
static void *scribble(void *arg)
{
	struct liar *l = arg;
	struct draws d = draws_from(1);
	uint64_t *words = (uint64_t *)(void *)l->ring->data;
	while (!atomic_load_explicit(&l->over, memory_order_relaxed)) {
		uint64_t at = draw_below(&d, 32), word = RUN(8 * draw_below(&d, 3));
		__atomic_store_n(&words[at], draw_below(&d, 4) ? word : lie(&d, 8 * at, 300), __ATOMIC_RELAXED);
		for (int i = 0; i < 8; i++) __atomic_fetch_xor(&words[at], 0x3f, __ATOMIC_RELAXED); /* now long, now short */
		atomic_store_explicit(&l->ring->tail, draw_below(&d, 32) ? 8 + draw_below(&d, 256) : draw(&d), memory_order_relaxed);
	}
	return NULL;
}

TEST(run_reader_survives_a_scribbler, "", 0)
{
	static struct liar l;
	uint64_t found = 0;
	open_liar(&l);
	pthread_t t = start_thread(scribble, &l);
	while (!atomic_load_explicit(&l.ring->tail, memory_order_relaxed)) sched_yield();
	start_at(&l, 0, 300);
	for (int n = rounds(2000000); n > 0 || !found; n--) { /* the other thread may stand still for as long */
		found += look(&l) == DPI_RING_FOUND;
		if (l.in.ended || l.in.reader.read >= 256) start_at(&l, 0, 300);
	}
	atomic_store(&l.over, true);
	end_thread(t);
	guarded_free(l.ring, DPI_RING_HEADER + LEAST);
}
