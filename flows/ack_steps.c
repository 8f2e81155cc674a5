/* SPDX-License-Identifier: Apache-2.0
 * ack_steps.c: rows that travelled, and those that were pushed: see ack_steps.h. */
#include "ack_steps.h"

#include <stdbool.h>
#include <stdlib.h>

static struct dpi_ack_step *at_place(const struct dpi_ack_steps *s, uint32_t n)
{
	return &s->step[(s->first + n) & (s->room - 1)];
}

static bool grow(struct dpi_ack_steps *s)
{
	uint32_t room = s->room ? 2 * s->room : 16;
	struct dpi_ack_step *step = malloc(room * sizeof *step);
	if (!step) return false;
	for (uint32_t n = 0; n < s->count; n++) step[n] = *at_place(s, n);
	free(s->step);
	s->step = step;
	s->first = 0;
	s->room = room;
	return true;
}

void dpi_ack_steps_add(struct dpi_ack_steps *s, uint64_t sent, uint64_t pushed)
{
	if (s->last.sent != sent && (s->count < s->room || grow(s))) *at_place(s, s->count++) = s->last;
	s->last = (struct dpi_ack_step){ sent, pushed };
}

uint64_t dpi_ack_steps_take(struct dpi_ack_steps *s, uint64_t sent)
{
	for (; s->count && at_place(s, 0)->sent <= sent; s->count--, s->first++) s->pushed = at_place(s, 0)->pushed;
	if (s->last.sent <= sent) s->pushed = s->last.pushed;
	return s->pushed;
}

void dpi_ack_steps_free(struct dpi_ack_steps *s)
{
	free(s->step);
	*s = (struct dpi_ack_steps){ 0 };
}
