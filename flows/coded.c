/* SPDX-License-Identifier: Apache-2.0
 * coded.c: the source's side of codecs. */
#include "coded.h"

#include <stdlib.h>
#include <string.h>

#include "columnar.h"
#include "retain.h"

#define LINGER_COMPRESSES 65536 /* bytes that the linger service, which has other things to do, compresses at most */

/* --------------------------------------------------------------------------------------------- what both ends share */

static const struct dpi_codec *codec_of(const struct dpi_definition *d, uint32_t i)
{
	return dpi_codec_numbered(d->codec[i].codec);
}

uint32_t dpi_coded_more(const struct dpi_definition *d)
{
	uint32_t more = 0;
	for (uint32_t i = 0; i < d->codecs; i++)
		if (codec_of(d, i)->keyed) more += DPI_CODEC_SEALED;
	return more;
}

uint32_t dpi_flow_plain_size(const struct dpi_definition *d)
{
	if (d->layout == DPI_LAYOUT_COLUMNS) return dpi_flow_columns_size(d->segment - dpi_coded_more(d));
	return dpi_flow_segment_size(d->wire, d->segment - dpi_coded_more(d));
}

uint32_t dpi_flow_run_size(const struct dpi_definition *d)
{
	return dpi_flow_plain_size(d) + dpi_coded_more(d);
}

struct dpi_coded_place dpi_coded_place_of(const struct dpi_buffer *b)
{
	return (struct dpi_coded_place){ b->home_peer->incarnation, b->id };
}

int dpi_coders_open(const struct dpi_definition *d, struct dpi_coder *coder[DPI_CODECS_MAX])
{
	int error = DPI_SUCCESS;
	for (uint32_t i = 0; i < d->codecs && !error; i++) {
		const struct dpi_codec *codec = codec_of(d, i);
		error = dpi_coder_open(codec, d->codec[i].level, codec->keyed ? d->codec[i].key : NULL, &coder[i]);
	}
	if (error) dpi_coders_close(coder);
	return error;
}

void dpi_coders_close(struct dpi_coder *coder[DPI_CODECS_MAX])
{
	for (uint32_t i = 0; i < DPI_CODECS_MAX; i++) {
		dpi_coder_close(coder[i]);
		coder[i] = NULL;
	}
}

/* ------------------------------------------------------------------------------------------------ opening and closing */

static int make_scratch(struct dpi_coded *c)
{
	const struct dpi_definition *d = c->s->flow->definition;
	size_t most = c->room + c->more;
	for (uint32_t i = 0; i < d->codecs; i++) {
		size_t bound = dpi_coder_bound(c->coder[i], most);
		if (bound > c->scratch_size) c->scratch_size = bound;
	}
	for (int i = 0; i < 2; i++)
		if (!(c->scratch[i] = malloc(c->scratch_size))) return dpi_fail(DPI_ERR_MEMORY, "no memory for the codecs of a source");
	c->s->stats.codec_memory = 2 * c->scratch_size;
	if (!d->retain) return DPI_SUCCESS;
	if (!(c->again = malloc(dpi_flow_run_size(d)))) return dpi_fail(DPI_ERR_MEMORY, "no memory for what a source sends again");
	c->s->stats.codec_memory += dpi_flow_run_size(d);
	return DPI_SUCCESS;
}

static void coded_free(struct dpi_coded *c)
{
	for (uint32_t t = 0; t < c->s->flow->definition->targets; t++) {
		pthread_mutex_destroy(&c->lane[t].lock);
		free(c->lane[t].rows);
	}
	pthread_mutex_destroy(&c->lock);
	dpi_coders_close(c->coder);
	free(c->scratch[0]);
	free(c->scratch[1]);
	free(c->again);
	free(c->lane);
	free(c);
}

int dpi_coded_open(struct dpi_source *s)
{
	const struct dpi_definition *d = s->flow->definition;
	if (!d->codecs) return DPI_SUCCESS;
	struct dpi_coded *c = calloc(1, sizeof *c);
	if (!c || !(c->lane = calloc(d->targets, sizeof *c->lane))) {
		free(c);
		return dpi_fail(DPI_ERR_MEMORY, "no memory for the codecs of a source");
	}
	c->s = s;
	c->room = s->segment - (uint32_t)sizeof(struct dpi_flow_segment);
	c->more = dpi_coded_more(d);
	atomic_init(&c->asleep, true);
	pthread_mutex_init(&c->lock, NULL);
	for (uint32_t t = 0; t < d->targets; t++) pthread_mutex_init(&c->lane[t].lock, NULL);
	int error = dpi_coders_open(d, c->coder);
	if (!error) error = make_scratch(c);
	if (error) {
		coded_free(c);
		return error;
	}
	s->coded = c;
	dpi_flow_linger_add(s->ctx, &c->linger, dpi_coded_linger);
	return DPI_SUCCESS;
}

