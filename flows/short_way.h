/* SPDX-License-Identifier: Apache-2.0
 * short_way.h: the other half of the short ways: everything that they do not do. */
#ifndef DPI_FLOWS_SHORT_WAY_H
#define DPI_FLOWS_SHORT_WAY_H

#include <dpi.h>

int dpi_push_slow(const void *row, size_t size, DPI_Source source); /* DPI_Push, in full */

#endif
