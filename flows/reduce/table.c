/* SPDX-License-Identifier: Apache-2.0
 * table.c: tables of groups: made, filled by chunks of rows, emptied by runs. */
#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "error.h"

#define IMAGES ((size_t)256 << 10) /* bytes of the images of a chunk's keys, about */
#define CONVERT ((size_t)4 << 20)  /* bytes of rows that are made columns at a time, about */
#define LENT ((size_t)64 << 10)	   /* bytes of results in a run, about */

/* -------------------------------------------------------------------------------------------------------------- making */

static int start_side(struct dpi_side *side, struct dpi_schema *schema, const bool *wanted)
{
	side->schema = schema;
	side->needed = calloc(schema->columns, sizeof *side->needed);
	side->column = calloc(schema->columns, sizeof *side->column);
	if (!side->needed || !side->column) return dpi_fail(DPI_ERR_MEMORY, "no memory for %u columns", schema->columns);
	for (uint32_t i = 0; i < schema->columns; i++)
		if (wanted[i]) side->needed[side->needed_count++] = (uint16_t)i;
	return DPI_SUCCESS;
}

static void end_side(struct dpi_side *side)
{
	free(side->needed), free(side->column);
	if (side->converts) dpi_row_batch_free(&side->batch);
}

static int start_sides(struct dpi_table *t)
{
	bool wanted[DPI_COLUMNS_MAX] = { false };
	const struct dpi_reduction *r = t->r;
	for (uint32_t i = 0; i < r->key_count; i++) wanted[r->key[i]] = true;
	for (uint32_t i = 0; i < r->count; i++) {
		if (r->aggregate[i].column >= 0) wanted[r->aggregate[i].column] = true;
		if (r->aggregate[i].by >= 0) wanted[r->aggregate[i].by] = true;
	}
	int error = start_side(&t->input, r->input, wanted);
	memset(wanted, true, sizeof wanted);
	return error ? error : start_side(&t->state, r->state, wanted);
}

static int find_reducers(struct dpi_table *t)
{
	t->reducer = calloc(t->r->count + 1, sizeof *t->reducer);
	if (!t->reducer) return dpi_fail(DPI_ERR_MEMORY, "no memory for %u aggregates", t->r->count);
	int error = DPI_SUCCESS;
	for (uint32_t i = 0; i < t->r->count && !error; i++)
		if (t->r->aggregate[i].function == DPI_AGGREGATE_REDUCER)
			error = dpi_aggregate_reducer(t->r->aggregate + i, t->reducer + i);
	return error;
}

static enum dpi_key_kind key_kind(const struct dpi_reduction *r, bool varies)
{
	const struct dpi_column *c = r->state->column;
	if (varies) return DPI_KEY_VARIES;
	if (r->key_count != 1 || c->nullable) return DPI_KEY_FIXED;
	switch (c->type) {
	case DPI_TYPE_INT64:
	case DPI_TYPE_UINT64:
	case DPI_TYPE_DECIMAL64: return DPI_KEY_8;
	case DPI_TYPE_INT32:
	case DPI_TYPE_UINT32:
	case DPI_TYPE_DATE32: return DPI_KEY_4;
	default: return DPI_KEY_FIXED;
	}
}

static void lay_out_key(struct dpi_table *t)
{
	const struct dpi_schema *s = t->r->state;
	for (uint32_t k = 0; k < t->r->key_count; k++) {
		const struct dpi_column *c = s->column + k;
		t->key_bytes = c->offset + c->width;
		t->nulls += c->nullable;
		t->varies |= c->variable;
		if (c->nullable && t->nulls == 1) t->null_at = c->null_at;
	}
	t->kind = key_kind(t->r, t->varies);
	t->key_words = (uint32_t)(dpi_words8(t->key_bytes) / 8);
	t->last_mask = t->key_bytes % 8 ? (UINT64_C(1) << t->key_bytes % 8 * 8) - 1 : ~UINT64_C(0);
	t->null_mask = t->nulls < 64 ? (UINT64_C(1) << t->nulls) - 1 : ~UINT64_C(0);
	size_t image = 8 * ((size_t)t->key_words + 1);
	t->chunk = DPI_CHUNK;
	if (t->kind >= DPI_KEY_FIXED && image > IMAGES / DPI_CHUNK) t->chunk = image < IMAGES ? IMAGES / image : 1;
}

