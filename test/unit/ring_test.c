/* SPDX-License-Identifier: Apache-2.0
 * ring_test.c: src/memory/ring.h: the layout, both ends of it, what they do at once, and what a liar can do. */
#include "unit.h"

#include "buffer.h"
#include "home.h"
#include "request.h"

#define LEAST DPI_RING_LEAST

static _Atomic uint32_t gate;
static struct dpi_ring_stage stages[2]; /* of the pairs that are open at once */
static int open_pairs;

struct pair {
	struct dpi_ring *ring;
	struct dpi_ring_writer w;
	struct dpi_ring_reader r;
};

static struct pair open_pair(uint64_t capacity, uint64_t base, uint64_t max_record)
{
	struct pair p = { .ring = guarded(DPI_RING_HEADER + capacity) };
	atomic_init(&p.ring->tail, base);
	atomic_init(&p.ring->head, base);
	atomic_init(&p.ring->clear, DPI_RING_NOWHERE);
	p.w = (struct dpi_ring_writer){ .data = p.ring->data, .capacity = capacity, .mask = capacity - 1, .head = &p.ring->head,
					.head_seen = base, .written = base };
	if (open_pairs < 2) {
		p.w.stage = &stages[open_pairs];
		*p.w.stage = (struct dpi_ring_stage){ .gate = &gate };
	}
	open_pairs++;
	p.r = (struct dpi_ring_reader){ .ring = p.ring, .capacity = capacity, .mask = capacity - 1, .max_record = max_record,
					.tail = base, .clear = DPI_RING_NOWHERE, .read = base, .head = base, .freed = base, .head_told = base,
					.same_most = DPI_RING_SAME_MOST };
	return p;
}

static void close_pair(struct pair *p)
{
	guarded_free(p->ring, DPI_RING_HEADER + p->w.capacity);
	open_pairs--;
}

/* As publish_direct of append.c does. */
static void publish_from(struct pair *p, uint64_t before)
{
	struct dpi_ring_stage *stage = p->w.stage && p->w.stage->memory ? p->w.stage : NULL;
	if (stage) {
		dpi_ring_lock_stage(stage);
		dpi_ring_copy_staged(&p->w, atomic_load_explicit(&p->w.written, memory_order_relaxed));
		dpi_ring_set_stage(&p->w, stage->memory);
	}
	dpi_ring_publish(&p->w, &p->ring->tail, before);
	if (stage) dpi_ring_unlock_stage(stage);
}

/* Publish, and the reader may not find what comes next by its word. */
static uint64_t publish(struct pair *p)
{
	uint64_t written = atomic_load_explicit(&p->w.written, memory_order_relaxed);
	if (p->w.stage && p->w.stage->memory) dpi_ring_unstage(&p->w);
	atomic_store_explicit(&p->ring->tail, written, memory_order_release);
	return written;
}

static void give_back(struct pair *p)
{
	dpi_ring_release(&p->r, p->r.read, dpi_ring_boundary(&p->r));
	dpi_ring_tell(&p->r);
}

/* As if all up to here had been written, read and given back. */
static void set_position(struct pair *p, uint64_t base)
{
	p->w.written = base;
	p->w.head_seen = base;
	p->ring->head = base;
	p->ring->tail = base;
}

static uint64_t word_at(const struct pair *p, uint64_t position)
{
	uint64_t word;
	memcpy(&word, p->ring->data + (position & p->w.mask), sizeof word);
	return word;
}

static bool all(const uint8_t *from, const uint8_t *to, int byte)
{
	while (from < to && *from == byte) from++;
	return from >= to;
}

/* Positions at which something may go wrong. They never come to 2^64; only the long ways would take it. */
static const uint64_t bases[] = { 0, LEAST - 8, UINT32_MAX - 1999, ((uint64_t)1 << 63) - 1600, UINT64_MAX - 1599 };
#define BASES (sizeof bases / sizeof *bases)
#define REACHED (BASES - 1)

/* -------------------------------------------------------------------------------------------------------- layout */

TEST(ring_takes_every_size_at_every_offset, "", 0)
{
	uint64_t step = rounds(20) < 20 ? 88 : 8;
	struct pair p = open_pair(LEAST, 0, 300);
	uint8_t *data = p.ring->data, *end = data + LEAST;
	for (uint64_t at = 0; at < LEAST; at += step)
		for (uint64_t size = 0; size <= 300; size++) {
			const void *found;
			size_t found_size;
			uint64_t base = 3 * LEAST + at, need = (size + 15) / 8 * 8, pad = need > LEAST - at ? LEAST - at : 0;
			memset(data, 0xee, LEAST);
			set_position(&p, base);
			p.r.tail = p.r.read = p.r.head = p.r.head_told = base;
			uint8_t *room = dpi_ring_room(&p.w, size);
			CHECK(room == data + ((base + pad) & (LEAST - 1)) + 8);
			CHECK_INT(p.w.written, ==, base); /* nothing yet */
			fill(room, size, base + size);
			dpi_ring_commit(&p.w, size);
			CHECK_INT(p.w.written, ==, base + pad + need);
			if (pad) CHECK_INT(word_at(&p, base), ==, (pad - 8) | (uint64_t)DPI_RING_PAD << 32);
			CHECK_INT(word_at(&p, base + pad), ==, size | (uint64_t)DPI_RING_RECORD << 32);
			CHECK(filled(room, size, base + size));
			if (need <= 64) { /* the word behind a small one is cleared, and nothing else is touched */
				CHECK_INT(word_at(&p, base + pad + need), ==, 0);
				memset(data + ((base + pad + need) & (LEAST - 1)), 0xee, 8);
			}
			CHECK(pad ? all(room + size, data + at, 0xee) : all(data, data + at, 0xee) && all(room + size, end, 0xee));
			CHECK_INT(dpi_ring_next(&p.r, &found, &found_size), ==, DPI_RING_EMPTY); /* nor for the reader */
			publish(&p);
			CHECK(dpi_ring_ready(&p.r));
			CHECK_INT(dpi_ring_next(&p.r, &found, &found_size), ==, DPI_RING_FOUND);
			CHECK(found == room && found_size == size);
			CHECK_INT(p.r.read, ==, base + pad + need);
			CHECK_INT(dpi_ring_next(&p.r, &found, &found_size), ==, DPI_RING_EMPTY);
			CHECK(!dpi_ring_ready(&p.r));
		}
	close_pair(&p);
}

