/* SPDX-License-Identifier: Apache-2.0
 * inlet.c: what sources have put into their rings at a target: segments, checked, in order; marks of all; the end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ack_target.h"
#include "origin.h"
#include "ack_window.h"
#include "registry.h"

#define SYNC_NS 1000000000 /* for the answer of a registry that may be back */

/* ------------------------------------------------------------------------------------------------------- the rings */

static int add(struct dpi_target *t, struct dpi_ring_in *ring)
{
	if (t->inlets == t->room) {
		size_t room = t->room ? 2 * t->room : 16;
		void *p = realloc(t->inlet, room * sizeof *t->inlet);
		if (!p) return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu sources", room);
		t->inlet = p;
		t->room = room;
	}
	struct dpi_inlet *i = calloc(1, sizeof *i);
	if (!i) return dpi_fail(DPI_ERR_MEMORY, "no memory for a source");
	i->ring = ring;
	t->inlet[t->inlets++] = i;
	return DPI_SUCCESS;
}

static void ring_free(struct dpi_target *t, struct dpi_inlet *i)
{
	struct dpi_ring_in *r = i->ring;
	dpi_ring_in_free_larger(t->ctx, t->home, r); /* its source died before it linked, or nobody reads on */
	r->ended = true;
	if (!r->lent) dpi_ring_in_free(t->ctx, t->home, r);
	i->ring = NULL;
}

/* Nothing comes from it any more. Its ring is the home's, too, until its source has closed it. */
static void inlet_over(struct dpi_target *t, struct dpi_inlet *i)
{
	struct dpi_origin *o = i->known ? dpi_origin_find(t, i->source) : NULL;
	if (o && i->rows > o->rows) o->rows = i->rows;
	if (o && i->acked > o->acked) o->acked = i->acked;
	if (o && i->marked) o->marked = true, o->mark = i->mark;
	i->over = true;
	dpi_part_free(&i->part);
	dpi_decoder_end(i->decoder);
	i->decoder = NULL;
}

/* Nobody needs its ring any more. */
static bool ring_due(const struct dpi_target *t, struct dpi_inlet *i)
{
	if (!i->over || !i->ring) return false;
	/* the source of a retained flow waits, with all read, for acknowledgements, which go through its ring */
	if (t->flow->definition->retain && !i->cut && atomic_load_explicit(&i->ring->state, memory_order_acquire) == DPI_RING_OPEN) return false;
	i->ring->ended = true;
	return dpi_ring_in_over(i->ring);
}

/* It has passed its marks, though nobody has told yet that it is closed: all_marked asks for it. */
static bool still_open(const struct dpi_target *t, const struct dpi_inlet *i)
{
	return !t->flow->definition->retain && i->known && dpi_flow_whose(t->flow, i->source).state == DPI_SOURCE_OPEN;
}

/* Free what is over: rings at once, as others may wait for their memory. */
static void sweep(struct dpi_target *t)
{
	for (size_t n = 0; n < t->inlets;) {
		struct dpi_inlet *i = t->inlet[n];
		if (ring_due(t, i)) ring_free(t, i);
		if (i->over && !i->ring && !i->out && !still_open(t, i)) {
			free(i->place);
			free(i);
			t->inlet[n] = t->inlet[--t->inlets];
		} else {
			n++;
		}
	}
}

/* After the home has forgotten the queue; nothing is lent. */
void dpi_inlets_free(struct dpi_target *t)
{
	for (size_t n = 0; n < t->inlets; n++) {
		inlet_over(t, t->inlet[n]);
		if (t->inlet[n]->ring) ring_free(t, t->inlet[n]);
		free(t->inlet[n]->place);
		free(t->inlet[n]);
	}
	free(t->inlet);
	t->inlet = NULL;
	t->inlets = t->room = 0;
}

/* Take over the rings that appeared since. */
static int import(struct dpi_target *t)
{
	struct dpi_home *h = t->home;
	int error = DPI_SUCCESS;
	if (!atomic_load_explicit(&h->changed, memory_order_acquire)) return DPI_SUCCESS;
	sweep(t);
	pthread_mutex_lock(&h->lock);
	while (h->incoming && !error) {
		struct dpi_ring_in *r = h->incoming;
		error = add(t, r);
		if (!error) h->incoming = r->next;
	}
	if (!h->incoming) atomic_store(&h->changed, false);
	pthread_mutex_unlock(&h->lock);
	return error;
}

