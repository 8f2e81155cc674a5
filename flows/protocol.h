/* SPDX-License-Identifier: Apache-2.0
 * protocol.h: what a flow's copies and its coordinator, on the registry's node, say to each other over the control channel.
 * All integers little endian. copy: a number that a process gives to each of its copies, never to two. */
#ifndef DPI_FLOWS_PROTOCOL_H
#define DPI_FLOWS_PROTOCOL_H

#include "control.h"

/* To the coordinator. 'tell': without an answer. A flow that failed answers its own failure, to all but the first five and DETACH. */
enum {
	DPI_FLOW_CREATE = DPI_MESSAGE_FLOW, /* u64 copy, name, bytes of the definition -> u64 id; the copy is a member */
	DPI_FLOW_NAMED,	  /* tell: u64 id: its name stands in the registry: it outlives its creator */
	DPI_FLOW_DROP,	  /* tell: u64 id: its name was taken: forget it */
	DPI_FLOW_OPEN,	  /* u64 id, u64 copy -> bytes of the definition; the state comes before the answer, as news */
	DPI_FLOW_CLOSE,	  /* tell: u64 id, u64 copy: no more news */
	DPI_FLOW_JOIN,	  /* u64 id, u64 token, u64 the source's id, u32 DPI_JOIN_* -> u32 number of the source, u32 epoch */
	DPI_FLOW_ABANDON, /* tell: u64 id, u64 token: the answer to this join was not waited for: the source is closed */
	DPI_FLOW_LEAVE,	  /* u64 id, u32 source, u32 epoch, u32 state */
	DPI_FLOW_BIND,	  /* u64 id, u32 target, u64 queue, u8 again -> u32 epoch */
	DPI_FLOW_UNBIND,  /* u64 id, u32 target, u64 queue, u32 state; told: UNBOUND: a bind nobody waited for */
	DPI_FLOW_DETACH,  /* tell: u64 id, u32 target, u64 queue: it gave a source no room for too long */
	DPI_FLOW_SEAL,	  /* u64 id */
	DPI_FLOW_CANCEL,  /* u64 id, text: the reason, or "" */
	DPI_FLOW_FAIL,	  /* u64 id, u32 error, text; also told */
	DPI_FLOW_DESTROY, /* u64 id */
	/* To a coordinator that comes back, all of them 'tell', of each copy in this order */
	DPI_FLOW_COPY,		/* u64 id, u64 copy, name, u32 its failure or 0, text, u8 sealed, bytes of the definition */
	DPI_FLOW_COPY_SOURCES,	/* as SOURCES; those of the node that tells are as it says, the others at least */
	DPI_FLOW_COPY_TARGETS,	/* as TARGETS, likewise */
	DPI_FLOW_LEFT,		/* u64 id, u8 1: a target, u32 number, u32 epoch, u64 queue, u32 state: an endpoint that left while nobody could be told; also later */
	/* To each copy, in the order in which it happened; each begins with u64 id, u64 copy. None follows FAILED. */
	DPI_FLOW_SOURCES, /* u32 first, u32 count; of each u8 state, u32 node, u32 epoch, u64 the source's id */
	DPI_FLOW_TARGETS, /* u32 first, u32 count; of each u8 state, u32 node, u64 queue, u32 epoch */
	DPI_FLOW_SEALED,
	DPI_FLOW_FAILED,  /* u32 error, text */
	DPI_FLOW_BACK,	  /* the coordinator has come back, and knows of this copy; all of its state follows */
	DPI_FLOW_MESSAGES_END
};

enum { DPI_JOIN_GOES_ON = 1, DPI_JOIN_TAKES_OVER = 2 }; /* there must be a source of the id; it may be open */

#define DPI_FLOW_NEWS_SOURCES 2048u /* most in one message */
_Static_assert(24 + DPI_FLOW_NEWS_SOURCES * 17 <= DPI_MESSAGE_MAX, "news of sources fit a message");
#define DPI_FLOW_NEWS_TARGETS 2048u
_Static_assert(24 + DPI_FLOW_NEWS_TARGETS * 17 <= DPI_MESSAGE_MAX, "news of targets fit a message");
#define DPI_FLOW_SENTENCE 512 /* bytes of a flow's failure, with its zero */
_Static_assert(DPI_DEFINITION_MAX + DPI_NAME_MAX + DPI_FLOW_SENTENCE + 64 <= DPI_MESSAGE_MAX, "a definition fits a message");

#endif
