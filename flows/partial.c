/* SPDX-License-Identifier: Apache-2.0
 * partial.c: reduce at a source. Rows wait in a stage for each target until they are many enough for the table to take them
 * in at once; the stage looks like a lane, so that DPI_Push's short way fills it. Batches for an only target go past it. A
 * table that is full goes out to the lane, as far as there is room: then it takes no more rows until all of it is out. */
#include "partial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ack_source.h"
#include "buffer.h"
#include "columnar.h"
#include "pipe.h"
#include "reduce/reduce.h"
#include "wait.h"

#define STAGE ((uint64_t)16 << 10) /* bytes of a stage, where no row needs more */
#define STAGE_ROWS 512u		   /* of rows that vary, at most */

struct way {
	struct dpi_buffer *stage; /* of it nothing is used but what the short way uses; NULL: nothing was put yet */
	struct dpi_table *table;
	uint64_t at;		  /* bytes of the stage that are in the table already */
	uint64_t rows, varying;	  /* that the table took in; put, of rows that vary */
	bool goes_out;
	struct dpi_rows out;	  /* of the table, where it goes out */
	size_t sent;		  /* of these */
};

struct dpi_partial {
	const struct dpi_definition *d;
	struct dpi_table_attr attr;
	uint32_t row_size;  /* of the reduction's input; 0: it varies */
	DPI_Record *record; /* rows of a stage that vary */
	struct way way[];
};

static uint64_t budget_of(const struct dpi_definition *d)
{
	uint64_t share = d->reduce_memory / d->targets, least = DPI_TABLE_LEAST + 4 * (uint64_t)d->wire->row_size;
	return share > least ? share : least;
}

int dpi_partial_open(struct dpi_source *s, struct dpi_partial **out)
{
	const struct dpi_definition *d = s->flow->definition;
	const struct dpi_schema *input = d->reduction->input;
	struct dpi_partial *p = calloc(1, sizeof *p + d->targets * sizeof *p->way);
	*out = NULL;
	if (!p) return dpi_fail(DPI_ERR_MEMORY, "no memory for a source of %u targets", d->targets);
	p->d = d;
	p->row_size = input->varies ? 0 : input->row_size;
	/* not the salt of dist: all keys of a table have hashes of one part */
	p->attr = (struct dpi_table_attr){ .budget = budget_of(d), .full = DPI_TABLE_DRAINS, .salt = ~d->salt };
	if (input->varies) p->record = calloc(STAGE_ROWS, sizeof *p->record);
	int error = dpi_reduction_check(d->reduction);
	if (!error && input->varies && !p->record) error = dpi_fail(DPI_ERR_MEMORY, "no memory for a source");
	if (error) dpi_partial_close(p);
	else *out = p;
	return error;
}

void dpi_partial_close(struct dpi_partial *p)
{
	if (!p) return;
	for (uint32_t t = 0; t < p->d->targets; t++) {
		dpi_table_free(p->way[t].table);
		if (p->way[t].stage) free(p->way[t].stage->appender.writer.data);
		free(p->way[t].stage);
	}
	free(p->record);
	free(p);
}

/* ------------------------------------------------------------------------------------------------------- to the lane */

/* Rows of one size: as many as the open segment has room for. */
static int send_rows(struct dpi_source *s, uint32_t target, struct way *w, int64_t deadline)
{
	struct dpi_lane *l = &s->lane[target];
	uint32_t size = s->flow->definition->wire->row_size;
	bool dropped;
	int error = dpi_source_wants(s, target, DPI_WANT_ROWS, size, dpi_lane_room(s, target, size, deadline, &dropped));
	if (error) return error;
	size_t n = w->out.count - w->sent;
	if (dropped) {
		DPI_ADD(s->stats.dropped, n);
		w->sent += n;
		return DPI_SUCCESS;
	}
	if (s->coded) { /* rows are gathered for the codecs one by one */
		error = dpi_coded_put(s, target, (const uint8_t *)w->out.rows + w->sent * w->out.stride, size, size);
		w->sent += !error;
		return error;
	}
	uint64_t fit = dpi_run_left(l->b, &l->run) / size;
	if (n > fit) n = fit;
	uint8_t *to = dpi_run_place(l->b);
	const uint8_t *from = (const uint8_t *)w->out.rows + w->sent * w->out.stride;
	if (w->out.stride == size) memcpy(to, from, n * size);
	else for (size_t i = 0; i < n; i++) memcpy(to + i * size, from + i * w->out.stride, size);
	w->sent += n;
	return dpi_lane_wrote(s, target, n * size);
}