/* ------------------------------------------------------------------------------------------------------- giving back */

/* Where in a ring the program still has rows: pieces are given back in any order. */
uint64_t dpi_target_first_lent(const struct dpi_target *t, const struct dpi_ring_in *r, uint64_t end)
{
	for (size_t n = 0; n < t->lents; n++) {
		const struct dpi_piece *p = &t->lent[(t->first + n) % DPI_LENT_MAX];
		if (p->ring == r && (int64_t)(p->begin - end) < 0) end = p->begin;
	}
	if (t->piece.ring == r && (int64_t)(t->piece.begin - end) < 0) end = t->piece.begin;
	if (t->kept.piece.ring == r && (int64_t)(t->kept.piece.begin - end) < 0) end = t->kept.piece.begin;
	return end;
}

/* Its memory, and its place in the ring. */
static void let_go(struct dpi_target *t, struct dpi_piece *p)
{
	struct dpi_inlet *i = p->inlet;
	struct dpi_ring_in *r = p->ring;
	free(p->own);
	if (p->decoded) dpi_decoded_release(t->decoder, p->decoded);
	if (p->columns || p->loan) dpi_columns_done(t, p);
	if (!r) return;
	r->lent--;
	i->lent--;
	if (r->ended && r != i->ring) {
		if (!r->lent) dpi_ring_in_free(t->ctx, t->home, r);
	} else if (i->place) {
		dpi_inlet_frees(t, i);
	} else {
		dpi_run_give_back(r, &i->run, r->lent ? dpi_target_first_lent(t, r, p->end) : r->reader.read);
	}
}

void dpi_piece_release(struct dpi_target *t, struct dpi_piece *released)
{
	struct dpi_piece piece = *released;
	*released = (struct dpi_piece){ 0 }; /* it may be on the target's list */
	let_go(t, &piece);
	if (piece.window) dpi_ack_window_released(t, piece.window);
	if (!piece.inlet) return; /* made by a pipe */
	piece.inlet->out--;
	dpi_ack_released(t, piece.inlet);
}

void dpi_piece_follow(struct dpi_target *t, struct dpi_piece *made, struct dpi_piece *piece)
{
	made->inlet = piece->inlet;
	made->before = piece->before;
	let_go(t, piece);
	*piece = (struct dpi_piece){ 0 };
}

/* What was read and is not lent is given back at once. */
static void pass(struct dpi_inlet *i)
{
	if (!i->lent && !i->place) dpi_run_give_back(i->ring, &i->run, i->ring->reader.read);
}

/* ------------------------------------------------------------------------------------------------------- segments */

static enum dpi_found cut(struct dpi_target *t, struct dpi_inlet *i, int class, const char *what, int *error)
{
	char why[256];
	snprintf(why, sizeof why, "%s", what); /* it may be the sentence that is now replaced */
	i->cut = true;
	if (class == DPI_ERR_RECLAIMED)
		*error = dpi_fail(class, "source %u of flow '%s' on node %d cannot go on at target %u: %s; it is cut off", i->source, t->flow->name, i->ring->from->node, t->index, why);
	else if (class == DPI_ERR_CORRUPT)
		*error = dpi_fail(class, "a source of flow '%s' on node %d wrote what no source writes (%s); it is cut off", t->flow->name,
				  i->ring->from->node, why);
	else
		*error = dpi_fail(class, "what a source of flow '%s' on node %d sent cannot be decoded (%s); it is cut off", t->flow->name,
				  i->ring->from->node, why);
	if (t->flow->definition->on_death == DPI_DEATH_FAILS) dpi_flow_fail(t->flow, class, dpi_detail());
	inlet_over(t, i);
	return DPI_FOUND_ERROR;
}

enum dpi_found dpi_inlet_cut(struct dpi_target *t, struct dpi_inlet *i, const char *what, int *error)
{
	return cut(t, i, DPI_ERR_CORRUPT, what, error);
}

