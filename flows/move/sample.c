/* SPDX-License-Identifier: Apache-2.0
 * sample.c: the bounds of a range from a sample of rows: sorted, every so many of them is a bound. */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "move.h"

struct sample {
	const struct dpi_strided *key;
	size_t keys;
};

/* Of equal keys the first row comes first: any would do, but the answer is to be one. */
static int by_key(const void *a, const void *b, void *arg)
{
	const struct sample *s = arg;
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	int c = dpi_compare_keys(s->key, i, s->key, j, s->keys);
	return c ? c : (i > j) - (i < j);
}

static bool varies(const struct dpi_strided *k)
{
	return k->type >= DPI_TYPE_BINARY;
}

static size_t width(const struct dpi_strided *k)
{
	return k->type == DPI_TYPE_BOOL ? 1 : k->width;
}

static size_t length(const struct dpi_strided *k, size_t i)
{
	return dpi_strided_is_null(k, i) ? 0 : (size_t)(k->offset[i + 1] - k->offset[i]);
}

/* Where a column's parts lie in the caller's memory, each at a multiple of 8; how far all reach. */
struct place {
	size_t data, offset, valid;
};

static size_t round_up(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

/* The places of a column of the rows row[0 … bounds); at: where they begin. Never of no bytes: data has an address. */
static int lay_out(const struct dpi_strided *k, const uint32_t *row, size_t bounds, size_t *at, struct place *p)
{
	size_t bytes = width(k) * bounds;
	for (size_t b = 0; varies(k) && b < bounds; b++) bytes += length(k, row[b]);
	if (varies(k) && bytes > INT32_MAX) return dpi_fail(DPI_ERR_LIMIT, "the bounds of a key take %zu bytes: offsets reach to 2 GiB; take shorter keys", bytes);
	p->data = *at, *at += round_up(bytes ? bytes : 1);
	p->offset = *at, *at += varies(k) ? round_up((bounds + 1) * sizeof(int32_t)) : 0;
	p->valid = *at, *at += k->valid || k->null ? round_up((bounds + 7) / 8) : 0;
	return DPI_SUCCESS;
}

static void fill(const struct dpi_strided *k, const uint32_t *row, size_t bounds, uint8_t *memory, const struct place *p, DPI_Values *v)
{
	uint8_t *data = memory + p->data, *valid = k->valid || k->null ? memory + p->valid : NULL, *to = data;
	int32_t *offset = varies(k) ? (int32_t *)(void *)(memory + p->offset) : NULL;
	*v = (DPI_Values){ .type = k->type, .scale = k->scale, .width = k->type == DPI_TYPE_FIXED ? k->width : 0, .data = data,
			   .stride = k->type == DPI_TYPE_BOOL, .valid = valid, .offset = offset };
	if (valid) memset(valid, 0, (bounds + 7) / 8);
	if (offset) offset[0] = 0;
	for (size_t b = 0; b < bounds; b++) {
		size_t i = row[b], size = varies(k) ? length(k, i) : width(k);
		bool null = dpi_strided_is_null(k, i);
		if (valid && !null) valid[b / 8] |= (uint8_t)(1 << b % 8);
		const uint8_t *from = (const uint8_t *)k->data + (varies(k) ? (size_t)k->offset[i] : i * k->stride);
		if (null) memset(to, 0, size);
		else if (k->type == DPI_TYPE_BOOL && !k->stride) *to = dpi_bit(k->data, i);
		else if (size) memcpy(to, from, size);
		to += size;
		if (offset) offset[b + 1] = (int32_t)(to - data);
	}
}

int DPI_Sample_Bounds(const DPI_Partition_Attr *attr, size_t count, void *memory, size_t *size, DPI_Values *bounds)
{
	DPI_Partition_Attr a;
	struct dpi_strided key[DPI_KEYS_MAX];
	struct place place[DPI_KEYS_MAX];
	size_t need = 0;
	int error = dpi_partition_attr(attr, &a, key);
	if (error) return error;
	if (!a.parts || a.parts > DPI_PARTS_MAX) return dpi_fail(DPI_ERR_ARGUMENT, "%u parts: there are 1 to %d", a.parts, DPI_PARTS_MAX);
	if (!size || (memory && !bounds)) return dpi_fail(DPI_ERR_ARGUMENT, "%s is NULL: " DPI_NEEDED, size ? "bounds" : "size");
	if ((uintptr_t)memory & 7) return dpi_fail(DPI_ERR_ARGUMENT, "memory is at an address that is no multiple of 8: take what malloc gives");
	if (!count) return dpi_fail(DPI_ERR_ARGUMENT, "count is 0: bounds are found among the rows of a sample, so sample some");
	if (count > UINT32_MAX) return dpi_fail(DPI_ERR_LIMIT, "a sample of %zu rows: at most %u are taken; a few hundred for each part are enough", count, UINT32_MAX);
	size_t chosen = a.parts - 1;
	uint32_t *row = malloc((count + chosen) * sizeof *row), *bound;
	if (!row) return dpi_fail(DPI_ERR_MEMORY, "no memory to sort %zu rows", count);
	bound = row + count;
	for (size_t i = 0; i < count; i++) row[i] = (uint32_t)i;
	qsort_r(row, count, sizeof *row, by_key, &(struct sample){ key, a.key_count });
	for (size_t b = 0; b < chosen; b++) bound[b] = row[(uint64_t)(b + 1) * count / a.parts];
	for (size_t k = 0; k < a.key_count && !error; k++) error = lay_out(&key[k], bound, chosen, &need, &place[k]);
	if (!error && memory && *size < need)
		error = dpi_fail(DPI_ERR_SIZE, "%zu bounds take %zu bytes, and memory has %zu: ask with memory NULL first", chosen, need, *size);
	for (size_t k = 0; k < a.key_count && memory && !error; k++) fill(&key[k], bound, chosen, memory, &place[k], &bounds[k]);
	if (!error || error == DPI_ERR_SIZE) *size = need;
	free(row);
	return error;
}
