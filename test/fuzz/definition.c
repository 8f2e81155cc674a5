/* SPDX-License-Identifier: Apache-2.0
 * definition.c: libFuzzer target: any bytes as a flow's definition, as a peer may send them. */

#include "error.h"
#include "flows/definition.h"
#include "flows/map.h"
#include "flows/move/move.h"
#include "flows/reduce/reduce.h"
#include "flows/segment.h"
#include "fuzz.h"

static void same_bytes(const struct dpi_definition *d, const uint8_t *data, size_t size)
{
	uint8_t *bytes;
	size_t written;
	need(!dpi_definition_write(d, &bytes, &written), "a definition can be written");
	need(written == size && !memcmp(bytes, data, size), "these are the bytes that it has");
	free(bytes);
}

/* Rows on the way have schemas that follow from each other, and programs fit them. */
static void promises_of_pipe(const struct dpi_definition *d)
{
	const struct dpi_schema *rows = d->grouped.in ? d->grouped.out : d->schema;
	need(d->stages <= DPI_STAGES_MAX && d->source_stages <= d->stages && d->codecs <= DPI_CODECS_MAX, "stages and codecs are bounded");
	for (uint32_t i = 0; i < d->stages; i++) {
		const struct dpi_stage *s = d->stage + i;
		if (i == d->source_stages && d->reduction) rows = d->reduction->output;
		need(s->in == rows, "a stage takes what comes");
		for (uint32_t k = 0; k < s->key_count; k++) need(s->key[k] < s->in->columns, "keys of samples are columns");
		for (uint32_t c = 0; s->from && c < s->out->columns; c++) {
			need(s->from[c] < (int)s->in->columns, "columns are of those that come");
			need(s->from[c] >= 0 || s->kind == DPI_STAGE_MAP || s->program[c], "columns that are made have programs");
		}
		rows = s->out;
	}
	if (d->reduction && d->source_stages == d->stages) rows = d->reduction->output;
	need(d->output == rows, "what comes out last is the output");
	need(d->partial ? d->wire == d->reduction->state : d->wire != NULL, "partial rows are the reduction's states");
	need(dpi_flow_segment_size(d->wire, d->segment) > sizeof(struct dpi_flow_segment), "a row that travels fits a segment");
	struct dpi_maps *m = NULL;
	if (d->stages && !dpi_maps_new(d, 0, d->stages, &m)) dpi_maps_free(m);
	if (d->grouped.in && !dpi_maps_new_source(d, &m)) dpi_maps_free(m);
}

/* What the rest of the library relies on. */
static void promises(const struct dpi_definition *d)
{
	uint32_t keys = dpi_definition_keys(d);
	promises_of_pipe(d);
	need(d->targets && d->targets <= DPI_TARGETS_MAX && d->sources <= DPI_SOURCES_MAX, "endpoints are bounded");
	need(d->dist <= DPI_DIST_FUNCTION && d->hint <= 1 && d->on_death <= 1 && d->linger_us >= 0, "values are known ones");
	need(d->segment >= DPI_FLOW_SEGMENT_LEAST && d->segment <= DPI_FLOW_SEGMENT_MOST, "a segment is bounded");
	need(d->memory >= d->segment && d->memory <= DPI_FLOW_MEMORY_MOST, "memory is bounded");
	for (uint32_t k = 0; k < d->key_count; k++) need(d->key[k] < d->schema->columns, "keys are columns");
	for (uint32_t i = 0; i < d->table_size; i++) need(d->table[i] < d->targets, "tables name targets");
	need(!d->table == (d->dist != DPI_DIST_TABLE), "a table has a table");
	need(!d->bound == (d->dist != DPI_DIST_RANGE || d->targets == 1), "a range has bounds");
	need(!d->dist_function[0] == (d->dist != DPI_DIST_FUNCTION), "a function has a name");
	need(keys <= DPI_KEYS_MAX && (keys || d->targets == 1 || d->dist > DPI_DIST_RANGE), "a key where one is needed");
	for (uint32_t k = 0; d->bound && k < keys; k++) { /* every byte that may be read is there */
		const struct dpi_vector *v = d->bound + k;
		struct dpi_strided s = dpi_strided_of(v);
		uint64_t hash[DPI_PARTS_MAX];
		dpi_hash_start(1, d->targets - 1, hash);
		dpi_hash_column(&s, 0, d->targets - 1, hash);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dpi_definition *d, *e;
	char text[256];
	int error = dpi_definition_parse(data, size, &d);
	need(!error || error == DPI_ERR_CORRUPT || error == DPI_ERR_VERSION, "the class of an error");
	need(!error || *dpi_detail(), "an error has its sentence");
	if (error) return 0;
	same_bytes(d, data, size);
	promises(d);
	need(!dpi_definition_parse(data, size, &e) && dpi_definition_equal(d, e, text, sizeof text), "the same again");
	dpi_definition_unref(d), dpi_definition_unref(e);
	return 0;
}
