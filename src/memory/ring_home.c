/* SPDX-License-Identifier: Apache-2.0
 * ring_home.c: the rings of a buffer at its home: who gets one, how large it is, and who waits until there is memory for it. On the loop thread. */
#include <stdlib.h>

#include "home.h"
#include "layer.h"
#include "loop.h"
#include "wait.h"

/* -------------------------------------------------------------------------------------------------------- memory */

/* Memory that growth leaves to appenders that are still to come. Under the lock. */
#define LATE 16u /* where nobody knows how many */
static uint64_t left_to_others(const struct dpi_home *h, uint64_t capacity)
{
	if (!h->least) return h->awaited * h->shape.capacity;
	return capacity > LATE * h->least ? capacity : LATE * h->least;
}

/* Would another ring of this size go beyond what the buffer may hold? Counts it if not. One of an appender that came before, whose former ring may
 * not be read yet, leaves the memory of those that are awaited. */
enum ring_for { FOR_NEW, FOR_AGAIN, FOR_GROWTH };
static bool account(struct dpi_home *h, uint64_t capacity, enum ring_for what)
{
	pthread_mutex_lock(&h->lock);
	uint64_t left = what == FOR_GROWTH || (what == FOR_AGAIN && !h->least) ? left_to_others(h, capacity) : 0;
	/* a log's max_capacity is for the records kept: its rings are emptied by the home at once */
	bool fits = h->shape.use == DPI_USE_LOG || (h->memory + capacity + left <= h->shape.max_capacity && !(what == FOR_GROWTH && h->wanted));
	if (fits) h->memory += capacity;
	pthread_mutex_unlock(&h->lock);
	return fits;
}

static void give_back(struct dpi_home *h, uint64_t capacity)
{
	pthread_mutex_lock(&h->lock);
	h->memory -= capacity;
	pthread_mutex_unlock(&h->lock);
}

/* Memory for an appender's first ring: its capacity; 0: there is none. */
static uint64_t first_memory(struct dpi_home *h, bool by_credit, enum ring_for what)
{
	uint64_t capacity = h->shape.capacity;
	if (by_credit && h->put_capacity > capacity && account(h, h->put_capacity, FOR_GROWTH)) return h->put_capacity;
	pthread_mutex_lock(&h->lock);
	uint64_t left = h->shape.max_capacity - h->memory;
	pthread_mutex_unlock(&h->lock);
	while (h->least && capacity > h->least && capacity > left / LATE) capacity /= 2;
	return account(h, capacity, what) ? capacity : 0;
}

/* Has it had a ring here? Known while others are awaited; later nothing depends on it. */
static bool came_before(const struct dpi_home *h, uint32_t who)
{
	for (size_t i = 0; i < h->came_count; i++)
		if (h->came[i] == who) return true;
	return false;
}

/* Without memory to note it, it is as any other when it comes again. */
static void note(struct dpi_home *h, uint32_t who)
{
	uint32_t *came = who ? realloc(h->came, (h->came_count + 1) * sizeof *came) : NULL;
	if (!came) return;
	h->came = came;
	h->came[h->came_count++] = who;
}

/* Memory for the ring that is wanted: its capacity; 0: there is none now. */
static uint64_t memory_for(struct dpi_home *h, const struct dpi_ring_wanted *w, bool goes_on)
{
	bool again = goes_on || (w->who && came_before(h, w->who));
	pthread_mutex_lock(&h->lock);
	bool one = !again && h->awaited;
	h->awaited -= one;
	pthread_mutex_unlock(&h->lock);
	uint64_t capacity = first_memory(h, w->by_credit, again && !goes_on ? FOR_AGAIN : FOR_NEW);
	if (capacity && one) note(h, w->who);
	if (capacity || !one) return capacity;
	pthread_mutex_lock(&h->lock);
	h->awaited++;
	pthread_mutex_unlock(&h->lock);
	return 0;
}

/* --------------------------------------------------------------------------------------------------- the first ring */