/* The largest state that is copied before it is looked at. */
static size_t scratch_bytes(const struct dpi_reduction *r)
{
	uint32_t most = 8;
	for (uint32_t i = 0; i < r->state->columns; i++)
		if (r->state->column[i].width > most) most = r->state->column[i].width;
	return dpi_words8(most);
}

static int start_memory(struct dpi_table *t)
{
	size_t n = t->chunk, slots = 512;
	t->arena = mmap(NULL, t->room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (t->arena == MAP_FAILED) {
		t->arena = NULL;
		return dpi_fail_errno(DPI_ERR_MEMORY,
				      "no address space for a table of %zu bytes: give the reduction less memory", t->room);
	}
	madvise(t->arena, t->room, MADV_HUGEPAGE);
	t->slot = dpi_slots_new(slots);
	t->mask = slots - 1;
	t->grow_at = slots / 2;
	t->blank = calloc(1, dpi_words8(t->r->state->row_size));
	t->hash = calloc(n, sizeof *t->hash), t->word = calloc(n, sizeof *t->word),
	t->other_hash = calloc(n, sizeof *t->other_hash);
	t->images = t->kind >= DPI_KEY_FIXED ? calloc(n, 8 * ((size_t)t->key_words + 1)) : NULL;
	t->entry = calloc(n, sizeof *t->entry), t->created = calloc(n, sizeof *t->created);
	t->scratch = malloc(scratch_bytes(t->r));
	t->record = calloc(DPI_CHUNK, sizeof *t->record);
	if (!t->slot || !t->blank || !t->hash || !t->word || !t->other_hash || (t->kind >= DPI_KEY_FIXED && !t->images) ||
	    !t->entry || !t->created || !t->scratch || !t->record)
		return dpi_fail(DPI_ERR_MEMORY, "no memory for a table of groups");
	for (uint32_t i = 0; i < t->r->count; i++) dpi_blank_state(t->r, t->r->aggregate + i, t->blank);
	return DPI_SUCCESS;
}

static int start(struct dpi_table *t, const struct dpi_table_attr *attr)
{
	int error = start_sides(t);
	if (!error) error = find_reducers(t);
	if (error) return error;
	if (attr->budget < DPI_TABLE_LEAST || attr->budget > DPI_TABLE_MOST)
		return dpi_fail(DPI_ERR_ARGUMENT, "a table of %llu bytes: it has %llu to %llu",
				(unsigned long long)attr->budget, (unsigned long long)DPI_TABLE_LEAST,
				(unsigned long long)DPI_TABLE_MOST);
	t->limit = attr->budget - (t->full == DPI_TABLE_SPILLS ? dpi_spill_memory(attr->budget) : 0);
	t->room = t->limit + 64; /* eight bytes may be read from any byte of the last entry */
	t->used = DPI_ARENA_FIRST;
	t->stride = t->r->state->varies ? 0 : dpi_words8(t->r->state->row_size);
	t->second = t->r->state->row_size < 64 ? t->r->state->row_size - 1 : 63;
	lay_out_key(t);
	for (uint32_t k = 0; k < t->r->count; k++) t->keeps |= t->r->aggregate[k].varies;
	error = start_memory(t);
	if (!error && t->used + dpi_words8(t->r->state->row_size) + 8 + (t->mask + 1) * 8 > t->limit)
		error = dpi_fail(DPI_ERR_LIMIT,
				 "a table of %zu bytes has no room for a single key, whose states have %u: give it more",
				 t->limit, t->r->state->row_size);
	t->directory = attr->directory ? strdup(attr->directory) : NULL;
	if (!error && attr->directory && !t->directory)
		error = dpi_fail(DPI_ERR_MEMORY, "no memory for the name of a directory");
	return error;
}

int dpi_table_new(const struct dpi_reduction *r, const struct dpi_table_attr *attr, struct dpi_table **out)
{
	struct dpi_table *t = calloc(1, sizeof *t);
	if (!t) return dpi_fail(DPI_ERR_MEMORY, "no memory for a table of groups");
	t->r = r;
	t->full = attr->full;
	t->budget = attr->budget;
	t->seed = dpi_hash_seed(attr->salt);
	int error = start(t, attr);
	if (error) dpi_table_free(t);
	else *out = t;
	return error;
}

void dpi_table_free(struct dpi_table *t)
{
	if (!t) return;
	end_side(&t->input), end_side(&t->state);
	if (t->arena) munmap(t->arena, t->room);
	dpi_slots_free(t->slot, t->mask + 1);
	dpi_spill_free(t->spill);
	dpi_hll_free(t->hll);
	free(t->reducer), free(t->directory), free(t->blank), free(t->hash), free(t->word), free(t->other_hash);
	free(t->images), free(t->entry), free(t->created), free(t->scratch), free(t->out), free(t->lent), free(t->record);
	free(t);
}

void dpi_table_empty(struct dpi_table *t)
{
	if (t->groups) dpi_slots_clear(t->slot, t->mask + 1);
	t->groups = 0;
	t->used = DPI_ARENA_FIRST;
	t->values = t->garbage = 0;
	t->largest = 0;
	t->filled = false;
}

void dpi_table_clear(struct dpi_table *t)
{
	dpi_table_empty(t);
	dpi_spill_free(t->spill);
	t->spill = NULL;
	t->goes_out = false;
	t->out_size = 0;
}

void dpi_table_stats(const struct dpi_table *t, struct dpi_table_stats *s)
{
	*s = t->stats;
	s->groups = t->groups;
	s->bytes = dpi_table_bytes(t);
}

/* ------------------------------------------------------------------------------------------------------------- filling */

static int start_groups(struct dpi_table *t)
{
	for (uint32_t k = 0; k < t->r->count; k++) {
		const DPI_Reducer *u = t->reducer + k;
		uint32_t at = t->r->state->column[t->r->aggregate[k].state].offset;
		for (uint32_t i = 0; i < t->created_count && u->init; i++) {
			int error = u->init(t->entry[t->created[i]] + at, u->arg);
			if (error) return dpi_reducer_failed(t->r->aggregate + k, "init", error);
		}
	}
	return DPI_SUCCESS;
}

/* Rows first … first + n, whose entries are there. */
static int apply(struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t n, uint8_t *const *entry)
{
	int error = DPI_SUCCESS;
	for (uint32_t k = 0; k < t->r->count && !error; k++)
		error = (f->partial ? dpi_merge_states : dpi_accumulate)(t, f, k, first, n, entry);
	return error;
}

/* Where some rows found no place: runs of those that did, and the others to the file. */
static int apply_runs(struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t n)
{
	int error = DPI_SUCCESS;
	for (size_t i = 0, end; i < n && !error; i = end) {
		for (end = i; end < n && t->entry[end];) end++;
		if (end > i) error = apply(t, f, first + i, end - i, t->entry + i);
		for (; end < n && !t->entry[end] && !error; end++) error = dpi_spill_row(t, f, first + end, t->hash[end]);
	}
	return error;
}

static void apply_first(struct dpi_table *t, const struct dpi_feed *f, size_t first)
{
	for (uint32_t k = 0; k < t->r->count; k++) {
		const struct dpi_aggregate *a = t->r->aggregate + k;
		if (a->function != DPI_AGGREGATE_FIRST) continue;
		dpi_take_first(t, a, f->column + (f->partial ? (int)a->state : a->column), first);
	}
}

static int take_columns(struct dpi_table *t, const struct dpi_feed *f, size_t count, size_t *taken)
{
	for (size_t first = 0, done; first < count; first += done) {
		size_t n = count - first < t->chunk ? count - first : t->chunk;
		int error = t->keeps ? dpi_values_reserve(t, f, first, &n) : DPI_SUCCESS;
		if (error) return error;
		int full = dpi_table_find(t, f, first, n, &done);
		t->reserved = 0;
		error = t->keeps && t->tight && t->entry[0] ? dpi_values_tight(t) : start_groups(t);
		if (error) return error;
		apply_first(t, f, first);
		error = t->filled ? apply_runs(t, f, first, done) : apply(t, f, first, done, t->entry);
		if (error) return error;
		*taken += done;
		*(f->partial ? &t->stats.partials : &t->stats.rows) += done;
		if (full) return full;
	}
	return DPI_SUCCESS;
}

static struct dpi_strided field(const struct dpi_column *c, const uint8_t *rows, size_t stride)
{
	return (struct dpi_strided){ .type = c->type,
				     .scale = c->scale,
				     .width = c->width,
				     .data = rows + c->offset,
				     .stride = stride,
				     .null = c->null_mask ? rows + c->null_at : NULL,
				     .null_mask = c->null_mask };
}

/* Text of a peer that becomes a key or a value is looked at once, here. */
static int check_text(const struct dpi_table *t, const struct dpi_batch *batch)
{
	for (uint32_t k = 0; k < t->r->state->columns; k++) {
		const struct dpi_vector *v = batch->column + k;
		for (size_t i = 0; v->type == DPI_TYPE_UTF8 && i < batch->rows; i++)
			if (!dpi_is_null(v, i) && !dpi_schema_utf8((const uint8_t *)v->data + v->offset[i],
								   (size_t)(v->offset[i + 1] - v->offset[i])))
				return dpi_fail(DPI_ERR_CORRUPT, "\"%s\" of a partial row is not UTF-8",
						t->r->state->column[k].name);
	}
	return DPI_SUCCESS;
}

/* Rows of any size and place become columns, some at a time. */
static int take_records(struct dpi_table *t, struct dpi_side *side, struct dpi_feed *f, const DPI_Record *record,
			size_t count, size_t *taken)
{
	uint64_t wanted[DPI_COLUMNS_MAX / 64] = { 0 };
	int error = DPI_SUCCESS;
	for (uint32_t i = 0; i < side->needed_count; i++)
		wanted[side->needed[i] / 64] |= UINT64_C(1) << side->needed[i] % 64;
	if (!side->converts) error = dpi_row_batch_new(side->schema, wanted, &side->batch);
	if (error) return error;
	side->converts = true;
	for (size_t n; count && !error; record += n, count -= n, f->first += n) {
		size_t bytes = 0, before = *taken;
		for (n = 0; n < count && n < t->chunk && (!n || bytes + record[n].size <= CONVERT); n++)
			bytes += record[n].size;
		error = dpi_row_batch_records(&side->batch, record, n);
		if (!error && f->partial && t->r->state->varies) error = check_text(t, &side->batch.batch);
		for (uint32_t i = 0; i < side->needed_count; i++)
			side->column[side->needed[i]] = dpi_strided_of(side->batch.batch.column + side->needed[i]);
		if (!error) error = take_columns(t, f, n, taken);
		if (*taken - before < n) break;
	}
	return error;
}

int dpi_table_take(struct dpi_table *t, const struct dpi_rows *run, bool partial, size_t *taken)
{
	static const uint16_t own_key[DPI_KEYS_MAX] = { 0,  1,	2,  3,	4,  5,	6,  7,	8,  9,	10, 11, 12, 13, 14, 15,
							16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
							32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47,
							48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63 };
	struct dpi_side *side = partial ? &t->state : &t->input;
	struct dpi_feed f = { .partial = partial, .key = partial ? own_key : t->r->key, .column = side->column, .run = run };
	if (!run->rows) return take_records(t, side, &f, run->record, run->count, taken);
	if (side->schema->varies || run->stride < side->schema->row_size)
		return dpi_fail(DPI_ERR_ARGUMENT, "rows %zu bytes apart: this schema has rows of %s%u", run->stride,
				side->schema->varies ? "at least " : "", side->schema->row_size);
	for (uint32_t i = 0; i < side->needed_count; i++)
		side->column[side->needed[i]] = field(side->schema->column + side->needed[i], run->rows, run->stride);
	return take_columns(t, &f, run->count, taken);
}

static int may_take(const struct dpi_table *t)
{
	if (!t->goes_out) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_STATE, "rows are being taken out of the table: take them all, then give it more");
}

