/* SPDX-License-Identifier: Apache-2.0
 * spill.c: rows of keys that found no place in a full table wait in a file without a name. Each row of a key does, from the
 * first on, or a partial row before them, so results are those of a table with room for all. Rows lie in 16 parts by their keys' hash; when the table's
 * groups are out, one part after the other is taken in like any rows, and what finds no place then goes to 16 parts of its
 * own. Each time some groups find one, so this ends, whatever the hashes are.
 *
 * A part is a chain of blocks, each with the number of the next in its first 8 bytes, then a stream of rows: size, kind,
 * bytes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "table.h"

#define PARTS 16u
#define HEAD 8u /* of a block, and of a row */
#define BLOCK_LEAST 512u
#define BLOCK_MOST 65536u
#define LOT 3u	   /* blocks of rows taken in at once */
#define NONE UINT32_MAX

struct chain {
	uint32_t first; /* block; NONE: nothing is in it */
	uint32_t level; /* how often its rows have been dealt out */
	uint64_t bytes;
};

struct part {
	struct chain chain;
	uint32_t block; /* being filled */
	uint32_t filled;
	uint8_t *buffer;
};

struct dpi_spill {
	int file;
	char *where;
	uint32_t block; /* bytes */
	uint32_t blocks; /* of the file */
	uint32_t *unused;
	size_t unused_count, unused_room;
	struct part part[PARTS];
	uint32_t level; /* of part */
	struct chain *todo;
	size_t todo_count, todo_room;
	/* the chain being read */
	struct chain from;
	uint8_t *read; /* a block */
	uint32_t read_at, read_end;
	uint8_t *lot;
	size_t lot_room;
	DPI_Record *record;
	uint8_t *memory; /* of parts and read */
};

static uint32_t block_bytes(uint64_t budget)
{
	uint32_t block = BLOCK_LEAST;
	while (block < BLOCK_MOST && (uint64_t)block * 256 <= budget) block *= 2;
	return block;
}

size_t dpi_spill_memory(uint64_t budget)
{
	return (PARTS + 1 + LOT) * (size_t)block_bytes(budget);
}

/* --------------------------------------------------------------------------------------------------------------- file */

static int open_file(const struct dpi_table *t, char **where)
{
	const char *directory = t->directory ? t->directory : secure_getenv("TMPDIR");
	if (!directory || !*directory) directory = "/tmp";
	int file = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	*where = strdup(directory);
	if (file >= 0) return file;
	char *name = NULL;
	if (asprintf(&name, "%s/dpi-reduce-XXXXXX", directory) < 0) return -1;
	file = mkostemp(name, O_CLOEXEC);
	if (file >= 0) unlink(name);
	free(name);
	return file;
}

static int write_block(struct dpi_spill *s, const uint8_t *bytes, uint32_t block, uint32_t size)
{
	for (uint32_t done = 0; done < size;) {
		ssize_t n = pwrite(s->file, bytes + done, size - done, (off_t)block * s->block + done);
		if (n > 0) done += (uint32_t)n;
		else if (n == 0 || errno != EINTR)
			return dpi_fail_errno(DPI_ERR_LIMIT,
					      "the reduction could not write to its file in %s, of %llu bytes so far",
					      s->where ? s->where : "?", (unsigned long long)s->blocks * s->block);
	}
	return DPI_SUCCESS;
}

static int read_block(struct dpi_spill *s, uint32_t block, uint32_t size)
{
	for (uint32_t done = 0; done < size;) {
		ssize_t n = pread(s->file, s->read + done, size - done, (off_t)block * s->block + done);
		if (n > 0) done += (uint32_t)n;
		else if (n == 0)
			return dpi_fail(DPI_ERR_INTERNAL, "the reduction's file in %s ends too early",
					s->where ? s->where : "?");
		else if (errno != EINTR)
			return dpi_fail_errno(DPI_ERR_LIMIT, "the reduction could not read its file in %s",
					      s->where ? s->where : "?");
	}
	return DPI_SUCCESS;
}

static int new_block(struct dpi_spill *s, uint32_t *block)
{
	if (s->unused_count) {
		*block = s->unused[--s->unused_count];
		return DPI_SUCCESS;
	}
	if (s->blocks == NONE)
		return dpi_fail(DPI_ERR_LIMIT, "the reduction's file has %u blocks: give it more memory", s->blocks);
	*block = s->blocks++;
	return DPI_SUCCESS;
}

