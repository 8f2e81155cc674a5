/* SPDX-License-Identifier: Apache-2.0
 * pieces.c: allocation within a region: segregated fit. The region is cut into extents without a gap, each a piece or free; no two
 * free ones are neighbours. Free extents hang in bins by size, eight bins an octave, so that a piece is found, and given
 * back, in a few steps, whatever the number of extents; only where no bin above holds any, the piece's own bin is searched.
 *
 * A generation is a serial number, never given twice, and the extent's place in the table, so it is checked in one look. */
#include "pieces.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

#define UNIT 64u /* pieces begin at multiples of it */
#define NONE UINT32_MAX
#define PLACE_BITS 20
#define BINS 512u

_Static_assert(DPI_PIECES_MAX == 1u << PLACE_BITS, "a generation has room for every place");

struct extent {
	uint64_t offset, size; /* size: bytes up to the next extent */
	uint64_t length;       /* of the piece, as asked for */
	uint64_t serial;       /* 0: free */
	uint32_t before, after;	  /* by offset; NONE */
	uint32_t previous, next; /* free: in its bin. next also in the list of unused places */
};

struct dpi_pieces {
	uint64_t length, free; /* bytes */
	uint64_t *serial;
	struct extent *extent;
	uint32_t count, room, unused; /* places used so far, had, given back */
	uint32_t bin[BINS];
	uint64_t full[BINS / 64]; /* bins that hold any */
};

/* ---------------------------------------------------------------------------------------------------------- bins */

/* The bin of a size: 8 to an octave. *least: the smallest size in it. */
static uint32_t bin_of(uint64_t size, uint64_t *least)
{
	if (size < 8) {
		*least = size;
		return (uint32_t)size;
	}
	uint32_t shift = 60 - (uint32_t)__builtin_clzll(size); /* of the three bits below the highest */
	*least = size >> shift << shift;
	return 8 * shift + (uint32_t)(size >> shift); /* size >> shift: 8 … 15 */
}

static void put(struct dpi_pieces *p, uint32_t at)
{
	uint64_t least;
	uint32_t bin = bin_of(p->extent[at].size, &least);
	p->extent[at].serial = 0;
	p->extent[at].previous = NONE;
	p->extent[at].next = p->bin[bin];
	if (p->bin[bin] != NONE) p->extent[p->bin[bin]].previous = at;
	p->bin[bin] = at;
	p->full[bin / 64] |= (uint64_t)1 << bin % 64;
}

static void take(struct dpi_pieces *p, uint32_t at)
{
	uint64_t least;
	const struct extent *e = &p->extent[at];
	uint32_t bin = bin_of(e->size, &least);
	if (e->next != NONE) p->extent[e->next].previous = e->previous;
	if (e->previous != NONE) p->extent[e->previous].next = e->next;
	else p->bin[bin] = e->next;
	if (p->bin[bin] == NONE) p->full[bin / 64] &= ~((uint64_t)1 << bin % 64);
}

/* A free extent of at least size bytes, or NONE. */
static uint32_t find(const struct dpi_pieces *p, uint64_t size)
{
	uint64_t least;
	uint32_t own = bin_of(size, &least), bin = own + (size > least); /* from here on every extent is large enough */
	for (uint32_t word = bin / 64; word < BINS / 64; word++) {
		uint64_t full = p->full[word];
		if (word == bin / 64) full &= ~(uint64_t)0 << bin % 64;
		if (full) return p->bin[64 * word + (uint32_t)__builtin_ctzll(full)];
	}
	uint32_t at = p->bin[own];
	while (at != NONE && p->extent[at].size < size) at = p->extent[at].next;
	return at;
}

/* ---------------------------------------------------------------------------------------------------------- places */

/* A place in the table, or NONE with the sentence. Extents may move. */
static uint32_t place(struct dpi_pieces *p, int *error)
{
	uint32_t at = p->unused;
	if (at != NONE) {
		p->unused = p->extent[at].next;
		return at;
	}
	if (p->count == DPI_PIECES_MAX) {
		*error = dpi_fail(DPI_ERR_LIMIT, "the region has %u pieces and gaps, as many as are kept: free some", DPI_PIECES_MAX);
		return NONE;
	}
	if (p->count == p->room) {
		uint32_t room = p->room ? 2 * p->room : 64;
		void *more = realloc(p->extent, room * sizeof *p->extent);
		if (!more) {
			*error = dpi_fail(DPI_ERR_MEMORY, "no memory for the table of the region's pieces");
			return NONE;
		}
		p->extent = more;
		p->room = room;
	}
	return p->count++;
}

static void give_place_back(struct dpi_pieces *p, uint32_t at)
{
	p->extent[at].serial = 0;
	p->extent[at].next = p->unused;
	p->unused = at;
}