static int send_record(struct dpi_source *s, uint32_t target, struct way *w, int64_t deadline)
{
	const DPI_Record *r = w->out.record + w->sent;
	int error = dpi_push_to(s, &target, 1, r->data, r->size, false);
	if (error == DPI_ERR_AGAIN && deadline) {
		if (dpi_now() < deadline) error = dpi_push_to(s, &target, 1, r->data, r->size, true);
		else error = dpi_fail(DPI_ERR_TIMEOUT, "target %u of flow '%s' had no room for partial rows within the deadline",
				      target, s->flow->name);
	}
	w->sent += !error;
	return error;
}

static int send_columns(struct dpi_source *s, uint32_t target, struct way *w, int64_t deadline)
{
	int error = dpi_columns_push_made(s, target, &w->out, deadline && dpi_now() < deadline, &w->sent);
	if (error != DPI_ERR_AGAIN || !deadline) return error;
	return dpi_fail(DPI_ERR_TIMEOUT, "target %u of flow '%s' had no room for partial rows within the deadline", target, s->flow->name);
}

/* The flow fails with what the table found. */
static int broken(struct dpi_source *s)
{
	char sentence[512];
	snprintf(sentence, sizeof sentence, "source %u: %.400s", s->number, dpi_detail());
	dpi_flow_fail(s->flow, DPI_ERR_FLOW, sentence);
	return dpi_flow_check(s->flow);
}

static int go_out(struct dpi_source *s, uint32_t target, int64_t deadline)
{
	struct way *w = &s->pipe->partial->way[target];
	int error = DPI_SUCCESS;
	while (w->goes_out && !error) {
		if (w->sent < w->out.count) {
			error = (s->columns ? send_columns : w->out.rows ? send_rows : send_record)(s, target, w, deadline);
			continue;
		}
		w->sent = 0;
		error = dpi_table_next_partial(w->table, &w->out);
		if (error) error = broken(s);
		else w->goes_out = w->out.count;
		if (!error && !w->goes_out && s->ack) dpi_ack_went(s, target, w->rows);
	}
	return error;
}

/* ------------------------------------------------------------------------------------------------------ to the table */

/* Into the table, which goes out as often as it is full. */
static int take(struct dpi_source *s, uint32_t target, const struct dpi_rows *rows, int64_t deadline, size_t *taken)
{
	struct way *w = &s->pipe->partial->way[target];
	*taken = 0;
	for (;;) {
		struct dpi_rows rest = *rows;
		size_t n = 0;
		int error = go_out(s, target, deadline);
		if (error) return error;
		if (rest.rows) rest.rows = (const uint8_t *)rest.rows + *taken * rest.stride;
		else rest.record += *taken;
		rest.count -= *taken;
		if (!rest.count) return DPI_SUCCESS;
		error = dpi_table_add(w->table, &rest, &n);
		*taken += n;
		w->rows += n;
		DPI_ADD(s->stats.reduced, n);
		if (error && error != DPI_ERR_FULL) return broken(s);
		w->goes_out = error;
	}
}

static uint64_t staged(const struct way *w)
{
	return w->stage ? atomic_load_explicit(&w->stage->appender.writer.written, memory_order_relaxed) : 0;
}

