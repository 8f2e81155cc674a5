/* SPDX-License-Identifier: Apache-2.0
 * scatter.c: several buffers in one call. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "request.h"

/* All parts go on side by side; parts of one buffer in order, since a part waits for earlier parts of its buffer. */
static int advance_parts(struct dpi_request *r)
{
	bool again = false;
	int error = DPI_SUCCESS;
	r->refused = false;
	for (size_t i = 0; i < r->parts_count; i++) {
		struct dpi_request *p = &r->part[i];
		bool behind = false;
		if (!p->finished && again)
			for (size_t j = 0; j < i && !behind; j++) behind = !r->part[j].finished && r->part[j].b == p->b;
		if (!p->finished && !behind) {
			int e = p->advance(p);
			r->refused |= e == DPI_ERR_AGAIN && p->refused;
			if (e == DPI_ERR_AGAIN && p->at_end) e = dpi_fail(DPI_ERR_TIMEOUT, "log '%s' has no record at %llu yet", p->b->name, (unsigned long long)p->offset);
			if (e != DPI_ERR_AGAIN) {
				p->finished = true;
				p->error = r->parts[i].error = e;
				if (e && r->why && i < r->why_of) { /* others' posts go on, and say why they must wait */
					snprintf(r->why, DPI_DETAIL_MAX, "part %zu: %s", i, dpi_detail());
					r->why_of = i;
				}
			}
		}
		again |= !p->finished;
	}
	if (again) return DPI_ERR_AGAIN;
	for (size_t i = 0; i < r->parts_count && !error; i++) error = r->part[i].error;
	return error;
}

static int prepare(DPI_Part *part, struct dpi_request *r, bool scatter, const char *call)
{
	int error;
	unsigned uses = scatter ? DPI_ANY_USE : 1u << DPI_USE_LOG | 1u << DPI_USE_REGION;
	if (!part->data && part->size) return dpi_fail(DPI_ERR_ARGUMENT, "%s: a part's data is NULL and its size %zu: pass so many bytes of memory, or size 0", call, part->size);
	struct dpi_buffer *b = dpi_buffer_get(part->buffer);
	if (!b) return dpi_handle_error(DPI_HANDLE_BUFFER, (uint64_t)(uintptr_t)part->buffer);
	if (!(uses & 1u << b->shape.use)) return dpi_fail(DPI_ERR_USE, "%s: buffer '%s' is a queue, whose records are consumed, not read", call, b->name);
	if (b->shape.use == DPI_USE_REGION) {
		error = dpi_region_range(b, part->offset, part->size, call);
		if (!error) dpi_region_request(r, b, scatter, part->data, part->size, part->offset);
		return error;
	}
	if (!scatter) {
		dpi_log_request(r, b, part->offset, part->data, part->size, &part->size, NULL);
		return DPI_SUCCESS;
	}
	if (part->size > b->max_record)
		return dpi_fail(DPI_ERR_SIZE, "%s: a part of %zu bytes is larger than the largest record of buffer '%s', %llu", call, part->size, b->name,
				(unsigned long long)b->max_record);
	if (b->appender.open_room) return dpi_fail(DPI_ERR_STATE, "%s: room of buffer '%s' is handed out", call, b->name);
	dpi_append_request(r, b, part->data, part->size);
	return DPI_SUCCESS;
}

/* A part had not ended when the call did: its sentence, where the class has one. */
static int part_failed(const struct dpi_buffer *b, int error, const char *call)
{
	if (error == DPI_ERR_DESTROYED || error == DPI_ERR_PEER) dpi_buffer_check(b);
	if (error == DPI_ERR_TIMEOUT) dpi_buffer_timed_out(b, call, b->shape.use != DPI_USE_REGION);
	if (error == DPI_ERR_FULL) dpi_append_is_full(b);
	return error;
}

