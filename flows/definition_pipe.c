/* SPDX-License-Identifier: Apache-2.0
 * definition_pipe.c: stages, reduce and codecs of a definition, and the schemas of its rows on the way. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"
#include "coded.h"
#include "definition_parts.h"
#include "error.h"
#include "reduce/reduce.h"
#include "segment.h"

#define REDUCE_MEMORY (64ull << 20)

/* ----------------------------------------------------------------------------------------------------------- stages */

/* Would a pushable stage spare the wire anything, and give the same wherever it runs? */
static bool spares(const struct dpi_stage *s)
{
	if (s->kind == DPI_STAGE_FILTER) return true;
	if (s->kind == DPI_STAGE_SAMPLE) return s->key_count;
	return s->kind != DPI_STAGE_MAP && !s->in->varies && !s->out->varies && s->out->row_size < s->in->row_size;
}

/* The stages from the next one on, up to one that is placed elsewhere; *rows: of those that come, then of those that leave. */
static int make_stages(const DPI_Flow_Attr *attr, const struct dpi_parsed_pipe *parsed, struct dpi_definition *d, bool source, struct dpi_schema **rows)
{
	for (size_t i = d->stages; i < attr->stage_count; i++) {
		const DPI_Stage *a = attr->stages + i;
		struct dpi_schema *schema = parsed ? parsed->schema[i] : NULL;
		if (source && a->place == DPI_AT_TARGET) return DPI_SUCCESS;
		if (!source && a->place == DPI_AT_SOURCE)
			return dpi_fail(DPI_ERR_ARGUMENT,
					"attr->stages[%zu].place is DPI_AT_SOURCE, behind a stage at the target: rows do not go back; place it at the target, or put "
					"it before", i);
		if (!parsed && a->schema && !(schema = dpi_schema_get(a->schema))) return dpi_schema_error(a->schema);
		d->stages++;
		int error = dpi_stage_from(a, i, *rows, schema, d->row_error == DPI_ROW_ERROR_NULL, d->stage + i);
		if (error) return error;
		*rows = d->stage[i].out;
	}
	return DPI_SUCCESS;
}

static int begin_stages(const DPI_Flow_Attr *attr, const struct dpi_parsed_pipe *parsed, struct dpi_definition *d, struct dpi_schema **rows)
{
	if (attr->stage_count > DPI_STAGES_MAX || !attr->stages != !attr->stage_count)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->stages is %s and attr->stage_count %zu: set both, at most %d, or neither", attr->stages ? "given" : "NULL",
				attr->stage_count, DPI_STAGES_MAX);
	if (!attr->stage_count) return DPI_SUCCESS;
	if (!(d->stage = calloc(attr->stage_count, sizeof *d->stage))) return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu stages", attr->stage_count);
	int error = make_stages(attr, parsed, d, true, rows);
	d->source_stages = d->stages;
	return error;
}

/* ----------------------------------------------------------------------------------------------------------- reduce */

/* The column that column c of the rows as pushed has become behind the first stages; -1: it is gone, or changed. */
static int follow(const struct dpi_definition *d, int c)
{
	for (uint32_t i = 0; i < d->source_stages && c >= 0; i++) {
		const struct dpi_stage *s = d->stage + i;
		int to = -1;
		if (!dpi_stage_makes(s)) continue;
		for (uint32_t k = 0; k < s->out->columns && to < 0; k++)
			if (s->from[k] == c && !strcmp(s->out->column[k].name, s->in->column[c].name)) to = (int)k;
		c = to;
	}
	return c;
}

static int reduce_key(const struct dpi_definition *d, uint16_t key[static DPI_KEYS_MAX])
{
	if (d->grouped.in) {
		int column = follow(d, (int)d->schema->columns);
		if (column < 0)
			return dpi_fail(DPI_ERR_ARGUMENT,
					"attr->group, \"%s\", gives a column that is changed or left out by a stage at the source, and attr->aggregates reduce by it: keep it as it is",
					d->group);
		key[0] = (uint16_t)column;
	}
	for (uint32_t k = 0; k < d->key_count; k++) {
		int column = follow(d, d->key[k]);
		if (column < 0)
			return dpi_fail(DPI_ERR_ARGUMENT,
					"attr->key[%u], \"%s\", is changed or left out by a stage at the source, and attr->aggregates reduce by it: keep it as it is", k,
					d->schema->column[d->key[k]].name);
		key[k] = (uint16_t)column;
	}
	return DPI_SUCCESS;
}