/* Rows of the stage that vary, from byte *at on. */
static size_t list_rows(const struct dpi_partial *p, const struct way *w, uint64_t *at)
{
	const uint8_t *data = w->stage->appender.writer.data;
	size_t n = 0;
	for (; n < STAGE_ROWS && *at < staged(w); n++) {
		uint64_t size;
		memcpy(&size, data + *at, sizeof size);
		p->record[n] = (DPI_Record){ data + *at + 8, size };
		*at += dpi_flow_row_need(p->d->reduction->input, size);
	}
	return n;
}

/* All rows of the stage into the table. */
static int settle(struct dpi_source *s, uint32_t target, int64_t deadline)
{
	struct dpi_partial *p = s->pipe->partial;
	struct way *w = &p->way[target];
	int error = DPI_SUCCESS;
	while (!error && w->at < staged(w)) {
		uint64_t end = w->at;
		struct dpi_rows rows = { .record = p->record };
		size_t taken;
		if (p->row_size) {
			rows.rows = w->stage->appender.writer.data + w->at, rows.stride = p->row_size;
			rows.count = (staged(w) - w->at) / p->row_size;
		} else {
			rows.count = list_rows(p, w, &end);
		}
		error = take(s, target, &rows, deadline, &taken);
		if (p->row_size) w->at += taken * p->row_size;
		else for (size_t i = 0; i < taken; i++) w->at += dpi_flow_row_need(p->d->reduction->input, p->record[i].size);
	}
	if (error) return error;
	w->at = 0;
	if (w->stage) atomic_store_explicit(&w->stage->appender.writer.written, 0, memory_order_relaxed);
	return DPI_SUCCESS;
}

/* ----------------------------------------------------------------------------------------------------------- rows */

static int make_table(struct dpi_source *s, struct way *w)
{
	if (w->table) return DPI_SUCCESS;
	return dpi_table_new(s->pipe->partial->d->reduction, &s->pipe->partial->attr, &w->table);
}

/* A stage, empty, of at least so many bytes. */
static int make_stage(struct dpi_source *s, uint32_t target, uint64_t need)
{
	struct way *w = &s->pipe->partial->way[target];
	uint64_t size = STAGE;
	int error = make_table(s, w);
	if (error) return error;
	while (size < need) size *= 2;
	struct dpi_buffer *b = w->stage ? w->stage : calloc(1, sizeof *b);
	uint8_t *data = b ? realloc(b->appender.writer.data, size) : NULL;
	if (!data) {
		if (!w->stage) free(b);
		return dpi_fail(DPI_ERR_MEMORY, "no memory for rows of %llu bytes", (unsigned long long)need);
	}
	struct dpi_ring_writer *r = &b->appender.writer;
	r->data = data;
	r->same_place = (uintptr_t)data;
	r->mask = size - 1;
	r->until = size;
	b->armed = true; /* nobody publishes a stage */
	b->ctx = s->ctx;
	w->stage = b;
	dpi_source_way(s, target, b);
	return DPI_SUCCESS;
}

static bool is_large(const struct dpi_source *s, uint64_t need)
{
	return need > s->flow->definition->segment && need > STAGE;
}

/* See that a row of size bytes can be put; of one that is larger than a segment, that all before it are in the table. */
static int room(struct dpi_source *s, uint32_t target, uint64_t size, int64_t deadline)
{
	struct way *w = &s->pipe->partial->way[target];
	uint64_t need = dpi_flow_row_need(s->pipe->partial->d->reduction->input, size);
	bool large = is_large(s, need);
	if (!large && w->stage && staged(w) + need <= w->stage->appender.writer.until) return DPI_SUCCESS;
	int error = settle(s, target, deadline);
	if (error || (!large && w->stage && need <= w->stage->appender.writer.until)) return error;
	return large ? make_table(s, w) : make_stage(s, target, need);
}

