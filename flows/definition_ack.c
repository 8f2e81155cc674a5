/* SPDX-License-Identifier: Apache-2.0
 * definition_ack.c: what a definition says of acknowledgements. As bytes: uint32_t with their number, then, if the flow has
 * any, the numbers of definition_parts.h, the column, and the function's name behind a uint32_t with its bytes. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "definition_parts.h"
#include "error.h"

static const char *const level_text[] = { "none", "received", "released", "confirmed" };
static const char *const of_text[] = { "all", "quorum", "count" };

/* ------------------------------------------------------------------------------------------------------ attributes */

/* Without acknowledgements nothing of them may be set. */
static int check_none(const DPI_Flow_Attr *a)
{
	const char *set = a->ack_of ? "ack_of" : a->ack_quorum ? "ack_quorum" : a->ack_up_to ? "ack_up_to" : a->ack_pending ? "ack_pending"
			: a->ack_version ? "ack_version" : a->ack_column ? "ack_column" : a->ack_function ? "ack_function" : NULL;
	if (!set) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_ARGUMENT, "attr->%s is set, and attr->ack is DPI_ACK_NONE: say when rows are acknowledged, or leave it 0", set);
}

static int check_level(const struct dpi_definition *d)
{
	if (d->ack > DPI_ACK_CONFIRMED)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->ack is %d: it is one of DPI_ACK_NONE, RECEIVED, RELEASED and CONFIRMED", (int)d->ack);
	if (d->ack_of > DPI_ACK_COUNT)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->ack_of is %d: it is one of DPI_ACK_ALL, DPI_ACK_QUORUM and DPI_ACK_COUNT", (int)d->ack_of);
	if (d->ack_up_to > 1) return dpi_fail(DPI_ERR_ARGUMENT, "attr->ack_up_to is %d: it is 0 or 1", (int)d->ack_up_to);
	if (d->ack_up_to && d->ack_of == DPI_ACK_COUNT)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->ack_up_to is 1 and attr->ack_of DPI_ACK_COUNT: counts are told row by row; set one of them to 0");
	if (d->ack_pending > DPI_ACK_PENDING_MOST)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->ack_pending is %u: at most %u rows of a source wait, and 0 is %u", d->ack_pending,
				DPI_ACK_PENDING_MOST, DPI_ACK_PENDING);
	return DPI_SUCCESS;
}

/* To how many targets can a row go? */
static int check_quorum(const struct dpi_definition *d)
{
	uint32_t most = d->dist == DPI_DIST_BROADCAST || d->dist == DPI_DIST_FUNCTION ? d->targets : 1;
	if (d->ack_of != DPI_ACK_QUORUM && d->ack_quorum)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->ack_quorum is %u, and attr->ack_of is not DPI_ACK_QUORUM: set it, or leave ack_quorum 0", d->ack_quorum);
	if (d->ack_of == DPI_ACK_QUORUM && (!d->ack_quorum || d->ack_quorum > most))
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->ack_quorum is %u: with this dist and %u targets a row goes to at most %u, so it is 1 to %u",
				d->ack_quorum, d->targets, most, most);
	return DPI_SUCCESS;
}

static int copy_column(struct dpi_definition *d, const char *name)
{
	char copy[DPI_NAME_MAX + 1] = "", text[DPI_COLUMN_TEXT];
	memcpy(copy, name, strnlen(name, DPI_NAME_MAX));
	int column = dpi_schema_find(d->schema, copy);
	if (column < 0)
		return dpi_fail(DPI_ERR_NAME, "attr->ack_column is \"%.127s\", and the schema has no such column: name one of its %u columns", copy,
				d->schema->columns);
	const struct dpi_column *c = d->schema->column + column;
	if (c->nullable || c->type < DPI_TYPE_INT8 || c->type > DPI_TYPE_UINT64)
		return dpi_fail(DPI_ERR_UNSUPPORTED, "attr->ack_column is %s: it is an integer that is never NULL; of other columns a function makes a key",
				dpi_schema_column_text(c, text));
	d->ack_column = (uint32_t)column + 1;
	return DPI_SUCCESS;
}

