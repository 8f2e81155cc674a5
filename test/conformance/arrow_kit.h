/* SPDX-License-Identifier: Apache-2.0
 * arrow_kit.h: rows as record batches, and record batches as rows, of any flow. */
#ifndef ARROW_KIT_H
#define ARROW_KIT_H

#include "memory_kit.h"

/* Push count rows, back to back, whose columns all have 8 bytes and no NULLs, as one batch. Returns as DPI_Push_Arrow. */
int arrow_push(const void *rows, size_t size, size_t count, DPI_Source source, size_t *pushed);

/* What DPI_Next_Arrow gives next: its rows, made of its columns; or a mark, count 0. */
struct arrow_run {
	DPI_Batch batch;
	size_t count;
	DPI_Record *row;
	struct ArrowArray array; /* to be released; or NULL, once it is */
};
/* output: the schema of what the target gives. Returns as DPI_Next_Arrow; what it gives is released by the next function. */
int arrow_next(DPI_Target target, DPI_Schema output, struct arrow_run *run);
void arrow_done(struct arrow_run *run);

#endif
