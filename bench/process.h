/* SPDX-License-Identifier: Apache-2.0 */
/* Processes of a benchmark: where they run, how long, and that none outlives it. */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Set when the time given to timer_start is over. */
extern volatile sig_atomic_t time_is_up;

/* Sets time_is_up after so many seconds; a process that is still there 10 s later dies of SIGALRM. */
void timer_start(double seconds);

/* Binds the caller to a core of its own where there are two or more: core 0 for the consumer, the others
 * for the appenders, round robin. */
void pin_consumer(void);
void pin_appender(unsigned index);
void pin_core(unsigned index); /* round robin over all cores */

/* Has each of so many processes a core of its own? */
bool cores_for(unsigned processes);

/* Runs body in a child that dies with its parent. */
pid_t spawn(void (*body)(unsigned index, void *arg), unsigned index, void *arg);

/* Waits for so many children; one that failed ends the program. */
void reap(unsigned children);

/* Zeroed memory that children share; it has no name, so nothing is left behind. */
void *shared_memory(size_t bytes);

static inline void cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* For a wait in a loop: spins at first, then gives the core away, so that more processes than cores work. */
static inline void relax(unsigned *spins)
{
	if (++*spins < 2000)
		cpu_pause();
	else
		sched_yield();
}

#endif
