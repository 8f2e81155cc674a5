/* SPDX-License-Identifier: Apache-2.0
 * definition_pipe_write.c: stages, reduce and codecs as bytes, and of bytes. In order: the numbers; uint32_t number of stages;
 * for each uint32_t kind, place, pushable, version, uint64_t salt, share, then its text, its map's schema, uint32_t number of
 * keys and the name of each, uint32_t number of columns and for each its name, text, uint32_t type, width, precision, scale and,
 * as they lie in memory, the doubles minus and by; the reduction as dpi_reduction_write has it; uint32_t number of codecs and
 * for each uint32_t codec, level and its key's name. Texts and blocks stand behind a uint32_t with their bytes. */
#include <stdlib.h>
#include <string.h>

#include "definition_parts.h"
#include "error.h"
#include "message.h"
#include "reduce/reduce.h"

/* What the attributes of a stage point to. */
struct dpi_stage_names {
	char *text;
	char key[DPI_KEYS_MAX][DPI_NAME_MAX];
	const char *key_at[DPI_KEYS_MAX];
	uint32_t columns;
	DPI_Stage_Column *column;
	char (*name)[DPI_NAME_MAX];
	char **column_text;
};

/* ------------------------------------------------------------------------------------------------------------ write */

static size_t text_bytes(const char *text)
{
	return 4 + (text ? strlen(text) : 0);
}

static size_t stage_bytes(const struct dpi_stage *s)
{
	size_t size = 4 * 4 + 2 * 8 + text_bytes(s->text) + 4 + (s->own_schema ? dpi_schema_bytes(s->out) : 0) + 4 + 4;
	for (uint32_t k = 0; k < s->key_count; k++) size += text_bytes(s->in->column[s->key[k]].name);
	for (uint32_t k = 0; k < s->columns; k++) size += text_bytes(s->column[k].name) + text_bytes(s->column[k].text) + 4 * 4 + 2 * 8;
	return size;
}

size_t dpi_pipe_bytes(const struct dpi_definition *d)
{
	enum { u32 = 4, u64 = 8 };
	size_t size = 3 * 4;
#define ADD(kind, field) size += kind;
	DPI_DEFINITION_PIPE_NUMBERS(ADD)
#undef ADD
	for (uint32_t i = 0; i < d->stages; i++) size += stage_bytes(d->stage + i);
	if (d->reduction) size += dpi_reduction_bytes(d->reduction);
	for (uint32_t i = 0; i < d->codecs; i++) size += 2 * 4 + text_bytes(d->codec[i].key);
	return size;
}

static void pack_double(struct dpi_pack *p, double v)
{
	uint64_t bits;
	memcpy(&bits, &v, sizeof bits);
	dpi_pack_u64(p, bits);
}

static void pack_stage(struct dpi_pack *p, const struct dpi_stage *s)
{
	dpi_pack_u32(p, (uint32_t)s->kind), dpi_pack_u32(p, (uint32_t)s->place), dpi_pack_u32(p, s->pushable), dpi_pack_u32(p, s->version);
	dpi_pack_u64(p, s->salt), dpi_pack_u64(p, s->share);
	dpi_pack_text(p, s->text ? s->text : "");
	void *schema = dpi_pack_room(p, s->own_schema ? (uint32_t)dpi_schema_bytes(s->out) : 0);
	if (schema && s->own_schema) dpi_schema_write(s->out, schema);
	dpi_pack_u32(p, s->key_count);
	for (uint32_t k = 0; k < s->key_count; k++) dpi_pack_text(p, s->in->column[s->key[k]].name);
	dpi_pack_u32(p, s->columns);
	for (uint32_t k = 0; k < s->columns; k++) {
		const struct dpi_stage_column *c = s->column + k;
		dpi_pack_text(p, c->name), dpi_pack_text(p, c->text ? c->text : "");
		dpi_pack_u32(p, (uint32_t)c->type), dpi_pack_u32(p, c->width), dpi_pack_u32(p, (uint32_t)c->precision), dpi_pack_u32(p, (uint32_t)c->scale);
		pack_double(p, c->minus), pack_double(p, c->by);
	}
}