static int free_block(struct dpi_spill *s, uint32_t block)
{
	if (s->unused_count == s->unused_room) {
		size_t room = 2 * s->unused_room + 64;
		uint32_t *unused = realloc(s->unused, room * sizeof *unused);
		if (!unused) return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu unused blocks of a file", room);
		s->unused = unused;
		s->unused_room = room;
	}
	s->unused[s->unused_count++] = block;
	return DPI_SUCCESS;
}

static void start_parts(struct dpi_spill *s, uint32_t level)
{
	s->level = level;
	for (unsigned p = 0; p < PARTS; p++) {
		s->part[p].chain = (struct chain){ NONE, level, 0 };
		s->part[p].filled = HEAD;
	}
}

static int start(struct dpi_table *t)
{
	struct dpi_spill *s = calloc(1, sizeof *s);
	if (!s) return dpi_fail(DPI_ERR_MEMORY, "no memory to spill");
	t->spill = s;
	s->file = -1;
	s->block = block_bytes(t->budget);
	s->lot_room = (size_t)LOT * s->block;
	s->memory = malloc((size_t)(PARTS + 1) * s->block), s->lot = malloc(s->lot_room),
	s->record = calloc(DPI_CHUNK, sizeof *s->record);
	if (!s->memory || !s->lot || !s->record) return dpi_fail(DPI_ERR_MEMORY, "no memory to spill");
	for (unsigned p = 0; p < PARTS; p++) s->part[p].buffer = s->memory + (size_t)p * s->block;
	s->read = s->memory + (size_t)PARTS * s->block;
	start_parts(s, 0);
	s->file = open_file(t, &s->where);
	if (s->file >= 0) return DPI_SUCCESS;
	return dpi_fail_errno(DPI_ERR_LIMIT, "the reduction has no file to spill to, in %s", s->where ? s->where : "?");
}

void dpi_spill_free(struct dpi_spill *s)
{
	if (!s) return;
	if (s->file >= 0) close(s->file);
	free(s->where), free(s->unused), free(s->todo), free(s->memory), free(s->lot), free(s->record);
	free(s);
}

/* ------------------------------------------------------------------------------------------------------------ writing */

static int write_bytes(struct dpi_spill *s, struct part *p, const void *bytes, size_t size)
{
	const uint8_t *from = bytes;
	int error = DPI_SUCCESS;
	if (p->chain.first == NONE) {
		error = new_block(s, &p->block);
		p->chain.first = p->block;
	}
	p->chain.bytes += size;
	while (size && !error) {
		uint32_t n = s->block - p->filled < size ? s->block - p->filled : (uint32_t)size, next = NONE;
		memcpy(p->buffer + p->filled, from, n);
		p->filled += n, from += n, size -= n;
		if (p->filled < s->block) break;
		error = new_block(s, &next);
		memcpy(p->buffer, &next, sizeof next);
		if (!error) error = write_block(s, p->buffer, p->block, s->block);
		p->block = next;
		p->filled = HEAD;
	}
	return error;
}

static int write_row(struct dpi_spill *s, const void *row, size_t size, bool partial, uint64_t hash)
{
	struct part *p = s->part + (dpi_hash_mix((uint32_t)hash + s->level * DPI_HASH_GOLDEN) >> 60) % PARTS;
	uint32_t head[2] = { (uint32_t)size, partial };
	int error = write_bytes(s, p, head, sizeof head);
	return error ? error : write_bytes(s, p, row, size);
}

static int write_columns(struct dpi_spill *s, const struct dpi_schema *schema, const struct dpi_batch *batch, size_t row,
			 uint64_t hash)
{
	uint64_t size = dpi_row_size_in_batch(schema, batch, row);
	if (size > DPI_ROW_MAX)
		return dpi_fail(DPI_ERR_SIZE, "a row of %llu bytes: at most %d", (unsigned long long)size, DPI_ROW_MAX);
	uint8_t *bytes = malloc(size);
	if (!bytes) return dpi_fail(DPI_ERR_MEMORY, "no memory for a row of %llu bytes", (unsigned long long)size);
	dpi_row_write_from_batch(schema, batch, row, bytes);
	int error = write_row(s, bytes, size, false, hash);
	free(bytes);
	return error;
}

int dpi_spill_row(struct dpi_table *t, const struct dpi_feed *f, size_t row, uint64_t hash)
{
	int error = t->spill ? DPI_SUCCESS : start(t);
	if (error) return error;
	t->stats.spilled++;
	if (f->batch) return write_columns(t->spill, t->r->input, f->batch, row, hash);
	const struct dpi_schema *schema = f->partial ? t->r->state : t->r->input;
	const struct dpi_rows *run = f->run;
	if (run->rows)
		return write_row(t->spill, (const uint8_t *)run->rows + row * run->stride, schema->row_size, f->partial,
				 hash);
	return write_row(t->spill, run->record[f->first + row].data, run->record[f->first + row].size, f->partial, hash);
}

