/* SPDX-License-Identifier: Apache-2.0
 * clock.h: monotonic nanoseconds and deadlines. A deadline is a point in dpi_now; DPI_NEVER is none. */
#ifndef DPI_CORE_CLOCK_H
#define DPI_CORE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define DPI_NEVER INT64_MAX

static inline int64_t dpi_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* For what another host relies on: it goes on while this machine sleeps. */
static inline int64_t dpi_lease_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The deadline of a call given its timeout (µs; 0: the default; negative: already past). */
static inline int64_t dpi_deadline(int64_t timeout_us, int64_t default_us)
{
	int64_t us = timeout_us ? timeout_us : default_us;
	if (us < 0) return 0;
	int64_t now = dpi_now();
	return us > (DPI_NEVER - now) / 1000 ? DPI_NEVER : now + us * 1000;
}

#endif
