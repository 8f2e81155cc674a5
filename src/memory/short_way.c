/* SPDX-License-Identifier: Apache-2.0
 * short_way.c: what dpi.h lets programs do by themselves when they append; its twin is DPI_Append in append.c. */
#include "buffer.h"

#define SAME(public, private)                                                                                \
	_Static_assert(offsetof(struct dpi_way_1, public) == offsetof(struct dpi_buffer, private) &&         \
			       sizeof((struct dpi_way_1){ 0 }.public) == sizeof((struct dpi_buffer){ 0 }.private), \
		       "dpi.h and struct dpi_buffer differ")
SAME(busy, busy);
SAME(run, run);
SAME(armed, armed);
SAME(below, fast_size);
SAME(appends, appends);
SAME(append_bytes, append_bytes);
SAME(data, appender.writer.data);
SAME(mask, appender.writer.mask);
SAME(written, appender.writer.written);
SAME(until, appender.writer.until);
SAME(same, appender.writer.same);
SAME(place, appender.writer.same_place);
SAME(capacity, appender.writer.capacity);
SAME(head_seen, appender.writer.head_seen);
SAME(published, appender.published);
SAME(group, appender.group);
SAME(flush, appender.flush);
SAME(bell, appender.bell);
SAME(quick, appender.quick);
_Static_assert(offsetof(struct dpi_bell, sleepers) == 4 && offsetof(struct dpi_bell, pollers) == 8, "dpi.h and bell.h differ");
_Static_assert(sizeof(struct dpi_slot_1) == sizeof(struct dpi_handle_slot) && DPI_HANDLE_BUFFER == 2 && DPI_HANDLE_MAX == 0x100000,
	       "dpi.h and handle.h differ");
_Static_assert(DPI_RING_WORD == 8 && DPI_RING_RECORD == 1 && DPI_RING_AHEAD == 1024 && DPI_RING_SINGLE == 64 && DPI_SMALL_BYTES == 128 &&
			       offsetof(struct dpi_ring, clear) == 8, "dpi.h and ring.h differ");

/* A record was published, and somebody sleeps. */
int dpi_ring_1(DPI_Buffer handle)
{
	struct dpi_buffer *b = dpi_buffer_get(handle);
	if (b && b->appender.attached) dpi_remote_ring(&b->appender.remote, b->appender.home_bell);
	return DPI_SUCCESS;
}

/* A record was written when the linger service had just let go of the handle. */
int dpi_arm_1(DPI_Buffer handle)
{
	struct dpi_buffer *b = dpi_buffer_get(handle);
	if (b && dpi_buffer_enter(b)) {
		dpi_linger_arm(b);
		dpi_buffer_leave(b);
	}
	return DPI_SUCCESS;
}