static int no_reduce(const struct dpi_definition *d)
{
	const char *field = d->reduce ? "reduce" : d->reduce_memory ? "reduce_memory" : d->reduce_full ? "reduce_full" : d->window ? "window"
			    : d->window_rows ? "window_rows" : NULL;
	if (!field) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_ARGUMENT, "attr->%s is set, and attr->aggregate_count is 0: say what to reduce, or set it to 0", field);
}

static int check_reduce(struct dpi_definition *d)
{
	int error = dpi_definition_below("reduce", d->reduce, DPI_REDUCE_PUSHABLE, "DPI_REDUCE_*");
	if (!error) error = dpi_definition_below("reduce_full", d->reduce_full, DPI_FULL_FAILS, "DPI_FULL_SPILLS and DPI_FULL_FAILS");
	if (!error) error = dpi_definition_below("window", d->window, DPI_WINDOW_ROWS, "DPI_WINDOW_*");
	if (error) return error;
	if (!d->reduce_memory) d->reduce_memory = REDUCE_MEMORY;
	if (d->reduce_memory < DPI_TABLE_LEAST || d->reduce_memory > DPI_TABLE_MOST)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->reduce_memory is %" PRIu64 ": a table has %" PRIu64 " to %" PRIu64 " bytes, and 0 is %llu", d->reduce_memory,
				DPI_TABLE_LEAST, DPI_TABLE_MOST, REDUCE_MEMORY);
	if ((d->window == DPI_WINDOW_ROWS) != (d->window_rows > 0))
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->window is %u and attr->window_rows %" PRIu64 ": a number of rows belongs to DPI_WINDOW_ROWS, and to nothing else",
				d->window, d->window_rows);
	if (d->window == DPI_WINDOW_ROWS && d->reduce == DPI_REDUCE_BOTH)
		return dpi_fail(DPI_ERR_ARGUMENT,
				"attr->window is DPI_WINDOW_ROWS and attr->reduce DPI_REDUCE_BOTH: partial rows do not count rows; take DPI_REDUCE_TARGET");
	return DPI_SUCCESS;
}

/* Would a pushable reduction that runs partially at the source, too, send nothing larger than its rows, and give the same? Sums of
 * floats depend on what was added up before it travelled; what a program's reducer does, nobody knows. */
static bool reduces_less(const struct dpi_definition *d)
{
	const struct dpi_reduction *r = d->reduction;
	if (d->window == DPI_WINDOW_ROWS || r->input->varies || r->state->varies || r->state->row_size > r->input->row_size) return false;
	for (uint32_t i = 0; i < r->count; i++) {
		const struct dpi_aggregate *a = r->aggregate + i;
		bool is_float = a->type == DPI_TYPE_FLOAT || a->type == DPI_TYPE_DOUBLE;
		if (a->function == DPI_AGGREGATE_REDUCER) return false;
		if (is_float && (a->function == DPI_AGGREGATE_SUM || a->function == DPI_AGGREGATE_AVG)) return false;
	}
	return true;
}

static int make_reduction(const DPI_Flow_Attr *attr, const struct dpi_parsed_pipe *parsed, struct dpi_schema *input, struct dpi_definition *d)
{
	uint16_t key[DPI_KEYS_MAX];
	char why[DPI_DETAIL_MAX];
	uint32_t keys = dpi_definition_keys(d);
	bool bytes = parsed && parsed->reduction;
	if (!bytes && (!attr->aggregates != !attr->aggregate_count || attr->aggregate_count > DPI_AGGREGATES_MAX))
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->aggregates is %s and attr->aggregate_count %zu: set both, at most %d, or neither",
				attr->aggregates ? "given" : "NULL", attr->aggregate_count, DPI_AGGREGATES_MAX);
	if (!bytes && !attr->aggregate_count) return no_reduce(d);
	int error = check_reduce(d);
	if (!error) error = reduce_key(d, key);
	if (error) return error;
	error = bytes ? dpi_reduction_parse(parsed->reduction, parsed->reduction_size, input, &d->reduction)
		      : dpi_reduction_new(input, key, keys, attr->aggregates, attr->aggregate_count, &d->reduction);
	if (error) {
		snprintf(why, sizeof why, "%s", dpi_detail());
		return dpi_fail(error, "attr->aggregates: %.800s", why);
	}
	struct dpi_reduction *r = d->reduction;
	if (!r->count || r->key_count != keys || (keys && memcmp(r->key, key, keys * sizeof *key)))
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->aggregates reduce by another key than attr->key, or are none");
	d->partial = r->merges && (d->reduce == DPI_REDUCE_BOTH || (d->reduce == DPI_REDUCE_PUSHABLE && reduces_less(d) && !attr->retain));
	return DPI_SUCCESS;
}