static int run(DPI_Part *parts, size_t count, bool scatter, DPI_Request *request, const char *call)
{
	int error = DPI_SUCCESS, first = DPI_SUCCESS;
	size_t first_at = 0;
	char sentence[DPI_DETAIL_MAX] = "", why[DPI_DETAIL_MAX] = "";
	struct dpi_buffer *lead = NULL;
	int64_t longest = 0;
	if (!parts && count) return dpi_fail(DPI_ERR_ARGUMENT, "%s: parts is NULL: pass an array of them, or count 0", call);
	struct dpi_request *each = calloc(count ? count : 1, sizeof *each);
	if (!each) return dpi_fail(DPI_ERR_MEMORY, "%s: no memory for %zu parts", call, count);
	/* enter each handle once */
	size_t entered = 0;
	for (; entered < count && !error; entered++) {
		struct dpi_buffer *b = dpi_buffer_get(parts[entered].buffer);
		bool seen = false;
		for (size_t j = 0; j < entered && !seen; j++) seen = parts[j].buffer == parts[entered].buffer;
		if (!b || seen) continue;
		if (!dpi_buffer_enter(b)) {
			error = dpi_fail(DPI_ERR_THREAD, "%s: another thread is inside a call on buffer '%s': a handle is used by one thread at a time", call, b->name);
			break;
		}
	}
	for (size_t i = 0; i < count && !error; i++) {
		int e = prepare(&parts[i], &each[i], scatter, call);
		parts[i].error = e || request ? e : DPI_ERR_TIMEOUT; /* unless it completes */
		each[i].error = e;
		each[i].finished = e != 0;
		if (e && !first) {
			first = e;
			first_at = i;
			snprintf(sentence, sizeof sentence, "part %zu: %s", i, dpi_detail());
		}
		if (e) continue;
		lead = each[i].b;
		if (lead->timeout_us > longest) longest = lead->timeout_us;
	}
	if (error || !lead) {
		free(each);
		if (!error && first) error = dpi_fail(first, "%s", sentence);
		goto leave;
	}
	struct dpi_request r = { .advance = advance_parts, .b = lead, .parts = parts, .parts_count = count, .part = each, .why = why, .why_of = count };
	if (request) {
		r.why = malloc(DPI_DETAIL_MAX);
		if (r.why) strcpy(r.why, sentence);
		if (first) r.why_of = first_at;
		error = r.why ? dpi_request_start(&r, request) : dpi_fail(DPI_ERR_MEMORY, "%s: no memory for a request", call);
		if (error) free(each), free(r.why);
	} else {
		error = dpi_request_run(&r, longest, call);
		/* the first part in array order that failed says what the call returns */
		size_t i = 0;
		while (i < count && !parts[i].error) i++;
		if (first && i == first_at) error = dpi_fail(first, "%s", sentence);
		else if (i < count && i == r.why_of) error = dpi_fail(parts[i].error, "%s", why);
		else if (i < count) error = part_failed(dpi_buffer_get(parts[i].buffer), parts[i].error, call);
	}
leave:
	for (size_t i = 0; i < entered; i++) {
		struct dpi_buffer *b = dpi_buffer_get(parts[i].buffer);
		bool seen = false;
		for (size_t j = 0; j < i && !seen; j++) seen = parts[j].buffer == parts[i].buffer;
		if (b && !seen) dpi_buffer_leave(b);
	}
	return error;
}

int DPI_Scatter(DPI_Part *parts, size_t count)
{
	return run(parts, count, true, NULL, "DPI_Scatter");
}

int DPI_Gather(DPI_Part *parts, size_t count)
{
	return run(parts, count, false, NULL, "DPI_Gather");
}

int DPI_Scatter_Nb(DPI_Part *parts, size_t count, DPI_Request *request)
{
	if (!dpi_request_none(request, "DPI_Scatter_Nb")) return DPI_ERR_ARGUMENT;
	return run(parts, count, true, request, "DPI_Scatter_Nb");
}

int DPI_Gather_Nb(DPI_Part *parts, size_t count, DPI_Request *request)
{
	if (!dpi_request_none(request, "DPI_Gather_Nb")) return DPI_ERR_ARGUMENT;
	return run(parts, count, false, request, "DPI_Gather_Nb");
}