struct dpi_pieces *dpi_pieces_new(uint64_t length, uint64_t *serial)
{
	struct dpi_pieces *p = calloc(1, sizeof *p);
	int error;
	if (!p) return NULL;
	p->length = p->free = length;
	p->serial = serial;
	p->unused = NONE;
	for (uint32_t i = 0; i < BINS; i++) p->bin[i] = NONE;
	uint32_t all = place(p, &error);
	if (all == NONE) {
		free(p);
		return NULL;
	}
	p->extent[all] = (struct extent){ .size = length, .before = NONE, .after = NONE };
	put(p, all);
	return p;
}

void dpi_pieces_free(struct dpi_pieces *p)
{
	if (p) free(p->extent);
	free(p);
}

/* -------------------------------------------------------------------------------------------------------- allocation */

/* Cut the extent off behind size bytes; the rest is free. */
static int cut(struct dpi_pieces *p, uint32_t at, uint64_t size)
{
	int error = DPI_SUCCESS;
	uint32_t rest = place(p, &error);
	if (rest == NONE) return error;
	struct extent *e = &p->extent[at], *r = &p->extent[rest];
	*r = (struct extent){ .offset = e->offset + size, .size = e->size - size, .before = at, .after = e->after };
	if (e->after != NONE) p->extent[e->after].before = rest;
	e->after = rest;
	e->size = size;
	put(p, rest);
	return DPI_SUCCESS;
}

int dpi_pieces_allocate(struct dpi_pieces *p, uint64_t size, DPI_Reference *out)
{
	if (!size || size > p->length)
		return dpi_fail(DPI_ERR_ARGUMENT, "a piece of %llu bytes cannot be in a region of %llu: it has 1 byte at least",
				(unsigned long long)size, (unsigned long long)p->length);
	uint32_t at = find(p, size);
	if (at == NONE)
		return dpi_fail(DPI_ERR_FULL, "no %llu bytes in a row are free, of %llu in all: free pieces", (unsigned long long)size,
				(unsigned long long)p->free);
	uint64_t rounded = (size + UNIT - 1) / UNIT * UNIT;
	take(p, at);
	if (p->extent[at].size > rounded) {
		uint64_t whole = p->extent[at].size;
		int error = cut(p, at, rounded);
		if (error) {
			p->extent[at].size = whole;
			put(p, at);
			return error;
		}
	}
	struct extent *e = &p->extent[at];
	*p->serial = (*p->serial + 1) & (UINT64_MAX >> PLACE_BITS);
	if (!*p->serial) *p->serial = 1;
	e->serial = *p->serial;
	e->length = size;
	p->free -= e->size;
	*out = (DPI_Reference){ e->offset, size, e->serial << PLACE_BITS | at };
	return DPI_SUCCESS;
}

int dpi_pieces_check(const struct dpi_pieces *p, const DPI_Reference *r)
{
	uint32_t at = (uint32_t)(r->generation & (DPI_PIECES_MAX - 1));
	uint64_t serial = r->generation >> PLACE_BITS;
	if (!p || !serial || at >= p->count || p->extent[at].serial != serial)
		return dpi_fail(DPI_ERR_RECLAIMED, "the piece of %llu bytes at %llu was freed", (unsigned long long)r->length,
				(unsigned long long)r->offset);
	if (p->extent[at].offset != r->offset || p->extent[at].length != r->length)
		return dpi_fail(DPI_ERR_ARGUMENT, "the reference was altered: its piece has %llu bytes at %llu",
				(unsigned long long)p->extent[at].length, (unsigned long long)p->extent[at].offset);
	return DPI_SUCCESS;
}

/* Free extents at and after are one from now on; neither is in a bin. */
static void join(struct dpi_pieces *p, uint32_t at, uint32_t after)
{
	struct extent *e = &p->extent[at];
	e->size += p->extent[after].size;
	e->after = p->extent[after].after;
	if (e->after != NONE) p->extent[e->after].before = at;
	give_place_back(p, after);
}

int dpi_pieces_release(struct dpi_pieces *p, const DPI_Reference *r)
{
	int error = dpi_pieces_check(p, r);
	if (error) return error;
	uint32_t at = (uint32_t)(r->generation & (DPI_PIECES_MAX - 1)), before = p->extent[at].before, after = p->extent[at].after;
	p->free += p->extent[at].size;
	if (after != NONE && !p->extent[after].serial) {
		take(p, after);
		join(p, at, after);
	}
	if (before != NONE && !p->extent[before].serial) {
		take(p, before);
		join(p, before, at);
		at = before;
	}
	put(p, at);
	return DPI_SUCCESS;
}