void dpi_pipe_pack(struct dpi_pack *p, const struct dpi_definition *d)
{
#define PACK(kind, field) dpi_pack_##kind(p, d->field);
	DPI_DEFINITION_PIPE_NUMBERS(PACK)
#undef PACK
	dpi_pack_u32(p, d->stages);
	for (uint32_t i = 0; i < d->stages; i++) pack_stage(p, d->stage + i);
	void *reduction = dpi_pack_room(p, d->reduction ? (uint32_t)dpi_reduction_bytes(d->reduction) : 0);
	if (reduction && d->reduction) dpi_reduction_write(d->reduction, reduction);
	dpi_pack_u32(p, d->codecs);
	for (uint32_t i = 0; i < d->codecs; i++) {
		dpi_pack_u32(p, d->codec[i].codec), dpi_pack_u32(p, (uint32_t)d->codec[i].level);
		dpi_pack_text(p, d->codec[i].key);
	}
}

/* ------------------------------------------------------------------------------------------------------------ parse */

static int corrupt(const char *part)
{
	return dpi_fail(DPI_ERR_CORRUPT, "the bytes of a flow's definition are none that libdpi writes: wrong %s", part);
}

static int no_memory(void)
{
	return dpi_fail(DPI_ERR_MEMORY, "no memory to read the stages of a flow's definition");
}

/* A text of any length, malloc'ed; "" is NULL. */
static int unpack_text(struct dpi_unpack *in, char **text)
{
	uint32_t size;
	const char *bytes = dpi_unpack_bytes(in, &size);
	*text = NULL;
	if (in->bad || (size && memchr(bytes, 0, size))) return corrupt("text of a stage");
	if (!size) return DPI_SUCCESS;
	if (!(*text = malloc((size_t)size + 1))) return no_memory();
	memcpy(*text, bytes, size);
	(*text)[size] = 0;
	return DPI_SUCCESS;
}

static double unpack_double(struct dpi_unpack *in)
{
	uint64_t bits = dpi_unpack_u64(in);
	double v;
	memcpy(&v, &bits, sizeof v);
	return v;
}

static int unpack_column(struct dpi_unpack *in, struct dpi_stage_names *n, uint32_t k)
{
	DPI_Stage_Column *c = n->column + k;
	dpi_unpack_text(in, n->name[k], DPI_NAME_MAX);
	int error = unpack_text(in, n->column_text + k);
	c->name = n->name[k], c->text = n->column_text[k];
	c->type = (int)dpi_unpack_u32(in), c->width = dpi_unpack_u32(in), c->precision = (int)dpi_unpack_u32(in), c->scale = (int)dpi_unpack_u32(in);
	c->minus = unpack_double(in), c->by = unpack_double(in);
	return error ? error : in->bad ? corrupt("columns of a stage") : DPI_SUCCESS;
}

static int unpack_columns(struct dpi_unpack *in, DPI_Stage *a, struct dpi_stage_names *n)
{
	uint32_t count = dpi_unpack_u32(in);
	int error = DPI_SUCCESS;
	if (in->bad || count > DPI_COLUMNS_MAX || count > (size_t)(in->end - in->at) / 40) return corrupt("number of columns of a stage");
	if (!count) return DPI_SUCCESS;
	n->column = calloc(count, sizeof *n->column), n->name = calloc(count, sizeof *n->name), n->column_text = calloc(count, sizeof *n->column_text);
	if (!n->column || !n->name || !n->column_text) return no_memory();
	n->columns = count;
	for (uint32_t k = 0; k < count && !error; k++) error = unpack_column(in, n, k);
	a->columns = n->column, a->column_count = count;
	return error;
}

