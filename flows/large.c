/* SPDX-License-Identifier: Apache-2.0
 * large.c: rows that are larger than a segment. They travel in parts, and count with the last one, which is written when there is room for it
 * at each of their targets.
 *
 * One that finds no room stays half sent: the next push of it goes on, so that it gets through rings that are smaller than it, also of a thread
 * that takes at the other end in between. When anything else was sent to one of its targets meanwhile, or another large row comes, it begins
 * anew: between the parts of a row no other segment may come, and who reads it drops what it has of a row when another begins. */
#include "move/hash.h"
#include "retain.h"
#include "row_part.h"
#include "wait.h"

static struct dpi_part next_part(const struct dpi_source *s, const void *row)
{
	const struct dpi_large *g = &s->large;
	uint64_t room = s->segment - sizeof(struct dpi_flow_segment), head = DPI_SEGMENT_HEADER + sizeof(struct dpi_part_header), left = g->size - g->offset;
	bool last = head + left <= room;
	return (struct dpi_part){ row, g->size, g->offset, last ? left : (room - head) & ~UINT64_C(7), last ? head + left : room };
}

/* Segments that were begun for these targets. */
static uint64_t begun(const struct dpi_source *s, const uint32_t *to, uint32_t count)
{
	uint64_t n = 0;
	for (uint32_t i = 0; i < count; i++) n += __atomic_load_n(&s->lane[to[i]].begun, __ATOMIC_RELAXED);
	return n;
}

/* Of what anybody has got of it, and of who. */
static uint64_t hash(const struct dpi_large *g, const uint32_t *to, uint32_t count, const void *row)
{
	return dpi_xxh64(row, g->sent, dpi_xxh64(to, count * sizeof *to, count));
}

static bool goes_on(const struct dpi_source *s, const uint32_t *to, uint32_t count, const void *row, uint64_t size)
{
	const struct dpi_large *g = &s->large;
	return g->size == size && g->begun == begun(s, to, count) && g->hash == hash(g, to, count, row);
}

static int room(struct dpi_source *s, uint32_t target, uint64_t size, bool wait, int64_t deadline)
{
	bool dropped;
	int error = wait && !deadline ? dpi_lane_open_now(s, target, &dropped) : DPI_SUCCESS;
	if (!error) error = dpi_lane_part_room(s, target, size, deadline, &dropped);
	return dpi_source_wants(s, target, DPI_WANT_PART, size, error);
}

/* At each of them: first where there was none, so that those with room are not asked in vain. */
static int each_room(struct dpi_source *s, const uint32_t *to, uint32_t count, uint64_t size, bool wait, int64_t deadline)
{
	struct dpi_large *g = &s->large;
	uint32_t first = g->first < count ? g->first : 0;
	uint64_t moves;
	do { /* while one is waited for, another may move or be given up, with the room in it */
		moves = dpi_source_moves(s);
		for (uint32_t i = 0; i < count; i++) {
			g->first = (first + i) % count;
			int error = room(s, to[g->first], size, wait, deadline);
			if (!error) continue;
			while (i--) dpi_lane_part_leave(s, to[(first + i) % count]);
			return error;
		}
	} while (count > 1 && dpi_source_moves(s) != moves);
	return DPI_SUCCESS;
}

static int room_at_all(struct dpi_source *s, const uint32_t *to, uint32_t count, uint64_t size, bool wait, int64_t deadline)
{
	dpi_source_together(s, to, count);
	int error = each_room(s, to, count, size, wait, deadline);
	dpi_source_together(s, NULL, 0);
	return error;
}

/* Its last part was written for some of its targets. */
static int torn(struct dpi_source *s, uint32_t count, int error)
{
	int failed = dpi_flow_check(s->flow); /* then it is at no target */
	if (failed) return failed;
	return dpi_fail(DPI_ERR_UNKNOWN, "a row of %llu bytes reached %u of its %u targets, then: %.300s", (unsigned long long)s->large.size, s->large.given, count,
			error == DPI_ERR_AGAIN ? "no room" : dpi_detail());
}

static int send_parts(struct dpi_source *s, const uint32_t *to, uint32_t count, const void *row, bool wait, int64_t deadline)
{
	struct dpi_large *g = &s->large;
	while (g->offset < g->size) {
		struct dpi_part part = next_part(s, row);
		bool last = g->offset + part.taken == g->size;
		int error = last ? room_at_all(s, to, count, part.size, wait, deadline) : DPI_SUCCESS;
		for (; g->given < count && !error; g->given += !error) {
			if (!last) error = room(s, to[g->given], part.size, wait, deadline);
			if (!error) error = dpi_lane_part_write(s, to[g->given], &part);
		}
		g->sent = g->offset + (g->given ? part.taken : 0);
		if (error && last && g->given) return torn(s, count, error);
		if (error) return error;
		g->given = 0;
		g->offset += part.taken;
	}
	return DPI_SUCCESS;
}

/* Of a row that is acknowledged when all of it has come, all parts are kept at once. What codecs make of it may be smaller. */
static int check_kept(const struct dpi_source *s, const uint32_t *to, uint32_t count, uint64_t size)
{
	uint64_t head = sizeof(struct dpi_flow_segment) + sizeof(struct dpi_part_header), part = s->segment - head;
	uint64_t parts = size / part + 1, room = dpi_retained_room(s->flow->definition);
	for (uint32_t i = 0; i < count; i++) { /* one that came late has less */
		const struct dpi_buffer *b = s->lane[to[i]].b;
		if (b && b->appender.attached && b->appender.writer.capacity < room) room = b->appender.writer.capacity;
	}
	uint64_t need = size + parts * (head + 2 * DPI_RING_WORD) + s->segment; /* a pad at the ring's end may be as large as a segment */
	if (s->coded || need <= room) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_SIZE, "a row of %llu bytes and what goes with it do not fit the %llu bytes in which a source of flow '%s' keeps what a target has not acknowledged: raise "
			"attr->memory or attr->segment, or push it in parts", (unsigned long long)size, (unsigned long long)room, s->flow->name);
}

int dpi_push_large(struct dpi_source *s, const uint32_t *to, uint32_t count, const void *row, uint64_t size, bool wait)
{
	struct dpi_large *g = &s->large;
	int64_t deadline = wait ? dpi_deadline(0, s->timeout_us) : 0;
	int unfit = s->retain && count ? check_kept(s, to, count, size) : DPI_SUCCESS;
	if (unfit) return unfit;
	if (!goes_on(s, to, count, row, size)) *g = (struct dpi_large){ .size = size };
	int error = send_parts(s, to, count, row, wait, deadline);
	if ((error == DPI_ERR_AGAIN || error == DPI_ERR_TIMEOUT) && g->sent) {
		g->begun = begun(s, to, count);
		g->hash = hash(g, to, count, row);
	} else {
		*g = (struct dpi_large){ 0 };
	}
	return error;
}