/* It goes on behind what was taken of it. */
static enum dpi_found cut_gap(struct dpi_target *t, struct dpi_inlet *i, uint64_t first, int *error)
{
	i->cut = true;
	*error = dpi_fail(DPI_ERR_RECLAIMED,
			  "source %u of flow '%s' goes on at row %llu of target %u, which has got %llu of it: resume it from there or before; rows that DPI_Get_Source_Rows says are in a target's memory after DPI_Flush_Source",
			  i->source, t->flow->name, (unsigned long long)first, t->index, (unsigned long long)i->begin);
	if (t->flow->definition->on_death == DPI_DEATH_FAILS) dpi_flow_fail(t->flow, DPI_ERR_RECLAIMED, dpi_detail());
	inlet_over(t, i);
	return DPI_FOUND_ERROR;
}

/* The number of the first row of a source that this target takes; its segments may begin below. h: the first segment. */
static uint64_t inlet_begin(const struct dpi_target *t, const struct dpi_flow_segment *h)
{
	const struct dpi_origin *o = dpi_origin_find(t, h->base.reserved);
	const struct dpi_definition *d = t->flow->definition;
	uint64_t rows, acked = d->retain && (h->base.flags & ~DPI_FLOW_CODED) == (DPI_SEGMENT_MAGIC | DPI_FLOW_BEGIN) ? h->value : 0;
	if (o) return o->rows; /* where its last ring ended */
	if (!dpi_target_position(t, h->base.reserved, &rows)) return acked;
	/* rows of which stages made nothing were acknowledged without the program, also behind its position */
	bool passes = d->source_stages < d->stages && rows < h->base.sequence && h->base.sequence <= acked;
	return passes ? h->base.sequence : rows;
}

uint64_t dpi_inlet_before(const struct dpi_inlet *i, uint64_t count)
{
	uint64_t before = i->rows < i->begin ? i->begin - i->rows : 0;
	return before < count ? before : count;
}

/* The list of rows that vary in size bytes, and the rows' own bytes; malloc'ed. Each word is read once, bounded, then used. */
static const char *list_rows(const struct dpi_schema *s, const uint8_t *data, uint64_t size, DPI_Record **list, uint64_t *count, uint64_t *bytes)
{
	uint64_t room = 0, at = 0, n = 0;
	*list = NULL;
	*bytes = 0;
	while (at < size) {
		uint64_t word, left = size - at;
		if (left < 8) return "a row's length is cut off";
		memcpy(&word, data + at, 8);
		if (word > left - 8 || ((word + 7) & ~UINT64_C(7)) > left - 8) return "a row is longer than its segment";
		if (n == room) {
			room = room ? 2 * room : 64;
			DPI_Record *p = realloc(*list, room * sizeof *p);
			if (!p) return "no memory for the list of its rows";
			*list = p;
		}
		(*list)[n++] = (DPI_Record){ data + at + 8, (size_t)word };
		*bytes += word;
		at += 8 + ((word + 7) & ~UINT64_C(7));
	}
	for (uint64_t k = 0; k < n; k++)
		if (dpi_row_check(s, (*list)[k].data, (uint32_t)(*list)[k].size, false)) return "a row is none of the flow's schema";
	*count = n;
	return NULL;
}

