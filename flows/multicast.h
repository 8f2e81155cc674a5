/* SPDX-License-Identifier: Apache-2.0
 * multicast.h: what goes to several targets, sent once. */
#ifndef DPI_FLOWS_MULTICAST_H
#define DPI_FLOWS_MULTICAST_H

#include "source.h"

/* The lanes of these targets have got the same rows, and no more fit what is open or to be published: publish together what can be,
 * if that is much. True: some was, and more rows may fit now. Whatever happens, what is left is published as ever. */
bool dpi_source_publish_many(struct dpi_source *s, const uint32_t *to, uint32_t count);

#endif
