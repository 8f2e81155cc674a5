/* SPDX-License-Identifier: Apache-2.0
 * stage_text.c: the expressions that stages without text stand for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "expr/type.h"
#include "stage.h"

#define ROOM (2 * DPI_NAME_MAX + 160)

/* The column's name between quotes. */
static void quote(const char *name, char to[static 2 * DPI_NAME_MAX + 2])
{
	*to++ = '"';
	for (; *name; name++) {
		if (*name == '"') *to++ = '"';
		*to++ = *name;
	}
	*to++ = '"';
	*to = 0;
}

static char *room(void)
{
	char *text = malloc(ROOM);
	if (!text) dpi_fail(DPI_ERR_MEMORY, "no memory for the text of a stage");
	return text;
}

int dpi_stage_cast_text(const struct dpi_column *in, const struct dpi_stage_column *to, char **text)
{
	struct dpi_expr_type type = { .type = to->type, .width = to->width, .precision = to->precision, .scale = to->scale };
	char name[2 * DPI_NAME_MAX + 2], print[DPI_TYPE_PRINTED];
	if (!type.precision && to->type == DPI_TYPE_DECIMAL64) type.precision = 18;
	if (!type.precision && to->type == DPI_TYPE_DECIMAL128) type.precision = 38;
	if (!(*text = room())) return DPI_ERR_MEMORY;
	quote(in->name, name);
	snprintf(*text, ROOM, "CAST(%s AS %s)", name, dpi_type_print(&type, print));
	return DPI_SUCCESS;
}

int dpi_stage_normal_text(const struct dpi_column *in, const struct dpi_stage_column *to, char **text)
{
	char name[2 * DPI_NAME_MAX + 2];
	if (!(*text = room())) return DPI_ERR_MEMORY;
	quote(in->name, name);
	snprintf(*text, ROOM, "(CAST(%s AS DOUBLE) - (%.17e)) / (%.17e)", name, to->minus, to->by);
	return DPI_SUCCESS;
}
