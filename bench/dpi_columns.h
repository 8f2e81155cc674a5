/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of a shuffle as two columns, of the key and of what is behind it, and as record batches. */
#ifndef BENCH_DPI_COLUMNS_H
#define BENCH_DPI_COLUMNS_H

#include "dpi_job.h"
#include "shuffle.h"

struct columns {
	unsigned char *data[2];
	size_t width[2];
};

DPI_Schema columns_schema(void);

/* A copy of rows, in memory of its own. */
struct columns columns_new(const struct rows *rows);

void columns_push(const struct columns *c, size_t first, size_t count, DPI_Source source);

/* Makes rows of some of them again, as one writes it by hand. */
void columns_to_rows(const struct columns *c, size_t first, size_t count, unsigned char *row);

/* What take_rows does, with a record batch. */
void columns_take(struct tally *t, const struct ArrowArray *array);

#endif
