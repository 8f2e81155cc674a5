/* SPDX-License-Identifier: Apache-2.0
 * ack_target.h: acknowledgements at a target: what inlet.c calls. */
#ifndef DPI_FLOWS_ACK_TARGET_H
#define DPI_FLOWS_ACK_TARGET_H

#include "target.h"

/* A piece of an inlet was given back. */
void dpi_ack_released(struct dpi_target *t, struct dpi_inlet *i);
/* The first segment of a source has come: what its program wants to go on behind is acknowledged. */
void dpi_ack_began(struct dpi_target *t, struct dpi_inlet *i);

#endif
