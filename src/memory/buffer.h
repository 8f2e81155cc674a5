/* SPDX-License-Identifier: Apache-2.0
 * buffer.h: an open handle to a buffer. */
#ifndef DPI_MEMORY_BUFFER_H
#define DPI_MEMORY_BUFFER_H

#include "descriptor.h"
#include "handle.h"
#include "wait.h"
#include "home.h"
#include "memory.h"
#include "ring.h"
#include "window.h"

#define DPI_GROUP_BYTES 8192u	/* unflushed appends are published when they are this many bytes */
#define DPI_STAGE_BYTES 32768u /* but when they lie on a stage: what is copied at once is copied faster */
#define DPI_RUN_BYTES 32768u	/* a run of records of one size at most */
#define DPI_PUT_GROUP_BYTES 65536u /* the same where publishing is a put */
#define DPI_SMALL_BYTES 128u	/* records up to this are copied without a call */
#define DPI_LARGE_BYTES 32768u	/* a record from here on goes from the caller's memory to a transport without a copy, */
#define DPI_LARGE_LOCAL_BYTES 1048576u /* or from here on, where the transport has to register that memory first */
#define DPI_LOOK_AGAIN_NS 1000000 /* where nothing tells that there is a change: a transport that refused, several bells */
#define DPI_GROW_AFTER_NS 2000000 /* a ring that stays full for this long is replaced by a larger one */

struct dpi_request;

/* The appending side of a handle. */
struct dpi_appender {
	struct dpi_ring_writer writer;
	uint64_t published;	 /* what this thread has published; the linger service may have more */
	uint64_t group;		 /* publish at this many bytes */
	_Atomic uint64_t *tail;	 /* the ring's own, through shared memory; NULL: by puts */
	_Atomic uint64_t *flush; /* tail, if a flush is a store to it; or NULL */
	struct dpi_bell *bell;	 /* then: the consumer's */
	uint64_t quick;		     /* flushes that were such a store */
	uint64_t publishes, flushes; /* the others; counted here, the rest in stats */
	_Atomic uint64_t rung;	     /* through shared memory: how much was published when the home's bell was last rung */
	bool attached;
	struct dpi_calling opening; /* the home is asked what buffer it is: dpi_buffer_open_start */
	struct dpi_calling joining; /* the home is asked for the ring */
	bool by_credit;		    /* was it asked for one to put into */
	struct dpi_carrier *carrier; /* that has connected to the home; NULL: none had to */
	bool queued;		    /* it had no memory for one, and answers when it has: handles that write runs wait for that */
	int join_error;
	bool open_room;		 /* handed out by DPI_Reserve_Append */
	uint32_t home_bell;
	struct dpi_remote remote; /* the ring's window */
	struct dpi_window credit; /* of this process; address NULL: none needed */
	/* not direct: */
	uint8_t *mirror;
	bool keep_mirror; /* puts from it may be under way still: it is left mapped */
	uint64_t mirror_size;
	struct dpi_window local; /* the mirror, exposed to the transport alone */
	uint64_t large;		 /* records from here on go from the caller's memory */
	pthread_mutex_t lock; /* guards sent and the order of puts between the owner and the linger service */
	_Atomic uint64_t sent; /* published by puts */
	uint64_t looked_at;    /* what was written when the linger service came last */
	struct dpi_ring_stage stage;
	uint32_t runs_begun;
	int64_t run_cost[2]; /* of a run as it is, and staged: nanoseconds for 64 records */
	uint8_t *stage_memory; /* NULL until a run is first staged */
	_Atomic uint64_t *may_flush; /* flush, where no stage is set */
	bool no_growth;
	bool stays;	   /* the home has, or may have, a ring that replaces this one, and this end does not know it: so none ever does */
	uint64_t base;	   /* where the next ring begins; 0 but when one was given up, */
	_Atomic uint64_t given_up; /* of which all is given back: up to here */
	int vain; /* waits for room that do not look again first */
	uint64_t same_most; /* bytes of a run of records of one size; 0: no runs */
	uint64_t seen_records, seen_bytes, seen_flushes; /* appended when a run was last considered, */
	int64_t seen_ns;		   /* and when that was */
	uint64_t wanted; /* size of the record that last found no room; at first the largest */
	struct dpi_descriptor *room; /* readable when there is room for that; NULL until it is asked for */
};

