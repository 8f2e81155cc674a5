/* SPDX-License-Identifier: Apache-2.0
 * memory.h: the memory layer of a context: its open handles, the buffers whose home is here, the linger list. */
#ifndef DPI_MEMORY_MEMORY_H
#define DPI_MEMORY_MEMORY_H

#include "context.h"

int dpi_memory_open(struct dpi_context *ctx);
void dpi_memory_finish(struct dpi_context *ctx); /* publish and close every handle; peers are still there */
void dpi_memory_close(struct dpi_context *ctx);	 /* free everything; the loop has stopped */

#endif
