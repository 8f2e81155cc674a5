/* SPDX-License-Identifier: Apache-2.0
 * image.h: memory of programs. */
#ifndef DPI_EXPR_IMAGE_H
#define DPI_EXPR_IMAGE_H

#include "program.h"

#define DPI_EXPR_MAGIC 0x58495044u /* "DPIX" */
#define DPI_EXPR_VERSION 1

/* All zero, with room for so much; NULL: a sentence is set. */
struct dpi_expr *dpi_program_new(int columns, int constants, int instructions, size_t pool);

#endif
