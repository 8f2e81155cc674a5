/* SPDX-License-Identifier: Apache-2.0
 * ack_target.h: acknowledgements at a target: what inlet.c and the pipe call. */
#ifndef DPI_FLOWS_ACK_TARGET_H
#define DPI_FLOWS_ACK_TARGET_H

#include "target.h"

/* Does what the program gives back, or confirms, mean anything to sources? */
bool dpi_ack_answers(const struct dpi_target *t);
/* Of a source that was resumed, rows may be out that came by an older ring. */
bool dpi_ack_same_source(const struct dpi_inlet *a, const struct dpi_inlet *b);
/* A piece of an inlet was given back. */
void dpi_ack_released(struct dpi_target *t, struct dpi_inlet *i);
/* The first segment of a source has come: what its program wants to go on behind is acknowledged. */
void dpi_ack_began(struct dpi_target *t, struct dpi_inlet *i);
/* Of a flow that reduces: rows of an inlet's source in windows whose results the program has given back; whatever ring they came by. */
uint64_t *dpi_ack_given(const struct dpi_target *t, struct dpi_inlet *i);
/* Nothing came out of these rows, those numbered from … to - 1: there is nothing to confirm, once all before is. */
void dpi_ack_nothing(struct dpi_target *t, struct dpi_inlet *i, uint64_t from, uint64_t to);

#endif