TEST(ring_commits_less_than_it_reserved, "", 0)
{
	struct pair p = open_pair(LEAST, 0, 300);
	const void *found;
	size_t size;
	for (uint64_t part = 0; part <= 300; part++) {
		uint8_t *room = dpi_ring_room(&p.w, 300);
		CHECK(room);
		fill(room, 300, part);
		dpi_ring_commit(&p.w, part);
		publish(&p);
		CHECK_INT(dpi_ring_next(&p.r, &found, &size), ==, DPI_RING_FOUND);
		CHECK_INT(size, ==, part);
		CHECK(filled(found, size, part));
		give_back(&p);
	}
	close_pair(&p);
}

TEST(ring_keeps_room_for_a_link, "", 0)
{
	struct draws d = draws_from(rank);
	for (int n = rounds(2000); n; n--) {
		uint64_t base = bases[draw_below(&d, BASES)] + 8 * draw_below(&d, LEAST / 8), sizes[LEAST / 8], count = 0;
		const void *found;
		size_t size;
		struct pair p = open_pair(LEAST, base, LEAST / 2 - 32);
		uint64_t most = draw_below(&d, 2) ? LEAST / 2 - 32 : 100;
		for (uint8_t *room;;) { /* until not even an empty record fits */
			sizes[count] = draw_below(&d, most + 1);
			if (!(room = dpi_ring_room(&p.w, sizes[count]))) {
				if (!sizes[count]) break;
				most = sizes[count] / 2;
				continue;
			}
			fill(room, sizes[count], count);
			dpi_ring_commit(&p.w, sizes[count++]);
			CHECK(p.w.written - base <= LEAST - 8);
		}
		CHECK(p.w.written - base + 8 + 8 > LEAST - 8); /* it was full indeed */
		dpi_ring_link(&p.w);
		CHECK(publish(&p) - base <= LEAST);
		for (uint64_t i = 0; i < count; i++) {
			CHECK_INT(dpi_ring_next(&p.r, &found, &size), ==, DPI_RING_FOUND);
			CHECK_INT(size, ==, sizes[i]);
			CHECK(filled(found, size, i));
		}
		for (int i = 0; i < 3; i++) CHECK_INT(dpi_ring_next(&p.r, &found, &size), ==, DPI_RING_ENDED);
		CHECK(!dpi_ring_read(&p.r, &found, &size));
		close_pair(&p);
	}
}

TEST(ring_least_holds_two_of_the_largest, "", 0)
{
	for (uint64_t max = 0, step = 1; max <= (uint64_t)1 << 30; max += step, step = max < 70000 ? 1 : max / 1000 | 1) {
		uint64_t c = dpi_ring_least(max), need = 2 * ((max + 15) / 8 * 8) + 16 + (max >= 512 ? 112 : 0);
		CHECK(c >= LEAST && !(c & (c - 1)) && c >= need && (c == LEAST || c / 2 < need));
	}
	static const uint64_t sizes[] = { 0, 1, 300, 2023, 2024, 2025, 2032, 2033, 4071, 4072, 4073, 8000, 16376, 16377 };
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		uint64_t c = dpi_ring_least(sizes[i]);
		struct pair p = open_pair(c, 0, sizes[i]);
		for (uint64_t at = 0; at < c; at += 8) { /* into an empty ring it goes, wherever that is */
			set_position(&p, c + at);
			uint8_t *room = dpi_ring_room(&p.w, sizes[i]);
			CHECK(room && room + sizes[i] <= p.ring->data + c);
			dpi_ring_commit(&p.w, sizes[i]);
		}
		close_pair(&p);
	}
}

/* -------------------------------------------------------------------------------------- records seen by their word */

TEST(ring_shows_a_small_record_before_its_tail, "", 0)
{
	uint64_t step = rounds(20) < 20 ? 88 : 8;
	struct pair p = open_pair(LEAST, 0, 300);
	uint8_t record[300];
	uint64_t seen = 0;
	for (uint64_t at = 0; at < LEAST; at += step)
		for (uint64_t first = 0; first <= 80; first += 4)
			for (uint64_t size = 0; size <= 80; size += 4) {
				const void *found;
				size_t found_size;
				uint64_t base = 3 * LEAST + at;
				/* what lies there looks like records */
				for (uint64_t i = 0; i < LEAST; i += 8) dpi_ring_put_word(p.ring->data + i, 8, DPI_RING_RECORD);
				set_position(&p, base);
				p.ring->clear = p.r.clear = DPI_RING_NOWHERE;
				p.r.tail = p.r.read = p.r.head = p.r.head_told = base;
				fill(record, first, 1);
				memcpy(dpi_ring_room(&p.w, first), record, first);
				dpi_ring_commit(&p.w, first);
				CHECK(!dpi_ring_ready(&p.r));
				dpi_ring_publish(&p.w, &p.ring->tail, base);
				CHECK_INT(dpi_ring_next(&p.r, &found, &found_size), ==, DPI_RING_FOUND);
				CHECK(!dpi_ring_ready(&p.r));
				CHECK_INT(dpi_ring_next(&p.r, &found, &found_size), ==, DPI_RING_EMPTY);
				fill(record, size, 2);
				uint8_t *room = dpi_ring_room(&p.w, size);
				bool padded = p.w.place != p.w.written, early = p.w.written - base <= 64 && !padded;
				CHECK(!dpi_ring_ready(&p.r)); /* the bytes of a record are not its word */
				memcpy(room, record, size);
				CHECK(!dpi_ring_ready(&p.r));
				dpi_ring_commit(&p.w, size);
				CHECK(dpi_ring_ready(&p.r) == early);
				if (!early) publish(&p);
				CHECK_INT(dpi_ring_next(&p.r, &found, &found_size), ==, DPI_RING_FOUND);
				CHECK(found == room && found_size == size && filled(found, size, 2));
				CHECK(p.r.read == p.w.written && p.r.tail == p.w.written);
				CHECK(!dpi_ring_ready(&p.r)); /* what is behind it is not looked at */
				CHECK_INT(dpi_ring_next(&p.r, &found, &found_size), ==, DPI_RING_EMPTY);
				publish(&p);
				CHECK(!dpi_ring_ready(&p.r));
				CHECK_INT(dpi_ring_next(&p.r, &found, &found_size), ==, DPI_RING_EMPTY);
				seen += early;
			}
	CHECK(seen > 0);
	close_pair(&p);
}