void dpi_coded_close(struct dpi_source *s)
{
	if (!s->coded) return;
	dpi_flow_linger_remove(s->ctx, &s->coded->linger);
	coded_free(s->coded);
	s->coded = NULL;
}

/* ---------------------------------------------------------------------------------------------------------- encoding */

/* One codec after the other. Between them all stays in memory that nobody else can write: what another process changed while it is
 * encrypted would be authenticated. */
int dpi_coded_encode(struct dpi_coded *c, uint32_t i, struct dpi_coded_with *with, const uint8_t *from, uint64_t size, bool lingered, const uint8_t **out,
		     uint64_t *out_size)
{
	const struct dpi_definition *d = c->s->flow->definition;
	struct dpi_flow_coded *coded = &with->header.coded;
	for (; i < d->codecs; i++) {
		bool keyed = codec_of(d, i)->keyed;
		uint8_t *to = from == c->scratch[0] ? c->scratch[1] : c->scratch[0];
		size_t n = size;
		coded->plain[i] = (uint32_t)size;
		if (keyed || (size && (!lingered || size <= LINGER_COMPRESSES))) {
			int error = dpi_coder_encode(c->coder[i], from, size, keyed ? with : NULL, keyed ? sizeof *with : 0, to, c->scratch_size, &n);
			if (error) return error;
		}
		if (!keyed && n >= size) {
			coded->as_is |= 1u << i;
			continue;
		}
		from = to;
		size = n;
	}
	*out = from;
	*out_size = size;
	return DPI_SUCCESS;
}

/* ----------------------------------------------------------------------------------------------------------- sending */

/* The rest of this section: under the lane's lock. */

/* A run is open, and nothing is in it. */
static int begin(struct dpi_source *s, uint32_t target, int64_t deadline)
{
	struct dpi_lane *l = &s->lane[target];
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	while (cl->unended) {
		int error = dpi_run_end(l->b, &l->run);
		if (error && error != DPI_ERR_AGAIN) return error;
		cl->unended = error;
		if (!error) break;
		if (dpi_now() >= deadline) return deadline ? dpi_fail(DPI_ERR_TIMEOUT, "the way to target %u is busy", target) : DPI_ERR_AGAIN;
		dpi_progress(s->ctx);
	}
	return l->run.end ? DPI_SUCCESS : dpi_lane_begin_run(s, target, s->segment + s->coded->more, deadline);
}

/* The same, wherever its target is now. */
static int begin_there(struct dpi_source *s, uint32_t target, int64_t deadline, bool lingered)
{
	struct dpi_lane *l = &s->lane[target];
	bool dropped;
	int error;
	if (!s->retain) return begin(s, target, deadline);
	if (lingered && (!l->b || s->retain->lane[target].old || !dpi_retain_current(s, target))) return DPI_ERR_AGAIN;
	do {
		error = lingered ? DPI_SUCCESS : dpi_retain_way(s, target, deadline, &dropped);
		if (!error && !lingered && dropped) return dpi_fail(DPI_ERR_PEER, "it was detached");
		if (error) return error;
		error = dpi_retain_prepare(s, target);
		if (!error) error = begin(s, target, deadline);
	} while (error && error != DPI_ERR_AGAIN && !lingered && dpi_retain_lost(s, target, error));
	return error;
}

/* The segment is in the run. */
static int wrote(struct dpi_source *s, uint32_t target, uint64_t size, bool lingered)
{
	struct dpi_lane *l = &s->lane[target];
	int error = dpi_run_wrote(l->b, &l->run, size);
	if (s->retain) dpi_retain_ends(s, target);
	int end = dpi_run_end(l->b, &l->run), publish = dpi_run_publish(l->b, &l->run);
	s->coded->lane[target].unended = end;
	if (end && end != DPI_ERR_AGAIN && !error) error = end;
	if (!error && publish != DPI_ERR_AGAIN) error = publish; /* else the rings' own linger service sends it */
	if (!dpi_retain_keeps(s, error)) return error;
	if (!lingered) dpi_retain_lost(s, target, error); /* else the source's thread finds it */
	return DPI_SUCCESS;
}