int dpi_table_add(struct dpi_table *t, const struct dpi_rows *rows, size_t *taken)
{
	*taken = 0;
	int error = may_take(t);
	return error ? error : dpi_table_take(t, rows, false, taken);
}

static int no_merge(const struct dpi_reduction *r)
{
	const struct dpi_aggregate *a = r->aggregate;
	while (a->merges) a++;
	return dpi_fail(DPI_ERR_UNSUPPORTED,
			"the reducer \"%s\" has no merge: it runs at the target only, on rows as they are", a->reducer);
}

int dpi_table_merge(struct dpi_table *t, const struct dpi_rows *rows, size_t *taken)
{
	*taken = 0;
	int error = t->r->merges ? may_take(t) : no_merge(t->r);
	return error ? error : dpi_table_take(t, rows, true, taken);
}

int dpi_table_add_batch(struct dpi_table *t, const struct dpi_batch *batch, size_t *taken)
{
	struct dpi_feed f = { .key = t->r->key, .column = t->input.column, .batch = batch };
	*taken = 0;
	int error = may_take(t);
	if (error) return error;
	for (uint32_t i = 0; i < t->input.needed_count; i++) {
		uint32_t c = t->input.needed[i];
		t->input.column[c] = dpi_strided_of(batch->column + c);
	}
	return take_columns(t, &f, batch->rows, taken);
}

