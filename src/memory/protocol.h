/* SPDX-License-Identifier: Apache-2.0
 * protocol.h: what a handle and its buffer's home say to each other over the control channel. All integers little endian. */
#ifndef DPI_MEMORY_PROTOCOL_H
#define DPI_MEMORY_PROTOCOL_H

#include "control.h"

enum {
	DPI_MEMORY_CREATE = DPI_MESSAGE_MEMORY, /* attributes -> id */
	DPI_MEMORY_NAMED,   /* id: its name stands in the registry: it outlives its creator */
	DPI_MEMORY_DROP,    /* id: its name was taken: forget it */
	DPI_MEMORY_OPEN,    /* id, handle -> attributes, window of the region or of the log's bounds */
	DPI_MEMORY_CLOSE,   /* id, handle: publishing is over */
	DPI_MEMORY_APPEND,  /* id, handle, bell; by credit, with credits, tries, waits: a byte each; who; window for credits -> appender, bell of the home, window of the ring */
	DPI_MEMORY_GROW,    /* id, handle -> window of a larger ring */
	DPI_MEMORY_DESTROY, /* id */
	DPI_MEMORY_GONE,    /* to every handle: id was destroyed */
	DPI_MEMORY_INFO,    /* id -> memory, appenders, first, end */
	DPI_MEMORY_TRUNCATE, /* id, position */
	DPI_MEMORY_SEGMENT,  /* id, position -> number, base and window of the log's segment in which it lies */
	DPI_MEMORY_AWAIT,    /* id, position: answered when the log goes beyond it */
	/* a region, by its home; answered with DPI_ERR_AGAIN where answers pile up: ask again */
	DPI_MEMORY_READ,	 /* id, reference, offset, size -> bytes */
	DPI_MEMORY_WRITE,	 /* id, reference, offset, bytes */
	DPI_MEMORY_FETCH_ADD,	 /* id, reference, offset, operand -> the word before */
	DPI_MEMORY_COMPARE_SWAP, /* id, reference, offset, expected, desired -> the word before */
	DPI_MEMORY_ALLOCATE,	 /* id, size -> reference */
	DPI_MEMORY_FREE,	 /* id, reference */

	DPI_MEMORY_SHORT, /* to the handles that have rings: id, handle: another waits for the memory of one */
	DPI_MEMORY_YIELD  /* id, handle, base: the ring ends, with a LINK before base; APPEND asks for the one that goes on behind base */
};
/* A reference is offset, length, generation; generation 0: the whole region. */
void dpi_reference_pack(struct dpi_pack *p, const DPI_Reference *r); /* region_home.c */
void dpi_reference_unpack(struct dpi_unpack *u, DPI_Reference *r);

#define DPI_MEMORY_CHUNK 32768u /* bytes of a READ or WRITE at most */

/* What an appender's credit window holds; written by the home. */
#define DPI_POSITIONS 256u
struct dpi_credit {
	_Atomic uint64_t head;	  /* as the ring's, for appenders that do not share memory with the home */
	_Atomic uint64_t ordered; /* log: how many of the appender's records have positions */
	_Atomic uint64_t full;	  /* log: 1 while the home finds no room for the appender's next record */
	_Atomic uint64_t acked;	  /* runs: what the reader has acknowledged, as dpi_ring_in_ack says it */
	uint64_t pad[4];
	_Atomic uint64_t position[DPI_POSITIONS]; /* of record number n, at n % DPI_POSITIONS */
};

/* The window of a log's bounds, written by the home, read by anybody. */
struct dpi_log_bounds {
	_Atomic uint64_t first, end;
};

/* A record in a log's segment: this word, then the bytes, padded to 8. check proves that a record starts at the position. */
#define DPI_LOG_PAD UINT32_MAX /* as size: the segment ends here */
static inline uint64_t dpi_log_word(uint64_t position, uint32_t size, uint64_t salt)
{
	uint64_t h = (position ^ salt) * 0x9e3779b97f4a7c15u;
	h ^= h >> 29;
	h = (h + size) * 0xbf58476d1ce4e5b9u;
	return (h >> 32 << 32) | size;
}

#endif