/* Into the run that is open. */
static int put(struct dpi_source *s, uint32_t target, uint32_t kind, uint64_t value, const uint8_t *bytes, uint64_t size, bool lingered)
{
	struct dpi_coded *c = s->coded;
	struct dpi_coded_lane *cl = &c->lane[target];
	struct dpi_lane *l = &s->lane[target];
	uint64_t header = sizeof(struct dpi_flow_segment), coded;
	const uint8_t *out;
	int error;
	if (lingered && pthread_mutex_trylock(&c->lock)) return DPI_ERR_AGAIN;
	if (!lingered) pthread_mutex_lock(&c->lock);
	struct dpi_coded_with with = {
		.header = { .base = { .sequence = cl->sent, .rows = s->epoch, .flags = DPI_SEGMENT_MAGIC | DPI_FLOW_CODED | kind, .reserved = s->number },
			    .value = value, .coded = { .serial = cl->serial, .epoch = s->retain ? l->epoch : 0 } },
		.place = dpi_coded_place_of(l->b),
	};
	error = dpi_coded_encode(c, 0, &with, bytes, size, lingered, &out, &coded);
	if (!error) {
		uint8_t *to = dpi_run_place(l->b);
		memcpy(to, &with.header, header);
		if (coded) memcpy(to + header, out, coded);
		DPI_ADD(s->stats.segments, kind == DPI_FLOW_ROWS || kind == DPI_FLOW_COLUMNS);
		DPI_ADD(s->stats.plain_bytes, size);
		DPI_ADD(s->stats.coded_bytes, coded);
	}
	pthread_mutex_unlock(&c->lock);
	if (error) return error;
	if (s->retain) dpi_retain_begins(s, target, kind, value);
	DPI_ADD(l->begun, 1);
	cl->serial++;
	return wrote(s, target, header + coded, lingered);
}

static int send(struct dpi_source *s, uint32_t target, uint32_t kind, uint64_t value, const uint8_t *bytes, uint64_t size, int64_t deadline, bool lingered)
{
	int error = begin_there(s, target, deadline, lingered);
	return error ? error : put(s, target, kind, value, bytes, size, lingered);
}

static int send_rows(struct dpi_source *s, uint32_t target, int64_t deadline, bool lingered)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	if (s->columns) dpi_columns_finish(s, target);
	if (cl->from == cl->fill) return DPI_SUCCESS;
	int error = send(s, target, s->columns ? DPI_FLOW_COLUMNS : DPI_FLOW_ROWS, 0, cl->rows + cl->from, cl->fill - cl->from, deadline, lingered);
	if (error) return error;
	cl->sent += cl->waiting;
	cl->waiting = 0;
	if (!cl->held) cl->fill = 0;
	cl->from = cl->fill;
	atomic_store_explicit(&cl->filled, cl->fill, memory_order_relaxed);
	atomic_store_explicit(&cl->pending, false, memory_order_relaxed);
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------------------- lanes */

static int ended(struct dpi_source *s, uint32_t target, int error, bool *dropped)
{
	return error && error != DPI_ERR_AGAIN ? dpi_lane_failed(s, target, error, dropped) : error;
}

/* Its ring is there, so that from now on the linger service can send; and its memory. */
static int open_lane(struct dpi_source *s, uint32_t target, int64_t deadline, bool *dropped)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	int error = DPI_SUCCESS;
	*dropped = s->lane[target].dropped;
	if (*dropped || cl->rows) return DPI_SUCCESS;
	if (!s->lane[target].b) error = dpi_lane_open(s, target, deadline, dropped);
	if (error || *dropped) return error;
	error = begin_there(s, target, deadline, false); /* the service knows nothing of this lane yet */
	if (error) return ended(s, target, error, dropped);
	cl->rows = aligned_alloc(64, (s->coded->room + 63) / 64 * 64);
	if (!cl->rows) return dpi_fail(DPI_ERR_MEMORY, "no memory for the rows for target %u", target);
	memset(cl->rows, 0, s->coded->room); /* what stands between rows is sent, too */
	DPI_ADD(s->stats.codec_memory, s->coded->room);
	return DPI_SUCCESS;
}