static int unpack_keys(struct dpi_unpack *in, DPI_Stage *a, struct dpi_stage_names *n)
{
	uint32_t count = dpi_unpack_u32(in);
	if (in->bad || count > DPI_KEYS_MAX) return corrupt("number of keys of a stage");
	for (uint32_t k = 0; k < count; k++) {
		dpi_unpack_text(in, n->key[k], DPI_NAME_MAX);
		n->key_at[k] = n->key[k];
	}
	if (count) a->key = n->key_at, a->key_count = count;
	return DPI_SUCCESS;
}

static int unpack_stage(struct dpi_unpack *in, DPI_Stage *a, struct dpi_stage_names *n, struct dpi_schema **schema)
{
	uint32_t size;
	a->kind = (int)dpi_unpack_u32(in), a->place = (int)dpi_unpack_u32(in), a->pushable = (int)dpi_unpack_u32(in), a->version = dpi_unpack_u32(in);
	a->salt = dpi_unpack_u64(in);
	uint64_t share = dpi_unpack_u64(in);
	if (in->bad || share > (uint64_t)1 << 32) return corrupt("fraction of a stage");
	a->fraction = (double)share / 4294967296.0;
	int error = unpack_text(in, &n->text);
	a->text = n->text;
	if (error) return error;
	const void *bytes = dpi_unpack_bytes(in, &size);
	if (in->bad) return corrupt("schema of a stage");
	if (size && (error = dpi_schema_parse(bytes, size, schema))) return error;
	/* the attribute is only looked at for being set, the schema stands beside it */
	if (size && a->kind != DPI_STAGE_MAP) return corrupt("schema of a stage");
	error = unpack_keys(in, a, n);
	return error ? error : unpack_columns(in, a, n);
}

static int unpack_codecs(struct dpi_unpack *in, DPI_Flow_Attr *attr, struct dpi_parsed_pipe *p)
{
	uint32_t count = dpi_unpack_u32(in);
	if (in->bad || count > DPI_CODECS_MAX) return corrupt("number of codecs");
	for (uint32_t i = 0; i < count; i++) {
		p->codec[i].codec = (int)dpi_unpack_u32(in), p->codec[i].level = (int)dpi_unpack_u32(in);
		dpi_unpack_text(in, p->key[i], DPI_NAME_MAX);
		if (p->key[i][0]) p->codec[i].key = p->key[i];
	}
	if (count) attr->codecs = p->codec, attr->codec_count = count;
	return in->bad ? corrupt("codecs") : DPI_SUCCESS;
}

int dpi_pipe_unpack(struct dpi_unpack *in, DPI_Flow_Attr *attr, struct dpi_parsed_pipe *p)
{
	uint32_t size;
	int error = DPI_SUCCESS;
#define UNPACK(kind, field) attr->field = dpi_unpack_##kind(in);
	DPI_DEFINITION_PIPE_NUMBERS(UNPACK)
#undef UNPACK
	uint32_t stages = dpi_unpack_u32(in);
	if (in->bad || stages > DPI_STAGES_MAX) return corrupt("number of stages");
	for (uint32_t i = 0; i < stages && !error; i++) {
		if (!(p->names[i] = calloc(1, sizeof *p->names[i]))) return no_memory();
		error = unpack_stage(in, p->stage + i, p->names[i], p->schema + i);
	}
	if (error) return error;
	if (stages) attr->stages = p->stage, attr->stage_count = stages;
	p->reduction = dpi_unpack_bytes(in, &size);
	p->reduction_size = size;
	if (!size) p->reduction = NULL;
	return in->bad ? corrupt("length") : unpack_codecs(in, attr, p);
}

void dpi_pipe_parsed_free(struct dpi_parsed_pipe *p)
{
	for (size_t i = 0; i < DPI_STAGES_MAX; i++) {
		struct dpi_stage_names *n = p->names[i];
		dpi_schema_unref(p->schema[i]);
		if (!n) continue;
		for (uint32_t k = 0; k < n->columns; k++) free(n->column_text[k]);
		free(n->text), free(n->column), free(n->name), free(n->column_text);
		free(n);
	}
}
