/* SPDX-License-Identifier: Apache-2.0
 * unit.h: what the unit tests share: random numbers, threads, memory with guards around it, how much to do. */
#ifndef UNIT_H
#define UNIT_H

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "delay.h"
#include "harness.h"

#define SECOND INT64_C(1000000000)
#define MS INT64_C(1000000)

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#elif __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

/* How many times to do something: n, less where each time is slow; TEST_ROUNDS=20 makes it twenty times that. */
static inline int rounds(int n)
{
#if defined(__SANITIZE_THREAD__)
	n = n / 10 + 1;
#elif defined(__SANITIZE_ADDRESS__) || defined(DPI_DELAYS)
	n = n / 4 + 1;
#endif
	const char *more = getenv("TEST_ROUNDS");
	return more && atoi(more) > 1 ? n * atoi(more) : n;
}

/* So long a thread waits for what must come, however slow the machine. */
static inline int64_t patience(void)
{
	return dpi_now() + 40 * SECOND * harness_slow();
}

/* ------------------------------------------------------------------------------------------------ random numbers */

struct draws {
	uint64_t state;
};

/* A stream of its own for each who; seeds the delays, too. */
static inline struct draws draws_from(int who)
{
	struct draws d = { (harness_seed() + (uint64_t)who) * 0x9e3779b97f4a7c15u | 1 };
	dpi_delay_seed(harness_seed());
	return d;
}

static inline uint64_t draw(struct draws *d)
{
	d->state ^= d->state << 13, d->state ^= d->state >> 7, d->state ^= d->state << 17;
	return d->state * 0x2545f4914f6cdd1du;
}

static inline uint64_t draw_below(struct draws *d, uint64_t n)
{
	return draw(d) % n;
}

static inline void pass_ns(int64_t ns)
{
	for (int64_t end = dpi_now() + ns; dpi_now() < end;) {}
}

/* Mostly no time at all, sometimes up to longest, awake or asleep. */
static inline void idle(struct draws *d, int64_t longest)
{
	uint64_t how = draw_below(d, 16), ns = draw_below(d, (uint64_t)longest);
	if (how == 0) nanosleep(&(struct timespec){ 0, (long)ns }, NULL);
	else if (how == 1) sched_yield();
	else if (how < 6) pass_ns((int64_t)(ns / 16));
}

/* The byte at place i of what is known by key. */
static inline uint8_t byte_of(uint64_t key, uint64_t i)
{
	uint64_t h = (key + i / 8) * 0x9e3779b97f4a7c15u;
	return (uint8_t)((h ^ h >> 29) >> 8 * (i % 8));
}

static inline void fill(void *to, uint64_t size, uint64_t key)
{
	for (uint64_t i = 0; i < size; i++) ((uint8_t *)to)[i] = byte_of(key, i);
}

static inline bool filled(const void *from, uint64_t size, uint64_t key)
{
	for (uint64_t i = 0; i < size; i++)
		if (((const uint8_t *)from)[i] != byte_of(key, i)) return false;
	return true;
}

/* ------------------------------------------------------------------------------------------------------- threads */

static inline pthread_t start_thread(void *(*run)(void *), void *arg)
{
	pthread_t t;
	if (pthread_create(&t, NULL, run, arg)) FAIL("pthread_create");
	return t;
}

static inline void end_thread(pthread_t t)
{
	if (pthread_join(t, NULL)) FAIL("pthread_join");
}

/* From now on this process has no membarrier, as under some container's rules: real fences must do. */
static inline void forbid_membarrier(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) SKIP("no seccomp");
}

/* -------------------------------------------------------------------------------------------------------- memory */

/* size bytes that end where a page begins that cannot be touched; another lies before the first page. */
static inline void *guarded(size_t size)
{
	size_t page = 4096, body = (size + page - 1) / page * page;
	uint8_t *p = mmap(NULL, body + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || mprotect(p + page, body, PROT_READ | PROT_WRITE)) FAIL("no guarded memory");
	return p + page + body - size;
}

static inline void guarded_free(void *memory, size_t size)
{
	size_t page = 4096, body = (size + page - 1) / page * page;
	munmap((uint8_t *)memory + size - body - page, body + 2 * page);
}

#endif