/* The ring's window, behind what p holds. */
static void answer_ring(struct dpi_context *ctx, struct dpi_peer *to, uint64_t call, struct dpi_ring_in *r, struct dpi_pack *p)
{
	dpi_window_pack(ctx, &r->window, NULL, dpi_home_same_host(ctx, to), p);
	dpi_answer(ctx, to, call, DPI_SUCCESS, p);
	dpi_pack_free(p);
	dpi_window_given(&r->window);
}

/* The reader finds it. */
static void add_ring(struct dpi_home *h, struct dpi_handle_in *handle, struct dpi_ring_in *r)
{
	handle->ring = r;
	pthread_mutex_lock(&h->lock);
	h->appenders++;
	r->next = h->incoming;
	h->incoming = r;
	atomic_store_explicit(&h->changed, true, memory_order_release);
	pthread_mutex_unlock(&h->lock);
	DPI_DELAY(home_adds_ring);
}

/* The ring that is wanted, or what is wrong. False: there is no memory for it now. */
static bool give_ring(struct dpi_context *ctx, struct dpi_home *h, struct dpi_handle_in *handle, struct dpi_ring_wanted *w)
{
	struct dpi_ring_in *r, *yielded = handle->ring; /* or NULL */
	uint64_t capacity = memory_for(h, w, yielded);
	if (!capacity) return false;
	int error = dpi_ring_in_make(ctx, h, capacity, yielded ? yielded->yielded + DPI_RING_WORD : 0, &r);
	if (error) {
		give_back(h, capacity);
		dpi_window_offer_free(&w->offer);
		dpi_answer(ctx, w->from, w->call, error, NULL);
		return true;
	}
	r->from = w->from;
	r->handle = w->handle;
	r->bell = w->bell;
	r->direct = !w->by_credit;
	if (w->by_credit) dpi_ring_in_by_credit(r);
	if (w->tries) dpi_ring_in_prompt(r);
	if (h->shape.use == DPI_USE_LOG && !(r->position = calloc(DPI_POSITIONS, sizeof *r->position)))
		error = dpi_fail(DPI_ERR_MEMORY, "no memory for an appender");
	if (w->credit && !error && !yielded) error = dpi_remote_attach(ctx, w->from, &w->offer, dpi_now() + 500000000, &r->credit);
	else dpi_window_offer_free(&w->offer);
	if (error) {
		dpi_ring_in_free(ctx, h, r);
		dpi_answer(ctx, w->from, w->call, error, NULL);
		return true;
	}
	if (yielded) {
		r->credit = yielded->credit;
		handle->ring = r;
		dpi_ring_in_link(yielded, r);
	} else {
		add_ring(h, handle, r);
	}
	struct dpi_pack p = { 0 };
	dpi_pack_u32(&p, h->bell);
	answer_ring(ctx, w->from, w->call, r, &p);
	return true;
}

/* Take a request that waits for memory off the list, at this place. */
static void unlist_wanted(struct dpi_context *ctx, struct dpi_home *h, struct dpi_ring_wanted **at)
{
	struct dpi_ring_wanted *w = *at;
	pthread_mutex_lock(&h->lock);
	*at = w->next;
	pthread_mutex_unlock(&h->lock);
	ctx->memory->rings_wanted--;
	free(w);
}

/* Tell those that have rings, each of them once of each ring, that another waits for memory. */
static void ask_back(struct dpi_context *ctx, struct dpi_home *h)
{
	for (size_t i = 0; i < h->handles; i++) {
		const struct dpi_handle_in *in = &h->handle[i];
		if (!in->ring || in->ring->yielded || in->ring->asked_back) continue;
		in->ring->asked_back = true;
		struct dpi_pack p = { 0 };
		dpi_pack_u64(&p, h->id);
		dpi_pack_u64(&p, in->handle);
		if (in->peer->node == ctx->node) dpi_memory_short(ctx, ctx->node, h->id, in->handle), dpi_pack_free(&p);
		else dpi_tell(ctx, in->peer, DPI_MEMORY_SHORT, &p);
	}
}

