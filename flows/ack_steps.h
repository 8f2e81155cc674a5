/* SPDX-License-Identifier: Apache-2.0
 * ack_steps.h: where rows do not travel as they are pushed: how many of those that were pushed to a target are in the ones that travelled there.
 * Rows wait in a table and go out together, as others and fewer. So the one number follows the other in steps. */
#ifndef DPI_FLOWS_ACK_STEPS_H
#define DPI_FLOWS_ACK_STEPS_H

#include <stdint.h>

struct dpi_ack_step {
	uint64_t sent, pushed; /* when so many rows had travelled, all of so many that were pushed were in them */
};
struct dpi_ack_steps { /* zero at first */
	struct dpi_ack_step last;
	struct dpi_ack_step *step; /* those before it: circular; room: 0 or a power of two */
	uint32_t first, count, room;
	uint64_t pushed; /* of the step that was taken last */
};

/* Both numbers only grow. Without memory for the step before this one, it is put off until this one is due. */
void dpi_ack_steps_add(struct dpi_ack_steps *s, uint64_t sent, uint64_t pushed);
/* So many that travelled are acknowledged: how many that were pushed are? */
uint64_t dpi_ack_steps_take(struct dpi_ack_steps *s, uint64_t sent);
void dpi_ack_steps_free(struct dpi_ack_steps *s);

#endif