TEST(ring_shows_no_pad_and_no_link_before_its_tail, "", 0)
{
	const void *found;
	size_t size;
	for (int link = 0; link < 2; link++) {
		struct pair p = open_pair(LEAST, 2 * LEAST, 600);
		CHECK(dpi_ring_room(&p.w, 0));
		dpi_ring_commit(&p.w, 0);
		dpi_ring_publish(&p.w, &p.ring->tail, 2 * LEAST);
		CHECK_INT(dpi_ring_next(&p.r, &found, &size), ==, DPI_RING_FOUND);
		CHECK_INT(dpi_ring_next(&p.r, &found, &size), ==, DPI_RING_EMPTY);
		CHECK(p.r.clear == p.r.read);
		if (link) dpi_ring_link(&p.w);
		else CHECK(dpi_ring_room(&p.w, 600) && p.w.place != p.w.written);
		CHECK(word_at(&p, p.r.read) != 0 && !dpi_ring_ready(&p.r));
		CHECK_INT(dpi_ring_next(&p.r, &found, &size), ==, DPI_RING_EMPTY);
		if (link) {
			publish(&p);
			CHECK_INT(dpi_ring_next(&p.r, &found, &size), ==, DPI_RING_ENDED);
		} else { /* the room is not used: another record takes its place */
			CHECK(dpi_ring_room(&p.w, 8));
			dpi_ring_commit(&p.w, 8);
			CHECK_INT(dpi_ring_next(&p.r, &found, &size), ==, DPI_RING_FOUND);
			CHECK(size == 8);
		}
		close_pair(&p);
	}
}

/* ------------------------------------------------------------------------------------------------- the short ways */

/* One pair goes the short ways where it may, the other never. */
static void compare_ways(struct draws *d, uint64_t base, uint64_t capacity, int records)
{
	struct pair a = open_pair(capacity, base, 700), b = open_pair(capacity, base, 700);
	uint64_t published = base, group = draw_below(d, 2) ? capacity / 8 : draw_below(d, capacity) | 1;
	uint8_t record[700];
	dpi_ring_until(&a.w, published, group);
	for (int i = 0; i < records; i++) {
		uint64_t size = i / 32 % 2 ? (i / 64 % 2 ? 600 : 24) : draw_below(d, draw_below(d, 4) ? 140 : 701); /* runs of one size, too */
		fill(record, size, (uint64_t)i);
		bool is_short = dpi_ring_write(&a.w, record, size);
		uint8_t *room = dpi_ring_room(&b.w, size), *room_a = is_short ? NULL : dpi_ring_room(&a.w, size);
		if (is_short) {
			CHECK(room);
			CHECK(a.w.written - published < group); /* it leaves no group unpublished */
		} else {
			CHECK(!room == !room_a);
		}
		if (room) memcpy(room, record, size), dpi_ring_commit(&b.w, size);
		if (room_a) memcpy(room_a, record, size), dpi_ring_commit(&a.w, size);
		CHECK_INT(a.w.written, ==, b.w.written);
		CHECK(!memcmp(a.ring->data, b.ring->data, capacity));
		if (!is_short) {
			if (!room || a.w.written - published >= group || !draw_below(d, 4)) published = publish(&a), publish(&b);
			dpi_ring_until(&a.w, published, group);
		}
		for (uint64_t n = room ? draw_below(d, 8) : UINT64_MAX; n; n--) {
			const void *of_a = NULL, *of_b = NULL;
			size_t size_a = 0, size_b = 0;
			bool found = dpi_ring_read(&a.r, &of_a, &size_a);
			if (!found) found = dpi_ring_next(&a.r, &of_a, &size_a) == DPI_RING_FOUND;
			CHECK_INT(dpi_ring_next(&b.r, &of_b, &size_b), ==, found ? DPI_RING_FOUND : DPI_RING_EMPTY);
			CHECK(a.r.read == b.r.read && a.r.tail == b.r.tail);
			if (!found) break;
			CHECK((const uint8_t *)of_a - a.ring->data == (const uint8_t *)of_b - b.ring->data);
			CHECK(size_a == size_b && !memcmp(of_a, of_b, size_a));
		}
		DPI_Record many[16];
		size_t most = draw_below(d, 17), n = dpi_ring_read_many(&a.r, draw_below(d, 2) ? 24 : i / 64 % 2 ? 600 : draw_below(d, 701), most, many);
		for (size_t k = 0; k < n; k++) {
			const void *of_b = NULL;
			size_t size_b = 0;
			CHECK_INT(dpi_ring_next(&b.r, &of_b, &size_b), ==, DPI_RING_FOUND);
			CHECK((const uint8_t *)many[k].data - a.ring->data == (const uint8_t *)of_b - b.ring->data && many[k].size == size_b);
		}
		CHECK(a.r.read == b.r.read);
		if (!room || !draw_below(d, 8)) give_back(&a), give_back(&b);
	}
	close_pair(&a);
	close_pair(&b);
}

TEST(ring_short_ways_leave_the_same_bytes, "", 0)
{
	struct draws d = draws_from(rank);
	for (int n = rounds(20); n; n--)
		for (size_t i = 0; i < REACHED; i++) compare_ways(&d, bases[i], LEAST << draw_below(&d, 2), 400);
}

/* ------------------------------------------------------------------------------------------------ both ends at once */

#define RINGS 8

/* What both ends know: the records, one by one; each end draws their sizes from a stream of its own. */
struct stream {
	struct pair pair[RINGS];
	_Atomic int rings; /* that can be linked to */
	struct dpi_buffer *b; /* appends through it; NULL: writes by hand */
	uint64_t seed, records, largest;
	_Atomic bool over;
	int64_t longest_idle;
};

/* Every other stretch of records has one size. */
static uint64_t next_size(struct draws *d, const struct stream *s, uint64_t record)
{
	uint64_t one = 8 * (1 + record / 80 * 7 % 16);
	if (record / 40 % 2 && one <= s->largest) return one;
	uint64_t how = draw_below(d, 16);
	return how == 0 ? 0 : how == 1 ? s->largest : draw_below(d, how < 12 && s->largest > 64 ? 64 : s->largest + 1);
}

