/* SPDX-License-Identifier: Apache-2.0
 * ack_window.c: windows whose results acknowledge the rows in them: see ack_window.h. */
#include "ack_window.h"

#include <stdlib.h>

#include "ack_target.h"
#include "pipe.h"

static struct dpi_ack_windows *windows_of(const struct dpi_target *t)
{
	return &t->pipe->windows;
}

/* ------------------------------------------------------------------------------------------------------------- rows */

static struct dpi_ack_part *part_of(const struct dpi_ack_window *w, const struct dpi_inlet *i)
{
	for (uint32_t n = 0; n < w->parts; n++)
		if (dpi_ack_same_source(w->part[n].inlet, i)) return w->part + n;
	return NULL;
}

static int no_memory(void)
{
	return dpi_fail(DPI_ERR_MEMORY, "no memory for the sources of a window");
}

int dpi_ack_window_takes(struct dpi_target *t, const struct dpi_piece *piece, struct dpi_ack_part **part)
{
	struct dpi_ack_windows *all = windows_of(t);
	*part = NULL;
	if (!dpi_ack_answers(t)) return DPI_SUCCESS;
	if (!all->open && !(all->open = calloc(1, sizeof *all->open))) return no_memory();
	struct dpi_ack_window *w = all->open;
	if ((*part = part_of(w, piece->inlet))) return DPI_SUCCESS;
	if (w->parts == w->room) {
		uint32_t room = w->room ? 2 * w->room : 4;
		struct dpi_ack_part *more = realloc(w->part, room * sizeof *more);
		if (!more) return no_memory();
		w->part = more;
		w->room = room;
	}
	piece->inlet->out++; /* it stays while the window does */
	*part = w->part + w->parts++;
	**part = (struct dpi_ack_part){ piece->inlet, piece->before, piece->before };
	return DPI_SUCCESS;
}

/* ---------------------------------------------------------------------------------------------------------- results */

static void window_free(struct dpi_ack_window *w)
{
	if (w) free(w->part);
	free(w);
}

/* Its results are given back, or there were none. */
static void over(struct dpi_target *t, struct dpi_ack_window *w)
{
	for (uint32_t n = 0; n < w->parts; n++) {
		struct dpi_ack_part *p = w->part + n;
		*dpi_ack_given(t, p->inlet) = p->to;
		p->inlet->out--;
		if (!w->some) dpi_ack_nothing(t, p->inlet, p->from, p->to);
		dpi_ack_released(t, p->inlet);
	}
	window_free(w);
}

/* Those that came first go first. */
static void collect(struct dpi_target *t)
{
	struct dpi_ack_windows *all = windows_of(t);
	while (all->first && all->first->complete && !all->first->out) {
		struct dpi_ack_window *w = all->first;
		all->first = w->next;
		if (!all->first) all->last = &all->first;
		over(t, w);
	}
}

void dpi_ack_window_ends(struct dpi_target *t)
{
	struct dpi_ack_windows *all = windows_of(t);
	if (!all->open) return;
	all->giving = all->open;
	all->open = NULL;
	if (!all->first) all->last = &all->first;
	*all->last = all->giving;
	all->last = &all->giving->next;
}

void dpi_ack_window_gives(struct dpi_target *t, struct dpi_piece *piece)
{
	struct dpi_ack_window *w = windows_of(t)->giving;
	if (!w) return;
	piece->window = w;
	w->out++;
	w->some = true;
}

void dpi_ack_window_complete(struct dpi_target *t)
{
	struct dpi_ack_windows *all = windows_of(t);
	if (!all->giving) return;
	all->giving->complete = true;
	all->giving = NULL;
	collect(t);
}

void dpi_ack_window_released(struct dpi_target *t, struct dpi_ack_window *w)
{
	w->out--;
	collect(t);
}

/* Has the program all of it? Pieces that are lent were given. */
static bool is_given(const struct dpi_target *t, const struct dpi_ack_window *w)
{
	return w->complete && t->kept.piece.window != w && (t->piece.window != w || t->at == t->stop);
}

uint64_t dpi_ack_window_taken(const struct dpi_target *t, struct dpi_inlet *i)
{
	uint64_t rows = *dpi_ack_given(t, i);
	for (const struct dpi_ack_window *w = windows_of(t)->first; w && is_given(t, w); w = w->next) {
		const struct dpi_ack_part *p = part_of(w, i);
		if (p) rows = p->to;
	}
	return rows;
}

void dpi_ack_windows_free(struct dpi_ack_windows *all)
{
	while (all->first) {
		struct dpi_ack_window *w = all->first;
		all->first = w->next;
		window_free(w);
	}
	window_free(all->open);
}