int dpi_definition_ack(struct dpi_definition *d, const DPI_Flow_Attr *attr)
{
	if (attr->ack == DPI_ACK_NONE) return check_none(attr);
#define COPY(kind, field) d->field = (uint32_t)attr->field;
	DPI_DEFINITION_ACK(COPY)
#undef COPY
	int error = check_level(d);
	if (!error) error = check_quorum(d);
	if (!error && attr->ack_column && attr->ack_function)
		error = dpi_fail(DPI_ERR_ARGUMENT, "attr->ack_column and attr->ack_function are both given: a key is either of a column or of a function");
	if (!error && d->ack_version && !attr->ack_function)
		error = dpi_fail(DPI_ERR_ARGUMENT, "attr->ack_version is %u, but attr->ack_function is NULL: name the function, or set its version to 0",
				 d->ack_version);
	if (!error && d->ack != DPI_ACK_RECEIVED && d->reduction && d->window == DPI_WINDOW_END)
		error = dpi_fail(DPI_ERR_ARGUMENT,
				 "attr->ack is DPI_ACK_%s, attr->aggregates reduce, and attr->window is DPI_WINDOW_END: the results come when no source is left to hear of "
				 "it; take a window of marks or rows, or DPI_ACK_RECEIVED", d->ack == DPI_ACK_RELEASED ? "RELEASED" : "CONFIRMED");
	if (!error && attr->ack_column) error = copy_column(d, attr->ack_column);
	if (!error && attr->ack_function) error = dpi_definition_copy_name("ack_function", attr->ack_function, d->ack_function);
	if (!d->ack_pending) d->ack_pending = DPI_ACK_PENDING;
	return error;
}

/* ---------------------------------------------------------------------------------------------------------- bytes */

static uint32_t part_bytes(const struct dpi_definition *d)
{
	enum { u32 = 4 };
	uint32_t size = 0;
#define ADD(kind, field) size += kind;
	DPI_DEFINITION_ACK(ADD)
#undef ADD
	return d->ack ? size + 4 + 4 + (uint32_t)strlen(d->ack_function) : 0;
}

size_t dpi_definition_ack_bytes(const struct dpi_definition *d)
{
	return 4 + part_bytes(d);
}

void dpi_definition_ack_pack(const struct dpi_definition *d, struct dpi_pack *p)
{
	dpi_pack_u32(p, part_bytes(d));
	if (!d->ack) return;
#define PACK(kind, field) dpi_pack_##kind(p, d->field);
	DPI_DEFINITION_ACK(PACK)
#undef PACK
	dpi_pack_u32(p, d->ack_column);
	dpi_pack_text(p, d->ack_function);
}

bool dpi_definition_ack_unpack(struct dpi_unpack *in, const struct dpi_schema *s, DPI_Flow_Attr *attr, char function[static DPI_NAME_MAX])
{
	uint32_t size = dpi_unpack_u32(in);
	if (in->bad || !size) return !in->bad;
	const uint8_t *begin = in->at;
#define UNPACK(kind, field) attr->field = dpi_unpack_##kind(in);
	DPI_DEFINITION_ACK(UNPACK)
#undef UNPACK
	uint32_t column = dpi_unpack_u32(in);
	dpi_unpack_text(in, function, DPI_NAME_MAX);
	if (in->bad || (size_t)(in->at - begin) != size || column > s->columns || attr->ack == DPI_ACK_NONE) return false;
	if (column) attr->ack_column = s->column[column - 1].name;
	if (function[0]) attr->ack_function = function;
	return true;
}

/* --------------------------------------------------------------------------------------------------------- equality */

static const char *number_text(const char *field, uint32_t value, char text[static 16])
{
	if (!strcmp(field, "ack")) return level_text[value];
	if (!strcmp(field, "ack_of")) return of_text[value];
	snprintf(text, 16, "%" PRIu32, value);
	return text;
}

static bool same(const char *field, uint32_t flow, uint32_t yours, char *text, size_t room)
{
	char one[16], two[16];
	if (flow == yours) return true;
	snprintf(text, room, "the flow's %s is %s, yours is %s", field, number_text(field, flow, one), number_text(field, yours, two));
	return false;
}

static const char *column_name(const struct dpi_definition *d)
{
	return d->ack_column ? d->schema->column[d->ack_column - 1].name : "none";
}

bool dpi_definition_ack_equal(const struct dpi_definition *flow, const struct dpi_definition *yours, char *text, size_t room)
{
#define SAME(kind, field) \
	if (!same(#field, flow->field, yours->field, text, room)) return false;
	DPI_DEFINITION_ACK(SAME)
#undef SAME
	if (flow->ack_column != yours->ack_column) {
		snprintf(text, room, "the flow's ack_column is %.127s, yours is %.127s", column_name(flow), column_name(yours));
		return false;
	}
	if (!strcmp(flow->ack_function, yours->ack_function)) return true;
	snprintf(text, room, "the flow's ack_function is \"%s\", yours is \"%s\"", flow->ack_function, yours->ack_function);
	return false;
}