int dpi_spill_group(struct dpi_table *t, const void *row, size_t size, uint64_t hash)
{
	int error = t->spill ? DPI_SUCCESS : start(t);
	t->stats.spilled++;
	return error ? error : write_row(t->spill, row, size, true, hash);
}

/* The parts that were written wait for their turn. */
static int put_aside(struct dpi_spill *s)
{
	for (unsigned k = 0; k < PARTS; k++) {
		struct part *p = s->part + k;
		if (p->chain.first == NONE) continue;
		int error = write_block(s, p->buffer, p->block, p->filled);
		if (error) return error;
		if (s->todo_count == s->todo_room) {
			size_t room = 2 * s->todo_room + PARTS;
			struct chain *todo = realloc(s->todo, room * sizeof *todo);
			if (!todo) return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu parts of a file", room);
			s->todo = todo;
			s->todo_room = room;
		}
		s->todo[s->todo_count++] = p->chain;
		p->chain.first = NONE;
	}
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------------------ reading */

static int read_bytes(struct dpi_spill *s, void *to, size_t size)
{
	uint8_t *at = to;
	while (size) {
		if (s->read_at == s->read_end) {
			uint64_t left = s->from.bytes;
			uint32_t n = left < s->block - HEAD ? HEAD + (uint32_t)left : s->block, block = s->from.first;
			int error = read_block(s, block, n);
			if (!error) error = free_block(s, block);
			if (error) return error;
			memcpy(&s->from.first, s->read, sizeof s->from.first);
			s->from.bytes -= n - HEAD;
			s->read_at = HEAD;
			s->read_end = n;
		}
		uint32_t n = s->read_end - s->read_at < size ? s->read_end - s->read_at : (uint32_t)size;
		memcpy(at, s->read + s->read_at, n);
		s->read_at += n, at += n, size -= n;
	}
	return DPI_SUCCESS;
}

static bool at_end(const struct dpi_spill *s)
{
	return s->read_at == s->read_end && !s->from.bytes;
}

/* Some rows of one kind, which begin at multiples of 8. head: of the next row; size 0 when the last of them is the chain's.
 */
static int read_lot(struct dpi_spill *s, uint32_t *head, struct dpi_rows *run)
{
	size_t used = 0;
	uint32_t kind = head[1];
	run->count = 0;
	do {
		size_t size = head[0];
		if (used + size > s->lot_room) {
			if (run->count) return DPI_SUCCESS;
			uint8_t *lot = realloc(s->lot, dpi_words8(size));
			if (!lot) return dpi_fail(DPI_ERR_MEMORY, "no memory for a row of %zu bytes", size);
			s->lot = lot;
			s->lot_room = dpi_words8(size);
		}
		int error = read_bytes(s, s->lot + used, size);
		if (error) return error;
		s->record[run->count++] = (DPI_Record){ s->lot + used, size };
		used += dpi_words8(size);
		head[0] = 0;
		if (at_end(s)) return DPI_SUCCESS;
		error = read_bytes(s, head, HEAD);
		if (error) return error;
	} while (head[1] == kind && run->count < DPI_CHUNK);
	return DPI_SUCCESS;
}

static int take_chain(struct dpi_table *t, struct dpi_spill *s)
{
	uint32_t head[2];
	s->read_at = s->read_end = 0;
	int error = read_bytes(s, head, HEAD);
	while (!error && head[0]) {
		struct dpi_rows run;
		size_t taken = 0;
		bool partial = head[1];
		const struct dpi_schema *schema = partial ? t->r->state : t->r->input;
		error = read_lot(s, head, &run);
		run.record = s->record;
		run.rows = schema->varies ? NULL : s->lot;
		run.stride = dpi_words8(schema->row_size);
		if (!error) error = dpi_table_take(t, &run, partial, &taken);
		*(partial ? &t->stats.partials : &t->stats.rows) -= taken; /* they were counted when they came */
	}
	return error;
}

int dpi_spill_next(struct dpi_table *t, bool *more)
{
	struct dpi_spill *s = t->spill;
	int error = put_aside(s);
	if ((uint64_t)s->blocks * s->block > t->stats.file) t->stats.file = (uint64_t)s->blocks * s->block;
	*more = !error && s->todo_count;
	if (!*more) return error;
	s->from = s->todo[--s->todo_count];
	start_parts(s, s->from.level + 1);
	return take_chain(t, s);
}
