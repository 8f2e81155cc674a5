/* SPDX-License-Identifier: Apache-2.0
 * window.c: memory that others reach. */
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wait.h"

#define HUGE_PAGE (2u << 20)
#define WITHDRAW_NS 2000000000

/* Near the network device, if the context has chosen one; memory is better there than nowhere. */
static int prefer(void *address, uint64_t length)
{
	const struct dpi_context *ctx = dpi_context();
	unsigned long mask[16] = { 0 };
	unsigned node = ctx ? (unsigned)ctx->placement.numa - 1 : 0;
	if (!ctx || ctx->placement.numa == DPI_NUMA_ANY || node >= 8 * sizeof mask) return DPI_SUCCESS;
	mask[node / (8 * sizeof *mask)] = 1ul << node % (8 * sizeof *mask);
	syscall(SYS_mbind, address, length, MPOL_PREFERRED, mask, 8 * sizeof mask, 0);
	return DPI_SUCCESS;
}

static int place(void *address, uint64_t length, int numa)
{
	unsigned long mask[16] = { 0 };
	unsigned node = (unsigned)(numa - 1);
	if (numa == DPI_NUMA_ANY) return prefer(address, length);
	if (numa < 0 || node >= 8 * sizeof mask)
		return dpi_fail(DPI_ERR_ARGUMENT, "numa is %d: use DPI_NUMA_ANY or DPI_NUMA_NODE(n) with n below %zu", numa, 8 * sizeof mask);
	mask[node / (8 * sizeof *mask)] = 1ul << node % (8 * sizeof *mask);
	if (syscall(SYS_mbind, address, length, MPOL_BIND, mask, 8 * sizeof mask, 0)) {
		if (errno == ENOSYS && node == 0) return DPI_SUCCESS; /* a kernel without NUMA has node 0 only */
		return dpi_fail_errno(DPI_ERR_UNSUPPORTED, "memory cannot be placed on NUMA node %u (dpi-info --topology lists the nodes)", node);
	}
	return DPI_SUCCESS;
}

static int allocate(uint64_t length, bool huge, int numa, struct dpi_window *w)
{
	uint64_t page = huge ? HUGE_PAGE : (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t rounded = (length + page - 1) / page * page;
	int fd = memfd_create("dpi-window", MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB : 0));
	if (fd < 0)
		return dpi_fail_errno(errno == EMFILE || errno == ENFILE ? DPI_ERR_LIMIT : DPI_ERR_MEMORY,
				      "no descriptor for %llu bytes of shared memory (ulimit -n)", (unsigned long long)length);
	void *p = MAP_FAILED;
	int error = ftruncate(fd, (off_t)rounded) ? errno : 0;
	if (!error) {
		p = mmap(NULL, rounded, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p == MAP_FAILED) error = errno;
	}
	int placed = error ? 0 : place(p, rounded, numa); /* before the pages exist */
	if (!error && !placed) error = posix_fallocate(fd, 0, (off_t)rounded);
	if (!error && !placed && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) error = errno;
	if (error || placed) {
		if (p != MAP_FAILED) munmap(p, rounded);
		close(fd);
		if (placed) return placed;
		errno = error;
		return dpi_fail_errno(DPI_ERR_MEMORY, "%llu bytes of %sshared memory cannot be had (free memory, cgroup limit%s)",
				      (unsigned long long)length, huge ? "huge-page " : "", huge ? ", vm.nr_hugepages" : "");
	}
	*w = (struct dpi_window){ .address = p, .length = length, .fd = fd, .mapping = p, .mapped = rounded };
	return DPI_SUCCESS;
}

int dpi_window_allocate(uint64_t length, int huge_pages, int numa, struct dpi_window *w)
{
	if (!length) return dpi_fail(DPI_ERR_ARGUMENT, "0 bytes cannot be allocated");
	if (length > (uint64_t)1 << 46)
		return dpi_fail(DPI_ERR_MEMORY, "%llu bytes of shared memory cannot be had: they are more than an address space has", (unsigned long long)length);
	if (huge_pages != DPI_HUGE_NEVER) {
		int error = allocate(length, true, numa, w);
		if (!error) return DPI_SUCCESS;
		if (huge_pages == DPI_HUGE_REQUIRE)
			return dpi_fail(error == DPI_ERR_MEMORY ? DPI_ERR_MEMORY : error, "huge pages are required: %s", dpi_detail());
	}
	return allocate(length, false, numa, w);
}