/* A run of records of this size, perhaps. The reader gives its room back late, which a largest record may not have to wait for. */
static void perhaps_begin_run(struct dpi_ring_writer *w, struct draws *d, uint64_t size, uint64_t largest)
{
	uint64_t taken = 2 * (dpi_ring_need(largest) + 64) + 64 + 2 * DPI_RING_WORD;
	if (w->same || !size || size % 8 || size > DPI_RING_SAME_MOST || taken > w->capacity || draw_below(d, 8)) return;
	dpi_ring_begin_same(w, size, draw_below(d, w->capacity - taken));
	if (w->same && w->stage && draw_below(d, 2)) {
		static _Alignas(64) uint8_t memory[1200]; /* one writer at a time */
		dpi_ring_lock_stage(w->stage);
		dpi_ring_set_stage(w, memory);
		dpi_ring_unlock_stage(w->stage);
		dpi_ring_go_on(w, draw_below(d, 1000));
	} else if (w->same && draw_below(d, 2)) {
		dpi_ring_go_on(w, draw_below(d, 1000));
	}
}

/* One record by one of the ways; false: no room now. */
static bool write_record(struct pair *p, struct draws *d, const void *data, uint64_t size, uint64_t *published)
{
	perhaps_begin_run(&p->w, d, size, p->r.max_record);
	if (dpi_ring_write(&p->w, data, size)) return true;
	uint8_t *room = dpi_ring_room(&p->w, size);
	if (room) {
		if (size) memcpy(room, data, size);
		dpi_ring_commit(&p->w, size);
	}
	if (!room || draw_below(d, 2)) {
		publish_from(p, *published);
		*published = p->w.written;
	}
	dpi_ring_until(&p->w, *published, 1 + draw_below(d, p->w.capacity / 4));
	return room;
}

/* -------------------------------------------------------------------------------------------- runs of records of one size */

/* One record of a ring that is read and not released. */
struct held {
	const uint8_t *data;
	uint64_t size, number;
};
static void let_go(struct pair *p, struct held *held, size_t *first, size_t *count, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct held *h = &held[(*first + i) % 4096];
		if (!filled(h->data, h->size, h->number)) FAIL("record %" PRIu64 " was overwritten while it was held", h->number);
	}
	struct dpi_ring_reader *r = &p->r;
	if (n == *count) dpi_ring_release(r, r->read, dpi_ring_boundary(r));
	else dpi_ring_release_some(r, n, r->read);
	CHECK(r->head <= r->freed && r->freed <= r->read);
	CHECK(!r->same || r->read == r->same_end || r->head <= r->same_at); /* the word that is looked at again */
	dpi_ring_tell(r);
	*first = (*first + n) % 4096;
	*count -= n;
}

/* Records in runs and not, held for a while, released some at a time, are what was written; room comes back in the end. */
static void hold_and_release(struct draws *d, uint64_t base, int records)
{
	static struct held held[4096];
	struct pair p = open_pair(LEAST, base, 300);
	struct stream s = { .largest = 300 };
	uint64_t published = base, in_runs = 0, all = 0, read = 0;
	size_t first = 0, count = 0;
	uint8_t record[300];
	for (uint64_t i = 0; i < (uint64_t)records;) {
		uint64_t size = next_size(d, &s, i);
		fill(record, size, i);
		bool wrote = write_record(&p, d, record, size, &published);
		if (wrote) in_runs += p.w.same != 0, all += p.w.same ? size : 0, i++;
		if (!draw_below(d, 8)) publish_from(&p, published), published = p.w.written;
		uint64_t total, total_bytes;
		CHECK(dpi_ring_count_same(&p.w, &total, &total_bytes));
		CHECK(total == in_runs && total_bytes == all);
		for (uint64_t n = draw_below(d, 12); n && count < 4096; n--) {
			DPI_Record r[8] = { { 0 } };
			size_t got = draw_below(d, 2) ? dpi_ring_read_many(&p.r, draw_below(d, 128), 8, r) : 0;
			if (!got && (got = dpi_ring_next(&p.r, &r[0].data, &r[0].size) == DPI_RING_FOUND) && !draw_below(d, 4)) {
				dpi_ring_unread(&p.r, r[0].size);
				continue;
			}
			if (!got) break;
			if (got == 1 && draw_below(d, 2)) { /* and what lies evenly behind it */
				size_t stride, more = dpi_ring_read_evenly(&p.r, r[0].size, 7, &stride);
				CHECK(more <= 7 && stride >= r[0].size);
				for (; more; more--, got++) r[got] = (DPI_Record){ (const uint8_t *)r[got - 1].data + stride, r[0].size };
			}
			for (size_t k = 0; k < got; k++, read++)
				held[(first + count++) % 4096] = (struct held){ r[k].data, r[k].size, read };
		}
		if (!wrote || !draw_below(d, 6)) let_go(&p, held, &first, &count, wrote ? draw_below(d, count + 1) : count);
	}
	CHECK(in_runs > 0);
	close_pair(&p);
}

TEST(ring_runs_are_held_and_released, "", 0)
{
	struct draws d = draws_from(rank);
	for (int n = rounds(40); n; n--)
		for (size_t i = 0; i < REACHED; i++) hold_and_release(&d, bases[i], 2000);
}

/* ------------------------------------------------------------------------------------------------------- with threads */

static void *stream_writer(void *arg)
{
	struct stream *s = arg;
	struct draws sizes = { s->seed }, d = draws_from(1);
	struct pair *p = s->pair;
	uint64_t published = p->w.written;
	uint8_t record[2048];
	for (uint64_t i = 0; i < s->records; i++) {
		uint64_t size = next_size(&sizes, s, i);
		int64_t give_up = patience();
		fill(record, size, i);
		while (!write_record(p, &d, record, size, &published)) {
			if (p + 1 < s->pair + RINGS && p[1].ring && draw_below(&d, 16) == 0) { /* goes on in a larger ring */
				dpi_ring_link(&p->w);
				uint64_t base = p->w.written;
				set_position(&p[1], base);
				p[1].r.tail = p[1].r.read = p[1].r.head = p[1].r.head_told = published = base;
				atomic_store_explicit(&s->rings, (int)(p + 1 - s->pair) + 1, memory_order_release);
				publish(p++);
			} else {
				sched_yield();
			}
			if (dpi_now() > give_up) FAIL("no room for record %" PRIu64, i);
		}
		if (s->longest_idle) idle(&d, s->longest_idle);
	}
	publish(p);
	return NULL;
}