int dpi_coded_room(struct dpi_source *s, uint32_t target, uint64_t need, int64_t deadline, bool *dropped)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	int error = open_lane(s, target, deadline, dropped);
	if (error || *dropped || atomic_load_explicit(&cl->filled, memory_order_relaxed) + need <= s->coded->room) return error;
	pthread_mutex_lock(&cl->lock);
	error = send_rows(s, target, deadline, false);
	error = ended(s, target, error, dropped);
	pthread_mutex_unlock(&cl->lock);
	return error;
}

int dpi_coded_send(struct dpi_source *s, uint32_t target, uint32_t kind, uint64_t value, int64_t deadline, bool *dropped)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	int error = open_lane(s, target, deadline, dropped);
	if (error || *dropped) return error;
	pthread_mutex_lock(&cl->lock);
	error = send_rows(s, target, deadline, false);
	if (!error) error = send(s, target, kind, value, NULL, 0, deadline, false);
	error = ended(s, target, error, dropped);
	pthread_mutex_unlock(&cl->lock);
	return error;
}

int dpi_coded_part_room(struct dpi_source *s, uint32_t target, int64_t deadline, bool *dropped)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	int error = open_lane(s, target, deadline, dropped);
	if (error || *dropped) return error;
	pthread_mutex_lock(&cl->lock);
	error = send_rows(s, target, deadline, false);
	if (!error) error = begin_there(s, target, deadline, false);
	error = ended(s, target, error, dropped);
	pthread_mutex_unlock(&cl->lock);
	return error;
}

/* No row waits, so rows is free, and the linger service leaves the run alone that room has begun. Where its target has moved since, what is
 * written there is kept for it all the same: a row that others have got already is not to stop here. */
int dpi_coded_part_write(struct dpi_source *s, uint32_t target, const struct dpi_part *part)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	bool dropped;
	size_t taken;
	pthread_mutex_lock(&cl->lock);
	bool begun = s->lane[target].run.end && !cl->unended;
	size_t size = dpi_part_write(cl->rows, part->size, part->row, part->row_size, part->offset, 0, &taken);
	int error = begun ? put(s, target, DPI_FLOW_PART, 0, cl->rows, size, false) : send(s, target, DPI_FLOW_PART, 0, cl->rows, size, 0, false);
	if (!error) cl->sent += part->offset + taken == part->row_size;
	error = ended(s, target, error, &dropped);
	pthread_mutex_unlock(&cl->lock);
	return error;
}

int dpi_coded_flush(struct dpi_source *s, uint32_t target, int64_t deadline)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	struct dpi_lane *l = &s->lane[target];
	bool dropped = false;
	int error;
	if (!cl->rows || l->dropped) return DPI_SUCCESS;
	pthread_mutex_lock(&cl->lock);
	do {
		error = s->retain ? dpi_retain_way(s, target, deadline, &dropped) : DPI_SUCCESS;
		if (!error && !dropped) error = send_rows(s, target, deadline, false);
		if (error == DPI_ERR_AGAIN) error = dpi_fail(DPI_ERR_TIMEOUT, "target %u of flow '%s' has no room", target, s->flow->name);
		if (error || dropped) break;
		if (!l->b) continue; /* lost just now, of a retained flow: see where it is */
		error = dpi_lane_flush_run(l, deadline);
	} while (!l->b || (error && dpi_retain_lost(s, target, error)));
	if (error && error != DPI_ERR_TIMEOUT) error = dpi_lane_failed(s, target, error, &dropped);
	pthread_mutex_unlock(&cl->lock);
	return error;
}

bool dpi_coded_publish(struct dpi_source *s, uint32_t target, bool lingered)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	if (!cl->rows || s->lane[target].dropped) return true;
	if (lingered && pthread_mutex_trylock(&cl->lock)) return false; /* the source's thread may hold another lane's meanwhile */
	if (!lingered) pthread_mutex_lock(&cl->lock);
	int error = send_rows(s, target, 0, lingered);
	pthread_mutex_unlock(&cl->lock);
	/* what else is wrong is found by the next call that needs the lane; of a retained flow it may pass, and nobody call */
	return error != DPI_ERR_AGAIN && !(error && s->retain);
}

bool dpi_coded_busy(struct dpi_source *s, uint32_t target)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	struct dpi_lane *l = &s->lane[target];
	pthread_mutex_lock(&cl->lock);
	bool busy = l->b && (cl->unended || dpi_run_publish(l->b, &l->run) == DPI_ERR_AGAIN);
	pthread_mutex_unlock(&cl->lock);
	return busy;
}

