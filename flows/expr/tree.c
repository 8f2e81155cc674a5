/* SPDX-License-Identifier: Apache-2.0
 * tree.c: memory of a tree and its bounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ast.h"

#define BLOCK 16384

struct dpi_block {
	struct dpi_block *next;
	size_t used, size;
	_Alignas(16) uint8_t data[];
};

void *dpi_tree_fail(struct dpi_tree *t, int error, uint32_t at, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	t->error = dpi_fail(error, "character %u: %s", (unsigned)at, text);
	return NULL;
}

void *dpi_tree_memory(struct dpi_tree *t, size_t size)
{
	struct dpi_block *b = t->blocks;
	size = (size + 15) / 16 * 16;
	if (!b || b->size - b->used < size) {
		size_t room = size > BLOCK ? size : BLOCK;
		b = malloc(sizeof *b + room);
		if (!b) {
			t->error = dpi_fail(DPI_ERR_MEMORY, "no memory for an expression's tree");
			return NULL;
		}
		*b = (struct dpi_block){ .next = t->blocks, .size = room };
		t->blocks = b;
	}
	void *p = b->data + b->used;
	b->used += size;
	return memset(p, 0, size);
}

struct dpi_node *dpi_tree_node(struct dpi_tree *t, int op, uint32_t at, int kids, struct dpi_node *const *kid)
{
	unsigned depth = 0;
	for (int i = 0; i < kids; i++) {
		if (!kid[i]) return NULL;
		if (kid[i]->depth > depth) depth = kid[i]->depth;
	}
	if (depth >= DPI_EXPR_DEPTH_MAX)
		return dpi_tree_fail(t, DPI_ERR_LIMIT, at, "more than %d operations within each other: split the expression",
				     DPI_EXPR_DEPTH_MAX);
	if (t->nodes >= DPI_EXPR_NODES_MAX)
		return dpi_tree_fail(t, DPI_ERR_LIMIT, at, "more than %d parts: split the expression", DPI_EXPR_NODES_MAX);
	struct dpi_node *n = dpi_tree_memory(t, sizeof *n);
	struct dpi_node **k = n ? dpi_tree_memory(t, (size_t)(kids ? kids : 1) * sizeof *k) : NULL;
	if (!k) return NULL;
	for (int i = 0; i < kids; i++) k[i] = kid[i];
	*n = (struct dpi_node){
		.op = (uint8_t)op, .depth = (uint16_t)(depth + 1), .at = at, .kids = kids, .kid = k, .value = -1
	};
	t->nodes++;
	return n;
}

void dpi_tree_free(struct dpi_tree *t)
{
	while (t->blocks) {
		struct dpi_block *next = t->blocks->next;
		free(t->blocks);
		t->blocks = next;
	}
	t->root = NULL;
}
