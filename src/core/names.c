/* SPDX-License-Identifier: Apache-2.0
 * names.c: a table of names. */
#include "names.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS_FIRST 64

static uint32_t hash(const char *text)
{
	uint32_t h = 2166136261u;
	for (; *text; text++) h = (h ^ (unsigned char)*text) * 16777619u;
	return h ^ h >> 15;
}

static struct dpi_named **head(const struct dpi_names *n, const char *text)
{
	return &n->bucket[hash(text) & (n->buckets - 1)];
}

struct dpi_named **dpi_names_find(const struct dpi_names *n, const char *text)
{
	if (!n->buckets) return NULL;
	struct dpi_named **at = head(n, text);
	while (*at && strcmp((*at)->text, text)) at = &(*at)->next;
	return *at ? at : NULL;
}

static bool grow(struct dpi_names *n)
{
	struct dpi_names more = { .buckets = n->buckets ? 2 * n->buckets : BUCKETS_FIRST };
	more.bucket = calloc(more.buckets, sizeof *more.bucket);
	if (!more.bucket) return false;
	for (uint32_t i = 0; i < n->buckets; i++)
		while (n->bucket[i]) {
			struct dpi_named *one = n->bucket[i], **to = head(&more, one->text);
			n->bucket[i] = one->next;
			one->next = *to;
			*to = one;
		}
	free(n->bucket);
	n->bucket = more.bucket;
	n->buckets = more.buckets;
	return true;
}

struct dpi_named *dpi_names_add(struct dpi_names *n, const char *text, const struct dpi_name *entry)
{
	/* without memory for more buckets chains grow longer */
	if (n->count >= n->buckets && !grow(n) && !n->buckets) return NULL;
	size_t size = strlen(text) + 1;
	struct dpi_named *one = malloc(sizeof *one + size), **at = head(n, text);
	if (!one) return NULL;
	one->next = *at;
	one->entry = *entry;
	memcpy(one->text, text, size);
	*at = one;
	n->count++;
	return one;
}

void dpi_names_remove(struct dpi_names *n, struct dpi_named **at)
{
	struct dpi_named *one = *at;
	*at = one->next;
	free(one);
	n->count--;
}

void dpi_names_free(struct dpi_names *n)
{
	for (uint32_t i = 0; i < n->buckets; i++)
		while (n->bucket[i]) dpi_names_remove(n, &n->bucket[i]);
	free(n->bucket);
	*n = (struct dpi_names){ 0 };
}