/* decoded: what they lie in; NULL: the ring. Without a piece in the end: all of them were passed over. */
static const char *take_rows(struct dpi_target *t, struct dpi_inlet *i, const uint8_t *data, uint64_t size, struct dpi_decoded *decoded,
			     struct dpi_piece *piece)
{
	const struct dpi_schema *s = t->flow->definition->wire;
	*piece = (struct dpi_piece){ .inlet = i, .some = true, .source = i->source, .before = i->rows, .data = data, .stop = data + size, .decoded = decoded };
	if (!decoded) piece->ring = i->ring, piece->end = i->ring->reader.read, piece->begin = piece->end - size;
	uint64_t count, bytes = size;
	if (t->wire_stride) {
		count = size / t->wire_stride;
		if (count * t->wire_stride != size) return "a row is cut off";
		for (uint64_t k = 0; k < count && !s->plain; k++)
			if (dpi_row_check(s, data + k * t->wire_stride, t->wire_stride, false)) return "a row is none of the flow's schema";
	} else {
		DPI_Record *list;
		const char *wrong = list_rows(s, data, size, &list, &count, &bytes);
		if (wrong) {
			free(list);
			return wrong;
		}
		piece->own = list;
		piece->data = (const uint8_t *)list;
		piece->stop = (const uint8_t *)(list + count);
	}
	uint64_t before = dpi_inlet_before(i, count);
	i->rows += count;
	if (__builtin_expect(before != 0, 0)) {
		piece->data += before * (t->wire_stride ? t->wire_stride : sizeof(DPI_Record));
		for (uint64_t k = 0; k < before && !t->wire_stride; k++) bytes -= ((DPI_Record *)piece->own)[k].size;
		if (t->wire_stride) bytes -= before * t->wire_stride;
		piece->before += before;
		count -= before;
		DPI_ADD(t->stats.passed, before);
		if (!count) {
			free(piece->own);
			*piece = (struct dpi_piece){ 0 };
			return NULL;
		}
	}
	i->out++;
	if (!decoded) i->lent++, i->ring->lent++;
	if (__builtin_expect(t->sketch != NULL, 0)) dpi_target_sketch_add(t, piece);
	DPI_ADD(t->stats.rows, count);
	DPI_ADD(t->stats.bytes, bytes);
	DPI_ADD(t->stats.batches, 1);
	return NULL;
}

/* A part of a large row; when it was the last, the row. */
static const char *take_part(struct dpi_target *t, struct dpi_inlet *i, const uint8_t *data, uint64_t size, struct dpi_piece *piece)
{
	struct dpi_segment h;
	bool complete = false;
	if (dpi_segment_header(data, size, &h)) return "a part of a row without its header";
	if (h.flags & DPI_SEGMENT_FIRST) i->part.total = i->part.got = 0; /* the one before was not sent to its end */
	if (dpi_part_add(&i->part, data, size, DPI_ROW_MAX, &complete)) return "a part of a row that does not fit the others";
	if (!complete) return NULL;
	if (dpi_inlet_before(i, 1)) {
		i->rows++;
		DPI_ADD(t->stats.passed, 1);
		return NULL;
	}
	if (dpi_row_check(t->flow->definition->wire, i->part.data, (uint32_t)i->part.total, false)) return "a large row that is none of the flow's schema";
	/* the row behind its place in the list, so that one free ends both */
	DPI_Record *list = malloc(sizeof *list + i->part.total);
	if (!list) return "no memory for a large row";
	memcpy(list + 1, i->part.data, i->part.total);
	*list = (DPI_Record){ list + 1, i->part.total };
	*piece = (struct dpi_piece){ .inlet = i, .some = true, .source = i->source, .before = i->rows, .data = (const uint8_t *)list, .stop = (const uint8_t *)(list + 1), .own = list };
	i->rows++;
	i->out++;
	if (t->sketch) dpi_target_sketch_add(t, piece);
	DPI_ADD(t->stats.rows, 1);
	DPI_ADD(t->stats.bytes, list->size);
	DPI_ADD(t->stats.batches, 1);
	return NULL;
}

static const char stale[] = "", gap[] = ""; /* no sentences, but what a first segment can be */

/* The first segment of a ring. */
static const char *begin(struct dpi_target *t, struct dpi_inlet *i, const struct dpi_flow_segment *h, int *class)
{
	uint32_t source = h->base.reserved;
	bool retain = t->flow->definition->retain;
	if (source >= DPI_SOURCES_MAX || (i->named && (i->source != source || i->epoch != h->base.rows))) return "a segment of another source";
	struct dpi_origin *o = retain ? dpi_origin_find(t, source) : NULL;
	if (o && o->epoch == i->epoch && t->decoder) return "a second ring of one source";
	i->source = source;
	i->known = true;
	i->begin = inlet_begin(t, h);
	i->rows = h->base.sequence < i->begin ? h->base.sequence : i->begin;
	DPI_ADD(t->stats.sources, !o);
	if (!retain) return NULL;
	bool new = !o;
	if (!(o = dpi_origin_make(t, source))) return "no memory for what is known of its source";
	if (new) o->acked = o->given = i->begin;
	o->epoch = i->epoch;
	o->ended = false;
	i->marked = o->marked;
	i->mark = o->mark;
	if (h->base.sequence <= i->rows) return NULL;
	*class = DPI_ERR_RECLAIMED;
	return i->epoch ? gap : "the position that was handed in lies before what the source still keeps";
}

