/* SPDX-License-Identifier: Apache-2.0
 * table.h: the inside of a table of groups. Rows are taken in by chunks, each in passes over all its rows: keys are copied
 * and hashed, their groups found or made, then each aggregate's states brought up to date. */
#ifndef DPI_REDUCE_TABLE_H
#define DPI_REDUCE_TABLE_H

#include "../move/hash.h"
#include "../row_batch.h"
#include "build.h"

#define DPI_CHUNK 512u /* rows whose words and places lie in the first cache at once */

/* How keys are held while their groups are looked for. */
enum dpi_key_kind {
	DPI_KEY_8, /* one column of 8 bytes that are compared as such, never NULL: table.word */
	DPI_KEY_4, /* of 4 bytes */
	DPI_KEY_FIXED, /* any others: table.images */
	DPI_KEY_VARIES
};

/* Rows being taken in: columns of the input or of the state schema, those that are needed, and the rows they are of. */
struct dpi_feed {
	bool partial;
	const uint16_t *key;	     /* columns */
	struct dpi_strided *column;  /* in the order of the schema */
	const struct dpi_rows *run;   /* the rows, of which first is the first of column; or */
	const struct dpi_batch *batch;
	size_t first;
};

/* What of one side, the input or the state, is looked at, and memory to look at it. */
struct dpi_side {
	struct dpi_schema *schema;
	uint32_t needed_count;
	uint16_t *needed;	    /* columns */
	struct dpi_strided *column; /* of all */
	bool converts;		    /* batch is there */
	struct dpi_row_batch batch; /* for rows that lie anywhere */
};

struct dpi_table {
	const struct dpi_reduction *r;
	enum dpi_when_full full;
	char *directory;
	uint64_t seed, budget;
	struct dpi_side input, state;
	DPI_Reducer *reducer; /* of each aggregate, where it is one */

	/* An entry is a row of the state schema at a multiple of 8; where rows vary, behind a word with its size. A slot
	 * holds the lower half of a key's hash above the entry's place in words of 8 bytes; 0: empty. Place 0 is nobody's.
	 */
	uint8_t *arena;
	size_t room;   /* bytes of arena, of address space: pages come when touched */
	size_t limit;  /* bytes of entries and slots together */
	size_t used;   /* of arena */
	size_t stride; /* of entries; 0: they vary */
	size_t second; /* where in an entry its next line may begin, most likely */
	size_t values;	/* bytes of values that vary, at the arena's end */
	size_t garbage; /* of these, left by values that moved */
	size_t reserved; /* room that is for values of the chunk under way, not for entries */
	uint32_t largest; /* of the values */
	bool keeps;	/* values that vary */
	bool tight;	/* the chunk under way is a row whose values have no room */
	uint64_t *slot;
	uint64_t mask;	  /* slots - 1; a power of two */
	uint64_t groups, grow_at; /* grow_at: so many groups, and the slots must grow first */
	bool filled;	  /* a row found no place and waits in the file: no new key gets one any more */
	uint8_t *blank;	  /* an entry's fixed part before the first row */

	/* the key in an entry and in an image: what comes before the states, then a word of its NULLs */
	enum dpi_key_kind kind;
	uint32_t key_bytes, key_words;
	uint32_t nulls, null_at; /* nullable columns of the key, and where in an entry their bits begin */
	uint64_t last_mask, null_mask; /* what of the last word is the key's, and of the word at null_at */
	bool varies;

	/* of the chunk under way */
	size_t chunk; /* rows, at most */
	uint64_t *hash, *word, *other_hash;
	uint64_t *images;	  /* key_words + 1 for each row */
	uint8_t **entry;	  /* entry NULL: the row goes to the file */
	uint32_t *created, created_count; /* rows that made their group */
	uint64_t *scratch;		  /* a state that is a peer's, or is sorted; aligned */

	/* of the rows going out */
	bool goes_out;
	size_t out_at;	  /* place of the next entry */
	uint8_t *out;	  /* the row of the output that is being made */
	size_t out_room, out_size; /* out_size: of one that waits for the next run; else 0 */
	uint8_t *lent;
	size_t lent_room;
	DPI_Record *record; /* DPI_CHUNK of them, where rows vary */
	struct dpi_hll *hll;

	struct dpi_spill *spill; /* NULL: nothing went to the file */
	struct dpi_table_stats stats;
};

/* The reducer of an aggregate, which is one. NAME VERSION. */
int dpi_aggregate_reducer(const struct dpi_aggregate *a, DPI_Reducer *u);

/* Of the budget, what is in use or spoken for. */
static inline size_t dpi_table_bytes(const struct dpi_table *t)
{
	return t->used + t->values + (t->mask + 1) * 8;
}

#define DPI_ARENA_FIRST 64u /* place of the first entry, in bytes */

static inline size_t dpi_words8(size_t bytes)
{
	return (bytes + 7) & ~(size_t)7;
}

/* key.c: copy the keys of n rows into images, and hash them. */
void dpi_key_take(struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t n);
/* The variable columns' bytes; the rest is the same. */
bool dpi_key_same_bytes(const struct dpi_table *t, const struct dpi_feed *f, size_t first, const uint8_t *entry, size_t i);
/* Bytes of an entry of row i's key, without the size before it. */
size_t dpi_key_entry_size(const struct dpi_table *t, const struct dpi_feed *f, size_t row, size_t i);
void dpi_key_put(const struct dpi_table *t, const struct dpi_feed *f, size_t row, size_t i, uint8_t *entry);