static void *stream_appender(void *arg)
{
	struct stream *s = arg;
	struct draws sizes = { s->seed }, d = draws_from(1);
	uint8_t record[2048];
	for (uint64_t i = 0; i < s->records; i++) {
		uint64_t size = next_size(&sizes, s, i);
		int64_t give_up = patience();
		struct iovec v = { record, size };
		struct dpi_request r = { .advance = NULL };
		fill(record, size, i);
		perhaps_begin_run(&s->b->appender.writer, &d, size, s->largest);
		while (!dpi_ring_write(&s->b->appender.writer, record, size)) {
			int error = dpi_append_try(s->b, &v, 1, size, &r);
			if (!error) break;
			CHECK_INT(error, ==, DPI_ERR_AGAIN);
			sched_yield();
			if (dpi_now() > give_up) FAIL("no room for record %" PRIu64, i);
		}
		if (!draw_below(&d, 64)) CHECK_INT(dpi_append_publish(s->b, 0), ==, DPI_SUCCESS);
		if (s->longest_idle) idle(&d, s->longest_idle);
	}
	return NULL;
}

static void *linger(void *arg)
{
	struct stream *s = arg;
	struct draws d = draws_from(2);
	while (!atomic_load(&s->over)) {
		dpi_append_linger(s->b);
		if (s->longest_idle) idle(&d, s->longest_idle);
	}
	return NULL;
}

/* Reads them all, on this thread; every record in its place, whole. */
static void read_stream(struct stream *s)
{
	struct draws sizes = { s->seed }, d = draws_from(3);
	struct pair *p = s->pair;
	uint64_t tail = p->r.tail;
	int64_t give_up = patience();
	for (uint64_t i = 0; i < s->records;) {
		const void *data;
		size_t size;
		uint64_t before = p->r.read, now = atomic_load_explicit(&p->ring->tail, memory_order_relaxed);
		if ((int64_t)(now - tail) < 0) FAIL("the tail went back from %" PRIu64 " to %" PRIu64, tail, now);
		tail = now;
		enum dpi_ring_found found = dpi_ring_read(&p->r, &data, &size) ? DPI_RING_FOUND : dpi_ring_next(&p->r, &data, &size);
		if (found == DPI_RING_FOUND) {
			CHECK_INT(size, ==, next_size(&sizes, s, i));
			if (!filled(data, size, i)) FAIL("record %" PRIu64 " of %zu bytes has other bytes", i, size);
			CHECK(p->r.read - before >= size);
			i++;
			if (!draw_below(&d, 8)) dpi_ring_release(&p->r, p->r.read, dpi_ring_boundary(&p->r));
			if (!draw_below(&d, 32)) dpi_ring_tell(&p->r);
			if (i % 1024 == 0) give_up = patience();
		} else if (found == DPI_RING_ENDED) {
			CHECK(atomic_load_explicit(&s->rings, memory_order_acquire) > (int)(p + 1 - s->pair));
			p++;
			tail = p->r.tail;
		} else {
			CHECK_INT(found, ==, DPI_RING_EMPTY);
			give_back(p);
			if (dpi_now() > give_up) FAIL("record %" PRIu64 " does not come", i);
			sched_yield();
		}
		if (s->longest_idle) idle(&d, s->longest_idle);
	}
	for (int64_t give_up_tail = patience(); p->r.read != atomic_load(&p->ring->tail); sched_yield()) /* the last was seen by its word */
		if (dpi_now() > give_up_tail) FAIL("the tail does not come to %" PRIu64, p->r.read);
	atomic_store(&s->over, true);
}

/* Each record published by itself, most of them small: the reader sees them by their words, if it is there. */
static void *stream_flusher(void *arg)
{
	struct stream *s = arg;
	struct draws sizes = { s->seed }, d = draws_from(1);
	struct pair *p = s->pair;
	uint8_t record[2048];
	for (uint64_t i = 0; i < s->records; i++) {
		uint64_t size = next_size(&sizes, s, i), published = p->w.written;
		int64_t give_up = patience();
		uint8_t *room;
		fill(record, size, i);
		perhaps_begin_run(&p->w, &d, size, s->largest);
		if (!p->w.same || !dpi_ring_write(&p->w, record, size)) {
			while (!(room = dpi_ring_room(&p->w, size))) {
				sched_yield();
				if (dpi_now() > give_up) FAIL("no room for record %" PRIu64, i);
			}
			if (size) memcpy(room, record, size);
			dpi_ring_commit(&p->w, size);
		}
		if (draw_below(&d, 16)) publish_from(p, published);
		if (s->longest_idle) idle(&d, s->longest_idle);
		else if (i % 4) /* let it be read */
			for (int n = 0; n < 200 && atomic_load_explicit(&p->ring->head, memory_order_relaxed) != p->w.written; n++) dpi_pause();
	}
	publish_from(p, p->w.written - 1);
	return NULL;
}

TEST(ring_with_records_seen_by_their_words, "", 0)
{
	static struct stream s;
	for (int dawdle = 0; dawdle < 2; dawdle++) {
		s = (struct stream){ .records = (uint64_t)rounds(dawdle ? 20000 : 200000), .largest = 100, .rings = 1,
				     .longest_idle = dawdle ? 20000 : 0, .seed = draws_from(6).state };
		s.pair[0] = open_pair(LEAST, LEAST - 64, 100);
		pthread_t writer = start_thread(stream_flusher, &s);
		read_stream(&s);
		end_thread(writer);
		close_pair(&s.pair[0]);
	}
}

static void run_stream(uint64_t base, uint64_t records, uint64_t largest, int rings, int64_t longest_idle)
{
	static struct stream s;
	s = (struct stream){ .records = records, .largest = largest, .longest_idle = longest_idle, .rings = 1,
			     .seed = draws_from(4).state };
	for (int i = 0; i < rings; i++) s.pair[i] = open_pair(dpi_ring_least(largest) << i, base, largest);
	pthread_t writer = start_thread(stream_writer, &s);
	read_stream(&s);
	end_thread(writer);
	for (int i = 0; i < rings; i++) close_pair(&s.pair[i]);
}

