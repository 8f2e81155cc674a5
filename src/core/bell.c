/* SPDX-License-Identifier: Apache-2.0
 * bell.c: the page of bells and the sleeping half of waking. */
#include "bell.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "error.h"

#define BELL_VERSION 3u
#define VAIN_MOST 1024 /* rings that fence for nobody cost about what a waiter's fence does */

int dpi_bells_create(struct dpi_bells *b, uint64_t incarnation)
{
	memset(b, 0, sizeof *b);
	b->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	b->page_fd = memfd_create("dpi-bells", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (b->event_fd < 0 || b->page_fd < 0) {
		int error = dpi_fail_errno(errno == EMFILE || errno == ENFILE ? DPI_ERR_LIMIT : DPI_ERR_MEMORY,
					   "no descriptor for wake-ups (raise the limit with ulimit -n)");
		dpi_bells_close(b);
		return error;
	}
	if (posix_fallocate(b->page_fd, 0, sizeof *b->page) ||
	    fcntl(b->page_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		int error = dpi_fail_errno(DPI_ERR_MEMORY, "no shared memory for wake-ups");
		dpi_bells_close(b);
		return error;
	}
	b->page = mmap(NULL, sizeof *b->page, PROT_READ | PROT_WRITE, MAP_SHARED, b->page_fd, 0);
	if (b->page == MAP_FAILED) {
		b->page = NULL;
		dpi_bells_close(b);
		return dpi_fail_errno(DPI_ERR_MEMORY, "cannot map the page of wake-ups");
	}
	b->page->version = BELL_VERSION;
	b->page->incarnation = incarnation;
	b->alone = !syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	/* A process that cannot register must fence as a ringer: it says so in the pages it rings, here and in dpi_bells_map. */
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0)) b->page->fence = 1;
	return DPI_SUCCESS;
}

int dpi_bells_map(struct dpi_bells *b, int page_fd, int event_fd)
{
	struct stat st;
	memset(b, 0, sizeof *b);
	b->page_fd = -1;
	b->event_fd = event_fd;
	int seals = fcntl(page_fd, F_GET_SEALS);
	/* an unsealed file could be cut short under us: SIGBUS */
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(page_fd, &st) || st.st_size != sizeof *b->page) {
		close(page_fd);
		dpi_bells_close(b);
		return dpi_fail(DPI_ERR_CORRUPT, "the peer's page of wake-ups is not a sealed file of %zu bytes", sizeof *b->page);
	}
	b->page = mmap(NULL, sizeof *b->page, PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);
	close(page_fd);
	if (b->page == MAP_FAILED) {
		b->page = NULL;
		int error = dpi_fail_errno(DPI_ERR_MEMORY, "cannot map the peer's page of wake-ups");
		dpi_bells_close(b);
		return error;
	}
	if (b->page->version != BELL_VERSION) {
		int error = dpi_fail(DPI_ERR_VERSION, "the peer's page of wake-ups has version %u, this library's has %u",
				     b->page->version, BELL_VERSION);
		dpi_bells_close(b);
		return error;
	}
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0)) b->page->fence = 1;
	return DPI_SUCCESS;
}

void dpi_bells_close(struct dpi_bells *b)
{
	if (b->page) munmap(b->page, sizeof *b->page);
	if (b->page_fd > 0) close(b->page_fd);
	if (b->event_fd > 0) close(b->event_fd);
	memset(b, 0, sizeof *b);
}

_Thread_local struct dpi_bell *dpi_bell_polled;

bool dpi_bell_wake(const struct dpi_bells *b, uint32_t bell)
{
	struct dpi_bell *p = &b->page->bell[bell];
	atomic_thread_fence(memory_order_seq_cst);
	uint32_t sleepers = atomic_load_explicit(&p->sleepers, memory_order_relaxed), pollers = atomic_load_explicit(&p->pollers, memory_order_relaxed);
	if (sleepers == DPI_BELL_FENCED && atomic_fetch_add_explicit(&p->vain, 1, memory_order_relaxed) >= VAIN_MOST)
		atomic_compare_exchange_strong_explicit(&p->sleepers, &sleepers, 0, memory_order_relaxed, memory_order_relaxed);
	/* the exchange in itself orders nothing: both sides have fenced */
	bool awaited = sleepers & ~DPI_BELL_FENCED && atomic_load_explicit(&p->awaited, memory_order_relaxed) &&
		       atomic_exchange_explicit(&p->awaited, 0, memory_order_relaxed);
	if (!awaited && !pollers) return false;
	DPI_DELAY(bell_found_waiter);
	atomic_fetch_add_explicit(&p->sequence, 1, memory_order_release);
	DPI_DELAY(bell_counted);
	if (awaited) syscall(SYS_futex, &p->sequence, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	DPI_DELAY(bell_woke_sleepers);
	/* a leader that rings its own bell, serving the transports, looks again before it sleeps */
	uint32_t self = dpi_bell_polled == p;
	if (pollers > self) {
		uint64_t one = 1;
		ssize_t n = write(b->event_fd, &one, sizeof one);
		(void)n; /* EAGAIN: the counter is at its end, so the descriptor is readable already */
	}
	return true;
}

void dpi_bell_count_in(const struct dpi_bells *own, uint64_t bells)
{
	uint32_t all = DPI_BELL_FENCED;
	for (uint64_t left = bells; left; left &= left - 1)
		all &= atomic_fetch_add(&own->page->bell[__builtin_ctzll(left)].sleepers, 1);
	DPI_DELAY(sleeper_counted_in);
	if (all) return;
	dpi_bell_fence_all(own, bells);
	DPI_DELAY(sleeper_fenced);
	for (uint64_t left = bells; left; left &= left - 1) {
		struct dpi_bell *p = &own->page->bell[__builtin_ctzll(left)];
		atomic_store_explicit(&p->vain, 0, memory_order_relaxed);
		atomic_fetch_or(&p->sleepers, DPI_BELL_FENCED);
	}
}

void dpi_bell_await(const struct dpi_bells *own, uint64_t bells)
{
	for (; bells; bells &= bells - 1) atomic_store_explicit(&own->page->bell[__builtin_ctzll(bells)].awaited, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
}

void dpi_bell_count_out(const struct dpi_bells *own, uint64_t bells)
{
	for (; bells; bells &= bells - 1) atomic_fetch_sub(&own->page->bell[__builtin_ctzll(bells)].sleepers, 1);
}

void dpi_bell_fence_all(const struct dpi_bells *own, uint64_t bells)
{
	bool others = false;
	atomic_thread_fence(memory_order_seq_cst); /* before the look at others */
	for (; bells; bells &= bells - 1) others |= atomic_load_explicit(&own->page->bell[__builtin_ctzll(bells)].others, memory_order_relaxed) != 0;
	syscall(SYS_membarrier, others || !own->alone ? MEMBARRIER_CMD_GLOBAL_EXPEDITED : MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	atomic_thread_fence(memory_order_seq_cst);
}

void dpi_bell_fence(const struct dpi_bells *own, uint32_t bell)
{
	dpi_bell_fence_all(own, UINT64_C(1) << bell);
}

void dpi_bell_fence_own(const struct dpi_bells *own)
{
	syscall(SYS_membarrier, own->alone ? MEMBARRIER_CMD_PRIVATE_EXPEDITED : MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
	atomic_thread_fence(memory_order_seq_cst);
}