/* The consuming side of a handle at a queue's home. */
struct dpi_lent { /* a run of records of one ring */
	struct dpi_ring_in *ring;
	size_t count;
	uint64_t end, boundary; /* positions: see dpi_ring_boundary */
};
struct dpi_consumer {
	bool active;
	uint64_t caught_up; /* records consumed when it last found nothing */
	uint64_t looked;    /* and bytes, when it last looked for new ones */
	int vain;     /* waits that go to sleep without looking again first */
	bool corrupt; /* found behind a run that was lent: told by the next call */
	/* The ring of the record that DPI_Next_Record lent, the last that was read from it; then nothing else is lent. NULL: none. */
	struct dpi_ring_in *single;
	struct dpi_ring_in **ring;
	size_t rings, room, at;
	size_t lent; /* records */
	struct dpi_lent *run; /* circular, oldest at run_first */
	size_t runs, runs_room, run_first;
	struct dpi_descriptor *records; /* readable when there are some; NULL until it is asked for */
};

/* Segments of a log that this handle has attached. */
#define DPI_SEGMENTS_CACHED 16
struct dpi_log_reader {
	struct dpi_remote bounds;
	uint64_t segment_size;
	struct dpi_calling asking; /* for the segment of this position */
	uint64_t asked;
	struct dpi_calling awaiting; /* for a record at this position, the end */
	uint64_t awaited;
	struct {
		bool attached;
		uint64_t base, limit; /* positions it holds, as far as known: limit is lowered where a PAD is found */
		struct dpi_remote remote;
	} segment[DPI_SEGMENTS_CACHED];
};

struct dpi_buffer {
	/* first the line of which programs know, too: struct dpi_way_1 of dpi_inline.h, and short_way.c */
	_Atomic uint32_t busy; /* a thread is inside */
	_Atomic uint32_t run;  /* size of the records of the open run, where the short way may write them; the loop thread sets 0 as below */
	_Atomic bool armed;    /* on the linger list */
	bool prompt;	       /* runs, over a direct window: every write is published at once, and none lingers */
	bool fast;	       /* appends may take the short way: attached, nothing under way, no room handed out */
	_Atomic uint64_t fast_size; /* small records below this size may; 0: none. The loop thread sets 0 when the buffer or its home is gone */
	uint64_t appends, append_bytes; /* counted here, the rest in stats */
	struct dpi_appender appender;
	_Atomic bool destroyed;
	_Atomic int64_t asked_back; /* since when another waits at the home for memory that this handle's ring takes; 0: none does, as far as it was told */
	bool closing;
	bool runs; /* it writes runs, not records: run.h */
	bool acked; /* and its home acknowledges them: dpi_run_acked */
	bool tries; /* and its program tries for room: dpi_ring_in_prompt */
	uint32_t who; /* and the number by which its home knows it */
	uint64_t max_record;
	DPI_Buffer_Stats stats; /* written by the handle's thread alone */
	struct dpi_context *ctx;
	DPI_Buffer handle;
	struct dpi_peer *home_peer;
	struct dpi_home *home; /* this node is the home */
	uint64_t id;	       /* at the home */
	struct dpi_buffer_shape shape;
	uint64_t flushed_appends, flushed_writes; /* counts at the last flush that succeeded */
	uint64_t salt; /* of the log's words */
	int64_t timeout_us, linger_us, linger_due;
	int clean; /* rounds of the linger service that found nothing to publish */
	uint32_t bell;
	struct dpi_consumer consumer;
	struct dpi_log_reader log;
	struct dpi_remote region;
	uint64_t read_on; /* of the region: where the last read ended */
	struct dpi_request *first, *last; /* requests under way, oldest first */
	struct dpi_buffer *next;	  /* all handles of the context */
	char name[DPI_NAME_MAX];
};