TEST(ring_between_two_threads, "", 0)
{
	run_stream(0, (uint64_t)rounds(300000), 300, 1, 0);
	run_stream(LEAST - 8, (uint64_t)rounds(100000), 2000, 1, 0);
}

TEST(ring_between_two_threads_that_dawdle, "", 0)
{
	run_stream(0, (uint64_t)rounds(20000), 300, 1, 50000);
}

TEST(ring_follows_its_links, "", 0)
{
	for (int n = rounds(4); n; n--)
		for (size_t i = 0; i < REACHED; i++) run_stream(bases[i], (uint64_t)rounds(8000), 1200, RINGS, 0);
}

/* A handle whose ring lies here, as append.c makes one; the home's bells are not mapped. */
struct handle {
	struct dpi_context ctx;
	struct dpi_bell_page page;
	struct dpi_peer home;
	struct dpi_buffer b;
};

static void join(struct handle *h, struct pair *p, uint64_t max_record)
{
	memset(h, 0, sizeof *h);
	h->ctx.bells.page = &h->page;
	struct dpi_buffer *b = &h->b;
	b->ctx = &h->ctx;
	b->home_peer = &h->home;
	b->shape.use = DPI_USE_QUEUE;
	b->max_record = max_record;
	b->appender.writer = p->w;
	b->appender.published = p->w.written;
	b->appender.group = p->w.capacity / 8;
	b->appender.tail = &p->ring->tail;
	b->appender.remote = (struct dpi_remote){ .peer = &h->home, .direct = (uint8_t *)p->ring };
	b->appender.remote.length = DPI_RING_HEADER + p->w.capacity;
	b->appender.attached = true;
	b->armed = true;
	pthread_mutex_init(&b->appender.lock, NULL);
	dpi_append_fast(b);
	CHECK(b->fast);
}

/* The real appender and the real linger service publish the same tail, at their own pace. */
static void with_linger(uint64_t base, uint64_t records, uint64_t largest, int64_t longest_idle)
{
	static struct stream s;
	static struct handle h;
	s = (struct stream){ .records = records, .largest = largest, .longest_idle = longest_idle, .rings = 1,
			     .seed = draws_from(5).state };
	s.pair[0] = open_pair(dpi_ring_least(largest), base, largest);
	join(&h, &s.pair[0], largest);
	s.b = &h.b;
	pthread_t appender = start_thread(stream_appender, &s), service = start_thread(linger, &s);
	read_stream(&s); /* the appender never publishes its last records: the service does */
	end_thread(appender);
	end_thread(service);
	CHECK_INT(h.b.appender.writer.written, ==, s.pair[0].r.read);
	close_pair(&s.pair[0]);
}

TEST(ring_with_two_publishers, "", 0)
{
	with_linger(0, (uint64_t)rounds(40000), 300, 0);
	with_linger(((uint64_t)1 << 63) - 65536, (uint64_t)rounds(15000), 2000, 0);
}

TEST(ring_with_two_publishers_that_dawdle, "", 0)
{
	with_linger(0, (uint64_t)rounds(10000), 100, 50000);
}

/* ---------------------------------------------------------------------------------------------------------- liars */

/* A header: kinds that are and are not, sizes around everything they are compared with. */
static uint64_t lie(struct draws *d, uint64_t at, uint64_t capacity, uint64_t max_record)
{
	uint64_t edge[] = { 0, max_record, capacity, capacity - at, 8, UINT32_MAX, 0x7fffffff, draw_below(d, 400) };
	uint64_t size = edge[draw_below(d, 8)] + draw_below(d, 4) * 8 - draw_below(d, 20), how = draw_below(d, 16);
	uint64_t kind = how < 10 ? DPI_RING_RECORD : how < 12 ? DPI_RING_PAD : how < 13 ? DPI_RING_LINK : draw_below(d, 6);
	if (how > 12) { /* a run, perhaps */
		uint64_t one = draw_below(d, 8) ? 8 * draw_below(d, 18) : draw_below(d, 1 << 20);
		return (draw_below(d, 4) ? one * draw_below(d, 60) : size & UINT32_MAX) | (draw_below(d, 8) ? DPI_RING_SAME : kind) << 32 | one << DPI_RING_SAME_SHIFT;
	}
	return draw_below(d, 32) ? (size & UINT32_MAX) | kind << 32 : draw(d);
}

static uint64_t lying_tail(struct draws *d, const struct dpi_ring_reader *r)
{
	switch (draw_below(d, 8)) {
	case 0: return draw(d);
	case 1: return r->read + draw_below(d, r->capacity); /* at no multiple of 8 */
	case 2: return r->head + r->capacity + 8 * draw_below(d, 3);
	case 3: return r->tail - 8 * draw_below(d, 600);
	default: return r->head + 8 * draw_below(d, r->capacity / 8 + 1);
	}
}

/* What was found must lie in the ring, and be no larger than a record may be. */
static void check_found(const struct dpi_ring_reader *r, const uint8_t *data, size_t size)
{
	CHECK(size <= r->max_record);
	CHECK(data >= r->ring->data + 8 && data <= r->ring->data + r->capacity);
	CHECK(size <= (size_t)(r->ring->data + r->capacity - data));
	for (size_t i = 0; i < size; i++) (void)__atomic_load_n(data + i, __ATOMIC_RELAXED);
}

static enum dpi_ring_found look(struct dpi_ring_reader *r, struct draws *d)
{
	const void *data;
	size_t size;
	if (!draw_below(d, 4)) {
		DPI_Record many[8];
		size_t n = dpi_ring_read_many(r, draw_below(d, r->max_record + 1), 8, many);
		for (size_t i = 0; i < n; i++) check_found(r, many[i].data, many[i].size);
		CHECK(n <= 8 && r->tail - r->read <= r->capacity && r->read % 8 == 0);
	}
	bool is_short = draw_below(d, 2) && dpi_ring_read(r, &data, &size);
	enum dpi_ring_found found = is_short ? DPI_RING_FOUND : dpi_ring_next(r, &data, &size);
	CHECK(found == DPI_RING_FOUND || found == DPI_RING_EMPTY || found == DPI_RING_ENDED || found == DPI_RING_CORRUPT);
	if (found == DPI_RING_FOUND) check_found(r, data, size);
	if (found == DPI_RING_FOUND && draw_below(d, 2)) {
		size_t stride, n = dpi_ring_read_evenly(r, size, draw_below(d, 2) ? 8 : SIZE_MAX, &stride);
		for (size_t i = 1; i <= n; i++) check_found(r, (const uint8_t *)data + i * stride, size);
	}
	CHECK(r->tail - r->head <= r->capacity && r->tail - r->read <= r->capacity && r->read % 8 == 0);
	return found;
}