/* A part behind the first one of its row: sent again, nothing can begin with it. */
static bool goes_on(const struct dpi_inlet *i, const uint8_t *data, uint64_t size)
{
	struct dpi_segment part;
	if (i->kind != DPI_FLOW_PART || size < sizeof part) return false;
	memcpy(&part, data, sizeof part);
	return !(part.flags & DPI_SEGMENT_FIRST);
}

/* A first segment of a retained flow that is nobody's: of a ring that was meant for a former binding (dpi_inlets_name), or came late. */
static bool is_stale(const struct dpi_target *t, const struct dpi_inlet *i, const struct dpi_flow_segment *h)
{
	if (!t->flow->definition->retain || i->known) return false;
	const struct dpi_origin *o = dpi_origin_find(t, h->base.reserved);
	return h->coded.epoch != t->epoch || (o && o->epoch > i->epoch); /* what its source had flushed was there before */
}

/* A segment begins. */
static const char *take_header(struct dpi_target *t, struct dpi_inlet *i, const uint8_t *data, uint64_t size, struct dpi_flow_segment *h)
{
	if (size < sizeof *h) return "a segment without its header";
	memcpy(h, data, sizeof *h);
	if ((h->base.flags & DPI_SEGMENT_MAGIC_MASK) != DPI_SEGMENT_MAGIC) return "a segment without its magic number";
	i->kind = h->base.flags & ~DPI_SEGMENT_MAGIC_MASK;
	return is_stale(t, i, h) ? stale : NULL;
}

/* What its header says is true, if that can be known: nothing of it was believed before. data, size: what is behind it, decoded. */
static const char *take_begun(struct dpi_target *t, struct dpi_inlet *i, const struct dpi_flow_segment *h, const uint8_t *data, uint64_t size, int *class)
{
	bool first = !i->known;
	*class = DPI_ERR_CORRUPT;
	const char *wrong = first ? begin(t, i, h, class) : NULL;
	if (wrong) return wrong;
	if (h->base.reserved != i->source || i->source >= DPI_SOURCES_MAX) return "a segment of another source";
	if (h->base.sequence != i->rows) return "a segment that is out of order";
	if (t->flow->definition->retain) {
		if (!goes_on(i, data, size)) wrong = dpi_inlet_keeps(i, i->rows);
		if (wrong) return wrong;
		if (first) dpi_ack_began(t, i);
		dpi_inlet_frees(t, i);
	}
	return NULL;
}

/* The segment that begins, of a flow with codecs: copied, authenticated where it is encrypted, and decoded. */
static const char *take_coded(struct dpi_target *t, struct dpi_inlet *i, const struct dpi_flow_segment *h, const uint8_t *data, uint64_t *size,
			      struct dpi_decoded **rows, int *class)
{
	const char *wrong = NULL;
	uint64_t coded = *size;
	*class = DPI_ERR_CORRUPT;
	if (!(i->kind & DPI_FLOW_CODED)) return "a segment that no codec made";
	i->kind &= ~DPI_FLOW_CODED;
	if (!i->decoder) wrong = dpi_decoder_begin(t->decoder, h->base.reserved, &i->decoder, class);
	if (!wrong) wrong = dpi_decode(t->decoder, i->decoder, h, data, size, rows, class);
	if (wrong) return wrong;
	DPI_ADD(t->stats.coded_bytes, coded);
	DPI_ADD(t->stats.plain_bytes, *size);
	return NULL;
}

