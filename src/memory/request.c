/* SPDX-License-Identifier: Apache-2.0
 * request.c: operations from start to result; DPI_Test, DPI_Wait, DPI_Wait_Any, DPI_Cancel. */
#include "request.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void op_done(struct dpi_operation *op, int error, uint64_t result)
{
	struct dpi_request *r = (struct dpi_request *)op;
	struct dpi_context *ctx = r->b->ctx;
	uint32_t bell = r->b->bell; /* r may be gone right after the store */
	r->op_error = error;
	r->op_result = result;
	/* release pairs with the acquire in dpi_request_posted */
	atomic_store_explicit(&r->op_state, DPI_OP_DONE, memory_order_release);
	dpi_bell_ring(&ctx->bells, bell);
}

void dpi_request_prepare(struct dpi_request *r)
{
	r->op.done = op_done;
	/* before the post: another thread's progress may complete it before the post returns */
	atomic_store_explicit(&r->op_state, DPI_OP_POSTED, memory_order_relaxed);
}

/* A region's window goes when the region does; the transport may know it first, but not the region's name. */
static int ended(struct dpi_request *r, int error)
{
	return r->b->shape.use == DPI_USE_REGION ? dpi_buffer_answered(r->b, error) : error;
}

int dpi_request_post(struct dpi_request *r, struct dpi_remote *remote, int result)
{
	r->remote = remote;
	r->refused = result == DPI_ERR_AGAIN;
	if (result == DPI_TP_PENDING) return DPI_ERR_AGAIN;
	if (result == DPI_SUCCESS) {
		r->op_error = DPI_SUCCESS;
		atomic_store_explicit(&r->op_state, DPI_OP_DONE, memory_order_relaxed);
	} else {
		atomic_store_explicit(&r->op_state, DPI_OP_NONE, memory_order_relaxed);
		result = ended(r, result);
	}
	return result;
}

int dpi_request_posted(struct dpi_request *r)
{
	int state = atomic_load_explicit(&r->op_state, memory_order_acquire);
	if (state == DPI_OP_POSTED) {
		int error = dpi_remote_check(r->remote);
		if (!error) return DPI_ERR_AGAIN;
		dpi_remote_abandon(r->remote, &r->op);
		state = atomic_load_explicit(&r->op_state, memory_order_acquire);
		if (state == DPI_OP_POSTED) {
			atomic_store_explicit(&r->op_state, DPI_OP_NONE, memory_order_relaxed);
			return dpi_remote_check(r->remote);
		}
	}
	if (r->op_error) {
		int gone = dpi_remote_check(r->remote);
		if (gone) return gone;
		return ended(r, dpi_fail(r->op_error, "node %d or transport %s ended the operation: %s", r->remote->peer->node, r->remote->carrier->name,
					 dpi_error_name(r->op_error)));
	}
	return DPI_SUCCESS;
}

void dpi_request_give_up(struct dpi_request *r)
{
	for (size_t i = 0; i < r->parts_count && r->part; i++) dpi_request_give_up(&r->part[i]);
	if (r->calling.peer) dpi_call_forget(r->b->ctx, &r->calling);
	if (atomic_load_explicit(&r->op_state, memory_order_acquire) == DPI_OP_POSTED) {
		dpi_remote_abandon(r->remote, &r->op);
		int posted = DPI_OP_POSTED;
		atomic_compare_exchange_strong(&r->op_state, &posted, DPI_OP_NONE);
	}
}

static void finish(struct dpi_request *r, int error)
{
	if (error && error != DPI_ERR_CANCELLED && r->handle) r->sentence = strdup(r->why && r->why_of < r->parts_count ? r->why : dpi_detail());
	if (r->handle) free(r->why);
	r->why = NULL;
	if (r->part) free(r->part);
	r->part = NULL;
	r->error = error;
	r->finished = true;
	dpi_descriptor_fire(r->descriptor); /* the call that finished it may be about another */
}

