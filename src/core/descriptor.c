/* SPDX-License-Identifier: Apache-2.0
 * descriptor.c: descriptors that are armed, and the progress thread's round of them.
 *
 * Proof that no wake-up is lost. Who arms does  count in; F; look.  Who makes it ready does  publish; G; look at the bell
 * (bell.h). So either the look sees what was published, or the ringer sees the count, changes the bell's sequence and writes the
 * event descriptor, which wakes the progress thread. That takes the lock under which the descriptor was listed and counted in, so
 * it finds it listed; and the sequence differs from the one noted, which was read before the count. If another round came first
 * and made the descriptor readable, it has done what this one would. */
#include "descriptor.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "context.h"
#include "wait.h"

/* but the progress thread's own, at which it alone counts itself in */
#define EVERY_BELL ((((uint64_t)1 << DPI_BELLS) - 1) & ~((uint64_t)1 << DPI_BELL_SERVICE))

struct dpi_descriptor {
	struct dpi_context *ctx;
	int fd;
	/* under the lock */
	bool listed;
	bool fired; /* readable, unless the program read it */
	uint64_t bells;
	uint32_t rung; /* the sum of their sequences, each when it was counted in */
	int64_t look_at;
	struct dpi_descriptor *next, **link;
};

struct dpi_descriptors {
	pthread_mutex_t lock; /* no other is taken under it */
	struct dpi_descriptor *listed;
	int64_t look_at; /* when the progress thread comes by itself */
	struct dpi_descriptor *context;
};

static uint32_t sequences(struct dpi_context *ctx, uint64_t bells)
{
	uint32_t sum = 0;
	for (; bells; bells &= bells - 1)
		sum += atomic_load_explicit(&ctx->bells.page->bell[__builtin_ctzll(bells)].sequence, memory_order_acquire);
	return sum;
}

static void count(struct dpi_context *ctx, uint64_t bells, uint32_t by)
{
	for (; bells; bells &= bells - 1)
		atomic_fetch_add_explicit(&ctx->bells.page->bell[__builtin_ctzll(bells)].pollers, by, memory_order_relaxed);
}

/* Under the lock. */
static void unlist(struct dpi_descriptor *d)
{
	*d->link = d->next;
	if (d->next) d->next->link = d->link;
	count(d->ctx, d->bells, UINT32_MAX);
	d->listed = false;
	d->bells = d->rung = 0;
}

static void fire(struct dpi_descriptor *d)
{
	uint64_t one = 1;
	unlist(d);
	d->fired = true;
	DPI_DELAY(descriptor_fires);
	ssize_t n = write(d->fd, &one, sizeof one);
	(void)n; /* it was 0 when it was armed */
}

static int64_t look_round(struct dpi_context *ctx, int64_t now)
{
	struct dpi_descriptors *all = ctx->descriptors;
	int64_t next_look = DPI_NEVER;
	pthread_mutex_lock(&all->lock);
	for (struct dpi_descriptor *d = all->listed, *next; d; d = next) {
		next = d->next;
		if (now >= d->look_at || sequences(ctx, d->bells) != d->rung) fire(d);
		else if (d->look_at < next_look) next_look = d->look_at;
	}
	all->look_at = next_look;
	pthread_mutex_unlock(&all->lock);
	return next_look;
}

/* List it and count it in where it is not yet. False: that is nowhere, or it has fired. */
static uint64_t listen_to(struct dpi_descriptor *d, const struct dpi_listening *l)
{
	struct dpi_descriptors *all = d->ctx->descriptors;
	bool kick = false;
	pthread_mutex_lock(&all->lock);
	uint64_t more = d->fired ? 0 : l->bells & EVERY_BELL & ~d->bells;
	if (!d->fired) {
		if (!d->listed) {
			d->next = all->listed;
			d->link = &all->listed;
			if (d->next) d->next->link = &d->next;
			all->listed = d;
			d->listed = true;
		}
		d->rung += sequences(d->ctx, more);
		d->bells |= more;
		d->look_at = l->look_at;
		kick = l->look_at < all->look_at;
		if (kick) all->look_at = l->look_at;
		DPI_DELAY(descriptor_counts_in);
		count(d->ctx, more, 1);
	}
	pthread_mutex_unlock(&all->lock);
	if (kick) dpi_loop_kick(d->ctx);
	return more;
}

static void disarm(struct dpi_descriptor *d)
{
	uint64_t n;
	pthread_mutex_lock(&d->ctx->descriptors->lock);
	if (d->listed) unlist(d);
	if (d->fired && read(d->fd, &n, sizeof n) < 0) {} /* EAGAIN: the program did */
	d->fired = false;
	pthread_mutex_unlock(&d->ctx->descriptors->lock);
}

