/* SPDX-License-Identifier: Apache-2.0
 * stage.h: a stage of a flow, checked against the rows that come to it; never changes once made. map.h runs it. */
#ifndef DPI_FLOWS_STAGE_H
#define DPI_FLOWS_STAGE_H

#include "schema.h"

struct dpi_expr;

/* A column as its attributes have it; text NULL: none. */
struct dpi_stage_column {
	char name[DPI_NAME_MAX];
	char *text;
	int type, precision, scale;
	uint32_t width;
	double minus, by;
};

#define DPI_STAGE_GROUP (-1) /* a kind that attributes do not have: the row with what the group function says behind it */

struct dpi_stage {
	int kind, place;
	bool pushable;
	char *text; /* filter, map, group */
	uint32_t version;
	uint64_t salt, share; /* sample: of 2^32 */
	uint32_t key_count;
	uint16_t key[DPI_KEYS_MAX]; /* sample: columns of in */
	uint32_t columns;
	struct dpi_stage_column *column;
	bool own_schema; /* map: out was given */
	struct dpi_schema *in, *out; /* the same one where rows are not changed */
	/* Of each column of out the column of in that it is, unchanged; -1: its program gives it, or the map function. */
	int *from;
	struct dpi_expr **program; /* project, cast, normalise: of each column of out, NULL where from says all; filter: one */
	uint32_t programs;
};

/* Does it make new rows? Else some of those that come pass. */
static inline bool dpi_stage_makes(const struct dpi_stage *s)
{
	return s->kind != DPI_STAGE_FILTER && s->kind != DPI_STAGE_SAMPLE;
}

/* Check stage i of attributes, for rows of in, and fill *s, which is zero before; free it also after an error. schema: of a
 * map function's rows; NULL: in. nulls: a row's error yields NULL. Every error names the field, as attr->stages[i]. Errors:
 * ARGUMENT NAME LIMIT MEMORY. */
int dpi_stage_from(const DPI_Stage *attr, size_t i, struct dpi_schema *in, struct dpi_schema *schema, bool nulls,
		   struct dpi_stage *s);
/* One of DPI_STAGE_GROUP: the column is named as the function. */
int dpi_stage_group(const char *function, uint32_t version, struct dpi_schema *in, struct dpi_stage *s);
void dpi_stage_free(struct dpi_stage *s);
/* True if they are equal; else text is the difference. */
bool dpi_stage_equal(const struct dpi_stage *flow, const struct dpi_stage *yours, uint32_t i, char *text, size_t room);

/* stage_text.c: the expression that gives a column of a stage, malloc'ed: CAST("x" AS INT32). MEMORY. */
int dpi_stage_cast_text(const struct dpi_column *in, const struct dpi_stage_column *to, char **text);
int dpi_stage_normal_text(const struct dpi_column *in, const struct dpi_stage_column *to, char **text);

#endif