/* ----------------------------------------------------------------------------------------------------------- codecs */

static int make_codec(const DPI_Codec *a, size_t i, struct dpi_definition *d)
{
	const struct dpi_codec *codec = a->codec > 0 ? dpi_codec_numbered((uint32_t)a->codec) : NULL;
	struct dpi_flow_codec *c = d->codec + i;
	char field[40];
	if (!codec) return dpi_fail(DPI_ERR_ARGUMENT, "attr->codecs[%zu].codec is %d: it is one of DPI_CODEC_*", i, a->codec);
	if (a->level && (a->level < codec->least || a->level > codec->most || !codec->most))
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->codecs[%zu].level is %d: %s has levels %d to %d, and 0 is its usual one", i, a->level, codec->name, codec->least,
				codec->most);
	if (codec->keyed != (a->key != NULL))
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->codecs[%zu].key is %s: %s", i, a->key ? "given" : "NULL",
				codec->keyed ? "name the key, which each process holds by DPI_Set_Key" : "a codec that compresses has none");
	if (!codec->keyed && i && d->codec[i - 1].key[0])
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->codecs[%zu] compresses what is encrypted, which does not become smaller: put it before", i);
	c->codec = codec->id;
	c->level = a->level;
	snprintf(field, sizeof field, "codecs[%zu].key", i);
	d->codecs++;
	return a->key ? dpi_definition_copy_name(field, a->key, c->key) : DPI_SUCCESS;
}

static int make_codecs(const DPI_Flow_Attr *attr, struct dpi_definition *d)
{
	int error = DPI_SUCCESS;
	if (attr->codec_count > DPI_CODECS_MAX || !attr->codecs != !attr->codec_count)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->codecs is %s and attr->codec_count %zu: set both, at most %d, or neither", attr->codecs ? "given" : "NULL",
				attr->codec_count, DPI_CODECS_MAX);
	for (size_t i = 0; i < attr->codec_count && !error; i++) error = make_codec(attr->codecs + i, i, d);
	return error;
}

/* --------------------------------------------------------------------------------------------------------- together */

static int check_wire(const struct dpi_definition *d)
{
	if ((d->wire == d->schema && !d->codecs) || d->layout == DPI_LAYOUT_COLUMNS) return DPI_SUCCESS; /* check_sizes has its own sentence */
	uint32_t room = dpi_flow_plain_size(d) - (uint32_t)sizeof(struct dpi_flow_segment);
	if (dpi_flow_row_need(d->wire, d->wire->row_size) <= room) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_SIZE,
			"attr->segment is %u, of which encryption takes %u, and the fixed part of a row that travels, behind the stages at the source%s, has %u "
			"bytes: raise it, at most to %u", d->segment, dpi_coded_more(d), d->partial ? " and reduce" : "", d->wire->row_size,
			DPI_FLOW_SEGMENT_MOST);
}

