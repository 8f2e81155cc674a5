/* SPDX-License-Identifier: Apache-2.0
 * map.c: stages over runs of rows. Rows that only pass stay where they are; others are made in memory of their stage. */
#include "map_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "move/hash.h"

static int no_memory(void)
{
	return dpi_fail(DPI_ERR_MEMORY, "no memory for the stages of a flow");
}

/* ---------------------------------------------------------------------------------------------------------- making */

static void want(uint64_t *wanted, int column)
{
	wanted[column / 64] |= UINT64_C(1) << column % 64;
}

/* The columns that a stage reads. */
static void wanted_by(const struct dpi_stage *s, uint64_t *wanted)
{
	for (uint32_t k = 0; k < s->key_count; k++) want(wanted, s->key[k]);
	for (uint32_t k = 0; k < s->programs; k++) {
		int count = 0;
		const int *read = s->program[k] ? dpi_expr_columns(s->program[k], &count) : NULL;
		for (int c = 0; c < count; c++) want(wanted, read[c]);
	}
	for (uint32_t c = 0; dpi_stage_makes(s) && s->kind != DPI_STAGE_MAP && c < s->out->columns; c++)
		if (s->from[c] >= 0) want(wanted, s->from[c]);
}

static int make_programs(struct dpi_step *t, enum dpi_expr_on_error on_error)
{
	const struct dpi_stage *s = t->stage;
	const struct dpi_expr **program = calloc(s->programs ? s->programs : 1, sizeof *program);
	int error = DPI_SUCCESS;
	if (!program) return no_memory();
	for (uint32_t k = 0; k < s->programs; k++)
		if (s->program[k]) program[t->programs++] = s->program[k];
	if (t->programs) error = dpi_expr_state_new(program, t->programs, on_error, &t->state);
	free(program);
	if (error) return error;
	t->value = calloc((size_t)t->programs + 1, sizeof *t->value);
	t->column = calloc(s->out->columns, sizeof *t->column);
	return t->value && t->column ? DPI_SUCCESS : no_memory();
}

static int make_group(struct dpi_step *t)
{
	int error = dpi_function_group(t->stage->text, t->stage->version, &t->group);
	if (!error) error = dpi_row_batch_new(t->stage->in, NULL, &t->columns);
	if (error) return error;
	t->value = calloc(1, sizeof *t->value);
	t->column = calloc(t->stage->out->columns, sizeof *t->column);
	return t->value && t->column ? DPI_SUCCESS : no_memory();
}

static int make_step(struct dpi_maps *m, struct dpi_step *t)
{
	uint64_t wanted[(DPI_COLUMNS_MAX + 63) / 64] = { 0 };
	if (t->stage->kind == DPI_STAGE_GROUP) return make_group(t);
	if (t->stage->kind == DPI_STAGE_MAP) return dpi_function_map(t->stage->text, t->stage->version, &t->function);
	wanted_by(t->stage, wanted);
	int error = dpi_row_batch_new(t->stage->in, wanted, &t->columns);
	if (!error) error = make_programs(t, m->on_error);
	return error;
}

/* before: a step before them, or NULL. */
static int make(const struct dpi_definition *d, const struct dpi_stage *before, uint32_t first, uint32_t count, struct dpi_maps **out)
{
	uint32_t more = before != NULL;
	struct dpi_maps *m = calloc(1, sizeof *m + (more + count) * sizeof *m->step);
	int error = DPI_SUCCESS;
	if (!m) return no_memory();
	m->on_error = d->row_error == DPI_ROW_ERROR_NULL ? DPI_EXPR_NULL : d->row_error == DPI_ROW_ERROR_DROPS ? DPI_EXPR_DROP : DPI_EXPR_FAIL;
	for (uint32_t i = 0; i < more + count && !error; i++) {
		m->step[i] = i < more ? (struct dpi_step){ .stage = before, .number = UINT32_MAX } : (struct dpi_step){ .stage = d->stage + first + i - more, .number = first + i - more };
		m->steps = i + 1;
		error = make_step(m, m->step + i);
		m->calls |= m->step[i].stage->kind == DPI_STAGE_MAP || m->step[i].stage->kind == DPI_STAGE_GROUP;
	}
	if (error) dpi_maps_free(m);
	else *out = m;
	return error;
}

int dpi_maps_new(const struct dpi_definition *d, uint32_t first, uint32_t count, struct dpi_maps **m)
{
	return make(d, NULL, first, count, m);
}

int dpi_maps_new_source(const struct dpi_definition *d, struct dpi_maps **m)
{
	return make(d, d->grouped.in ? &d->grouped : NULL, 0, d->source_stages, m);
}

