/* SPDX-License-Identifier: Apache-2.0
 * delay.h: places where a test holds a thread up, so that the others overtake it where they rarely do. Nothing at all unless
 * built with `make DELAYS=1`. */
#ifndef DPI_CORE_DELAY_H
#define DPI_CORE_DELAY_H

#include <stdint.h>

#ifdef DPI_DELAYS
void dpi_delay(const char *point); /* mostly returns at once; sometimes spins, yields or sleeps. Keeps errno. */
void dpi_delay_seed(uint64_t seed);
#define DPI_DELAY(point) dpi_delay(#point)
#else
static inline void dpi_delay_seed(uint64_t seed)
{
	(void)seed;
}
#define DPI_DELAY(point) ((void)0)
#endif

#endif