int dpi_pipe_from(const DPI_Flow_Attr *attr, const struct dpi_parsed_pipe *parsed, struct dpi_definition *d)
{
#define COPY(kind, field) d->field = (kind)attr->field;
	typedef uint32_t u32;
	typedef uint64_t u64;
	DPI_DEFINITION_PIPE_NUMBERS(COPY)
#undef COPY
	struct dpi_schema *rows = d->schema;
	int error = dpi_definition_below("row_error", d->row_error, DPI_ROW_ERROR_DROPS, "DPI_ROW_ERROR_*");
	bool reduces = attr->aggregate_count || (parsed && parsed->reduction);
	if (!error && reduces && d->group[0]) error = dpi_stage_group(d->group, d->group_version, d->schema, &d->grouped);
	if (!error && d->grouped.in) rows = d->grouped.out;
	if (!error) error = begin_stages(attr, parsed, d, &rows);
	if (!error) error = make_reduction(attr, parsed, rows, d);
	if (!error && d->reduction) rows = d->reduction->output;
	if (!error) error = make_stages(attr, parsed, d, false, &rows);
	if (!error) error = make_codecs(attr, d);
	if (error) return error;
	while (!d->reduction && d->source_stages < d->stages && d->stage[d->source_stages].pushable && spares(d->stage + d->source_stages)) d->source_stages++;
	d->output = dpi_schema_ref(rows);
	d->wire = dpi_schema_ref(d->partial ? d->reduction->state : d->source_stages ? d->stage[d->source_stages - 1].out : d->grouped.in ? d->grouped.out : d->schema);
	return check_wire(d);
}

void dpi_pipe_free(struct dpi_definition *d)
{
	for (uint32_t i = 0; i < d->stages; i++) dpi_stage_free(d->stage + i);
	free(d->stage);
	dpi_stage_free(&d->grouped);
	dpi_reduction_unref(d->reduction);
	dpi_schema_unref(d->wire), dpi_schema_unref(d->output);
}

/* ------------------------------------------------------------------------------------------------------------ equal */

static bool differ(const char *field, uint64_t flow, uint64_t yours, char *text, size_t room)
{
	snprintf(text, room, "the flow's %s is %" PRIu64 ", yours is %" PRIu64, field, flow, yours);
	return false;
}

static bool same_reduction(const struct dpi_reduction *flow, const struct dpi_reduction *yours, char *text, size_t room)
{
	if (!flow != !yours) {
		snprintf(text, room, "the flow %s, yours %s", flow ? "reduces" : "does not reduce", yours ? "reduces" : "does not");
		return false;
	}
	if (!flow) return true;
	if (flow->count != yours->count) return differ("aggregate_count", flow->count, yours->count, text, room);
	for (uint32_t i = 0; i < flow->count; i++) {
		const struct dpi_aggregate *a = flow->aggregate + i, *b = yours->aggregate + i;
		if (a->function == b->function && a->column == b->column && a->by == b->by && a->k == b->k && a->precision == b->precision &&
		    a->ascending == b->ascending && a->version == b->version && a->bytes == b->bytes && a->merges == b->merges && !strcmp(a->reducer, b->reducer) &&
		    !strcmp(a->name, b->name))
			continue;
		snprintf(text, room, "the flow's aggregates[%u], \"%s\", is another than yours, \"%s\"", i, a->name, b->name);
		return false;
	}
	return dpi_schema_equal(flow->output, "the schema of the flow's results", yours->output, "of yours", text, room);
}

static bool same_codecs(const struct dpi_definition *flow, const struct dpi_definition *yours, char *text, size_t room)
{
	if (flow->codecs != yours->codecs) return differ("codec_count", flow->codecs, yours->codecs, text, room);
	for (uint32_t i = 0; i < flow->codecs; i++) {
		const struct dpi_flow_codec *a = flow->codec + i, *b = yours->codec + i;
		if (a->codec == b->codec && a->level == b->level && !strcmp(a->key, b->key)) continue;
		snprintf(text, room, "the flow's codecs[%u] is %s, level %d, key \"%s\", yours is %s, level %d, key \"%s\"", i, dpi_codec_numbered(a->codec)->name,
			 a->level, a->key, dpi_codec_numbered(b->codec)->name, b->level, b->key);
		return false;
	}
	return true;
}

bool dpi_pipe_equal(const struct dpi_definition *flow, const struct dpi_definition *yours, char *text, size_t room)
{
#define SAME(kind, field) \
	if (flow->field != yours->field) return differ(#field, flow->field, yours->field, text, room);
	DPI_DEFINITION_PIPE_NUMBERS(SAME)
#undef SAME
	if (flow->stages != yours->stages) return differ("stage_count", flow->stages, yours->stages, text, room);
	for (uint32_t i = 0; i < flow->stages; i++)
		if (!dpi_stage_equal(flow->stage + i, yours->stage + i, i, text, room)) return false;
	return same_reduction(flow->reduction, yours->reduction, text, room) && same_codecs(flow, yours, text, room);
}
