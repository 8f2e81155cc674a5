/* SPDX-License-Identifier: Apache-2.0
 * sink.h: bytes on their way into a descriptor that may be slow. Nothing here blocks. */
#ifndef DPIRUN_SINK_H
#define DPIRUN_SINK_H

#include "loop.h"
#include "util.h"

#define SINK_HIGH (256 << 10) /* above this who fills it looks away from its sources */
#define SINK_LOW (64 << 10)

struct sink {
	struct watch watch;
	bool shared;	  /* with other processes: O_NONBLOCK must not be set on it, so poll and small writes */
	bool file;	  /* always takes everything */
	bool failed;	  /* what is put is thrown away; error says why */
	bool close_after; /* when empty */
	int error;
	struct bytes bytes;
	size_t head;			 /* of bytes, written already */
	const void *open_line;		 /* who put a line's beginning last, without its end */
	void (*changed)(struct sink *s); /* after bytes left, or it failed; may be NULL */
	void *owner;
};

/* fd: not closed by us if shared. */
void sink_open(struct sink *s, int fd, bool shared);
void sink_put(struct sink *s, const void *data, size_t size);
void sink_flush(struct sink *s); /* as much as goes at once */
void sink_close(struct sink *s); /* when all is written */
void sink_drop(struct sink *s);	 /* now */
static inline size_t sink_level(const struct sink *s)
{
	return s->bytes.size - s->head;
}

#endif
