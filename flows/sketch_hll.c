/* SPDX-License-Identifier: Apache-2.0
 * sketch_hll.c: HyperLogLog. The estimator is Ertl's (New cardinality estimation algorithms for HyperLogLog sketches, 2017),
 * which has no bias for few or for many and needs no tables. */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "sketch.h"

#define MAGIC "DPIH"
#define VERSION 1
#define HEADER 8 /* magic, version, precision, two zeros */

int dpi_hll_new(unsigned precision, struct dpi_hll **h)
{
	if (precision < DPI_HLL_LEAST || precision > DPI_HLL_MOST)
		return dpi_fail(DPI_ERR_ARGUMENT, "a HyperLogLog of precision %u: there are %d to %d", precision,
				DPI_HLL_LEAST, DPI_HLL_MOST);
	*h = calloc(1, sizeof **h + ((size_t)1 << precision));
	if (!*h) return dpi_fail(DPI_ERR_MEMORY, "no memory for a HyperLogLog of precision %u", precision);
	(*h)->precision = precision;
	return DPI_SUCCESS;
}

void dpi_hll_free(struct dpi_hll *h)
{
	free(h);
}

void dpi_hll_add_batch(struct dpi_hll *h, const uint64_t *hash, size_t count)
{
	for (size_t i = 0; i < count; i++) dpi_hll_add(h, hash[i]);
}

int dpi_hll_merge(struct dpi_hll *to, const struct dpi_hll *from)
{
	if (to->precision != from->precision)
		return dpi_fail(DPI_ERR_ARGUMENT, "HyperLogLogs of precision %u and %u do not merge", to->precision,
				from->precision);
	for (size_t i = 0; i < (size_t)1 << to->precision; i++)
		to->rank[i] = to->rank[i] > from->rank[i] ? to->rank[i] : from->rank[i];
	return DPI_SUCCESS;
}

/* What registers that are still zero say. */
static double sigma(double x)
{
	double y = 1, z = x, before;
	if (x == 1) return __builtin_inf();
	do {
		x *= x;
		before = z;
		z += x * y;
		y += y;
	} while (z != before);
	return z;
}

static double root(double x)
{
	double r = x > 1 ? x : 1; /* Newton; x lies in 0 … 1 */
	for (int i = 0; x > 0 && i < 64; i++) {
		double next = (r + x / r) / 2;
		if (next >= r) break;
		r = next;
	}
	return x > 0 ? r : 0;
}

/* What registers that are full say. */
static double tau(double x)
{
	double y = 1, z = 1 - x, before;
	if (x == 0 || x == 1) return 0;
	do {
		x = root(x);
		before = z;
		y /= 2;
		z -= (1 - x) * (1 - x) * y;
	} while (z != before);
	return z / 3;
}

double dpi_hll_estimate(const struct dpi_hll *h)
{
	size_t registers = (size_t)1 << h->precision;
	unsigned most = 64 - h->precision;
	uint32_t count[66] = { 0 };
	for (size_t i = 0; i < registers; i++) count[h->rank[i]]++;
	double m = (double)registers, z = m * tau(1 - count[most + 1] / m);
	for (unsigned k = most; k >= 1; k--) z = (z + count[k]) / 2;
	z += m * sigma(count[0] / m);
	return m * m / (2 * 0.69314718055994530942 * z);
}

size_t dpi_hll_size(const struct dpi_hll *h)
{
	return HEADER + ((size_t)1 << h->precision);
}

void dpi_hll_save(const struct dpi_hll *h, void *to)
{
	uint8_t header[HEADER] = { MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], VERSION, (uint8_t)h->precision, 0, 0 };
	memcpy(to, header, HEADER);
	memcpy((uint8_t *)to + HEADER, h->rank, (size_t)1 << h->precision);
}

int dpi_hll_load(const void *from, size_t size, struct dpi_hll **h)
{
	const uint8_t *p = from;
	if (size < HEADER || memcmp(p, MAGIC, 4) || p[4] != VERSION || p[5] < DPI_HLL_LEAST || p[5] > DPI_HLL_MOST ||
	    p[6] || p[7] ||
	    size != HEADER + ((size_t)1 << p[5]))
		return dpi_fail(DPI_ERR_CORRUPT, "%zu bytes are no HyperLogLog of version %d", size, VERSION);
	for (size_t i = HEADER; i < size; i++)
		if (p[i] > 65 - p[5])
			return dpi_fail(DPI_ERR_CORRUPT, "register %zu of a HyperLogLog is %u", i - HEADER, p[i]);
	int error = dpi_hll_new(p[5], h);
	if (!error) memcpy((*h)->rank, p + HEADER, size - HEADER);
	return error;
}