void dpi_maps_free(struct dpi_maps *m)
{
	if (!m) return;
	for (uint32_t i = 0; i < m->steps; i++) {
		struct dpi_step *t = m->step + i;
		if (t->columns.schema) dpi_row_batch_free(&t->columns);
		dpi_expr_state_free(t->state);
		free(t->value), free(t->column), free(t->made), free(t->key);
	}
	if (m->made.schema) dpi_row_batch_free(&m->made);
	free(m->record), free(m->from), free(m->bits), free(m->hash);
	free(m);
}

/* ----------------------------------------------------------------------------------------------------------- passing */

/* Keep the rows whose bit is set. */
static void keep(struct dpi_maps *m)
{
	size_t kept = 0;
	for (size_t i = 0; i < m->count; i++) {
		m->record[kept] = m->record[i];
		m->from[kept] = m->from[i];
		kept += dpi_bit(m->bits, i);
	}
	m->count = kept;
}

static void set(uint8_t *bits, size_t i, bool to)
{
	if (!(i % 8)) bits[i / 8] = 0;
	bits[i / 8] |= (uint8_t)(to << i % 8);
}

/* Rows of equal keys together: by the half of the hash that does not choose their target. */
static void sample_keys(struct dpi_maps *m, struct dpi_step *t)
{
	const struct dpi_stage *s = t->stage;
	dpi_hash_start(dpi_hash_seed(s->salt), m->count, m->hash);
	for (uint32_t k = 0; k < s->key_count; k++) dpi_hash_vector(t->columns.batch.column + s->key[k], 0, m->count, m->hash);
	for (size_t i = 0; i < m->count; i++) set(m->bits, i, (uint32_t)m->hash[i] < s->share);
}

uint64_t dpi_step_share(uint64_t n, uint64_t share)
{
	return (n >> 32) * share + ((n & 0xffffffffu) * share >> 32);
}

static void sample_numbers(struct dpi_maps *m, struct dpi_step *t)
{
	uint64_t n = t->seen, share = t->stage->share;
	for (size_t i = 0; i < m->count; i++, n++) set(m->bits, i, dpi_step_share(n + 1, share) > dpi_step_share(n, share));
	t->seen = n;
}

uint64_t dpi_step_dropped(const struct dpi_step *t)
{
	return t->state ? dpi_expr_state_dropped(t->state) : 0;
}

/* ----------------------------------------------------------------------------------------------------------- making rows */

static int room_for(struct dpi_step *t, size_t size)
{
	if (size <= t->room) return DPI_SUCCESS;
	size_t more = size > 2 * t->room ? size : 2 * t->room;
	uint8_t *made = realloc(t->made, more);
	if (!made) return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu bytes of rows", more);
	t->made = made;
	t->room = more;
	return DPI_SUCCESS;
}

int dpi_step_too_large(uint64_t size)
{
	return dpi_fail(DPI_ERR_LIMIT, "it makes a row of %llu bytes: DPI_ROW_MAX is %u", (unsigned long long)size, DPI_ROW_MAX);
}

/* The columns that come out, as rows: those whose bit is set. */
static int write_rows(struct dpi_maps *m, struct dpi_step *t)
{
	const struct dpi_schema *out = t->stage->out;
	struct dpi_batch batch = { m->count, (int)out->columns, t->column };
	size_t size = m->count * out->row_size;
	if (out->varies) {
		size = 0;
		for (size_t i = 0; i < m->count; i++) {
			uint64_t bytes = dpi_bit(m->bits, i) ? dpi_row_size_in_batch(out, &batch, i) : 0;
			if (bytes > DPI_ROW_MAX) return dpi_step_too_large(bytes);
			size += (bytes + 7) & ~UINT64_C(7);
		}
	}
	int error = room_for(t, size);
	if (error || !m->count) return error;
	struct dpi_row_writer w = { .at = t->made, .last = t->made + size - (out->varies ? 0 : out->row_size), .stride = out->row_size };
	if (!out->varies) dpi_row_from_batch(out, &batch, 0, m->count, &w);
	uint8_t *at = t->made;
	for (size_t i = 0; i < m->count; i++) {
		if (out->varies && !dpi_bit(m->bits, i)) continue;
		size_t bytes = out->varies ? (size_t)dpi_row_size_in_batch(out, &batch, i) : out->row_size;
		if (out->varies) dpi_row_write_from_batch(out, &batch, i, at);
		m->record[i] = (DPI_Record){ at, bytes };
		at += out->varies ? (bytes + 7) & ~(size_t)7 : bytes;
	}
	return DPI_SUCCESS;
}