void dpi_window_wrap(void *address, uint64_t length, int fd, uint64_t fd_offset, struct dpi_window *w)
{
	*w = (struct dpi_window){ .address = address, .length = length, .fd = fd, .fd_offset = fd_offset };
}

int dpi_window_expose(struct dpi_context *ctx, struct dpi_window *w, uint32_t access)
{
	DPI_Tp_Memory m = { w->address, w->length, w->fd, w->fd_offset, access };
	for (int i = 0; i < ctx->carriers; i++) {
		struct dpi_carrier *c = ctx->carrier[i];
		if (w->fd < 0 && !(c->attr.capabilities & DPI_TP_ANY_MEMORY)) continue;
		pthread_mutex_lock(&c->lock);
		w->key[i].fd = -1;
		int error = c->table->expose(c->tp, &m, &w->exposed[i], &w->key[i]);
		pthread_mutex_unlock(&c->lock);
		if (error) {
			dpi_window_withdraw(ctx, w);
			return error;
		}
	}
	return DPI_SUCCESS;
}

void dpi_window_expose_locally(struct dpi_window *w, struct dpi_carrier *c)
{
	DPI_Tp_Memory m = { w->address, w->length, w->fd, w->fd_offset, 0 };
	if (!(c->attr.capabilities & DPI_TP_LOCAL)) return;
	pthread_mutex_lock(&c->lock);
	int error = c->table->expose(c->tp, &m, &w->exposed[c->index], &w->key[c->index]);
	pthread_mutex_unlock(&c->lock);
	if (!error) return;
	w->exposed[c->index] = NULL;
	dpi_log(DPI_LOG_DEBUG, "puts from %llu bytes are copied: %s", (unsigned long long)w->length, dpi_detail());
}

/* One look at each transport: a peer's operation into the window is finished first; progress moves it on, and a dead peer ends it. */
static bool let_go(struct dpi_context *ctx, struct dpi_window *w)
{
	bool all = true;
	for (int i = 0; i < ctx->carriers; i++) {
		struct dpi_carrier *c = ctx->carrier[i];
		if (!w->exposed[i]) continue;
		pthread_mutex_lock(&c->lock);
		if (c->table->withdraw(w->exposed[i]) == DPI_ERR_AGAIN) {
			dpi_carrier_progress(c);
			all = false;
		} else {
			w->exposed[i] = NULL;
		}
		pthread_mutex_unlock(&c->lock);
	}
	return all;
}

void dpi_window_abandon(struct dpi_context *ctx, struct dpi_window *w)
{
	for (int i = 0; i < ctx->carriers; i++) {
		if (w->exposed[i])
			dpi_log(DPI_LOG_ERROR, "transport %s does not let go of a window of %llu bytes", ctx->carrier[i]->name,
				(unsigned long long)w->length);
		w->exposed[i] = NULL;
	}
	w->mapping = NULL;
}

void dpi_window_withdraw(struct dpi_context *ctx, struct dpi_window *w)
{
	int64_t deadline = 0;
	while (!let_go(ctx, w)) {
		if (!deadline) deadline = dpi_now() + WITHDRAW_NS;
		if (dpi_now() > deadline) {
			dpi_window_abandon(ctx, w);
			return;
		}
		usleep(100);
	}
}

bool dpi_window_leave(struct dpi_context *ctx, struct dpi_window *w)
{
	if (!let_go(ctx, w)) return false;
	if (w->mapping) munmap(w->mapping, w->mapped);
	if (w->mapping && w->fd >= 0) close(w->fd);
	return true;
}

void dpi_window_free(struct dpi_context *ctx, struct dpi_window *w)
{
	if (!dpi_window_leave(ctx, w) && (!w->mapping || !dpi_leaving_add(ctx, w))) {
		dpi_window_withdraw(ctx, w);
		dpi_window_leave(ctx, w);
	}
	memset(w, 0, sizeof *w);
	w->fd = -1;
}

