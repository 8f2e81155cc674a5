/* SPDX-License-Identifier: Apache-2.0
 * origin.h: in a retained flow, how far a target has got with each source, whatever rings its rows came by: see origin.c. */
#ifndef DPI_FLOWS_ORIGIN_H
#define DPI_FLOWS_ORIGIN_H

#include "target.h"

struct dpi_origin {
	bool some;	/* the rest is known */
	bool ended;	/* its end came, too */
	bool marked;
	uint64_t rows, mark; /* taken of it; the last mark that it passed */
	uint64_t acked;	     /* rows: the most that any of its rings was told */
	uint64_t given;	     /* of a flow that reduces: as an inlet's */
	uint32_t epoch;	     /* of the last ring that was begun */
	struct dpi_ack_none none;
};

/* What is known of a source; NULL: nothing. */
struct dpi_origin *dpi_origin_find(const struct dpi_target *t, uint32_t source);
/* The same, made if there is none; NULL: no memory. */
struct dpi_origin *dpi_origin_make(struct dpi_target *t, uint32_t source);
void dpi_origins_free(struct dpi_target *t);

/* Find out whose the rings are that nothing was taken from yet. True: that is known of more of them, for which marks may have waited. */
bool dpi_inlets_name(struct dpi_target *t);
/* It has to wait: an older ring of its source is not read to its end. */
bool dpi_inlet_later(const struct dpi_target *t, const struct dpi_inlet *i);
/* Its source goes on in another ring, so what is there now is all. */
bool dpi_inlet_superseded(const struct dpi_target *t, const struct dpi_inlet *i);
/* The mark that every source has passed. A ring that has to wait for an older one delays none: its source has passed what that one held,
 * and where windows end at marks that one is not read on before its mark is reported. */
bool dpi_origins_marked(const struct dpi_target *t, uint64_t *mark);

#endif