/* The next thing of one inlet. */
static enum dpi_found next(struct dpi_target *t, struct dpi_inlet *i, struct dpi_piece *piece, int *error)
{
	for (;;) {
		struct dpi_flow_segment h = { 0 };
		const uint8_t *data;
		uint64_t size;
		bool first;
		struct dpi_decoded *decoded = NULL;
		int class = DPI_ERR_CORRUPT;
		enum dpi_ring_found found = dpi_run_next(t->ctx, t->home, &i->ring, &i->run, &data, &size, &first);
		if (found == DPI_RING_EMPTY) return DPI_FOUND_NOTHING;
		if (found != DPI_RING_FOUND) return dpi_inlet_cut(t, i, "a ring with something else than segments", error);
		const char *wrong = first ? take_header(t, i, data, size, &h) : NULL;
		if (first) data += sizeof h, size -= sizeof h;
		if (!wrong && t->decoder) {
			wrong = first ? take_coded(t, i, &h, data, &size, &decoded, &class) : "a coded segment that goes on";
			if (decoded) data = decoded->rows;
		}
		if (!wrong && first) wrong = take_begun(t, i, &h, data, size, &class);
		if (wrong) dpi_decoded_release(t->decoder, decoded);
		if (!wrong && t->decoder) pass(i);
		if (wrong == stale) {
			inlet_over(t, i);
			return DPI_FOUND_END;
		}
		if (wrong == gap) return cut_gap(t, i, h.base.sequence, error);
		if (wrong) return cut(t, i, class, wrong, error);
		bool columnar = t->flow->definition->layout == DPI_LAYOUT_COLUMNS;
		if (i->kind == DPI_FLOW_ROWS && !columnar) {
			if (!size) continue;
			wrong = take_rows(t, i, data, size, decoded, piece);
			if (wrong) {
				dpi_decoded_release(t->decoder, decoded);
				piece->some = false; /* nothing is lent */
				return dpi_inlet_cut(t, i, wrong, error);
			}
			if (!piece->some) {
				dpi_decoded_release(t->decoder, decoded);
				pass(i);
				continue;
			}
			return DPI_FOUND_ROWS;
		}
		if (!first) return dpi_inlet_cut(t, i, "a short segment that goes on", error);
		if (i->kind == DPI_FLOW_COLUMNS && columnar) {
			wrong = dpi_columns_take(t, i, data, size, decoded, piece);
			if (!piece->some) dpi_decoded_release(t->decoder, decoded);
			if (wrong) return dpi_inlet_cut(t, i, wrong, error);
			if (piece->some) return DPI_FOUND_ROWS;
			pass(i);
			continue;
		}
		if (i->kind == DPI_FLOW_PART && !t->wire_stride) {
			wrong = take_part(t, i, data, size, piece);
			dpi_decoded_release(t->decoder, decoded);
			if (wrong) return dpi_inlet_cut(t, i, wrong, error);
			pass(i);
			if (piece->some) return DPI_FOUND_ROWS;
			continue;
		}
		if (i->kind == DPI_FLOW_MARK && !size && i->epoch && i->marked && h.value < i->mark) { /* pushed again */
			pass(i);
			continue;
		}
		if (i->kind == DPI_FLOW_MARK && !size && (!i->marked || h.value >= i->mark)) {
			i->marked = true;
			i->mark = h.value;
			pass(i);
			return DPI_FOUND_MARK;
		}
		if (i->kind == DPI_FLOW_BEGIN && !size && t->flow->definition->retain) {
			pass(i);
			continue;
		}
		if (i->kind == DPI_FLOW_END && !size) {
			if (h.value != i->rows) return dpi_inlet_cut(t, i, "an end that counts other rows than came", error);
			if (i->rows < i->begin) return cut(t, i, DPI_ERR_RECLAIMED, "the position that was handed in lies behind all that the source has pushed", error);
			inlet_over(t, i);
			i->ended = true;
			struct dpi_origin *o = dpi_origin_find(t, i->source);
			if (o) o->ended = true;
			return DPI_FOUND_END;
		}
		dpi_decoded_release(t->decoder, decoded);
		return dpi_inlet_cut(t, i, "a segment of a kind that there is not", error);
	}
}

/* -------------------------------------------------------------------------------------------------- marks and the end */

static bool broke_off(const struct dpi_inlet *i)
{
	return i->over && !i->ended && !i->cut;
}