/* What waits for memory gets what there is, in order. */
static void give_wanted(struct dpi_context *ctx, struct dpi_home *h)
{
	while (h->wanted && give_ring(ctx, h, dpi_home_handle(h, h->wanted->from, h->wanted->handle), h->wanted)) unlist_wanted(ctx, h, &h->wanted);
	if (h->wanted) ask_back(ctx, h);
}

void dpi_wanted_forget(struct dpi_context *ctx, struct dpi_home *h, const struct dpi_handle_in *handle)
{
	struct dpi_ring_wanted **at = &h->wanted;
	while (*at && ((*at)->from != handle->peer || (*at)->handle != handle->handle)) at = &(*at)->next;
	if (!*at) return;
	dpi_window_offer_free(&(*at)->offer);
	unlist_wanted(ctx, h, at);
}

void dpi_wanted_free(struct dpi_context *ctx, struct dpi_home *h, int error)
{
	while (h->wanted) {
		if (error) dpi_answer(ctx, h->wanted->from, h->wanted->call, error, NULL);
		dpi_window_offer_free(&h->wanted->offer);
		unlist_wanted(ctx, h, &h->wanted);
	}
}

static void on_append(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct dpi_ring_wanted w = { .from = in->from, .call = in->id, .offer.fd = -1 };
	uint64_t id = dpi_unpack_u64(&in->body);
	w.handle = dpi_unpack_u64(&in->body);
	w.bell = dpi_unpack_u32(&in->body);
	w.by_credit = dpi_unpack_u8(&in->body), w.credit = dpi_unpack_u8(&in->body);
	w.tries = dpi_unpack_u8(&in->body), w.waits = dpi_unpack_u8(&in->body);
	w.who = dpi_unpack_u32(&in->body);
	if (w.credit) dpi_window_unpack(&in->body, &w.offer);
	struct dpi_home *h = dpi_home_target(ctx, in, id);
	struct dpi_handle_in *found = h ? dpi_home_handle(h, in->from, w.handle) : NULL;
	if (!h) {
		dpi_window_offer_free(&w.offer);
		return;
	}
	if (!found || h->shape.use == DPI_USE_REGION || w.bell >= DPI_BELLS || (w.by_credit && !w.credit) ||
	    (w.credit && w.offer.length < sizeof(struct dpi_credit)) || (h->shape.use == DPI_USE_LOG && !w.credit)) {
		dpi_window_offer_free(&w.offer);
		dpi_home_answer(ctx, in, dpi_fail(DPI_ERR_CORRUPT, "a request to append that no correct library sends"));
		return;
	}
	if (found->ring && !found->ring->yielded) dpi_home_ring_end(ctx, h, found, DPI_RING_CLOSED); /* it could not reach that one */
	dpi_wanted_forget(ctx, h, found);
	pthread_mutex_lock(&h->lock);
	uint64_t appenders = h->appenders;
	pthread_mutex_unlock(&h->lock);
	if (!h->wanted && give_ring(ctx, h, found, &w)) return;
	struct dpi_ring_wanted *kept = w.waits ? malloc(sizeof *kept) : NULL;
	if (!kept) {
		dpi_window_offer_free(&w.offer);
		dpi_home_answer(ctx, in, dpi_fail(DPI_ERR_LIMIT, "there is no memory for another appender: the rings of %llu leave less of max_capacity, %llu bytes, than a ring needs",
					       (unsigned long long)appenders, (unsigned long long)h->shape.max_capacity));
		return;
	}
	*kept = w;
	struct dpi_ring_wanted **last = &h->wanted;
	while (*last) last = &(*last)->next;
	pthread_mutex_lock(&h->lock); /* from here on who gives memory back tells */
	*last = kept;
	pthread_mutex_unlock(&h->lock);
	ctx->memory->rings_wanted++;
	give_wanted(ctx, h);
}

