/* SPDX-License-Identifier: Apache-2.0
 * bloom_publish.c: parts of a Bloom filter, of any processes, become one that has a name.
 *
 * A region at the process that comes first has three words and a place for each part. Who comes gets a number, writes its part in
 * the place of that number, and then counts it. Who counts the last one merges them all into the first place, and only then gives
 * the filter its name, for which those that open it wait. Whatever is read may be anybody's, and is checked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bloom.h"
#include "move/hash.h"
#include "registry.h"

enum { SHAPE = 0, NUMBERS = 8, CAME = 16, PLACES = 64 };

#define BEHIND " (parts)" /* the region's name is the filter's with this */

/* Parts that can be merged have it in common: how many they are, blocks, and the types of the key. */
static uint64_t shape_of(const struct dpi_filter *f, uint32_t parts)
{
	uint32_t types = dpi_crc32c(f->columns, f->type, sizeof f->type);
	return parts | (uint64_t)f->bloom->blocks << 16 | (uint64_t)(types & 0xffff) << 48;
}

static uint64_t place_size(uint64_t image)
{
	return (image + 63) & ~UINT64_C(63);
}

static int check_name(const char *call, const char *name, char region[static DPI_NAME_MAX])
{
	int error = dpi_check_name(call, name);
	if (error) return error;
	if (strlen(name) + sizeof BEHIND > DPI_NAME_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "%s: the name of a Bloom filter has 1 to %d bytes, this one has more", call, DPI_NAME_MAX - (int)sizeof BEHIND);
	snprintf(region, DPI_NAME_MAX, "%.*s" BEHIND, DPI_NAME_MAX - (int)sizeof BEHIND, name);
	return DPI_SUCCESS;
}

static int differs(const char *name, uint64_t theirs, uint64_t ours)
{
	unsigned parts = theirs & 0xffff, mine = ours & 0xffff;
	if (parts != mine)
		return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Publish_Bloom: others publish '%s' in %u parts, and you in %u", name, parts, mine);
	return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Publish_Bloom: the other parts of '%s' have keys of other types, or were created with another size: give the same attr everywhere", name);
}

/* --------------------------------------------------------------------------------------------------------- publishing */

/* One part to the region, and *last: it was the last one. */
static int write_part(const struct dpi_filter *f, const char *name, uint32_t parts, void *image, DPI_Buffer b, bool *last)
{
	uint64_t size = dpi_filter_bytes(f), shape = shape_of(f, parts), was, number, came;
	int error = DPI_Compare_Swap(SHAPE, 0, shape, b, &was);
	if (!error && was && was != shape) return differs(name, was, shape);
	if (!error) error = DPI_Fetch_Add(NUMBERS, 1, b, &number);
	if (error) return error;
	if (number >= parts) return dpi_fail(DPI_ERR_EXISTS, "DPI_Publish_Bloom: all %u parts of '%s' are there: destroy it before you publish another", parts, name);
	dpi_filter_write(f, image);
	error = DPI_Write(image, size, PLACES + number * place_size(size), b);
	if (!error) error = (DPI_Flush_Buffer)(b);
	if (!error) error = DPI_Fetch_Add(CAME, 1, b, &came);
	if (!error) *last = came + 1 == parts;
	return error;
}

/* All parts into the first place. */
static int merge(const struct dpi_filter *f, uint32_t parts, void *image, DPI_Buffer b)
{
	uint64_t size = dpi_filter_bytes(f);
	struct dpi_filter all = { 0 }, one = { 0 };
	int error = DPI_SUCCESS;
	for (uint32_t i = 0; i < parts && !error; i++) {
		struct dpi_filter *to = i ? &one : &all;
		error = DPI_Read(image, size, PLACES + i * place_size(size), b);
		if (!error) error = dpi_filter_read(image, size, to);
		if (!error && (to->columns != f->columns || memcmp(to->type, f->type, sizeof f->type)))
			error = dpi_fail(DPI_ERR_CORRUPT, "part %u is of other keys than it says", i);
		if (!error && i) error = dpi_bloom_merge(all.bloom, one.bloom);
		if (i) dpi_bloom_free(one.bloom);
		one.bloom = NULL;
	}
	if (!error) {
		dpi_filter_write(&all, image);
		error = DPI_Write(image, size, PLACES, b);
	}
	if (!error) error = (DPI_Flush_Buffer)(b);
	dpi_bloom_free(all.bloom);
	return error;
}

