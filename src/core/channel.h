/* SPDX-License-Identifier: Apache-2.0
 * channel.h: frames over a non-blocking stream socket.
 *
 * A frame is a header of 16 bytes, little endian: u32 size of the payload, u16 type, u16 flags, u64 id; then the payload.
 * Descriptors travel with the first byte of their frame. Of a reply the type is the error class, and the payload the answer
 * or the sentence.
 *
 * Threads: receiving belongs to one thread (the loop's, or the one that makes the connection). Sending is serialised by the
 * caller (control.c: by its lock). */
#ifndef DPI_CORE_CHANNEL_H
#define DPI_CORE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"
#include "message.h"

#define DPI_FRAME_HEADER 16
#define DPI_FRAME_REPLY 0x0001u
#define DPI_FRAME_FDS_SHIFT 8 /* bits 8 … 10: how many descriptors come with it */
#define DPI_FRAME_FLAGS (DPI_FRAME_REPLY | 7u << DPI_FRAME_FDS_SHIFT)

#define DPI_CHANNEL_QUEUE_MAX (8u << 20) /* bytes that wait for a peer that does not read */

struct dpi_frame {
	uint32_t size;
	uint16_t type, flags;
	uint64_t id;
	const uint8_t *payload;
};

/* Parse a frame at the head of size bytes. Its length; 0: more bytes are needed; -1: no correct peer sends this
 * (payload over limit, unknown flags, too many descriptors). Pure. */
long dpi_frame_parse(const uint8_t *data, size_t size, uint32_t limit, struct dpi_frame *frame);

struct dpi_channel_out;

struct dpi_channel {
	struct dpi_watch watch; /* fd; -1: closed */
	bool local;		/* a Unix socket: carries descriptors */
	/* receiver's */
	uint8_t *in;
	size_t in_at, in_size, in_room;
	/* Descriptors of frames that are not taken yet, in order. A read ends with the first bytes that bring some, so those of a frame of
	 * which the rest is still to come may be in hand, and those of the next frame that has any; not more. */
	struct dpi_channel_fds {
		int fd[DPI_MESSAGE_FDS], count;
		bool cut; /* the process had no room for all of them */
	} fds[2];
	int fds_first, fds_count;
	/* sender's */
	struct dpi_channel_out *first, **last;
	size_t queued;	/* bytes */
	bool watched;	/* the loop watches fd */
	bool want_send; /* for room, too */
	bool broken;	/* nothing can be sent any more; fd is shut down so that the receiver sees the end */
	const char *why;
	bool lost;	/* broken because the other side is gone, not because of this one */
	/* control.c's; see control_state.h */
	struct dpi_peer *peer;
	struct dpi_accept *accept; /* the greeting, of a stranger */
	struct dpi_channel *next;
	int64_t heard; /* dpi_now, of other hosts: last bytes received */
	/* dpi_lease_now, of other hosts: when the last heartbeat was sent that has come, by its clock, and that it has got, by this one */
	int64_t theirs, echoed;
	bool reset; /* the end was no orderly one */
	bool ended;	     /* unlinked, to be freed by the loop */
};

/* Takes fd, also on failure (NULL). */
struct dpi_channel *dpi_channel_new(int fd);
void dpi_channel_free(struct dpi_channel *c);

/* Send, or queue, a frame. body may be NULL; it is not freed. DPI_ERR_PEER when the channel is broken, DPI_ERR_LIMIT without
 * an effect when descriptors run out. The caller then looks at dpi_channel_waits. */
int dpi_channel_send(struct dpi_channel *c, uint16_t type, uint16_t flags, uint64_t id, const struct dpi_pack *body);
/* The last that this side says: a frame of this type, without a body, so that the other side does not take the end for the end of
 * the process. Where that cannot be said the connection is reset. */
void dpi_channel_give_up(struct dpi_channel *c, uint16_t type);
/* Send what is queued, as far as the socket takes it. */
void dpi_channel_flush(struct dpi_channel *c);
static inline bool dpi_channel_waits(const struct dpi_channel *c)
{
	return c->first && !c->broken;
}

enum { DPI_RECEIVED, DPI_RECEIVED_NOTHING, DPI_RECEIVED_END, DPI_RECEIVED_BAD };
/* Read once from the socket. limit: of a payload. */
int dpi_channel_receive(struct dpi_channel *c, uint32_t limit);
/* The next whole frame: 1, 0 none, -1 malformed. Frame and message stay good until the next receive; the message owns its
 * descriptors. */
int dpi_channel_next(struct dpi_channel *c, uint32_t limit, struct dpi_frame *frame, struct dpi_unpack *message);
/* Close the descriptors nobody took. */
void dpi_unpack_close(struct dpi_unpack *u);

#endif