static void on_grow(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body), handle = dpi_unpack_u64(&in->body), base = dpi_unpack_u64(&in->body);
	struct dpi_home *h = dpi_home_target(ctx, in, id);
	if (!h) return;
	struct dpi_handle_in *found = dpi_home_handle(h, in->from, handle);
	struct dpi_ring_in *old = found ? found->ring : NULL, *r;
	if (!old || old->yielded || base % 8 || h->shape.growth == DPI_GROWTH_NONE) {
		dpi_home_answer(ctx, in, dpi_fail(DPI_ERR_CORRUPT, "a request to grow that no correct library sends"));
		return;
	}
	uint64_t capacity = 2 * old->reader.capacity;
	if (h->shape.use == DPI_USE_LOG || !account(h, capacity, FOR_GROWTH)) {
		pthread_mutex_lock(&h->lock);
		uint64_t memory = h->memory;
		pthread_mutex_unlock(&h->lock);
		dpi_home_answer(ctx, in, dpi_fail(DPI_ERR_FULL, "the buffer holds %llu bytes of at most %llu", (unsigned long long)memory,
					       (unsigned long long)h->shape.max_capacity));
		return;
	}
	int error = dpi_ring_in_make(ctx, h, capacity, base, &r);
	if (error) {
		give_back(h, capacity);
		dpi_home_answer(ctx, in, error);
		return;
	}
	r->from = old->from;
	r->handle = old->handle;
	r->bell = old->bell;
	r->direct = old->direct;
	if (!r->direct) dpi_ring_in_by_credit(r);
	if (old->tell_at == 1) dpi_ring_in_prompt(r);
	r->credit = old->credit;
	old->credit_shared = true;
	found->ring = r;
	/* release: whoever finds the LINK finds the ring */
	atomic_store_explicit(&old->larger, r, memory_order_release);
	DPI_DELAY(home_grows_ring);
	struct dpi_pack p = { 0 };
	answer_ring(ctx, in->from, in->id, r, &p);
}

/* An appender ends its ring and goes on in another, for which it asks when it needs one. Its reader goes over from the one to the other as when a
 * ring grows: so records keep their order, positions go on, and the old ring is freed when it was read to its end. */
static void on_yield(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body), handle = dpi_unpack_u64(&in->body), base = dpi_unpack_u64(&in->body);
	struct dpi_home *h = dpi_home_target(ctx, in, id);
	if (!h) return;
	struct dpi_handle_in *found = dpi_home_handle(h, in->from, handle);
	struct dpi_ring_in *old = found ? found->ring : NULL, *r;
	if (!old || old->yielded || !base || base % 8 || h->shape.use != DPI_USE_QUEUE) {
		dpi_home_answer(ctx, in, dpi_fail(DPI_ERR_CORRUPT, "a request to give a ring up that no correct library sends"));
		return;
	}
	int error = dpi_ring_in_yielded(base, &r);
	if (!error) {
		r->from = old->from;
		r->handle = old->handle;
		r->bell = old->bell;
		r->direct = old->direct;
		r->credit = old->credit;
		old->credit_shared = true;
		found->ring = r;
		/* release: whoever finds the LINK finds the ring */
		atomic_store_explicit(&old->larger, r, memory_order_release);
		DPI_DELAY(home_grows_ring);
	}
	dpi_home_answer(ctx, in, error);
}

static void on_short(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body), handle = dpi_unpack_u64(&in->body);
	if (!in->body.bad) dpi_memory_short(ctx, in->from->node, id, handle);
}

/* Rings that wait for memory: some was given back. */
static int64_t give_rings(struct dpi_context *ctx, int64_t now)
{
	(void)now;
	for (struct dpi_home *h = ctx->memory->rings_wanted ? dpi_home_first(ctx) : NULL; h; h = h->next) give_wanted(ctx, h);
	return DPI_NEVER;
}

int dpi_ring_home_open(struct dpi_context *ctx)
{
	int error = dpi_handle_messages(ctx, DPI_MEMORY_APPEND, on_append);
	if (!error) error = dpi_handle_messages(ctx, DPI_MEMORY_GROW, on_grow);
	if (!error) error = dpi_handle_messages(ctx, DPI_MEMORY_YIELD, on_yield);
	if (!error) error = dpi_handle_messages(ctx, DPI_MEMORY_SHORT, on_short);
	return error ? error : dpi_loop_service(ctx, give_rings);
}
