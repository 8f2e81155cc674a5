/* SPDX-License-Identifier: Apache-2.0
 * bloom.c: Bloom filters of this process: made, filled, closed. */
#include "bloom.h"

#include <stdlib.h>
#include <string.h>

#include "flow.h"
#include "row.h"

struct dpi_filter *dpi_filter_ref(struct dpi_filter *f)
{
	atomic_fetch_add_explicit(&f->references, 1, memory_order_relaxed);
	return f;
}

void dpi_filter_unref(struct dpi_filter *f)
{
	if (!f || atomic_fetch_sub_explicit(&f->references, 1, memory_order_acq_rel) > 1) return;
	dpi_bloom_free(f->bloom);
	dpi_key_end(&f->key);
	free(f);
}

int dpi_filter_open(struct dpi_filter *f, DPI_Bloom *handle)
{
	*handle = (DPI_Bloom)(uintptr_t)dpi_handle_open(DPI_HANDLE_BLOOM, f);
	if (*handle) return DPI_SUCCESS;
	dpi_filter_unref(f);
	return dpi_fail(DPI_ERR_LIMIT, "%u handles are open: close some", DPI_HANDLE_MAX);
}

struct dpi_filter *dpi_filter_begin(DPI_Bloom handle, const char *call, int *error)
{
	struct dpi_filter *f = dpi_filter_get(handle);
	*error = DPI_SUCCESS;
	if (!f) {
		*error = dpi_handle_error(DPI_HANDLE_BLOOM, (uint64_t)(uintptr_t)handle);
	} else if (atomic_exchange_explicit(&f->busy, 1, memory_order_acquire)) {
		*error = dpi_fail(DPI_ERR_THREAD, "%s: another thread is inside a call on this Bloom filter", call);
		f = NULL;
	}
	return f;
}

int dpi_filter_settled(const struct dpi_filter *f, const char *call)
{
	if (!atomic_load_explicit(&f->attached, memory_order_acquire)) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_STATE, "%s: a target adds keys to this Bloom filter until its flow has ended: take all, or detach it", call);
}

/* Types of one kind have equal hashes of equal values: of whole numbers and decimals, of floats, and of bytes. */
static int kind(int type)
{
	switch (type) {
	case DPI_TYPE_BOOL:
	case DPI_TYPE_DATE32: return type;
	case DPI_TYPE_FLOAT:
	case DPI_TYPE_DOUBLE: return DPI_TYPE_DOUBLE;
	case DPI_TYPE_FIXED:
	case DPI_TYPE_BINARY:
	case DPI_TYPE_UTF8: return DPI_TYPE_BINARY;
	default: return DPI_TYPE_INT64;
	}
}

static const char *name_of(int type)
{
	switch (type) {
#define TYPE(name, number, width, text) case number: return #name;
	DPI_TYPES(TYPE)
#undef TYPE
	}
	return "?";
}

static int key_type(const struct dpi_definition *d, uint32_t i)
{
	return d->group[0] ? DPI_TYPE_UINT64 : d->schema->column[d->key[i]].type;
}

int dpi_filter_joins(const struct dpi_filter *f, const struct dpi_definition *d, const char *flow)
{
	uint32_t keys = dpi_definition_keys(d);
	if (!keys) return DPI_SUCCESS; /* dpi_key_new says it */
	if (f->columns != keys)
		return dpi_fail(DPI_ERR_UNSUPPORTED, "the keys of the Bloom filter have %u columns, those of flow '%s' %u", f->columns, flow, keys);
	for (uint32_t i = 0; i < f->columns; i++) {
		int type = key_type(d, i);
		if (kind(f->type[i]) == kind(type)) continue;
		return dpi_fail(DPI_ERR_UNSUPPORTED, "column %u of the Bloom filter's keys is %s, and \"%s\" of flow '%s' is %s: their values are never equal", i,
				name_of(f->type[i]), d->group[0] ? d->group : d->schema->column[d->key[i]].name, flow, name_of(type));
	}
	return DPI_SUCCESS;
}

void dpi_filter_add(struct dpi_filter *f, const uint64_t *hash, const uint8_t *whole, size_t count)
{
	uint64_t some[DPI_KEY_RUN];
	size_t n = 0;
	for (size_t i = 0; i < count; i++) {
		some[n] = hash[i];
		n += dpi_bit(whole, i);
	}
	dpi_bloom_insert_batch(f->bloom, some, n);
}

/* ---------------------------------------------------------------------------------------------------------- calls */

static int check_attr(DPI_Bloom_Attr *a)
{
	if (!a->expected) return dpi_fail(DPI_ERR_ARGUMENT, "attr->expected is 0: say how many different keys there are at most, at a guess");
	if (a->rate == 0) a->rate = 0.01;
	if (!a->memory) a->memory = DPI_BLOOM_MEMORY;
	if (!(a->rate >= 1e-6 && a->rate <= 0.5)) return dpi_fail(DPI_ERR_ARGUMENT, "attr->rate is %g: it is 1e-6 to 0.5", a->rate);
	if (a->memory > DPI_BLOOM_MEMORY_MOST)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->memory is %llu: it is at most %llu", (unsigned long long)a->memory, (unsigned long long)DPI_BLOOM_MEMORY_MOST);
	return DPI_SUCCESS;
}