/* One thread writes a counter, others may read it late, but whole. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define DPI_ADD(counter, n) __asm__("addq %1, %0" : "+m"(counter) : "er"((uint64_t)(n)) : "cc")
#else
#define DPI_ADD(counter, n) __atomic_store_n(&(counter), (counter) + (uint64_t)(n), __ATOMIC_RELAXED)
#endif
#define DPI_COUNT(b, counter, n) DPI_ADD((b)->stats.counter, n)

static inline struct dpi_buffer *dpi_buffer_get(DPI_Buffer handle)
{
	return dpi_handle_get(DPI_HANDLE_BUFFER, (uint64_t)(uintptr_t)handle);
}

/* Enter a call with the thread rule 'handle'. Not a lock: it catches misuse, it does not order it. */
static inline bool dpi_buffer_enter(struct dpi_buffer *b)
{
	if (__builtin_expect(atomic_load_explicit(&b->busy, memory_order_relaxed) != 0, 0)) return false;
	atomic_store_explicit(&b->busy, 1, memory_order_relaxed);
	return true;
}
static inline void dpi_buffer_leave(struct dpi_buffer *b)
{
	atomic_store_explicit(&b->busy, 0, memory_order_relaxed);
}

/* buffer.c: get, check the use (a bit 1 << DPI_USE_*, or'ed) and enter; NULL with *error. */
#define DPI_ANY_USE (1u << DPI_USE_QUEUE | 1u << DPI_USE_LOG | 1u << DPI_USE_REGION)
#define DPI_RECORDS (1u << DPI_USE_QUEUE | 1u << DPI_USE_LOG)
struct dpi_buffer *dpi_buffer_begin(DPI_Buffer handle, const char *call, unsigned uses, int *error);
/* DPI_SUCCESS, or why operations on it are over: DESTROYED, PEER. */
int dpi_buffer_check(const struct dpi_buffer *b);
int dpi_buffer_timed_out(const struct dpi_buffer *b, const char *what, bool append);
int64_t dpi_buffer_deadline(const struct dpi_buffer *b, int64_t timeout_us);
/* The home's answer, with the buffer's name in the sentence if it is gone. */
int dpi_buffer_answered(struct dpi_buffer *b, int error);
#define DPI_ANSWER_NS 1000000000 /* a home's answer is due, whatever the deadline of an operation */
#define DPI_CONNECT_NS 5000000000 /* and a connection to it, greetings and all */
struct dpi_wanted {
	const char *name;
	int64_t timeout_us, linger_us; /* 0: the defaults */
	uint32_t bell;		       /* 0: any */
	bool acked;		       /* for runs: the home acknowledges them, see dpi_run_acked */
	bool tries;		       /* for runs: its program does not wait for room, it tries: see dpi_ring_in_prompt */
	uint32_t who;		       /* for runs: a number by which the home knows it when it comes again, from wherever; 0: none */
};
/* Open a handle to a buffer whose home and id are known. */
int dpi_buffer_open_at(struct dpi_context *ctx, const struct dpi_wanted *wanted, int home, uint64_t id, int64_t deadline, DPI_Buffer *out);
/* The same in steps, for a queue. start: asks the home, and blocks only if its node is not connected. end: DPI_ERR_AGAIN: it has not
 * answered, and rings the bell when it has; after any error drop is due, which never blocks. */
int dpi_buffer_open_start(struct dpi_context *ctx, const struct dpi_wanted *wanted, int home, uint64_t id, int64_t deadline, struct dpi_buffer **out);
int dpi_buffer_open_end(struct dpi_buffer *b);
void dpi_buffer_open_drop(struct dpi_buffer *b);
/* A call to the home; frees p. */
int dpi_buffer_call(struct dpi_buffer *b, uint16_t type, struct dpi_pack *p, int64_t deadline, struct dpi_reply *reply);