static int project(struct dpi_maps *m, struct dpi_step *t)
{
	const struct dpi_stage *s = t->stage;
	int error = DPI_SUCCESS, next = 0;
	for (size_t i = 0; i < m->count; i++) set(m->bits, i, true);
	if (t->state) error = dpi_expr_project(t->state, &t->columns.batch, m->bits, t->value);
	if (error) return error;
	for (uint32_t c = 0; c < s->out->columns; c++)
		t->column[c] = s->from[c] >= 0 ? t->columns.batch.column[s->from[c]] : t->value[next++];
	return write_rows(m, t);
}

/* The rows, with their keys behind them. */
static int group(struct dpi_maps *m, struct dpi_step *t)
{
	for (size_t i = 0; i < m->count; i++) set(m->bits, i, true);
	if (m->count > t->keys) {
		free(t->key);
		t->keys = 0;
		if (!(t->key = malloc(m->count * sizeof *t->key))) return no_memory();
		t->keys = m->count;
	}
	for (size_t i = 0; i < m->count; i++) {
		int error = t->group.call(m->record[i].data, m->record[i].size, t->group.arg, t->key + i);
		if (!error) continue;
		m->refused = true;
		m->refuses = i;
		return dpi_fail(error, "the group function \"%s\" returned %s", t->stage->text, dpi_error_name(error));
	}
	*t->value = (struct dpi_vector){ .type = DPI_TYPE_UINT64, .width = 8, .data = t->key };
	for (uint32_t c = 0; c < t->stage->out->columns; c++) t->column[c] = t->stage->from[c] >= 0 ? t->columns.batch.column[c] : *t->value;
	return write_rows(m, t);
}

/* One row by the program's function: *size 0 for none. at: where in t->made. */
static int call(struct dpi_maps *m, struct dpi_step *t, const DPI_Record *row, size_t at, size_t *size)
{
	const struct dpi_schema *out = t->stage->out;
	size_t least = out->varies ? out->row_size + row->size + 64 : out->row_size;
	int error = room_for(t, at + least);
	*size = 0;
	if (!error) error = t->function.call(row->data, row->size, t->function.arg, t->made + at, t->room - at, size);
	if (error == DPI_ERR_SIZE && *size > t->room - at && *size <= DPI_ROW_MAX) {
		error = room_for(t, at + *size);
		if (!error) error = t->function.call(row->data, row->size, t->function.arg, t->made + at, t->room - at, size);
	}
	if (error && m->on_error == DPI_EXPR_DROP) {
		m->errors++;
		*size = 0;
		return DPI_SUCCESS;
	}
	if (error) return dpi_fail(error, "the map function \"%s\" returned %s", t->stage->text, dpi_error_name(error));
	if (!*size) return DPI_SUCCESS;
	if (*size > DPI_ROW_MAX || *size > t->room - at) return dpi_step_too_large(*size);
	return dpi_row_check(out, t->made + at, *size, false);
}

static int call_all(struct dpi_maps *m, struct dpi_step *t)
{
	size_t at = 0, kept = 0;
	for (size_t i = 0; i < m->count; i++) {
		size_t size;
		int error = call(m, t, m->record + i, at, &size);
		if (error) return error;
		m->record[kept] = (DPI_Record){ NULL, size };
		m->from[kept] = m->from[i];
		kept += size > 0;
		at += (size + 7) & ~(size_t)7;
	}
	m->count = kept;
	at = 0;
	for (size_t i = 0; i < kept; i++) { /* the memory stands only now */
		m->record[i].data = t->made + at;
		at += (m->record[i].size + 7) & ~(size_t)7;
	}
	return DPI_SUCCESS;
}

/* ----------------------------------------------------------------------------------------------------------- running */

int dpi_maps_begin(struct dpi_maps *m, size_t rows)
{
	m->sifted_before = m->sifted, m->errors_before = m->errors;
	m->refused = false;
	for (uint32_t i = 0; i < m->steps; i++) {
		m->step[i].before = m->step[i].seen;
		m->step[i].stats_before = m->step[i].stats;
	}
	if (rows > m->room) {
		size_t n = rows < 16 ? 16 : rows;
		m->room = 0;
		free(m->record), free(m->from), free(m->bits), free(m->hash);
		m->record = malloc(n * sizeof *m->record), m->from = malloc(n * sizeof *m->from);
		m->bits = malloc((n + 63) / 64 * 8), m->hash = malloc(n * sizeof *m->hash);
		if (!m->record || !m->from || !m->bits || !m->hash) return no_memory();
		m->room = n;
	}
	m->count = rows;
	return DPI_SUCCESS;
}

