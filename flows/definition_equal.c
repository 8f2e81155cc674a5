/* SPDX-License-Identifier: Apache-2.0
 * definition_equal.c: the first difference of two definitions. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "definition_parts.h"

static const char *const dist_text[] = { "hash", "radix", "range", "round robin", "broadcast", "table", "function" };
static const char *const hint_text[] = { "bandwidth", "latency" };
static const char *const layout_text[] = { "rows", "columns" };
static const char *const death_text[] = { "fails", "goes on" };

/* A number as people read it. */
static const char *number_text(const char *field, uint64_t value, char text[static 24])
{
	if (!strcmp(field, "dist")) return dist_text[value];
	if (!strcmp(field, "hint")) return hint_text[value];
	if (!strcmp(field, "layout")) return layout_text[value];
	if (!strcmp(field, "on_death")) return death_text[value];
	snprintf(text, 24, "%" PRIu64, value);
	return text;
}

static bool same_number(const char *field, uint64_t flow, uint64_t yours, char *text, size_t room)
{
	char one[24], two[24];
	if (flow == yours) return true;
	snprintf(text, room, "the flow's %s is %s, yours is %s", field, number_text(field, flow, one),
		 number_text(field, yours, two));
	return false;
}

static bool same_name(const char *field, const char *flow, const char *yours, char *text, size_t room)
{
	if (!strcmp(flow, yours)) return true;
	snprintf(text, room, "the flow's %s is %s%s%s, yours is %s%s%s", field, *flow ? "\"" : "none", flow,
		 *flow ? "\"" : "", *yours ? "\"" : "none", yours, *yours ? "\"" : "");
	return false;
}

static bool same_key(const struct dpi_definition *flow, const struct dpi_definition *yours, char *text, size_t room)
{
	for (uint32_t k = 0; k < flow->key_count && k < yours->key_count; k++) {
		if (flow->key[k] == yours->key[k]) continue;
		snprintf(text, room, "the flow's key[%u] is \"%s\", yours is \"%s\"", k,
			 flow->schema->column[flow->key[k]].name, yours->schema->column[yours->key[k]].name);
		return false;
	}
	return same_number("key_count", flow->key_count, yours->key_count, text, room);
}

static bool same_table(const struct dpi_definition *flow, const struct dpi_definition *yours, char *text, size_t room)
{
	for (uint32_t i = 0; i < flow->table_size; i++) {
		if (flow->table[i] == yours->table[i]) continue;
		snprintf(text, room, "the flow's table[%u] is %u, yours is %u", i, flow->table[i], yours->table[i]);
		return false;
	}
	return true;
}

static bool same_bounds(const struct dpi_definition *flow, const struct dpi_definition *yours, char *text, size_t room)
{
	uint32_t rows = dpi_bounds_rows(flow), i;
	for (uint32_t k = 0; rows && k < dpi_definition_keys(flow); k++) {
		if ((i = dpi_bounds_differ(flow->bound + k, yours->bound + k, rows)) == rows) continue;
		snprintf(text, room, "row %u of the flow's bounds[%u] is another than in yours", i, k);
		return false;
	}
	return true;
}

bool dpi_definition_equal(const struct dpi_definition *flow, const struct dpi_definition *yours, char *text, size_t room)
{
	if (room) *text = 0;
	if (flow == yours) return true;
	if (!dpi_schema_equal(flow->schema, "the flow's schema", yours->schema, "yours", text, room)) return false;
	if (!same_key(flow, yours, text, room) || !same_name("group", flow->group, yours->group, text, room)) return false;
#define SAME(kind, field) \
	if (!same_number(#field, (uint64_t)flow->field, (uint64_t)yours->field, text, room)) return false;
	DPI_DEFINITION_NUMBERS(SAME)
#undef SAME
	if (!same_number("layout", flow->layout, yours->layout, text, room)) return false;
	return same_name("dist_function", flow->dist_function, yours->dist_function, text, room) &&
	       same_table(flow, yours, text, room) && same_bounds(flow, yours, text, room) &&
	       dpi_pipe_equal(flow, yours, text, room) && dpi_definition_ack_equal(flow, yours, text, room) &&
	       dpi_definition_retain_equal(flow, yours, text, room);
}