void dpi_window_pack(struct dpi_context *ctx, const struct dpi_window *w, const struct dpi_carrier *only, bool same_host, struct dpi_pack *p)
{
	uint8_t keys = 0;
	for (int i = 0; i < ctx->carriers; i++) keys += w->exposed[i] && (!only || ctx->carrier[i] == only);
	dpi_pack_u64(p, w->length);
	dpi_pack_fd(p, same_host ? w->fd : -1);
	dpi_pack_u8(p, keys);
	for (int i = 0; i < ctx->carriers; i++) {
		if (!w->exposed[i] || (only && ctx->carrier[i] != only)) continue;
		dpi_pack_text(p, ctx->carrier[i]->name);
		dpi_pack_bytes(p, w->key[i].bytes, w->key[i].size);
	}
}

void dpi_window_given(struct dpi_window *w)
{
	if (w->mapping && w->fd >= 0) close(w->fd);
	w->fd = -1;
}

void dpi_window_unpack(struct dpi_unpack *u, struct dpi_window_offer *o)
{
	memset(o, 0, sizeof *o);
	o->length = dpi_unpack_u64(u);
	o->fd = dpi_unpack_fd(u);
	o->keys = dpi_unpack_u8(u);
	if (o->keys > DPI_TRANSPORTS_MAX || !o->length) u->bad = true;
	for (int i = 0; i < o->keys && !u->bad; i++) {
		uint32_t size;
		dpi_unpack_text(u, o->key[i].transport, sizeof o->key[i].transport);
		const void *bytes = dpi_unpack_bytes(u, &size);
		if (size > DPI_TP_KEY_MAX) u->bad = true;
		if (u->bad) break;
		o->key[i].key = (DPI_Tp_Key){ .size = size, .fd = o->fd };
		if (size) memcpy(o->key[i].key.bytes, bytes, size);
	}
	if (u->bad) dpi_window_offer_free(o), o->keys = 0;
}

void dpi_window_offer_free(struct dpi_window_offer *o)
{
	if (o->fd >= 0) close(o->fd);
	o->fd = -1;
}

/* Where in the offer a carrier's key stands; offer->keys: nowhere. */
static int key_of(const struct dpi_carrier *c, const struct dpi_window_offer *o)
{
	int k = 0;
	while (k < o->keys && strcmp(o->key[k].transport, c->name)) k++;
	return k;
}

bool dpi_window_out_of_reach(struct dpi_context *ctx, struct dpi_peer *peer, const struct dpi_window_offer *o)
{
	struct dpi_way way;
	for (int i = 0; i < ctx->carriers; i++)
		if (key_of(ctx->carrier[i], o) < o->keys) return false;
	dpi_peer_choose(ctx, peer, &way);
	return way.carrier;
}

static int attach(struct dpi_context *ctx, struct dpi_peer *peer, struct dpi_window_offer *o, int64_t deadline, struct dpi_remote *r)
{
	char tried[400] = "";
	int class = DPI_ERR_TRANSPORT;
	memset(r, 0, sizeof *r);
	if (peer->node == ctx->node) { /* a mapping of its own, so that the window may go while this is in use */
		void *p = o->fd < 0 ? MAP_FAILED : mmap(NULL, o->length, PROT_READ | PROT_WRITE, MAP_SHARED, o->fd, 0);
		int error = p == MAP_FAILED ? dpi_fail_errno(DPI_ERR_MEMORY, "cannot map %llu bytes of this process's own window",
							      (unsigned long long)o->length) : DPI_SUCCESS;
		if (!error) *r = (struct dpi_remote){ .ctx = ctx, .peer = peer, .direct = p, .length = o->length, .mapped = true };
		dpi_window_offer_free(o);
		return error;
	}
	int order[DPI_TRANSPORTS_MAX];
	dpi_peer_order(ctx, peer, order);
	for (int i = 0; i < ctx->carriers; i++) {
		struct dpi_carrier *c = ctx->carrier[order[i]];
		int k = key_of(c, o), error;
		DPI_Tp_Endpoint *endpoint;
		void *direct = NULL;
		if (k == o->keys) {
			error = dpi_fail(DPI_ERR_TRANSPORT, "node %d does not offer this memory through it", peer->node);
		} else if (!(error = dpi_peer_endpoint(ctx, peer, c->index, deadline, &endpoint))) {
			pthread_mutex_lock(&c->lock);
			error = c->table->attach(endpoint, &o->key[k].key, o->length, &r->tp, &direct);
			dpi_carrier_served(c);
			pthread_mutex_unlock(&c->lock);
		}
		if (!error) {
			r->ctx = ctx;
			r->peer = peer;
			r->carrier = c;
			r->direct = direct;
			r->length = o->length;
			dpi_window_offer_free(o);
			return DPI_SUCCESS;
		}
		if (error == DPI_ERR_PEER) class = error; /* its connection broke: most likely it is dying */
		size_t n = strlen(tried);
		snprintf(tried + n, sizeof tried - n, "%s%s: %s", n ? "; " : "", c->name, dpi_detail());
	}
	dpi_window_offer_free(o);
	if (atomic_load_explicit(&peer->dead, memory_order_acquire)) return dpi_peer_dead(peer);
	return dpi_fail(class, "no transport reaches memory of node %d: %s", peer->node, tried);
}

