/* SPDX-License-Identifier: Apache-2.0
 * endpoint_none.c: no sources and targets yet: nothing to close. */
#include "endpoint.h"

void dpi_source_finish(uint64_t handle, void *object)
{
	(void)handle, (void)object;
}

void dpi_target_finish(uint64_t handle, void *object)
{
	(void)handle, (void)object;
}
