/* SPDX-License-Identifier: Apache-2.0
 * move.h: the data-movement engine: parts of rows, copying rows to their parts, gathering, transposing. The caller owns all
 * memory and has checked it; nothing here fails but what says so. */
#ifndef DPI_MOVE_MOVE_H
#define DPI_MOVE_MOVE_H

#include <string.h>

#include "dpi.h"
#include "hash.h"
#include "kernel.h"

/* How rows are dealt out, checked and prepared once. */
struct dpi_partition {
	int method; /* DPI_PARTITION_* */
	uint32_t parts;
	uint64_t seed; /* of the hash; XXH64: its own */
	unsigned shift;
	uint8_t bits[DPI_KEYS_MAX]; /* radix: what each column gives to the number */
	uint32_t mask;		    /* radix: the bits from shift on that are the part */
	size_t key_count;
	/* range: key_count of parts - 1 values; they must stay. NULL: search has them */
	const struct dpi_strided *bound;
	struct dpi_search search; /* range by one key of at most 64 bits */
};

/* -1, 0, 1: row i of a and row j of b, columns of the same types; as a range has it. */
int dpi_compare_keys(const struct dpi_strided *a, size_t i, const struct dpi_strided *b, size_t j, size_t keys);
/* move.c: a copy of what the caller gave, its keys checked. */
int dpi_partition_attr(const DPI_Partition_Attr *attr, DPI_Partition_Attr *a, struct dpi_strided key[static DPI_KEYS_MAX]);

/* keys: only types, widths and scales are looked at. bits: key_count for radix, or NULL. bound: key_count columns for
 * range, else NULL. DPI_ERR_ARGUMENT: parts, shift, bits, bounds that do not ascend or have other types;
 * DPI_ERR_UNSUPPORTED: a key that the method does not take. */
int dpi_partition_prepare(struct dpi_partition *p, int method, uint32_t parts, uint64_t salt, unsigned shift,
			  const uint8_t *bits, const struct dpi_strided *key, size_t key_count,
			  const struct dpi_strided *bound);
/* Does radix take a column of this type; the bits of its values. */
bool dpi_radix_takes(const struct dpi_strided *key);
unsigned dpi_radix_bits(const struct dpi_strided *key);
/* The parts of values first … first + count of the keys. */
void dpi_partition_find(const struct dpi_partition *p, const struct dpi_strided *key, size_t first, size_t count,
			uint16_t *part);
/* Add to counts how often each part comes; every one has a place there. */
void dpi_partition_count(const uint16_t *part, size_t count, uint64_t *counts);

enum dpi_store {
	DPI_STORE_AUTO,	  /* by the number of bytes */
	DPI_STORE_CACHED, /* straight to the parts: what is read again soon */
	DPI_STORE_STREAM, /* lines gathered in the cache, then written past it */
};
#define DPI_STREAM_LEAST ((size_t)8 << 20) /* bytes from which on streaming pays: more than a second cache holds */

/* Rows on their way to their parts: begin, any number of runs of rows, end. Row i of a run goes to at[part[i]], which
 * moves on by width; every part is below parts. What was streamed is not there, nor has at moved on, before the end. */
struct dpi_scatter {
	uint8_t **at; /* the caller's: where each part goes on */
	uint32_t parts;
	size_t width, block;
	uint8_t *bytes; /* NULL: straight; else a block and its overhang for each part */
	struct dpi_scatter_line {
		uint8_t *at, *end; /* in bytes: where the part's next row goes; where its block ends */
		uint8_t *block;	   /* where the block goes */
		uint8_t *first;	   /* where the part began: what lies before it is not ours */
	} *line;
};
#define DPI_SCATTER_RUN ((size_t)8192) /* bytes of a run that is best where its parts are found just before */
/* count: rows of all runs, at a guess. false: no memory for the lines of the parts. */
bool dpi_scatter_begin(struct dpi_scatter *s, uint8_t **at, uint32_t parts, size_t width, size_t count,
		       enum dpi_store store);
void dpi_scatter_rows(struct dpi_scatter *s, const void *rows, size_t stride, size_t count, const uint16_t *part);
void dpi_scatter_end(struct dpi_scatter *s);
/* Bit i of bits (NULL: ones) goes to bit filled[part[i]]++ of to[part[i]]. */
void dpi_scatter_bits(const uint8_t *bits, size_t count, const uint16_t *part, uint8_t *const *to, uint64_t *filled);

/* Bits first … first + 64, of count. */
static inline uint64_t dpi_bits_at(const uint8_t *bits, size_t first, size_t count)
{
	uint64_t w = 0;
	size_t left = count - first;
	if (left >= 64) {
		memcpy(&w, bits + first / 8, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
		w = __builtin_bswap64(w);
#endif
		return w;
	}
	for (size_t i = 0; i < (left + 7) / 8; i++) w |= (uint64_t)bits[first / 8 + i] << 8 * i;
	return w & (((uint64_t)1 << left) - 1);
}

/* Rows whose bit is set, and the bits of from whose bit is set: how many. */
size_t dpi_gather(const void *rows, size_t stride, size_t width, size_t count, const uint8_t *bits, void *to);
size_t dpi_gather_bits(const uint8_t *from, size_t count, const uint8_t *bits, uint8_t *to);
size_t dpi_count_bits(const uint8_t *bits, size_t count);

/* Columns of values of any length. room: looked at before anything is copied; DPI_ERR_ARGUMENT, DPI_ERR_LIMIT, or
 * DPI_ERR_SIZE where bytes are missing, whose place then says how many it takes. counts: rows that come to each part. */
int dpi_bytes_partition_room(const struct dpi_strided *s, size_t column, size_t count, const uint16_t *part, uint32_t parts,
			     DPI_Bytes_Column *const *to, const uint64_t *filled, const uint64_t *counts);
void dpi_bytes_partition(const struct dpi_strided *s, size_t count, const uint16_t *part, uint32_t parts, DPI_Bytes_Column *const *to,
			 const uint64_t *filled);
int dpi_bytes_gather_room(const struct dpi_strided *s, size_t column, size_t count, const uint8_t *bits, DPI_Bytes_Column *to);
void dpi_bytes_gather(const struct dpi_strided *s, size_t count, const uint8_t *bits, DPI_Bytes_Column *to);

/* count values of width bytes from one place to another, each with its stride: a column out of rows, or into them. */
void dpi_copy_strided(void *to, size_t to_stride, const void *from, size_t from_stride, size_t width, size_t count);

/* A DPI_Values, checked, as struct dpi_strided; what: "key 3" for the sentence. width: for any type but bits and
 * variable. */
int dpi_strided_check(const DPI_Values *v, const char *what, size_t number, struct dpi_strided *s);

#endif
