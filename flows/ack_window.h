/* SPDX-License-Identifier: Apache-2.0
 * ack_window.h: at a target that reduces and acknowledges what its program has released or confirmed: which rows are in the windows whose results
 * the program has, or had. A row is acknowledged by the results of its window. Without acknowledgements of that kind all of this does
 * nothing. */
#ifndef DPI_FLOWS_ACK_WINDOW_H
#define DPI_FLOWS_ACK_WINDOW_H

#include "target.h"

struct dpi_ack_part { /* of a source */
	struct dpi_inlet *inlet; /* the first by which it came, where a source was resumed */
	uint64_t from, to; /* its rows in the window: those numbered from … to - 1 */
};

struct dpi_ack_window {
	struct dpi_ack_window *next; /* that ended later */
	struct dpi_ack_part *part;
	uint32_t parts, room;
	uint32_t out;  /* pieces of its results */
	bool some;     /* there were any */
	bool complete; /* all are made */
};

struct dpi_ack_windows {
	struct dpi_ack_window *open;   /* takes in rows; NULL: none has come */
	struct dpi_ack_window *giving; /* its results are made; NULL: there are none, or nobody asks */
	struct dpi_ack_window *first, **last; /* that have ended, and are not given back */
};

/* Rows of a piece are about to be taken in: part: out, NULL without acknowledgements. MEMORY. */
int dpi_ack_window_takes(struct dpi_target *t, const struct dpi_piece *piece, struct dpi_ack_part **part);
/* It ends: its results begin; a piece is some of them; that were all. */
void dpi_ack_window_ends(struct dpi_target *t);
void dpi_ack_window_gives(struct dpi_target *t, struct dpi_piece *piece);
void dpi_ack_window_complete(struct dpi_target *t);
/* A piece of its results was given back. */
void dpi_ack_window_released(struct dpi_target *t, struct dpi_ack_window *w);
/* Rows of a source before the first that is in no window which the program was given all of. */
uint64_t dpi_ack_window_taken(const struct dpi_target *t, struct dpi_inlet *i);
void dpi_ack_windows_free(struct dpi_ack_windows *w);

#endif