/* The mark that every source has passed: the least of the inlets', if each open source has one. */
static bool all_marked(struct dpi_target *t, uint64_t *mark)
{
	uint32_t opened = atomic_load_explicit(&t->flow->opened, memory_order_acquire), over = 0, with = 0;
	bool some = false;
	if (t->flow->definition->retain) return dpi_origins_marked(t, mark);
	for (size_t n = 0; n < t->inlets; n++) {
		struct dpi_inlet *i = t->inlet[n];
		if (i->over) continue;
		if (!i->marked) return false;
		if (!some || i->mark < *mark) *mark = i->mark;
		some = true;
	}
	if (!some) return false;
	/* sources that have no inlet yet are waited for while they are open, and those that broke off until it is heard what became of them:
	 * they have died, or the flow has failed, or will */
	for (uint32_t s = 0; s < opened; s++) {
		if (dpi_flow_whose(t->flow, s).state != DPI_SOURCE_OPEN) over++;
		else for (size_t n = 0; n < t->inlets; n++)
			if (t->inlet[n]->known && t->inlet[n]->source == s && !broke_off(t->inlet[n])) {
				with++;
				break;
			}
	}
	return over + with == opened;
}

static bool new_mark(struct dpi_target *t, uint64_t *mark)
{
	if (!all_marked(t, mark) || (t->marked && *mark <= t->mark)) return false;
	t->marked = true;
	t->mark = *mark;
	DPI_ADD(t->stats.marks, 1);
	return true;
}

static bool all_over(const struct dpi_target *t)
{
	for (size_t n = 0; n < t->inlets; n++)
		if (!t->inlet[n]->over) return false;
	return true;
}

bool dpi_target_all_sent(const struct dpi_target *t)
{
	uint32_t opened = atomic_load_explicit(&t->flow->opened, memory_order_acquire);
	if (!atomic_load_explicit(&t->flow->sealed, memory_order_acquire) || !all_over(t)) return false;
	for (uint32_t s = 0; s < opened; s++) {
		int state = dpi_flow_whose(t->flow, s).state;
		const struct dpi_origin *o = dpi_origin_find(t, s);
		if (state != DPI_SOURCE_CLOSED && state != DPI_SOURCE_DEAD && !(o && o->ended)) return false;
	}
	return true;
}

/* Nothing is to be read from it now. */
static bool rests(const struct dpi_target *t, const struct dpi_inlet *i)
{
	return i->over || dpi_inlet_later(t, i) || (t->holds && i->marked && !(t->marked && i->mark <= t->mark));
}

/* One round over the inlets. */
static enum dpi_found round_once(struct dpi_target *t, struct dpi_piece *piece, uint64_t *mark, int *error)
{
	for (size_t n = 0; n < t->inlets;) {
		if (t->turn >= t->inlets) t->turn = 0;
		struct dpi_inlet *i = t->inlet[t->turn];
		if (t->flow->definition->retain && !i->peeked) {
			bool last = dpi_ring_in_over(i->ring); /* first: what it holds is all there then */
			if (dpi_inlets_name(t) && new_mark(t, mark)) return DPI_FOUND_MARK;
			if (!i->peeked && !last) { /* nothing is there; what comes now is read when it has a name */
				t->turn++;
				n++;
				continue;
			}
			if (i->peeked && i->ring->ended && !i->over) return dpi_inlet_cut(t, i, "a ring with something else than segments", error);
		}
		bool rest = rests(t, i);
		enum dpi_found found = rest ? DPI_FOUND_NOTHING : next(t, i, piece, error);
		if (found == DPI_FOUND_NOTHING && !rest && (dpi_ring_in_over(i->ring) || dpi_inlet_superseded(t, i))) {
			/* closed without an end, or dead, or gone on in another ring; looked at again: it may have published between the two looks */
			found = next(t, i, piece, error);
			if (found == DPI_FOUND_NOTHING) {
				inlet_over(t, i);
				found = DPI_FOUND_END;
			}
		}
		if (found == DPI_FOUND_ROWS) t->turn++; /* fairness: another's turn */
		if (found == DPI_FOUND_ROWS || found == DPI_FOUND_ERROR) return found;
		if (found != DPI_FOUND_NOTHING) { /* a mark or an end: it may be what the others waited for */
			if (new_mark(t, mark)) return DPI_FOUND_MARK;
			continue;
		}
		t->turn++;
		n++;
	}
	return DPI_FOUND_NOTHING;
}