static bool step(struct dpi_request *r)
{
	if (r->finished) return true;
	int error = r->advance(r);
	if (error == DPI_ERR_AGAIN) return false;
	dpi_request_give_up(r); /* an error found while something is under way: the buffer was destroyed */
	finish(r, error);
	return true;
}

bool dpi_request_list(struct dpi_buffer *b)
{
	bool changed = false;
	while (b->first && step(b->first)) {
		b->first = b->first->next;
		if (!b->first) b->last = NULL;
		changed = true;
	}
	if (changed) dpi_append_fast(b);
	return !b->first;
}

/* A transport that was full has mostly room again after this; nothing tells when. */
#define REFUSED_US 50
static bool refused(const struct dpi_request *r)
{
	return r->refused || (r->b->first && r->b->first->refused);
}

static void after_refusal(struct dpi_context *ctx)
{
	dpi_progress(ctx);
	usleep(REFUSED_US);
	dpi_progress(ctx);
}

static bool ready(void *arg)
{
	struct dpi_request *r = arg;
	return (dpi_request_list(r->b) && step(r)) || refused(r);
}

bool dpi_request_list_or_listen(struct dpi_buffer *b, struct dpi_listening *l)
{
	if (dpi_request_list(b)) return true;
	const struct dpi_request *r = b->first;
	l->bells = (uint64_t)1 << b->bell;
	for (size_t i = 0; i < r->parts_count; i++)
		if (!r->part[i].finished) l->bells |= (uint64_t)1 << r->part[i].b->bell;
	if (refused(r)) l->look_at = dpi_now() + DPI_LOOK_AGAIN_NS; /* nothing tells when the transport has room */
	return false;
}

/* Requests that several bells move on: a wait takes one bell, so these look again every millisecond. One that waits for room, for a home's
 * answer or for a transport's completion has its handle's bell, which the home's credit rings too (dpi_ring_in_give_back); one that a
 * transport refused is no longer waited for (ready). */
static bool looks_again(const struct dpi_request *r)
{
	return r->parts_count > 1;
}

/* Is it to get a larger ring when it has waited for a while? */
static bool may_grow(const struct dpi_request *r)
{
	const struct dpi_buffer *b = r->b;
	return !b->appender.no_growth && b->shape.growth == DPI_GROWTH_DOUBLE;
}

/* Wait until r is finished, getting a larger ring for an append that finds its ring full for long. */
static int wait_growing(struct dpi_request *r, const struct dpi_wait *w, bool append)
{
	struct dpi_buffer *b = r->b;
	for (;;) {
		struct dpi_wait slice = *w;
		bool grow = append && may_grow(r);
		int64_t soon = dpi_now() + (grow ? DPI_GROW_AFTER_NS : DPI_LOOK_AGAIN_NS);
		if ((grow || looks_again(r)) && soon < w->deadline) slice.deadline = soon;
		int error = dpi_wait(b->ctx, &slice);
		if (r->finished) return DPI_SUCCESS;
		if (error && slice.deadline == w->deadline) return error;
		if (!error && dpi_now() >= w->deadline) return DPI_ERR_TIMEOUT;
		if (!error) after_refusal(b->ctx);
		else if (grow) dpi_append_grow(b, w->deadline);
	}
}

static bool is_append(const struct dpi_request *r)
{
	return r->append && !r->begun && !r->unknown;
}