static int give_name(struct dpi_context *ctx, const char *name, const char *region)
{
	struct dpi_name entry;
	int64_t deadline = dpi_deadline(0, ctx->timeout_us);
	int error = dpi_name_find(ctx, region, DPI_NAME_BUFFER, dpi_now(), &entry);
	entry.kind = DPI_NAME_BLOOM;
	return error ? error : dpi_name_publish(ctx, name, &entry, deadline);
}

static int publish(struct dpi_filter *f, const char *name, const char *region, uint32_t parts)
{
	DPI_Buffer_Attr a = DPI_BUFFER_ATTR_INIT;
	DPI_Buffer b;
	uint64_t size = dpi_filter_bytes(f);
	bool last = false;
	a.use = DPI_USE_REGION;
	a.create = DPI_CREATE_OR_OPEN;
	a.capacity = PLACES + parts * place_size(size);
	void *image = malloc(size);
	if (!image) return dpi_fail(DPI_ERR_MEMORY, "DPI_Publish_Bloom: no memory for a copy of %llu bytes", (unsigned long long)size);
	int error = DPI_Create_Buffer(region, DPI_NODE_SELF, &a, f->ctx->handle, &b);
	if (error == DPI_ERR_SIZE)
		error = dpi_fail(DPI_ERR_ARGUMENT, "DPI_Publish_Bloom: others publish '%s' in fewer parts, or smaller ones: give the same attr and parts everywhere", name);
	if (!error) {
		char sentence[DPI_DETAIL_MAX];
		error = write_part(f, name, parts, image, b, &last);
		if (!error && last) error = merge(f, parts, image, b);
		snprintf(sentence, sizeof sentence, "%s", error ? dpi_detail() : "");
		DPI_Close_Buffer(b);
		if (error) dpi_fail(error, "%s", sentence);
	}
	free(image);
	return error || !last ? error : give_name(f->ctx, name, region);
}

int DPI_Publish_Bloom(const char *name, uint32_t parts, DPI_Bloom bloom)
{
	char region[DPI_NAME_MAX];
	int error = check_name("DPI_Publish_Bloom", name, region);
	if (!error && (!parts || parts > DPI_BLOOM_PARTS_MAX))
		error = dpi_fail(DPI_ERR_ARGUMENT, "DPI_Publish_Bloom: parts is %u: a Bloom filter has 1 to %d", parts, DPI_BLOOM_PARTS_MAX);
	if (error) return error;
	struct dpi_filter *f = dpi_filter_begin(bloom, "DPI_Publish_Bloom", &error);
	if (!f) return error;
	if (f->parts) error = dpi_fail(DPI_ERR_STATE, "DPI_Publish_Bloom: this Bloom filter is published already: a part is one once");
	if (!error) error = dpi_filter_settled(f, "DPI_Publish_Bloom");
	if (!error) error = publish(f, name, region, parts);
	if (!error) f->parts = parts;
	dpi_filter_leave(f);
	return error;
}

/* ------------------------------------------------------------------------------------------------------------ opening */

/* It did not get its name in time. */
static int missing(struct dpi_context *ctx, const char *name, const char *region)
{
	DPI_Open_Attr a = DPI_OPEN_ATTR_INIT;
	DPI_Buffer b;
	char sentence[DPI_DETAIL_MAX];
	uint64_t word[PLACES / 8] = { 0 };
	snprintf(sentence, sizeof sentence, "%s", dpi_detail());
	a.wait_us = DPI_NO_WAIT;
	if (DPI_Open_Buffer(region, &a, ctx->handle, &b)) return dpi_fail(DPI_ERR_NAME, "%s", sentence);
	int error = DPI_Read(word, sizeof word, 0, b);
	DPI_Close_Buffer(b);
	if (error) return error;
	return dpi_fail(DPI_ERR_NAME, "of the Bloom filter '%s' %llu of %llu parts have been published within the deadline", name, (unsigned long long)word[CAME / 8],
			(unsigned long long)(word[SHAPE / 8] & 0xffff));
}

