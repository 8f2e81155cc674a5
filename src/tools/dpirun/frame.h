/* SPDX-License-Identifier: Apache-2.0
 * frame.h: what dpirun and dpirun --remote say to each other over ssh. Twelve bytes, "dpi" and the type, node, size, the
 * numbers little endian; then size bytes. */
#ifndef DPIRUN_FRAME_H
#define DPIRUN_FRAME_H

#include "sink.h"

#define FRAME_VERSION 1
#define FRAME_MAX (4 << 20)
#define INPUT_WINDOW (256 << 10) /* bytes of standard input that are sent and not yet taken, at most */

enum frame_type {
	/* to the helper */
	FRAME_JOB = 'J',    /* node: FRAME_VERSION; the job's id */
	FRAME_KEY = 'K',    /* the cluster key */
	FRAME_LISTEN = 'L', /* make node 0's socket; the address or "" */
	/* start node; strings, each with its zero byte: counts, cluster, directory, arguments, environment */
	FRAME_NODE = 'N',
	FRAME_ALL = 'G',  /* these were all nodes */
	FRAME_SIGNAL = 'S', /* node: the signal's number, to all nodes */
	FRAME_KILL = 'X',
	FRAME_INPUT = 'I', /* of node 0; size 0: its end */
	/* from the helper */
	FRAME_HELLO = 'H',  /* node: FRAME_VERSION */
	FRAME_PORT = 'P',   /* node: where node 0's socket listens */
	FRAME_BEGUN = 'B',  /* process id, as text */
	FRAME_FAILED = 'F', /* node could not be started; the sentence */
	FRAME_OUTPUT = 'O', /* size 0: its end */
	FRAME_ERROR = 'E',
	FRAME_ENDED = 'Z', /* status, as text */
	FRAME_TAKEN = 'A', /* node: bytes of input that node 0 took */
	FRAME_SAY = 'T',   /* a line for the user */
};

struct frame {
	enum frame_type type;
	uint32_t node;
	const char *data; /* until the next frame_next or frame_feed; followed by a zero byte */
	size_t size;
};

void frame_put(struct sink *s, enum frame_type type, uint32_t node, const void *data, size_t size);

struct frame_reader {
	struct bytes bytes;
	size_t head;
	char kept; /* what stood in the place of the zero byte */
	size_t zero;
};
void frame_feed(struct frame_reader *r, const void *data, size_t size);
/* 1: a frame; 0: more bytes are needed; -1: these are no frames; r->bytes from r->head on are what came instead. */
int frame_next(struct frame_reader *r, struct frame *f);

#endif