int dpi_remote_attach(struct dpi_context *ctx, struct dpi_peer *peer, struct dpi_window_offer *o, int64_t deadline, struct dpi_remote *r)
{
	int before = dpi_aside();
	return dpi_aside_over(before, attach(ctx, peer, o, deadline, r));
}

void dpi_remote_self(struct dpi_context *ctx, struct dpi_peer *self, const struct dpi_window *w, struct dpi_remote *r)
{
	*r = (struct dpi_remote){ .ctx = ctx, .peer = self, .direct = w->address, .length = w->length };
}

static void nothing(struct dpi_operation *op, int error, uint64_t result)
{
	(void)op, (void)error, (void)result;
}

struct dpi_operation dpi_unawaited = { nothing };

static bool closed(const struct dpi_remote *r)
{
	return atomic_load_explicit(&r->peer->endpoint_lost[r->carrier->index], memory_order_acquire);
}

int dpi_remote_check(const struct dpi_remote *r)
{
	if (__builtin_expect(atomic_load_explicit(&r->peer->dead, memory_order_acquire), 0)) return dpi_peer_dead(r->peer);
	if (r->carrier && __builtin_expect(closed(r), 0))
		return dpi_fail(DPI_ERR_PEER, "node %d cannot be reached by %s any more: %s", r->peer->node, r->carrier->name,
				r->peer->lost_sentence[r->carrier->index]);
	return DPI_SUCCESS;
}

void dpi_remote_detach(struct dpi_remote *r)
{
	if (r->carrier && r->tp) {
		int64_t deadline = dpi_now() + 1000000000;
		for (;;) {
			pthread_mutex_lock(&r->carrier->lock);
			int error = r->peer->endpoint[r->carrier->index] ? r->carrier->table->detach(r->tp) : DPI_SUCCESS;
			if (error == DPI_ERR_AGAIN) dpi_carrier_progress(r->carrier);
			pthread_mutex_unlock(&r->carrier->lock);
			if (error != DPI_ERR_AGAIN || dpi_now() > deadline) break; /* left to disconnect, which frees it */
			usleep(50);
		}
	}
	if (r->mapped) munmap(r->direct, r->length);
	memset(r, 0, sizeof *r);
}

static int range(const struct dpi_remote *r, uint64_t offset, uint64_t size)
{
	if (offset <= r->length && size <= r->length - offset) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_RANGE, "bytes %llu to %llu lie outside the %llu of the window", (unsigned long long)offset,
			(unsigned long long)(offset + size), (unsigned long long)r->length);
}

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t total(const struct iovec *iov, int n)
{
	uint64_t size = 0;
	for (int i = 0; i < n; i++) size += iov[i].iov_len;
	return size;
}

/* Post under the carrier's lock; an endpoint that is lost is not touched. */
#define POST(r, result, call)                                                                  \
	do {                                                                                   \
		(result) = dpi_remote_check(r);                                                \
		if (result) break;                                                             \
		pthread_mutex_lock(&(r)->carrier->lock);                                       \
		(result) = (r)->peer->endpoint[(r)->carrier->index] ? (r)->carrier->table->call : DPI_ERR_PEER; \
		pthread_mutex_unlock(&(r)->carrier->lock);                                     \
		if ((result) == DPI_ERR_AGAIN) {                                               \
			count(&(r)->peer->stats.agains, 1);                                    \
			atomic_store_explicit(&(r)->ctx->refused, true, memory_order_relaxed); \
		}                                                                              \
		if ((result) == DPI_ERR_PEER && !dpi_remote_check(r))                          \
			dpi_fail(DPI_ERR_PEER, "node %d cannot be reached by %s any more", (r)->peer->node, (r)->carrier->name); \
	} while (0)

