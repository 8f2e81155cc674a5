/* SPDX-License-Identifier: Apache-2.0
 * emit.h: a program while it is being made from a checked tree. */
#ifndef DPI_EXPR_EMIT_H
#define DPI_EXPR_EMIT_H

#include "ast.h"
#include "program.h"

/* Values on the way: a column, a constant or an instruction by its own number, told apart by the high bits. */
#define EMIT_COLUMN 0x00000
#define EMIT_CONSTANT 0x20000
#define EMIT_INSTRUCTION 0x40000
#define EMIT_NONE (-1)	 /* as a mask: all rows */
#define EMIT_FAILED (-2) /* as a value: a sentence is set */
#define EMIT_BUCKETS 4096

struct dpi_emitted {
	int op, a, b, c, mask;
	uint32_t imm, at;
	int kind, kind_a;
	int next; /* of the same hash; -1: none */
	bool used;
	int number; /* in the program */
};

struct dpi_emitter {
	struct dpi_tree *tree;
	int columns, constants, instructions, constant_room, instruction_room;
	int *column; /* index in the schema */
	struct dpi_constant *constant;
	struct dpi_emitted *instruction;
	int *outer; /* of each instruction that is a mask: the mask it lies within */
	int bucket[EMIT_BUCKETS];
	uint32_t at; /* of the node being emitted */
};

/* They return a value, or EMIT_FAILED; and EMIT_FAILED for an operand that is that. */
int dpi_emit(struct dpi_emitter *e, int op, int mask, uint32_t imm, int a, int b, int c); /* EMIT_NONE: no such operand */
int dpi_emit_constant(struct dpi_emitter *e, int kind, const void *bytes, struct dpi_text text, bool null, bool shared);
int dpi_emit_node(struct dpi_emitter *e, struct dpi_node *n, int mask);
int dpi_emit_kind(const struct dpi_emitter *e, int value);
int dpi_emit_cast(struct dpi_emitter *e, int value, const struct dpi_expr_type *from, const struct dpi_expr_type *to,
		  int mask);

#endif
