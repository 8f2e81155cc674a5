/* SPDX-License-Identifier: Apache-2.0
 * endpoint.h: what the layer must know of open sources and targets: to close them. */
#ifndef DPI_FLOWS_ENDPOINT_H
#define DPI_FLOWS_ENDPOINT_H

#include <stdint.h>

/* As DPI_Close_Source and DPI_Close_Target do, at most until deadline; for dpi_flows_finish, through dpi_handle_each. */
void dpi_source_finish(uint64_t handle, void *object);
void dpi_target_finish(uint64_t handle, void *object);

#endif