/* attach.c: a step towards a ring to append to; DPI_ERR_AGAIN: the home has not answered yet, and rings b->bell when it has. */
int dpi_append_attach(struct dpi_buffer *b);
/* Its first half: ask for it, if that was not done. The answer may be awaited after that of the opening. */
int dpi_append_ask(struct dpi_buffer *b);
int dpi_append_attach_wait(struct dpi_buffer *b, int64_t deadline);
/* See that a transport that puts is connected. direct: it is not needed. */
int dpi_append_connect(struct dpi_buffer *b, int64_t deadline, bool *direct);
/* Get a larger ring if the buffer may grow. Blocks for the home's answer; false: it may not. */
bool dpi_append_grow(struct dpi_buffer *b, int64_t deadline);
/* Give the ring up: what is written there is read as ever, and its memory is another's then. dpi_append_attach asks for one in which positions go
 * on behind it. Blocks for the home's answer; false: it stays. Not with requests under way. lock, or NULL: who looks at the ring from outside. */
bool dpi_append_yield(struct dpi_buffer *b, pthread_mutex_t *lock);
void dpi_append_close(struct dpi_buffer *b);
/* append.c */
/* One try at one record from iov; DPI_ERR_AGAIN: no room now. posted: see request.h. */
int dpi_append_try(struct dpi_buffer *b, const struct iovec *iov, int count, uint64_t size, struct dpi_request *r);
void dpi_append_fast(struct dpi_buffer *b); /* decide b->fast anew */
void dpi_append_no_fast(struct dpi_buffer *b); /* from any thread: the buffer or its home is gone */
int dpi_append_publish(struct dpi_buffer *b, uint32_t flags); /* all that is written; flags: of the put; DPI_ERR_AGAIN: the transport is busy */
int dpi_append_publish_group(struct dpi_buffer *b); /* the same when a group is full, which need not wake the consumer at once: arm */
/* many.c. Can it be published together with others, as a put to several nodes at once? */
bool dpi_append_has_multicast(const struct dpi_buffer *b);
/* Of handles that can: publish what all of them have next, as far as it is the same bytes and the transport takes it so. */
bool dpi_append_publish_many(struct dpi_buffer *const *b, uint32_t count);
bool dpi_append_linger(struct dpi_buffer *b); /* by the service; whether something was left or done */
/* Does the service leave what was written since its last look to the next one? */
static inline bool dpi_append_waits_a_look(const struct dpi_buffer *b)
{
	return b->runs && !b->appender.tail;
}
int dpi_append_no_room(struct dpi_buffer *b, struct dpi_request *r); /* publish; DPI_ERR_AGAIN, or FULL if it is to be an error */
int dpi_append_flush(struct dpi_buffer *b); /* as DPI_Flush_Buffer */
void dpi_append_arm(struct dpi_buffer *b);  /* after a store to written: see that the linger service knows */
/* Publish at this many bytes now. */
static inline uint64_t dpi_append_group(const struct dpi_appender *a)
{
	return a->stage.memory ? a->stage.room : a->group;
}
/* The open run, which is published by groups and whose next records have at most DPI_SMALL_BYTES each: let them be written where they stay in
 * this core's cache. Of a handle that writes to the ring itself. */
void dpi_append_stage(struct dpi_buffer *b);
int dpi_append_is_full(const struct dpi_buffer *b); /* DPI_ERR_FULL with its sentence */

/* queue.c */
int dpi_consumer_activate(struct dpi_buffer *b, const char *call); /* become the consumer; USE */
bool dpi_consumer_ready(struct dpi_buffer *b); /* the next call on it finds a record, or fails */
void dpi_consumer_close(struct dpi_buffer *b);
/* log_reader.c */
void dpi_log_reader_close(struct dpi_buffer *b);
/* linger.c */
void dpi_linger_arm(struct dpi_buffer *b);
void dpi_linger_disarm(struct dpi_buffer *b); /* on return the service does not touch it */

#endif