int dpi_descriptor_arm(const char *call, struct dpi_descriptor *d, dpi_is_ready *ready, void *arg, int *now)
{
	if (!now) return dpi_fail(DPI_ERR_ARGUMENT, "%s: ready is NULL: pass where the answer may go", call);
	*now = 0;
	if (!d) return dpi_fail(DPI_ERR_STATE, "%s: there is no descriptor to arm: get it first", call);
	disarm(d);
	for (uint64_t more = 1; more;) {
		struct dpi_listening l = { 0, DPI_NEVER };
		dpi_progress(d->ctx);
		DPI_DELAY(descriptor_looks);
		*now = ready(arg, &l);
		if (*now) {
			disarm(d);
			return DPI_SUCCESS;
		}
		more = listen_to(d, &l);
		DPI_DELAY(descriptor_counted_in);
		if (more) dpi_bell_fence_all(&d->ctx->bells, more);
	}
	dpi_progress(d->ctx); /* send what the last look has posted */
	dpi_loop_stand_up(d->ctx);
	return DPI_SUCCESS;
}

void dpi_descriptor_fire(struct dpi_descriptor *d)
{
	if (!d) return;
	pthread_mutex_lock(&d->ctx->descriptors->lock);
	if (d->listed) fire(d);
	pthread_mutex_unlock(&d->ctx->descriptors->lock);
}

int dpi_descriptor_get(struct dpi_context *ctx, const char *call, struct dpi_descriptor **out, int *fd)
{
	struct dpi_descriptor *d = *out;
	if (!fd) return dpi_fail(DPI_ERR_ARGUMENT, "%s: fd is NULL: pass where the descriptor may go", call);
	*fd = -1;
	if (!d) {
		d = calloc(1, sizeof *d);
		if (!d) return dpi_fail(DPI_ERR_MEMORY, "%s: no memory for a descriptor", call);
		d->ctx = ctx;
		d->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (d->fd < 0) {
			int error = dpi_fail_errno(errno == EMFILE || errno == ENFILE ? DPI_ERR_LIMIT : DPI_ERR_MEMORY,
						   "%s: no file descriptor (close some, or raise the limit with ulimit -n)", call);
			free(d);
			return error;
		}
		*out = d;
	}
	*fd = d->fd;
	return DPI_SUCCESS;
}

void dpi_descriptor_close(struct dpi_descriptor *d)
{
	if (!d) return;
	disarm(d);
	close(d->fd);
	free(d);
}

/* ------------------------------------------------------------------------------------------------- the context's own */

int dpi_descriptors_open(struct dpi_context *ctx)
{
	ctx->descriptors = calloc(1, sizeof *ctx->descriptors);
	if (!ctx->descriptors) return dpi_fail(DPI_ERR_MEMORY, "no memory for descriptors");
	pthread_mutex_init(&ctx->descriptors->lock, NULL);
	ctx->descriptors->look_at = DPI_NEVER;
	return dpi_loop_service(ctx, look_round);
}

void dpi_descriptors_close(struct dpi_context *ctx)
{
	dpi_descriptor_close(ctx->descriptors->context);
	pthread_mutex_destroy(&ctx->descriptors->lock);
	free(ctx->descriptors);
	ctx->descriptors = NULL;
}

#define REFUSED_NS 1000000 /* after this a transport that had no room for a post is tried again: no bell tells when it has */

/* What it stands for are the caller's handles, at which the caller looks. */
static bool every_bell(void *arg, struct dpi_listening *l)
{
	l->bells = EVERY_BELL;
	if (*(bool *)arg) l->look_at = dpi_now() + REFUSED_NS;
	return false;
}

int DPI_Get_Context_Descriptor(DPI_Context handle, int *fd)
{
	int error;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	pthread_mutex_lock(&ctx->descriptors->lock);
	error = dpi_descriptor_get(ctx, "DPI_Get_Context_Descriptor", &ctx->descriptors->context, fd);
	pthread_mutex_unlock(&ctx->descriptors->lock);
	return error;
}

int DPI_Arm_Context(DPI_Context handle)
{
	int error, now;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	pthread_mutex_lock(&ctx->descriptors->lock);
	struct dpi_descriptor *d = ctx->descriptors->context;
	pthread_mutex_unlock(&ctx->descriptors->lock);
	bool refused = atomic_exchange(&ctx->refused, false);
	return dpi_descriptor_arm("DPI_Arm_Context", d, every_bell, &refused, &now);
}