int dpi_request_run(struct dpi_request *r, int64_t timeout_us, const char *what)
{
	struct dpi_buffer *b = r->b;
	if (!b->first && step(r)) return r->error;
	int64_t deadline = dpi_buffer_deadline(b, timeout_us), start = dpi_now();
	bool append = is_append(r);
	/* not waiting means for room or records; the answer of a home that is only reached by messages is on its way */
	if (!deadline && !append) deadline = start + DPI_ANSWER_NS;
	struct dpi_wait w = { .ready = ready, .arg = r, .bell = b->bell, .deadline = deadline };
	if (append && b->shape.full == DPI_FULL_ERROR && b->shape.use == DPI_USE_QUEUE && !b->first && !r->refused) {
		if (dpi_append_grow(b, dpi_buffer_deadline(b, 0)) && step(r)) return r->error;
		finish(r, 0);
		return dpi_append_is_full(b);
	}
	int error = wait_growing(r, &w, append);
	if (append) {
		DPI_COUNT(b, full_waits, 1);
		DPI_COUNT(b, full_wait_us, (dpi_now() - start) / 1000);
	}
	if (!error) return r->error;
	/* the deadline passed: take everything back. What completed meanwhile may be the end, or lead to another post. */
	do {
		dpi_request_give_up(r);
		if (atomic_load_explicit(&r->op_state, memory_order_acquire) == DPI_OP_DONE && step(r)) return r->error;
	} while (atomic_load_explicit(&r->op_state, memory_order_acquire) == DPI_OP_POSTED);
	dpi_request_give_up(r); /* the last step may have asked the home something */
	bool unknown = r->unknown;
	finish(r, 0);
	if (unknown)
		return dpi_fail(DPI_ERR_UNKNOWN, "%s: node %d, home of buffer '%s', did not answer within the deadline; the operation may or may not have happened",
				what, b->home_peer->node, b->name);
	return dpi_buffer_timed_out(b, what, append);
}

/* ------------------------------------------------------------------------------------------------------ on the heap */

bool dpi_request_none(DPI_Request *request, const char *call)
{
	if (request) *request = DPI_REQUEST_NULL;
	else dpi_fail(DPI_ERR_ARGUMENT, "%s: request is NULL: pass where the request may go", call);
	return request != NULL;
}

int dpi_request_start(const struct dpi_request *from, DPI_Request *out)
{
	struct dpi_buffer *b = from->b;
	*out = DPI_REQUEST_NULL;
	struct dpi_request *r = malloc(sizeof *r);
	if (!r) return dpi_fail(DPI_ERR_MEMORY, "no memory for a request");
	*r = *from;
	if (r->count == 1 && !r->pieces) r->pieces = r->iov;
	uint64_t handle = dpi_handle_open(DPI_HANDLE_REQUEST, r);
	if (!handle) {
		free(r);
		return dpi_fail(DPI_ERR_LIMIT, "%u handles are open: DPI_Wait for requests and close buffers", DPI_HANDLE_MAX);
	}
	r->handle = (DPI_Request)(uintptr_t)handle;
	if (b->last) b->last->next = r;
	else b->first = r;
	b->last = r;
	dpi_append_fast(b);
	dpi_request_list(b);
	*out = r->handle;
	return DPI_SUCCESS;
}

void dpi_request_close(struct dpi_buffer *b)
{
	while (b->first) {
		struct dpi_request *r = b->first;
		b->first = r->next;
		dpi_request_give_up(r);
		finish(r, DPI_ERR_CANCELLED);
	}
	b->last = NULL;
}

static void free_uncollected(uint64_t handle, void *object)
{
	struct dpi_request *r = object;
	dpi_descriptor_close(r->descriptor);
	dpi_handle_close(handle);
	free(r->sentence);
	free(r);
}

void dpi_requests_free(void)
{
	dpi_handle_each(DPI_HANDLE_REQUEST, free_uncollected);
}

static struct dpi_request *get(DPI_Request handle, int *error)
{
	struct dpi_request *r = dpi_handle_get(DPI_HANDLE_REQUEST, (uint64_t)(uintptr_t)handle);
	if (!r) *error = dpi_handle_error(DPI_HANDLE_REQUEST, (uint64_t)(uintptr_t)handle);
	return r;
}

