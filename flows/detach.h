/* SPDX-License-Identifier: Apache-2.0
 * detach.h: targets that fall too far behind: see detach.c. Of flows whose detach_us is not 0. */
#ifndef DPI_FLOWS_DETACH_H
#define DPI_FLOWS_DETACH_H

#include "source.h"

/* There was no room at a target now. True: it is detached. */
bool dpi_lane_lags(struct dpi_source *s, uint32_t target, int64_t now);
/* There was some. */
void dpi_lane_goes_on(struct dpi_source *s, uint32_t target);
/* Until when room is waited for before it is detached. */
int64_t dpi_lane_patience(const struct dpi_source *s, uint32_t target);
struct dpi_target;
/* FENCED: this target was. */
int dpi_target_detached(struct dpi_target *t);
/* Has anybody detached it? Looks when the flow has changed. */
bool dpi_lane_is_detached(struct dpi_source *s, uint32_t target);

#endif