static int create(struct dpi_flow *flow, const DPI_Bloom_Attr *a, DPI_Bloom *out)
{
	const struct dpi_definition *d = flow->definition;
	struct dpi_filter *f = calloc(1, sizeof *f);
	if (!f) return dpi_fail(DPI_ERR_MEMORY, "no memory for a Bloom filter");
	f->references = 1;
	f->ctx = flow->ctx;
	f->columns = dpi_definition_keys(d);
	for (uint32_t i = 0; i < f->columns; i++) f->type[i] = (uint8_t)key_type(d, i);
	int error = dpi_key_new(d, d->schema, 0, &f->key);
	if (!error) error = dpi_bloom_new(a->expected, a->rate, a->memory, &f->bloom);
	if (!error) return dpi_filter_open(f, out);
	dpi_filter_unref(f);
	return error;
}

int DPI_Create_Bloom(DPI_Flow flow, const DPI_Bloom_Attr *attr, DPI_Bloom *bloom)
{
	DPI_Bloom_Attr a = DPI_BLOOM_ATTR_INIT;
	if (!bloom) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Create_Bloom: bloom is NULL: pass where the handle may go");
	*bloom = NULL;
	if (!attr) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Create_Bloom: attr is NULL: pass one, attr->expected has no default");
	int error = dpi_take("DPI_Create_Bloom", &a, sizeof a, attr);
	if (!error) error = check_attr(&a);
	if (error) return error;
	struct dpi_flow *f = dpi_flow_get(flow);
	if (!f) return dpi_flow_error(flow);
	error = create(f, &a, bloom);
	dpi_flow_unref(f);
	return error;
}

static int check_rows(const struct dpi_filter *f, const void *rows, size_t size, size_t count)
{
	const struct dpi_schema *s = f->key.schema;
	if (!s || atomic_load(&f->whole) || f->parts)
		return dpi_fail(DPI_ERR_STATE, "DPI_Insert_Bloom: the Bloom filter %s: nothing is added to it any more",
				!s ? "was opened by its name" : f->parts ? "is published" : "is a source's");
	if (!rows && count) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Insert_Bloom: rows is NULL: pass the rows to insert");
	if (s->varies && count > 1) return dpi_fail(DPI_ERR_USE, "DPI_Insert_Bloom: count is %zu, and rows of the flow vary in size: one by one", count);
	if (s->varies ? size > DPI_ROW_MAX : size != s->row_size)
		return dpi_fail(DPI_ERR_SIZE, "DPI_Insert_Bloom: size is %zu: rows of the flow have %s%u bytes", size, s->varies ? "at most " : "", s->varies ? DPI_ROW_MAX : s->row_size);
	return dpi_filter_settled(f, "DPI_Insert_Bloom");
}

static int insert(struct dpi_filter *f, const uint8_t *rows, size_t size, size_t count)
{
	uint64_t hash[DPI_KEY_RUN];
	uint8_t whole[DPI_KEY_RUN / 8];
	const struct dpi_schema *s = f->key.schema;
	for (size_t i = 0; i < count && !s->plain; i++) {
		int error = dpi_row_check(s, rows + i * size, size, false);
		if (error) return error;
	}
	if (s->varies && count) {
		bool some;
		int error = dpi_key_row(&f->key, rows, (uint32_t)size, hash, &some);
		if (!error && some) dpi_bloom_insert(f->bloom, *hash);
		return error;
	}
	for (size_t n; count; count -= n, rows += n * size) {
		n = count < DPI_KEY_RUN ? count : DPI_KEY_RUN;
		dpi_key_rows(&f->key, rows, size, n, hash, whole);
		for (size_t i = 0; i < n && f->key.group.call; i++) {
			uint64_t key;
			int error = dpi_bit(whole, i) ? DPI_SUCCESS : dpi_key_call(&f->key, rows + i * size, (uint32_t)size, &key);
			if (error) return error;
		}
		dpi_filter_add(f, hash, whole, n);
	}
	return DPI_SUCCESS;
}

int DPI_Insert_Bloom(const void *rows, size_t size, size_t count, DPI_Bloom bloom)
{
	int error;
	struct dpi_filter *f = dpi_filter_begin(bloom, "DPI_Insert_Bloom", &error);
	if (!f) return error;
	error = check_rows(f, rows, size, count);
	if (!error) error = insert(f, rows, size, count);
	dpi_filter_leave(f);
	return error;
}

int DPI_Close_Bloom(DPI_Bloom bloom)
{
	int error;
	struct dpi_filter *f = dpi_filter_begin(bloom, "DPI_Close_Bloom", &error);
	if (!f) return error;
	dpi_handle_close((uint64_t)(uintptr_t)bloom);
	dpi_filter_unref(f);
	return DPI_SUCCESS;
}