/* A target sleeps when dpi_target_ready is false, and whoever may change that rings its home's bell after the change: the source
 * that publishes into a ring; the home, when a ring's source has closed it or died; the flow's copy, when it has changed. ready
 * looks at each of these, and at nothing else does a look find more than the one before it:
 * - A ring that is over and that its source gives up: its memory may be waited for.
 * - Before the flow is complete, news count (version, read before all that is looked at: a failure heard in between is news, too).
 * - Once it is, nothing more is heard, and only inlets that end bring the end. So last is kept from then on: whichever look finds
 *   the last inlet over, also one that had a mark to give first, is followed by one that finds the end. */
static enum dpi_found look(struct dpi_target *t, struct dpi_piece *piece, uint64_t *mark, int *error)
{
	*piece = (struct dpi_piece){ 0 };
	if (t->lents) dpi_target_collect(t);
	uint64_t version = atomic_load_explicit(&t->flow->version, memory_order_acquire);
	if ((*error = dpi_flow_check(t->flow)) || (*error = dpi_target_fenced(t)) || (*error = import(t))) return DPI_FOUND_ERROR;
	enum dpi_found found = round_once(t, piece, mark, error);
	if (found != DPI_FOUND_NOTHING) return found;
	sweep(t); /* a source may wait for the memory */
	if (__builtin_expect(t->sketch != NULL, 0)) dpi_target_sketch_publish(t);
	bool orphaned = atomic_load_explicit(&t->flow->orphaned, memory_order_acquire);
	if (version == t->seen && !orphaned && !t->last) return DPI_FOUND_NOTHING;
	/* The flow has changed: sources may be over. Rings that any of them made were made before it was told so: they are found now. */
	bool complete = dpi_flow_complete(t->flow);
	if ((*error = import(t))) return DPI_FOUND_ERROR;
	found = round_once(t, piece, mark, error);
	if (found != DPI_FOUND_NOTHING) return found;
	if (new_mark(t, mark)) return DPI_FOUND_MARK;
	if (complete && all_over(t)) {
		t->ended = true;
		return DPI_FOUND_END;
	}
	if (!complete && orphaned && all_over(t)) {
		if (!dpi_registry_sync(t->ctx, dpi_now() + SYNC_NS) && !atomic_load_explicit(&t->flow->orphaned, memory_order_acquire))
			return DPI_FOUND_NOTHING; /* it is back, and the news are here */
		*error = dpi_fail(DPI_ERR_REGISTRY, "the registry is gone, so nobody can say whether flow '%s' has ended; every source that is known here has", t->flow->name);
		return DPI_FOUND_ERROR;
	}
	t->last = complete || orphaned;
	t->seen = version;
	sweep(t);
	return DPI_FOUND_NOTHING;
}

/* The program may hold what it was lent for as long as it waits. So all else that was read is given back, also a segment of which only
 * the one behind it says that it is over, and told. */
void dpi_target_caught_up(struct dpi_target *t)
{
	for (size_t n = 0; n < t->inlets; n++) {
		struct dpi_inlet *i = t->inlet[n];
		if (i->over || !i->ring) continue;
		if (i->lent && !i->place) dpi_run_give_back(i->ring, &i->run, dpi_target_first_lent(t, i->ring, i->ring->reader.read));
		dpi_ring_in_caught_up(i->ring);
	}
}

enum dpi_found dpi_target_look(struct dpi_target *t, struct dpi_piece *piece, uint64_t *mark, int *error)
{
	enum dpi_found found = look(t, piece, mark, error);
	if (found == DPI_FOUND_NOTHING) dpi_target_caught_up(t);
	return found;
}

bool dpi_target_ready(struct dpi_target *t)
{
	if (t->lents && dpi_piece_back(&t->lent[t->first])) return true; /* room to give back, which a source may wait for */
	if (atomic_load_explicit(&t->flow->version, memory_order_acquire) != t->seen || atomic_load_explicit(&t->home->changed, memory_order_acquire)) return true;
	bool over = t->last;
	for (size_t n = 0; n < t->inlets; n++) {
		struct dpi_inlet *i = t->inlet[n];
		if (i->over && ring_due(t, i)) return true;
		if (i->over) continue;
		if (!rests(t, i) && (dpi_run_ready(i->ring) || dpi_ring_in_over(i->ring) || dpi_inlet_superseded(t, i))) return true;
		over = false;
	}
	return over;
}