/* Give the result and let the request go. */
static int collect(DPI_Request *handle, struct dpi_request *r)
{
	int error = r->error;
	dpi_handle_close((uint64_t)(uintptr_t)*handle);
	*handle = DPI_REQUEST_NULL;
	dpi_descriptor_close(r->descriptor);
	if (r->sentence) dpi_fail(error, "%s", r->sentence);
	free(r->sentence);
	free(r);
	if (error == DPI_ERR_CANCELLED) dpi_fail(error, "the request was cancelled before it began");
	return error;
}

static int thread_error(const char *call)
{
	return dpi_fail(DPI_ERR_THREAD, "%s: another thread is inside a call on the request's buffer: a handle is used by one thread at a time", call);
}

int DPI_Test(DPI_Request *request, int *done)
{
	int error;
	if (!request || !done) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Test: %s is NULL: pass where %s", request ? "done" : "request", request ? "the answer may go" : "the request is kept");
	*done = 1;
	if (*request == DPI_REQUEST_NULL) return DPI_SUCCESS;
	struct dpi_request *r = get(*request, &error);
	if (!r) return error;
	if (!r->finished) { /* a finished one no longer needs its buffer, which may be closed */
		struct dpi_buffer *b = r->b;
		if (!dpi_buffer_enter(b)) return thread_error("DPI_Test");
		dpi_progress(b->ctx);
		dpi_request_list(b);
		dpi_buffer_leave(b);
	}
	if (r->finished) return collect(request, r);
	*done = 0;
	return DPI_SUCCESS;
}

struct any {
	DPI_Request *request;
	size_t count, index;
};

static bool any_ready(void *arg)
{
	struct any *a = arg;
	for (size_t i = 0; i < a->count; i++) {
		if (a->request[i] == DPI_REQUEST_NULL) continue;
		struct dpi_request *r = dpi_handle_get(DPI_HANDLE_REQUEST, (uint64_t)(uintptr_t)a->request[i]);
		if (!r->finished) dpi_request_list(r->b);
		if (!r->finished) continue;
		a->index = i;
		return true;
	}
	/* found refused: let the caller wait a moment for the transport */
	a->index = a->count;
	for (size_t i = 0; i < a->count; i++) {
		struct dpi_request *r = a->request[i] == DPI_REQUEST_NULL ? NULL : dpi_handle_get(DPI_HANDLE_REQUEST, (uint64_t)(uintptr_t)a->request[i]);
		if (r && refused(r)) return true;
	}
	return false;
}