/* ------------------------------------------------------------------------------------------------------------ emptying */

/* Entries that vary, from place *at on: at most DPI_CHUNK of them. */
static size_t list_entries(struct dpi_table *t)
{
	size_t n = 0;
	for (; n < DPI_CHUNK && t->out_at < t->used; n++) {
		uint64_t size;
		memcpy(&size, t->arena + t->out_at, 8);
		t->record[n] = (DPI_Record){ t->arena + t->out_at + 8, (size_t)size };
		t->out_at += 8 + dpi_words8((size_t)size);
	}
	return n;
}

static void start_out(struct dpi_table *t)
{
	if (!t->goes_out) t->out_at = DPI_ARENA_FIRST, t->out_size = 0;
	t->goes_out = true;
}

/* The next entry; NULL: there is none, nor in the file. */
static int next_entry(struct dpi_table *t, const uint8_t **entry)
{
	while (t->out_at >= t->used) {
		bool more = false;
		dpi_table_empty(t);
		t->out_at = DPI_ARENA_FIRST;
		int error = t->spill ? dpi_spill_next(t, &more) : DPI_SUCCESS;
		*entry = NULL;
		if (error || !more) return error;
	}
	*entry = t->arena + t->out_at;
	if (t->stride) {
		t->out_at += t->stride;
	} else {
		uint64_t size;
		memcpy(&size, *entry, 8);
		*entry += 8;
		t->out_at += 8 + dpi_words8((size_t)size);
	}
	return DPI_SUCCESS;
}