int dpi_remote_put(struct dpi_remote *r, const struct iovec *iov, int n, uint64_t offset, const DPI_Tp_Notify *notify, uint32_t flags,
		   struct dpi_operation *op)
{
	uint64_t size = total(iov, n);
	int error = range(r, offset, size);
	if (error) return error;
	POST(r, error, put(r->tp, iov, n, offset, notify, flags, op));
	if (!error || error == DPI_TP_PENDING) count(&r->peer->stats.puts, 1), count(&r->peer->stats.put_bytes, size);
	return error;
}

int dpi_remote_put_many(struct dpi_remote *const *r, const DPI_Tp_To *to, int n, const struct iovec *iov, int pieces, uint32_t flags,
			struct dpi_operation *op)
{
	struct dpi_carrier *c = r[0]->carrier;
	uint64_t size = total(iov, pieces);
	int error = DPI_SUCCESS;
	for (int i = 0; i < n && !error; i++) {
		error = range(r[i], to[i].offset, size);
		if (!error) error = dpi_remote_check(r[i]);
	}
	if (error) return error;
	pthread_mutex_lock(&c->lock);
	for (int i = 0; i < n && !error; i++)
		if (!r[i]->peer->endpoint[c->index]) error = DPI_ERR_PEER;
	if (!error) error = c->table->put_many(c->tp, to, n, iov, pieces, flags, op);
	if (error == DPI_ERR_AGAIN) dpi_carrier_progress(c);
	pthread_mutex_unlock(&c->lock);
	for (int i = 0; i < n && (!error || error == DPI_TP_PENDING); i++)
		count(&r[i]->peer->stats.puts, 1), count(&r[i]->peer->stats.put_bytes, size);
	return error;
}

int dpi_remote_get(struct dpi_remote *r, const struct iovec *iov, int n, uint64_t offset, struct dpi_operation *op)
{
	uint64_t size = total(iov, n);
	int error = range(r, offset, size);
	if (error) return error;
	POST(r, error, get(r->tp, iov, n, offset, op));
	if (!error || error == DPI_TP_PENDING) count(&r->peer->stats.gets, 1), count(&r->peer->stats.get_bytes, size);
	return error;
}

int dpi_remote_fetch_add(struct dpi_remote *r, uint64_t offset, uint64_t operand, uint64_t *result, struct dpi_operation *op)
{
	int error = range(r, offset, 8);
	if (error) return error;
	POST(r, error, fetch_add(r->tp, offset, operand, result, op));
	if (!error || error == DPI_TP_PENDING) count(&r->peer->stats.atomics, 1);
	return error;
}

int dpi_remote_compare_swap(struct dpi_remote *r, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *result,
			    struct dpi_operation *op)
{
	int error = range(r, offset, 8);
	if (error) return error;
	POST(r, error, compare_swap(r->tp, offset, expected, desired, result, op));
	if (!error || error == DPI_TP_PENDING) count(&r->peer->stats.atomics, 1);
	return error;
}

int dpi_remote_flush(struct dpi_remote *r, struct dpi_operation *op)
{
	int error;
	POST(r, error, flush(r->peer->endpoint[r->carrier->index], op));
	return error;
}

void dpi_remote_abandon(struct dpi_remote *r, struct dpi_operation *op)
{
	struct dpi_carrier *c = r->carrier;
	if (!c) return;
	pthread_mutex_lock(&c->lock);
	DPI_Tp_Endpoint *endpoint = r->peer->endpoint[c->index];
	if (endpoint && c->table->cancel(endpoint, op)) {
		/* it cannot take back one operation: the whole connection goes, so that no device touches the memory */
		snprintf(r->peer->lost_sentence[c->index], sizeof r->peer->lost_sentence[0], "an operation timed out and could not be taken back");
		atomic_store_explicit(&r->peer->endpoint_lost[c->index], true, memory_order_release);
		r->peer->endpoint[c->index] = NULL;
		c->table->disconnect(endpoint);
	}
	pthread_mutex_unlock(&c->lock);
}