int DPI_Wait_Any(DPI_Request *requests, size_t count, int64_t timeout_us, size_t *index)
{
	int error = DPI_SUCCESS;
	struct dpi_buffer *b = NULL;
	size_t entered = 0, i;
	struct any any = { requests, count, 0 };
	if (dpi_timeout_check("DPI_Wait", "timeout_us", timeout_us)) return DPI_ERR_ARGUMENT;
	if (!requests || !index) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Wait_Any: %s", requests ? "index is NULL: pass where the number of the one that ended may go" : "requests is NULL: pass an array of them");
	for (i = 0; i < count; i++) {
		if (requests[i] == DPI_REQUEST_NULL) continue;
		struct dpi_request *r = get(requests[i], &error);
		if (!r) return error;
		if (r->finished) {
			*index = i;
			return collect(&requests[i], r);
		}
		b = r->b;
	}
	if (!b) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Wait_Any: none of the %zu requests is under way", count);
	/* enter each handle once: requests of one handle stand for one */
	for (i = 0; i < count && !error; i++) {
		if (requests[i] == DPI_REQUEST_NULL) continue;
		struct dpi_request *r = get(requests[i], &error);
		size_t j = 0;
		while (j < i && (requests[j] == DPI_REQUEST_NULL || get(requests[j], &error)->b != r->b)) j++;
		if (j == i && !dpi_buffer_enter(r->b)) error = thread_error("DPI_Wait_Any");
		if (!error) entered = i + 1;
	}
	if (!error) {
		bool mixed = b->first && looks_again(b->first);
		for (i = 0; i < count; i++) mixed |= requests[i] != DPI_REQUEST_NULL && get(requests[i], &error)->b != b;
		int64_t deadline = dpi_deadline(timeout_us, b->timeout_us);
		for (;;) {
			struct dpi_wait w = { .ready = any_ready, .arg = &any, .bell = b->bell, .deadline = deadline };
			int64_t soon = dpi_now() + (mixed ? DPI_LOOK_AGAIN_NS : DPI_GROW_AFTER_NS);
			bool slice = (mixed || (b->first && is_append(b->first) && may_grow(b->first))) && soon < deadline;
			if (slice) w.deadline = soon;
			error = dpi_wait(b->ctx, &w);
			if (!error && any.index == count) {
				if (dpi_now() < deadline) {
					after_refusal(b->ctx);
					continue;
				}
				error = DPI_ERR_TIMEOUT;
			}
			if (!error || !slice || dpi_now() >= deadline) break;
			for (i = 0; i < count; i++) {
				struct dpi_request *r = requests[i] == DPI_REQUEST_NULL ? NULL : get(requests[i], &error);
				if (r && r->b->first == r && is_append(r) && !mixed) dpi_append_grow(r->b, deadline);
			}
		}
		if (error) dpi_fail(error, "DPI_Wait: no request completed within the deadline; the oldest waits on node %d, home of buffer '%s'",
				    b->home_peer->node, b->name);
	}
	for (i = 0; i < entered; i++) {
		int ignored;
		if (requests[i] != DPI_REQUEST_NULL) dpi_buffer_leave(get(requests[i], &ignored)->b);
	}
	if (error) return error;
	*index = any.index;
	return collect(&requests[any.index], get(requests[any.index], &error));
}

int DPI_Wait(DPI_Request *request, int64_t timeout_us)
{
	size_t index;
	if (!request) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Wait: request is NULL: pass where the request is kept");
	if (*request == DPI_REQUEST_NULL) return DPI_SUCCESS;
	return DPI_Wait_Any(request, 1, timeout_us, &index);
}

int DPI_Cancel(DPI_Request request)
{
	int error;
	struct dpi_request *r = get(request, &error);
	if (!r) return error;
	if (r->finished) return DPI_SUCCESS;
	struct dpi_buffer *b = r->b;
	if (!dpi_buffer_enter(b)) return thread_error("DPI_Cancel");
	if (!r->begun && !r->unknown && atomic_load(&r->op_state) == DPI_OP_NONE) {
		struct dpi_request **p = &b->first, *last = NULL;
		while (*p && *p != r) last = *p, p = &(*p)->next;
		if (*p) {
			*p = r->next;
			if (b->last == r) b->last = last;
			finish(r, DPI_ERR_CANCELLED);
			dpi_append_fast(b);
		}
	} else {
		r->cancelled = true;
	}
	dpi_buffer_leave(b);
	return DPI_SUCCESS;
}

/* -------------------------------------------------------------------------------------------------------- descriptors */

static bool may_be_collected(void *arg, struct dpi_listening *l)
{
	struct dpi_request *r = arg;
	if (!r->finished) dpi_request_list_or_listen(r->b, l);
	return r->finished;
}

int DPI_Get_Request_Descriptor(DPI_Request request, int *fd)
{
	int error;
	struct dpi_request *r = get(request, &error);
	return r ? dpi_descriptor_get(dpi_context(), "DPI_Get_Request_Descriptor", &r->descriptor, fd) : error;
}

int DPI_Arm_Request(DPI_Request request, int *done)
{
	int error;
	struct dpi_request *r = get(request, &error);
	if (!r) return error;
	struct dpi_buffer *b = r->finished ? NULL : r->b;
	if (b && !dpi_buffer_enter(b)) return thread_error("DPI_Arm_Request");
	error = dpi_descriptor_arm("DPI_Arm_Request", r->descriptor, may_be_collected, r, done);
	if (b) dpi_buffer_leave(b);
	return error;
}