/* Read what is in the first place of a region, which says itself how large it is. */
static int read_first(DPI_Buffer b, struct dpi_filter *f)
{
	uint64_t shape;
	DPI_Buffer_Info info = DPI_BUFFER_INFO_INIT;
	int error = DPI_Get_Buffer_Info(b, &info);
	if (!error && info.capacity < PLACES) error = dpi_fail(DPI_ERR_CORRUPT, "a Bloom filter of %llu bytes", (unsigned long long)info.capacity);
	if (!error) error = DPI_Read(&shape, sizeof shape, SHAPE, b);
	if (error) return error;
	uint64_t size = dpi_bloom_bytes((uint32_t)(shape >> 16)) + DPI_FILTER_HEAD;
	if (size > DPI_BLOOM_MEMORY_MOST + DPI_FILTER_HEAD || size > info.capacity - PLACES)
		return dpi_fail(DPI_ERR_CORRUPT, "a Bloom filter of %llu bytes is said to lie in %llu", (unsigned long long)size, (unsigned long long)info.capacity);
	void *image = malloc(size);
	if (!image) return dpi_fail(DPI_ERR_MEMORY, "no memory for a Bloom filter of %llu bytes", (unsigned long long)size);
	error = DPI_Read(image, size, PLACES, b);
	if (!error) error = dpi_filter_read(image, size, f);
	free(image);
	return error;
}

static int open_region(struct dpi_context *ctx, const char *region, DPI_Bloom *out)
{
	char sentence[DPI_DETAIL_MAX];
	DPI_Open_Attr a = DPI_OPEN_ATTR_INIT;
	DPI_Buffer b;
	struct dpi_filter *f = calloc(1, sizeof *f);
	if (!f) return dpi_fail(DPI_ERR_MEMORY, "no memory for a Bloom filter");
	f->references = 1;
	f->ctx = ctx;
	f->whole = true;
	a.wait_us = DPI_NO_WAIT;
	int error = DPI_Open_Buffer(region, &a, ctx->handle, &b);
	if (!error) {
		error = read_first(b, f);
		snprintf(sentence, sizeof sentence, "%s", error ? dpi_detail() : "");
		DPI_Close_Buffer(b);
		if (error) dpi_fail(error, "%s", sentence);
	}
	if (!error) return dpi_filter_open(f, out);
	dpi_filter_unref(f);
	return error;
}

int DPI_Open_Bloom(const char *name, int64_t wait_us, DPI_Context handle, DPI_Bloom *bloom)
{
	int error;
	char region[DPI_NAME_MAX];
	struct dpi_name entry;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	if (!bloom) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Open_Bloom: bloom is NULL: pass where the handle may go");
	*bloom = NULL;
	error = check_name("DPI_Open_Bloom", name, region);
	if (!error) error = dpi_timeout_check("DPI_Open_Bloom", "wait_us", wait_us);
	if (error) return error;
	error = dpi_name_find(ctx, name, DPI_NAME_BLOOM, wait_us < 0 ? dpi_now() : dpi_deadline(wait_us, ctx->timeout_us), &entry);
	if (error == DPI_ERR_NAME) return missing(ctx, name, region);
	return error ? error : open_region(ctx, region, bloom);
}

int DPI_Destroy_Bloom(const char *name, DPI_Context handle)
{
	int error;
	char region[DPI_NAME_MAX];
	struct dpi_name entry;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	error = check_name("DPI_Destroy_Bloom", name, region);
	if (error) return error;
	error = dpi_name_find(ctx, name, DPI_NAME_BLOOM, dpi_now(), &entry);
	if (!error) error = dpi_name_remove(ctx, name, entry.id, dpi_deadline(0, ctx->timeout_us));
	if (error && error != DPI_ERR_NAME) return error;
	error = DPI_Destroy_Buffer(region, handle);
	return error == DPI_ERR_NAME ? dpi_fail(DPI_ERR_NAME, "there is no Bloom filter '%s' in the cluster, nor a part of one", name) : error;
}