static int lend_room(struct dpi_table *t, size_t bytes)
{
	if (bytes < LENT) bytes = LENT;
	if (bytes <= t->lent_room) return DPI_SUCCESS;
	free(t->lent);
	t->lent_room = 0;
	t->lent = malloc(bytes);
	if (!t->lent) return dpi_fail(DPI_ERR_MEMORY, "no memory for a result of %zu bytes", bytes);
	t->lent_room = bytes;
	return DPI_SUCCESS;
}

static size_t entry_bytes(const uint8_t *entry)
{
	uint64_t size;
	return memcpy(&size, entry - 8, sizeof size), (size_t)size;
}

/* Results, or partial rows whose states do not lie in their entries. */
static int lend(struct dpi_table *t, bool partial, struct dpi_rows *run)
{
	const struct dpi_schema *o = partial ? t->r->state : t->r->output;
	size_t filled = 0, n = 0;
	int error = DPI_SUCCESS;
	*run = (struct dpi_rows){ 0 };
	start_out(t);
	while (n < DPI_CHUNK) {
		const uint8_t *entry = NULL;
		uint8_t *row = t->out;
		if (!t->out_size) {
			error = next_entry(t, &entry);
			if (!error && entry)
				error = partial ? dpi_finish_partial(t, entry, entry_bytes(entry), &row, &t->out_size)
						: dpi_finish_row(t, entry, &row, &t->out_size);
			if (error) t->out_size = 0;
			if (error || !entry) break;
		}
		if (!n) error = lend_room(t, t->out_size);
		if (error || filled + t->out_size > t->lent_room) break;
		memcpy(t->lent + filled, row, t->out_size);
		t->record[n++] = (DPI_Record){ t->lent + filled, t->out_size };
		filled += o->varies ? dpi_words8(t->out_size) : t->out_size;
		t->out_size = 0;
	}
	if (error) return error;
	if (o->varies) *run = (struct dpi_rows){ .record = t->record, .count = n };
	else *run = (struct dpi_rows){ .rows = t->lent, .stride = o->row_size, .count = n };
	if (!n) dpi_table_clear(t);
	return DPI_SUCCESS;
}

int dpi_table_next_partial(struct dpi_table *t, struct dpi_rows *run)
{
	*run = (struct dpi_rows){ 0 };
	if (!t->r->merges) return no_merge(t->r);
	if (t->spill || t->filled)
		return dpi_fail(DPI_ERR_UNSUPPORTED, "rows of this table wait in a file: take results, not partial rows");
	if (t->keeps) return lend(t, true, run);
	start_out(t);
	if (!t->stride) {
		run->count = list_entries(t);
		run->record = t->record;
	} else if (t->out_at < t->used) {
		*run = (struct dpi_rows){ .rows = t->arena + t->out_at,
					 .stride = t->stride,
					 .count = (t->used - t->out_at) / t->stride };
		t->out_at = t->used;
	}
	if (!run->count) dpi_table_clear(t);
	return DPI_SUCCESS;
}

int dpi_table_next_result(struct dpi_table *t, struct dpi_rows *run)
{
	return lend(t, false, run);
}