TEST(ring_reader_survives_any_bytes, "", 0)
{
	struct draws d = draws_from(rank);
	uint64_t seen[4] = { 0 };
	struct pair p = open_pair(LEAST, 0, 300);
	for (int n = rounds(200000); n; n--) {
		uint64_t base = (draw_below(&d, 2) ? draw(&d) : draw_below(&d, 2 * LEAST)) & ~(uint64_t)7;
		p.r.tail = p.r.read = p.r.head = p.r.freed = p.r.head_told = base;
		p.r.same = 0;
		p.r.max_record = draw_below(&d, 4) ? 300 : draw_below(&d, 2032);
		for (int i = 0; i < 40; i++) { /* what lies behind a lie is a lie, too */
			uint64_t at = (p.r.read + 8 * draw_below(&d, 60)) & p.w.mask, word = lie(&d, at, LEAST, p.r.max_record);
			memcpy(p.ring->data + at, &word, sizeof word);
		}
		for (int i = 0; i < 30; i++) {
			if (!draw_below(&d, 3)) p.ring->tail = lying_tail(&d, &p.r);
			if (!draw_below(&d, 3)) p.ring->clear = draw_below(&d, 2) ? p.r.read : lying_tail(&d, &p.r);
			seen[look(&p.r, &d)]++; /* on and on, even after CORRUPT */
			if (!draw_below(&d, 4)) dpi_ring_release(&p.r, p.r.read, dpi_ring_boundary(&p.r));
			if (!draw_below(&d, 4)) dpi_ring_release_some(&p.r, draw_below(&d, 20), p.r.read);
		}
	}
	for (int i = 0; i < 4; i++) CHECK(seen[i] > 0);
	close_pair(&p);
}

TEST(ring_reader_knows_lies, "", 0)
{
	static const struct {
		uint64_t at, tail, word;
		enum dpi_ring_found found;
	} lies[] = {
		{ 0, 8, (uint64_t)DPI_RING_RECORD << 32, DPI_RING_FOUND },
		{ 0, 8, 1 | (uint64_t)DPI_RING_RECORD << 32, DPI_RING_CORRUPT },		 /* longer than what is there */
		{ 0, 16, 8 | (uint64_t)DPI_RING_RECORD << 32, DPI_RING_FOUND },
		{ 0, 400, 301 | (uint64_t)DPI_RING_RECORD << 32, DPI_RING_CORRUPT },		 /* above max_record */
		{ 0, 400, UINT32_MAX | (uint64_t)DPI_RING_RECORD << 32, DPI_RING_CORRUPT },
		{ LEAST - 8, 400, 1 | (uint64_t)DPI_RING_RECORD << 32, DPI_RING_CORRUPT },	 /* over the ring's end */
		{ LEAST - 8, 8, (uint64_t)DPI_RING_RECORD << 32, DPI_RING_FOUND },
		{ LEAST - 16, 8, 8 | (uint64_t)DPI_RING_PAD << 32, DPI_RING_CORRUPT },		 /* longer than what is there */
		{ LEAST - 16, 16, 8 | (uint64_t)DPI_RING_PAD << 32, DPI_RING_EMPTY },
		{ LEAST - 16, 24, 16 | (uint64_t)DPI_RING_PAD << 32, DPI_RING_CORRUPT },	 /* over the ring's end */
		{ 0, 16, 4 | (uint64_t)DPI_RING_PAD << 32, DPI_RING_CORRUPT },
		{ 0, 400, UINT32_MAX | (uint64_t)DPI_RING_PAD << 32, DPI_RING_CORRUPT },
		{ 0, 16, (uint64_t)DPI_RING_LINK << 32, DPI_RING_CORRUPT },			 /* something behind it */
		{ 0, 8, (uint64_t)DPI_RING_LINK << 32, DPI_RING_ENDED },
		{ 0, 8, 0, DPI_RING_CORRUPT },							 /* kinds that are none */
		{ 0, 8, (uint64_t)4 << 32, DPI_RING_CORRUPT },
		{ 0, 8, (uint64_t)DPI_RING_RECORD << 63, DPI_RING_CORRUPT },
		{ 0, 4, (uint64_t)DPI_RING_RECORD << 32, DPI_RING_CORRUPT },			 /* tails that are none */
		{ 0, 12, (uint64_t)DPI_RING_RECORD << 32, DPI_RING_CORRUPT },
		{ 0, LEAST + 8, (uint64_t)DPI_RING_RECORD << 32, DPI_RING_CORRUPT },
		{ 0, (uint64_t)1 << 40, (uint64_t)DPI_RING_RECORD << 32, DPI_RING_CORRUPT },
		{ 0, (uint64_t)-8, (uint64_t)DPI_RING_RECORD << 32, DPI_RING_EMPTY },
#define SAME(bytes, size) ((bytes) | (uint64_t)DPI_RING_SAME << 32 | (uint64_t)(size) << DPI_RING_SAME_SHIFT)
		{ 0, 8, SAME(512, 64), DPI_RING_EMPTY },					 /* a run whose records are not there yet */
		{ 0, 8, SAME(0, 64), DPI_RING_EMPTY },
		{ 0, 72, SAME(512, 64), DPI_RING_FOUND },
		{ 0, 64, SAME(512, 64), DPI_RING_CORRUPT },					 /* a part of a record */
		{ 0, 72, SAME(512, 0), DPI_RING_CORRUPT },
		{ 0, 72, SAME(512, 4), DPI_RING_CORRUPT },
		{ 0, 72, SAME(136 * 4, 136), DPI_RING_CORRUPT },				 /* too large */
		{ 0, 72, SAME(520, 64), DPI_RING_CORRUPT },					 /* no number of records */
		{ LEAST - 512, 72, SAME(512, 64), DPI_RING_CORRUPT },				 /* over the ring's end */
		{ LEAST - 520, 72, SAME(512, 64), DPI_RING_FOUND },
		{ 0, 72, SAME(UINT32_MAX - 63, 64), DPI_RING_CORRUPT },
	};
	for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
		const void *data;
		size_t size;
		struct pair p = open_pair(LEAST, LEAST + lies[i].at, 300);
		memcpy(p.ring->data + lies[i].at, &lies[i].word, 8);
		p.ring->tail += lies[i].tail;
		CHECK(!dpi_ring_read(&p.r, &data, &size));
		if (dpi_ring_next(&p.r, &data, &size) != lies[i].found) FAIL("lie %zu", i);
		close_pair(&p);
	}
}

