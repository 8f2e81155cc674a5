/* SPDX-License-Identifier: Apache-2.0
 * request.h: one operation on a handle, from its start to its result. The blocking calls put one on the stack, the _Nb calls on
 * the heap. Those of one handle are carried out in order. */
#ifndef DPI_MEMORY_REQUEST_H
#define DPI_MEMORY_REQUEST_H

#include "buffer.h"

enum { DPI_OP_NONE, DPI_OP_POSTED, DPI_OP_DONE };

struct dpi_request {
	struct dpi_operation op; /* first: the cookie of what is posted to a transport */
	_Atomic int op_state;	 /* DPI_OP_*; DONE with release after op_error and op_result */
	int op_error;
	uint64_t op_result;
	/* One step; DPI_ERR_AGAIN: not finished. Called by the handle's thread only. */
	int (*advance)(struct dpi_request *r);
	struct dpi_buffer *b;
	struct dpi_remote *remote; /* what op was posted to */
	struct dpi_request *next;
	DPI_Request handle;
	bool append;		/* it may wait for room in the ring */
	bool refused;		/* the transport had no room for the post; nothing tells when it has */
	bool begun;		/* posted once */
	bool unknown;		/* if given up now, nobody knows whether it happened */
	bool finished;
	int error;
	int stage;
	struct iovec iov[1];
	const struct iovec *pieces;
	int count;
	void *data;
	uint64_t size, offset, operand, expected, previous, sequence;
	uint64_t *position, *previous_out, *next_out;
	size_t *size_out;
	DPI_Part *parts;
	size_t parts_count;
	char *why;     /* NULL, or DPI_DETAIL_MAX bytes: the sentence of the lowest part that failed; a request's with a handle: its own */
	char *sentence; /* of a request with a handle that has failed: other calls may fail before it is collected */
	size_t why_of; /* its number; parts_count: none did */
	struct dpi_request *part; /* one each */
	struct dpi_descriptor *descriptor; /* readable when it may have completed; NULL until it is asked for */
	/* log_reader.c */
	uint64_t log_bounds[2];
	bool at_end;	  /* nothing lies at the position yet */
	bool stop_at_end; /* then end with DPI_ERR_TIMEOUT */
	bool wait_at_end; /* then the home is asked to ring when something does */
	bool cancelled;	  /* while something was under way: give up at the end */
	uint8_t ahead[520];
	/* region_call.c */
	uint16_t call;		    /* DPI_MEMORY_READ … */
	DPI_Reference reference;    /* generation 0: none */
	DPI_Reference *reference_out;
	bool flushing;
	struct dpi_calling calling; /* so the request does not move from its first step on */
};

/* One part of a scatter or gather as a request: append.c, log_reader.c, region.c. */
void dpi_append_request(struct dpi_request *r, struct dpi_buffer *b, void *data, uint64_t size);
void dpi_log_request(struct dpi_request *r, struct dpi_buffer *b, uint64_t position, void *data, uint64_t size, size_t *size_out, uint64_t *next);
int dpi_region_range(const struct dpi_buffer *b, uint64_t offset, uint64_t size, const char *call);
void dpi_region_request(struct dpi_request *r, struct dpi_buffer *b, bool write, void *data, uint64_t size, uint64_t offset);
void dpi_region_account(struct dpi_buffer *b, bool write, uint64_t size);
/* region_call.c: one step of what the region's home does for this node: r->call. */
int dpi_region_advance_call(struct dpi_request *r);

/* The state of what was posted: DPI_ERR_AGAIN while under way. Gives it up if the peer is dead. */
int dpi_request_posted(struct dpi_request *r);
/* After a post that returned result: SUCCESS, PENDING, AGAIN or an error. SUCCESS or AGAIN (under way or not taken) or the error. */
int dpi_request_post(struct dpi_request *r, struct dpi_remote *remote, int result);
#define DPI_REQUEST_POST(r, on, call) \
	(dpi_request_prepare(r), dpi_request_post(r, on, call))
void dpi_request_prepare(struct dpi_request *r);

/* Carry out to the end, or to the deadline of the handle. */
int dpi_request_run(struct dpi_request *r, int64_t timeout_us, const char *what);
/* Put a copy on the heap, on the handle's list; try it once. */
int dpi_request_start(const struct dpi_request *r, DPI_Request *out);
/* Where a request goes: set to none, so that an error leaves none; false, with the sentence, if it is NULL. */
bool dpi_request_none(DPI_Request *request, const char *call);
/* Carry on with the handle's list; true when it is empty. */
bool dpi_request_list(struct dpi_buffer *b);
/* Free the requests that nobody has collected; all buffers are closed. */
void dpi_requests_free(void);
/* Finish or give up all of a handle that is being closed. */
void dpi_request_close(struct dpi_buffer *b);
/* Let go of the caller's memory, whatever the state. */
void dpi_request_give_up(struct dpi_request *r);
/* Carry on with the handle's list. If not empty: where the next step of it is heard of. */
bool dpi_request_list_or_listen(struct dpi_buffer *b, struct dpi_listening *l);

#endif