/* find.c: the groups of the n rows whose keys were taken, into t->entry. done: how many were found, up to the error: FULL,
 * LIMIT. */
int dpi_table_find(struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t n, size_t *done);

/* What is to be done when a row finds no room: FULL, LIMIT, or nothing: it goes to the file. */
int dpi_table_no_room(struct dpi_table *t);
uint64_t *dpi_slots_new(uint64_t slots); /* zero; NULL: no memory */
/* Entries from a place on are gone. MEMORY. */
int dpi_slots_cut(struct dpi_table *t, uint32_t place);
void dpi_slots_clear(uint64_t *slot, uint64_t slots);
void dpi_slots_free(uint64_t *slot, uint64_t slots);

/* accumulate.c, merge.c: bring the states of rows first … first + n up to date, whose entries are entry[0 … n - 1]. */
int dpi_accumulate(struct dpi_table *t, const struct dpi_feed *f, uint32_t aggregate, size_t first, size_t n,
		   uint8_t *const *entry);
int dpi_merge_states(struct dpi_table *t, const struct dpi_feed *f, uint32_t aggregate, size_t first, size_t n,
		     uint8_t *const *entry);
/* For the entries that rows of the chunk made: the first row's value. from: a column of the argument's type. */
void dpi_take_first(struct dpi_table *t, const struct dpi_aggregate *a, const struct dpi_strided *from, size_t first);
/* Loops that both need. */
void dpi_take_extreme(struct dpi_table *t, const struct dpi_aggregate *a, const struct dpi_strided *from, size_t first,
		      size_t n, uint8_t *const *entry);
void dpi_add_double(const struct dpi_column *c, const struct dpi_strided *from, size_t first, size_t n,
		    uint8_t *const *entry);
/* A state before its first value. */
void dpi_blank_state(const struct dpi_reduction *r, const struct dpi_aggregate *a, uint8_t *row);

/* values.c: states that vary in size. Room for those of the next *n rows, or of as many of them as can be; 0: FULL, LIMIT,
 * those of the file. Where t->tight is set then, the row can go to the file only. */
int dpi_values_reserve(struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t *n);
int dpi_values_tight(const struct dpi_table *t); /* LIMIT, and the sentence */
/* Let entry's value in column c have size bytes, and room for some more; what it had stays, as far as it fits. */
uint8_t *dpi_value_resize(struct dpi_table *t, uint8_t *entry, const struct dpi_column *c, uint32_t size, size_t room);
void dpi_value_put(struct dpi_table *t, uint8_t *entry, const struct dpi_column *c, const void *data, uint32_t size);
static inline bool dpi_value_is(const uint8_t *entry, const struct dpi_column *c) /* there */
{
	uint32_t place;
	return memcpy(&place, entry + c->offset, sizeof place), place != 0;
}
static inline const uint8_t *dpi_value_of(const struct dpi_table *t, const uint8_t *entry, const struct dpi_column *c, uint32_t *size)
{
	uint32_t at[2];
	memcpy(at, entry + c->offset, sizeof at);
	*size = at[1];
	return t->arena + (size_t)at[0] * 8;
}

/* top.c: a top k of values that vary, or by bytes. */
#define DPI_TOP_HEAD 16u /* bytes of a state before its records */
size_t dpi_top_record_bytes(const struct dpi_aggregate *a, const struct dpi_feed *f, size_t row);
void dpi_top_take(struct dpi_table *t, const struct dpi_aggregate *a, const struct dpi_feed *f, size_t first, size_t n,
		  uint8_t *const *entry);
/* false: a state is none. */
bool dpi_top_merge(struct dpi_table *t, const struct dpi_aggregate *a, const struct dpi_strided *from, size_t first, size_t n,
		   uint8_t *const *entry);
/* The values as they come out; how many bytes. to NULL: only that. */
size_t dpi_top_values(const struct dpi_table *t, const struct dpi_aggregate *a, const uint8_t *entry, uint8_t *to);

/* spill.c: rows that wait in a file, in parts by their keys' hash, for a time when there is room. A part's rows keep their
 * order. */
int dpi_spill_row(struct dpi_table *t, const struct dpi_feed *f, size_t row, uint64_t hash);
/* A partial row of a group that leaves the table. Of a hash only the lower 32 bits count. */
int dpi_spill_group(struct dpi_table *t, const void *row, size_t size, uint64_t hash);
/* All groups are out and the table is empty: take the rows of one part in. *more: there was one. */
int dpi_spill_next(struct dpi_table *t, bool *more);
void dpi_spill_free(struct dpi_spill *s); /* NULL is allowed */
/* Of a table's budget, bytes that are kept for it. */
size_t dpi_spill_memory(uint64_t budget);
/* Take in rows of one kind, as dpi_table_add and dpi_table_merge do. */
int dpi_table_take(struct dpi_table *t, const struct dpi_rows *run, bool partial, size_t *taken);
void dpi_table_empty(struct dpi_table *t); /* of groups */

/* finish.c: the row of the output that an entry makes, at t->out; its size. */
int dpi_finish_row(struct dpi_table *t, const uint8_t *entry, uint8_t **row, size_t *size);
/* The partial row of an entry of bytes, where states vary; likewise. */
int dpi_finish_partial(struct dpi_table *t, const uint8_t *entry, size_t bytes, uint8_t **row, size_t *size);

#endif