void dpi_coded_look(struct dpi_source *s, uint32_t target, struct dpi_run_flush *f)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	pthread_mutex_lock(&cl->lock);
	dpi_run_look(s->lane[target].b, f);
	pthread_mutex_unlock(&cl->lock);
}

bool dpi_coded_looks(struct dpi_source *s, uint32_t target, const struct dpi_run_flush *f)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	pthread_mutex_lock(&cl->lock);
	bool more = dpi_run_looks(s->lane[target].b, f);
	pthread_mutex_unlock(&cl->lock);
	return more;
}

uint64_t dpi_coded_travelled(struct dpi_source *s, uint32_t target, uint64_t *place)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	pthread_mutex_lock(&cl->lock);
	uint64_t rows = cl->sent;
	*place = atomic_load_explicit(&s->lane[target].b->appender.writer.written, memory_order_relaxed);
	pthread_mutex_unlock(&cl->lock);
	return rows;
}

void dpi_coded_linger_send(struct dpi_coded *c, uint32_t target)
{
	struct dpi_coded_lane *cl = &c->lane[target];
	if (!atomic_load(&cl->pending) || pthread_mutex_trylock(&cl->lock)) return;
	/* what is wrong is the source's thread to find: it comes to it again with the same rows, or at the same ring */
	if (!__atomic_load_n(&c->s->lane[target].dropped, __ATOMIC_RELAXED)) send_rows(c->s, target, 0, true);
	else atomic_store(&cl->pending, false);
	pthread_mutex_unlock(&cl->lock);
}

/* ----------------------------------------------------------------------------------------------------------- columns */

uint8_t *dpi_coded_columns(struct dpi_source *s, uint32_t target)
{
	return s->coded->lane[target].rows;
}

void dpi_coded_built(struct dpi_source *s, uint32_t target, uint64_t size, uint64_t rows)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	cl->fill = size;
	cl->waiting = rows;
	atomic_store_explicit(&cl->filled, size, memory_order_relaxed);
}

/* -------------------------------------------------------------------------------------------------------------- rows */

/* need bytes more are at fill. Under the lane's lock, which it gives back. */
static int filled(struct dpi_source *s, uint32_t target, uint64_t size, uint64_t need)
{
	struct dpi_coded *c = s->coded;
	struct dpi_coded_lane *cl = &c->lane[target];
	int error = DPI_SUCCESS;
	bool first = cl->fill == cl->from;
	cl->fill += need;
	cl->waiting++;
	cl->held = false;
	atomic_store_explicit(&cl->filled, cl->fill, memory_order_relaxed);
	DPI_ADD(s->lane[target].rows, 1);
	DPI_ADD(s->lane[target].bytes, size);
	if (first) atomic_store(&cl->pending, true);
	bool dropped;
	if (s->flow->definition->hint == DPI_HINT_LATENCY) error = send_rows(s, target, 0, false);
	error = ended(s, target, error, &dropped); /* under the lock: the linger service looks whether it was dropped */
	pthread_mutex_unlock(&cl->lock);
	/* seq_cst, as pending: the service stores asleep, then looks at pending once more */
	if (first && atomic_load(&c->asleep)) dpi_coded_linger_wake(c);
	return error == DPI_ERR_AGAIN ? DPI_SUCCESS : error; /* the linger service tries again */
}

int dpi_coded_put(struct dpi_source *s, uint32_t target, const void *row, uint64_t size, uint64_t need)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	pthread_mutex_lock(&cl->lock);
	uint8_t *to = cl->rows + cl->fill;
	if (!s->row_size) {
		memcpy(to, &size, 8);
		to += 8;
	}
	memcpy(to, row, size);
	return filled(s, target, size, need);
}

uint8_t *dpi_coded_hold(struct dpi_source *s, uint32_t target)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	pthread_mutex_lock(&cl->lock);
	cl->held = true;
	uint8_t *at = cl->rows + cl->fill;
	pthread_mutex_unlock(&cl->lock);
	return at;
}

int dpi_coded_commit(struct dpi_source *s, uint32_t target, uint64_t size, uint64_t need)
{
	pthread_mutex_lock(&s->coded->lane[target].lock);
	return filled(s, target, size, need);
}

void dpi_coded_discard(struct dpi_source *s, uint32_t target)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	pthread_mutex_lock(&cl->lock);
	cl->held = false;
	pthread_mutex_unlock(&cl->lock);
}
