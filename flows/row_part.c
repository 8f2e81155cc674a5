/* SPDX-License-Identifier: Apache-2.0
 * row_part.c: rows larger than a segment, in parts. */
#include "row_part.h"

#include <stdlib.h>

#include "error.h"

#define HEAD (DPI_SEGMENT_HEADER + sizeof(struct dpi_part_header))

size_t dpi_part_write(void *segment, size_t capacity, const void *row, size_t size, size_t offset, uint32_t flags,
		      size_t *taken)
{
	size_t n = size - offset;
	if (n > capacity - HEAD) n = (capacity - HEAD) & ~(size_t)7;
	bool last = offset + n == size;
	flags |= DPI_SEGMENT_MAGIC | DPI_SEGMENT_PART | (offset ? 0 : DPI_SEGMENT_FIRST) | (last ? DPI_SEGMENT_LAST : 0);
	struct dpi_segment h = { .rows = last, .bytes = (uint32_t)(sizeof(struct dpi_part_header) + n), .flags = flags };
	struct dpi_part_header p = { size, offset };
	memcpy(segment, &h, sizeof h);
	memcpy((uint8_t *)segment + sizeof h, &p, sizeof p);
	memcpy((uint8_t *)segment + HEAD, (const uint8_t *)row + offset, n);
	*taken = n;
	return HEAD + n;
}

static int check(const struct dpi_part_assembly *a, const struct dpi_segment *h, const struct dpi_part_header *p, size_t n,
		 size_t bound)
{
	bool first = h->flags & DPI_SEGMENT_FIRST, last = h->flags & DPI_SEGMENT_LAST;
	if (first != !a->total || (first && p->offset))
		return dpi_fail(DPI_ERR_CORRUPT, "a part of a row at byte %llu comes %s", (unsigned long long)p->offset,
				a->total ? "before the row under way is complete" : "without the parts before it");
	if (p->total > bound || p->total > DPI_ROW_MAX)
		return dpi_fail(DPI_ERR_SIZE,
				"a row of %llu bytes, and at most %zu are taken: raise the bound, or send smaller rows",
				(unsigned long long)p->total, bound < DPI_ROW_MAX ? bound : (size_t)DPI_ROW_MAX);
	if (!n || !p->total || p->offset != a->got || (!first && p->total != a->total) || n > p->total - a->got ||
	    last != (a->got + n == p->total) || h->rows != last)
		return dpi_fail(DPI_ERR_CORRUPT,
				"a part of %zu bytes at byte %llu of a row of %llu does not fit behind %zu of %zu",
				n, (unsigned long long)p->offset, (unsigned long long)p->total, a->got, a->total);
	return DPI_SUCCESS;
}

static int grow(struct dpi_part_assembly *a, size_t need, size_t total)
{
	if (need <= a->room) return DPI_SUCCESS;
	size_t room = 2 * need < total ? 2 * need : total;
	void *data = realloc(a->data, room);
	if (!data) return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu bytes of a row of %zu", room, total);
	a->data = data;
	a->room = room;
	return DPI_SUCCESS;
}

int dpi_part_add(struct dpi_part_assembly *a, const void *segment, size_t size, size_t bound, bool *complete)
{
	struct dpi_segment h;
	struct dpi_part_header p;
	int error = dpi_segment_header(segment, size, &h);
	if (a->total && a->got == a->total) a->total = a->got = 0; /* the row before was taken */
	if (!error && (!(h.flags & DPI_SEGMENT_PART) || h.flags & DPI_SEGMENT_COLUMNS || h.bytes < sizeof p))
		error = dpi_fail(DPI_ERR_CORRUPT, "a segment with flags 0x%x and %u bytes is no part of a row", h.flags,
				 h.bytes);
	if (!error) {
		memcpy(&p, (const uint8_t *)segment + sizeof h, sizeof p);
		size_t n = h.bytes - sizeof p;
		error = check(a, &h, &p, n, bound);
		if (!error) error = grow(a, a->got + n, (size_t)p.total);
		if (!error) {
			memcpy(a->data + a->got, (const uint8_t *)segment + HEAD, n);
			a->total = (size_t)p.total;
			a->got += n;
			*complete = a->got == a->total;
			return DPI_SUCCESS;
		}
	}
	a->total = a->got = 0;
	return error;
}

void dpi_part_free(struct dpi_part_assembly *a)
{
	free(a->data);
	*a = (struct dpi_part_assembly){ 0 };
}