struct scribbler {
	struct pair p;
	_Atomic bool over;
};

/* Changes the ring while it is looked at: what was checked must be what is used. */
static void *scribble(void *arg)
{
	struct scribbler *s = arg;
	struct draws d = draws_from(1);
	uint64_t *words = (uint64_t *)(void *)s->p.ring->data;
	while (!atomic_load_explicit(&s->over, memory_order_relaxed)) {
		uint64_t at = draw_below(&d, 32), word = 8 * draw_below(&d, 3) | (uint64_t)DPI_RING_RECORD << 32;
		__atomic_store_n(&words[at], draw_below(&d, 4) ? word : lie(&d, 8 * at, LEAST, 300), __ATOMIC_RELAXED);
		for (int i = 0; i < 8; i++) __atomic_fetch_xor(&words[at], 0xffff0000, __ATOMIC_RELAXED); /* now long, now short */
		atomic_store_explicit(&s->p.ring->clear, 8 * draw_below(&d, 32), memory_order_relaxed);
		atomic_store_explicit(&s->p.ring->tail, draw_below(&d, 32) ? 8 + 8 * draw_below(&d, 32) : draw(&d), memory_order_relaxed);
	}
	return NULL;
}

TEST(ring_reader_survives_a_scribbler, "", 0)
{
	static struct scribbler s;
	struct draws d = draws_from(rank);
	uint64_t found = 0;
	s.p = open_pair(LEAST, 0, 300);
	pthread_t t = start_thread(scribble, &s);
	while (!atomic_load_explicit(&s.p.ring->tail, memory_order_relaxed)) sched_yield();
	for (int n = rounds(3000000); n > 0 || !found; n--) { /* the other thread may stand still for as long */
		enum dpi_ring_found f = look(&s.p.r, &d);
		found += f == DPI_RING_FOUND;
		dpi_ring_release(&s.p.r, s.p.r.read, dpi_ring_boundary(&s.p.r));
		if (f != DPI_RING_FOUND || s.p.r.read >= 256) s.p.r.tail = s.p.r.read = s.p.r.head = s.p.r.freed = s.p.r.same = 0; /* from the start */
	}
	atomic_store(&s.over, true);
	end_thread(t);
	close_pair(&s.p);
}

TEST(ring_writer_survives_any_head, "", 0)
{
	struct draws d = draws_from(rank);
	struct pair p = open_pair(LEAST, 0, 2000);
	uint8_t record[2000] = { 0 };
	uint64_t written = 0;
	for (int n = rounds(300000); n; n--) {
		uint64_t size = draw_below(&d, 2001), how = draw_below(&d, 4);
		p.ring->head = how == 0 ? draw(&d) : p.w.written + 8 * draw_below(&d, 8) - draw_below(&d, 2 * LEAST);
		if (how == 1) dpi_ring_until(&p.w, draw(&d), draw_below(&d, LEAST) | 1);
		if (!dpi_ring_write(&p.w, record, size)) {
			uint8_t *room = dpi_ring_room(&p.w, size);
			if (!room) continue;
			CHECK(room >= p.ring->data + 8 && room + size <= p.ring->data + LEAST);
			memset(room, 1, size);
			dpi_ring_commit(&p.w, size);
			if (how != 1) dpi_ring_until(&p.w, p.w.written, LEAST / 8);
		}
		written++;
	}
	CHECK(written > 0);
	close_pair(&p);
}

/* --------------------------------------------------------------------------------------------------- giving back */

/* An appender that learns of room by credits only, and rarely: it must never wait for what was given back untold. */
TEST(ring_credits_never_leave_the_writer_stuck, "", 0)
{
	static const uint64_t largest[] = { 0, 100, 2000, 2024, 2025, 4072, 4073, 6000 };
	struct draws d = draws_from(rank);
	for (size_t i = 0; i < sizeof largest / sizeof *largest; i++) {
		static struct dpi_context ctx;
		static struct dpi_credit credit;
		static struct dpi_peer peer;
		struct dpi_home home = { .shape = { .max_record = largest[i] } };
		uint64_t capacity = dpi_ring_least(largest[i]);
		struct dpi_ring_in *in;
		pthread_mutex_init(&home.lock, NULL);
		CHECK_INT(dpi_ring_in_make(&ctx, &home, capacity, 0, &in), ==, DPI_SUCCESS);
		credit.head = 0;
		in->from = &peer;
		in->credit = (struct dpi_remote){ .peer = &peer, .direct = (uint8_t *)&credit, .length = sizeof credit };
		struct pair p = { .ring = in->reader.ring };
		p.w = (struct dpi_ring_writer){ .data = p.ring->data, .capacity = capacity, .mask = capacity - 1, .head = &credit.head };
		uint64_t told = 0, tells = 0;
		for (int n = rounds(20000); n; n--) {
			const void *data;
			size_t found;
			uint64_t size = draw_below(&d, 2) ? largest[i] : draw_below(&d, largest[i] + 1);
			uint8_t *room = dpi_ring_room(&p.w, size);
			if (!room) FAIL("max_record %" PRIu64 ": no room in an empty ring: %" PRIu64 " of %" PRIu64 " untold", largest[i],
					p.w.written - told, capacity);
			dpi_ring_commit(&p.w, size);
			publish(&p);
			struct dpi_ring_in *at = in;
			CHECK_INT(dpi_ring_in_next(&ctx, &home, &at, &data, &found), ==, DPI_RING_FOUND);
			dpi_ring_in_give_back(in, in->reader.read, in->reader.read);
			tells += told != credit.head;
			told = credit.head;
		}
		CHECK(tells > 0);
		if (largest[i] == 100) CHECK_INT(tells, <, rounds(20000) / 2); /* a credit is dear */
		in->credit.length = 0;
		dpi_ring_in_free(&ctx, &home, in);
	}
}
