/* SPDX-License-Identifier: Apache-2.0
 * bytes.c: columns of values of any length: their bytes to the parts they belong to, or those that a bit vector chooses.
 * NULL takes no bytes with it. */
#include <string.h>

#include "error.h"
#include "move.h"

static inline size_t length(const struct dpi_strided *s, size_t i)
{
	return dpi_strided_is_null(s, i) ? 0 : (size_t)(s->offset[i + 1] - s->offset[i]);
}

/* Most values are short: no call for those. */
static inline void copy(uint8_t *to, const uint8_t *from, size_t size)
{
	if (size > 16) {
		memcpy(to, from, size);
	} else if (size >= 8) { /* two that overlap */
		uint64_t a, b;
		memcpy(&a, from, 8), memcpy(&b, from + size - 8, 8);
		memcpy(to, &a, 8), memcpy(to + size - 8, &b, 8);
	} else if (size >= 4) {
		uint32_t a, b;
		memcpy(&a, from, 4), memcpy(&b, from + size - 4, 4);
		memcpy(to, &a, 4), memcpy(to + size - 4, &b, 4);
	} else {
		for (; size; size--) *to++ = *from++;
	}
}

/* ------------------------------------------------------------------------------------------------------------- room */

static int check_offsets(const struct dpi_strided *s, size_t column, size_t count)
{
	bool bad = count && s->offset[0] < 0;
	for (size_t i = 0; i < count; i++) bad |= s->offset[i + 1] < s->offset[i];
	return bad ? dpi_fail(DPI_ERR_ARGUMENT, "the offsets of column %zu do not ascend from 0", column) : DPI_SUCCESS;
}

/* Is there room for more bytes behind those of the values that are there? */
static int check_room(DPI_Bytes_Column *to, size_t column, uint32_t part, uint64_t filled, uint64_t more)
{
	if (!to || !to->offset)
		return dpi_fail(DPI_ERR_ARGUMENT, "column %zu has no memory for the offsets of part %u", column, part);
	if (filled && to->offset[filled] < 0)
		return dpi_fail(DPI_ERR_ARGUMENT, "column %zu, part %u: offset[%llu] is below 0", column, part,
				(unsigned long long)filled);
	uint64_t need = more + (filled ? (uint64_t)to->offset[filled] : 0);
	if (need > INT32_MAX)
		return dpi_fail(DPI_ERR_LIMIT, "column %zu, part %u: %llu bytes, and offsets reach to 2 GiB: move fewer rows at once",
				column, part, (unsigned long long)need);
	if (need <= to->size)
		return to->bytes || !more ? DPI_SUCCESS
					  : dpi_fail(DPI_ERR_ARGUMENT, "column %zu has no memory for the bytes of part %u", column, part);
	int error = dpi_fail(DPI_ERR_SIZE, "column %zu, part %u: room for %zu bytes, and it takes %llu: size says so now", column, part,
			     to->size, (unsigned long long)need);
	to->size = need;
	return error;
}

int dpi_bytes_partition_room(const struct dpi_strided *s, size_t column, size_t count, const uint16_t *part, uint32_t parts,
			     DPI_Bytes_Column *const *to, const uint64_t *filled, const uint64_t *counts)
{
	uint64_t more[DPI_PARTS_MAX];
	int error = check_offsets(s, column, count), small = DPI_SUCCESS;
	memset(more, 0, parts * sizeof *more);
	for (size_t i = 0; !error && i < count; i++) more[part[i]] += length(s, i);
	for (uint32_t p = 0; p < parts && !error; p++) {
		if (!counts[p]) continue;
		error = check_room(to[p], column, p, filled[p], more[p]);
		if (error == DPI_ERR_SIZE) small = error, error = DPI_SUCCESS;
	}
	return error ? error : small;
}

int dpi_bytes_gather_room(const struct dpi_strided *s, size_t column, size_t count, const uint8_t *bits, DPI_Bytes_Column *to)
{
	uint64_t more = 0;
	int error = check_offsets(s, column, count);
	if (error) return error;
	for (size_t i = 0; i < count; i++) more += length(s, i) & -(uint64_t)dpi_bit(bits, i); /* bits are at random: no branch */
	return check_room(to, column, 0, 0, more);
}

/* ------------------------------------------------------------------------------------------------------------- move */

void dpi_bytes_partition(const struct dpi_strided *s, size_t count, const uint16_t *part, uint32_t parts, DPI_Bytes_Column *const *to,
			 const uint64_t *filled)
{
	uint8_t *at[DPI_PARTS_MAX], nothing;
	int32_t *end[DPI_PARTS_MAX]; /* where the bytes of a part end */
	for (uint32_t p = 0; p < parts; p++) {
		if (!to[p] || !to[p]->offset) continue;
		end[p] = to[p]->offset + filled[p];
		if (!filled[p]) *end[p] = 0;
		at[p] = to[p]->bytes ? (uint8_t *)to[p]->bytes + *end[p] : &nothing;
	}
	for (size_t i = 0; i < count; i++) {
		uint16_t p = part[i];
		size_t size = length(s, i);
		copy(at[p], (const uint8_t *)s->data + s->offset[i], size);
		at[p] += size;
		end[p][1] = end[p][0] + (int32_t)size;
		end[p]++;
	}
}

/* Rows first … first + count, all chosen, of which none is NULL: one copy. */
static void gather_run(const struct dpi_strided *s, size_t first, size_t count, uint8_t *bytes, int32_t *end)
{
	const int32_t *from = s->offset + first;
	int32_t move = *end - *from;
	copy(bytes + *end, (const uint8_t *)s->data + *from, (size_t)(from[count] - *from));
	for (size_t i = 1; i <= count; i++) end[i] = from[i] + move;
}

void dpi_bytes_gather(const struct dpi_strided *s, size_t count, const uint8_t *bits, DPI_Bytes_Column *to)
{
	uint8_t nothing, *bytes = to->bytes ? to->bytes : &nothing;
	int32_t *end = to->offset;
	*end = 0;
	for (size_t i = 0; i < count; i += 64) {
		uint64_t mask = dpi_bits_at(bits, i, count);
		while (mask) {
			unsigned skip = (unsigned)__builtin_ctzll(mask), run = ~(mask >> skip) ? (unsigned)__builtin_ctzll(~(mask >> skip)) : 64;
			size_t row = i + skip;
			mask = skip + run < 64 ? mask >> (skip + run) << (skip + run) : 0;
			if (!s->valid) {
				gather_run(s, row, run, bytes, end);
				end += run;
				continue;
			}
			for (; run--; row++, end++) {
				size_t size = length(s, row);
				copy(bytes + *end, (const uint8_t *)s->data + s->offset[row], size);
				end[1] = *end + (int32_t)size;
			}
		}
	}
}