/* in: the run as it came, if this is the first stage and its rows stand in line; else NULL. */
static int step(struct dpi_maps *m, struct dpi_step *t, const struct dpi_rows *in)
{
	const struct dpi_stage *s = t->stage;
	size_t ignored;
	int error = DPI_SUCCESS;
	if (s->kind == DPI_STAGE_MAP) return call_all(m, t);
	if (in) error = dpi_row_batch_strided(&t->columns, in->rows, in->stride, in->count);
	else error = dpi_row_batch_records(&t->columns, m->record, m->count);
	uint64_t before = dpi_step_dropped(t);
	if (error) return error;
	if (s->kind == DPI_STAGE_GROUP) return group(m, t);
	if (s->kind == DPI_STAGE_FILTER) error = dpi_expr_filter(t->state, &t->columns.batch, NULL, m->bits, &ignored);
	else if (s->kind != DPI_STAGE_SAMPLE) error = project(m, t);
	else if (s->key_count) sample_keys(m, t);
	else sample_numbers(m, t);
	if (error) return error;
	m->errors += dpi_step_dropped(t) - before;
	keep(m);
	return DPI_SUCCESS;
}

/* One thread counts, others look. */
static void add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

void dpi_step_count(struct dpi_step *t, size_t rows, size_t passed, uint64_t bytes, uint64_t errors)
{
	add(&t->stats.rows, rows);
	add(&t->stats.passed, passed);
	add(&t->stats.bytes, bytes);
	add(&t->stats.batches, 1);
	add(&t->stats.row_errors, errors);
}

int dpi_step_failed(const struct dpi_step *t, int error)
{
	char why[DPI_DETAIL_MAX];
	snprintf(why, sizeof why, "%s", dpi_detail());
	return dpi_fail(error, "stage %u: %.800s", t->number, why);
}

static uint64_t bytes_of(const struct dpi_maps *m, const struct dpi_schema *s)
{
	uint64_t bytes = s->varies ? 0 : (uint64_t)m->count * s->row_size;
	for (size_t i = 0; s->varies && i < m->count; i++) bytes += m->record[i].size;
	return bytes;
}

int dpi_maps_run(struct dpi_maps *m, const struct dpi_rows *in, struct dpi_mapped *out)
{
	int error = dpi_maps_begin(m, in->count);
	for (size_t i = 0; i < in->count && !error; i++) {
		m->record[i] = dpi_rows_at(in, i);
		m->from[i] = (uint32_t)i;
	}
	for (uint32_t i = 0; i < m->steps && m->count && !error; i++) {
		size_t rows = m->count;
		uint64_t errors = m->errors;
		error = step(m, m->step + i, !i && in->rows ? in : NULL);
		if (!error) dpi_step_count(m->step + i, rows, m->count, bytes_of(m, m->step[i].stage->out), m->errors - errors);
		else if (!m->refused) dpi_step_failed(m->step + i, error);
	}
	if (error) {
		dpi_maps_back(m);
		return error;
	}
	m->sifted += in->count - m->count;
	*out = (struct dpi_mapped){ m->record, m->from, m->count };
	return DPI_SUCCESS;
}

bool dpi_maps_refused(const struct dpi_maps *m, size_t *row)
{
	*row = m->refuses;
	return m->refused;
}

void dpi_maps_back(struct dpi_maps *m)
{
	m->sifted = m->sifted_before, m->errors = m->errors_before;
	for (uint32_t i = 0; i < m->steps; i++) {
		struct dpi_step *t = m->step + i;
		t->seen = t->before;
#define RESTORE(name, unit, text) __atomic_store_n(&t->stats.name, t->stats_before.name, __ATOMIC_RELAXED);
		DPI_STAGE_STATS(RESTORE)
#undef RESTORE
	}
}

bool dpi_maps_stage(const struct dpi_maps *m, uint32_t number, DPI_Stage_Stats *stats)
{
	for (uint32_t i = 0; m && i < m->steps; i++) {
		if (m->step[i].number != number) continue;
#define LOAD(name, unit, text) stats->name = __atomic_load_n(&m->step[i].stats.name, __ATOMIC_RELAXED);
		DPI_STAGE_STATS(LOAD)
#undef LOAD
		return true;
	}
	return false;
}

void dpi_maps_count(const struct dpi_maps *m, uint64_t *sifted, uint64_t *errors)
{
	__atomic_store_n(sifted, m->sifted, __ATOMIC_RELAXED);
	__atomic_store_n(errors, m->errors, __ATOMIC_RELAXED);
}
