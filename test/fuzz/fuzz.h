/* SPDX-License-Identifier: Apache-2.0
 * fuzz.h: what fuzz targets share. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Else it is a finding. */
static inline void need(bool good, const char *what)
{
	if (good) return;
	fprintf(stderr, "broken: %s (last error: %s)\n", what, dpi_detail());
	__builtin_trap();
}

/* The input in memory of its own, so that a byte too many is found. */
static inline uint8_t *copy_of(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);
	need(copy, "memory");
	if (size) memcpy(copy, data, size);
	return copy;
}

#endif
