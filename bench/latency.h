/* SPDX-License-Identifier: Apache-2.0 */
/* One way of measuring a ping-pong for all programs. */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include "common.h"

/* Calls round_trip for o->seconds and prints the result. The first half times blocks of round trips, so that the
 * clock's own cost vanishes: one_way_us is half the median block's mean. The second half times every round trip:
 * p50_us, p99_us and p999_us (of a thousand) are half of those percentiles and contain one reading of the clock. */
void latency_run(const char *peer, const struct options *o, void (*round_trip)(void *arg), void *arg);

#endif
