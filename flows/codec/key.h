/* SPDX-License-Identifier: Apache-2.0
 * key.h: the keys that this process holds, by name. They lie in pages that are not swapped where that is allowed, not
 * dumped, and empty in a forked child. */
#ifndef DPI_CODEC_KEY_H
#define DPI_CODEC_KEY_H

#include "dpi.h"

#define DPI_KEY_BYTES DPI_KEY_SIZE

/* Copy the key of this name. DPI_ERR_NAME: there is none. */
int dpi_key_get(const char *name, uint8_t key[DPI_KEY_BYTES]);
/* A random number of this process, drawn when dpi_key_process_mark first asks for it; 0 in a forked child until then, who
 * thus never has its parent's. */
uint64_t dpi_key_process(void);
int dpi_key_process_mark(uint64_t *mark);

#endif