/* Cannot fail but for a row that is larger than a segment. */
static int put(struct dpi_source *s, uint32_t target, const DPI_Record *row, int64_t deadline)
{
	struct dpi_partial *p = s->pipe->partial;
	struct way *w = &p->way[target];
	uint64_t size = row->size, need = dpi_flow_row_need(p->d->reduction->input, size), at = staged(w);
	size_t taken;
	if (is_large(s, need)) {
		int error = take(s, target, &(struct dpi_rows){ .record = row, .count = 1 }, deadline, &taken);
		w->varying += !error;
		return error;
	}
	uint8_t *to = w->stage->appender.writer.data + at;
	if (!p->row_size) {
		memcpy(to, &size, sizeof size);
		to += 8;
	}
	memcpy(to, row->data, size);
	atomic_store_explicit(&w->stage->appender.writer.written, at + need, memory_order_relaxed);
	w->varying += !p->row_size;
	return DPI_SUCCESS;
}

uint64_t dpi_partial_rows(const struct dpi_source *s, uint32_t target)
{
	const struct dpi_partial *p = s->pipe->partial;
	const struct way *w = &p->way[target];
	return p->row_size ? w->rows + (staged(w) - w->at) / p->row_size : w->varying;
}

/* Room at all of them first. *deadline: 0 until there was none. */
static int push(struct dpi_source *s, const uint32_t *to, uint32_t count, const DPI_Record *row, bool wait,
		int64_t *deadline)
{
	int error = DPI_SUCCESS;
	for (uint32_t i = 0; i < count && !error; i++) {
		error = room(s, to[i], row->size, *deadline);
		if (error == DPI_ERR_AGAIN && wait && !*deadline) {
			*deadline = dpi_deadline(0, s->timeout_us);
			error = room(s, to[i], row->size, *deadline);
		}
	}
	for (uint32_t i = 0; i < count && !error; i++) {
		error = put(s, to[i], row, *deadline);
		if (error == DPI_ERR_AGAIN && wait && !*deadline) {
			*deadline = dpi_deadline(0, s->timeout_us);
			error = put(s, to[i], row, *deadline);
		}
		if (error && i)
			return dpi_fail(DPI_ERR_UNKNOWN, "a row of %zu bytes reached %u of its %u targets, then: %.300s", row->size, i, count,
					error == DPI_ERR_AGAIN ? "no room" : dpi_detail());
	}
	return error;
}

int dpi_partial_push(struct dpi_source *s, const uint32_t *to, uint32_t count, const DPI_Record *row, bool wait)
{
	int64_t deadline = 0;
	return push(s, to, count, row, wait, &deadline);
}

/* Behind those of the stage, as a row's place in the order counts. */
static int push_run(struct dpi_source *s, uint32_t target, const struct dpi_rows *rows, int64_t deadline, size_t *taken)
{
	*taken = 0;
	int error = settle(s, target, deadline);
	if (!error) error = make_table(s, &s->pipe->partial->way[target]);
	return error ? error : take(s, target, rows, deadline, taken);
}

int dpi_partial_push_rows(struct dpi_source *s, uint32_t target, const void *rows, uint32_t size, size_t count, size_t *given)
{
	struct dpi_rows run = { .rows = rows, .stride = size, .count = count };
	size_t more = 0;
	int error = push_run(s, target, &run, 0, given);
	if (error != DPI_ERR_AGAIN) return error;
	run.rows = (const uint8_t *)rows + *given * size;
	run.count -= *given;
	error = push_run(s, target, &run, dpi_deadline(0, s->timeout_us), &more);
	*given += more;
	return error;
}

int dpi_partial_drain(struct dpi_source *s, int64_t deadline)
{
	struct dpi_partial *p = s->pipe->partial;
	int error = DPI_SUCCESS;
	for (uint32_t t = 0; t < p->d->targets && !error; t++) {
		error = settle(s, t, deadline);
		if (error || !p->way[t].table) continue;
		p->way[t].goes_out = true;
		error = go_out(s, t, deadline);
	}
	return error;
}
