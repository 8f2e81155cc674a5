/* SPDX-License-Identifier: Apache-2.0
 *
 * dpi.h: the Data Processing Interface.
 *
 * Every call returns DPI_SUCCESS or an error class DPI_ERR_*; outputs come last. DPI_Get_Error_Detail gives the
 * sentence that belongs to the thread's last error. Handles are opaque; a handle that was closed, or never was one,
 * is DPI_ERR_HANDLE. Attribute structs start with their size; zero in any field is the default.
 *
 * Every call may also return, and the lists below leave out:
 *   DPI_ERR_ARGUMENT  a null pointer or a value outside its range
 *   DPI_ERR_HANDLE    a handle that is closed, or of the wrong kind
 *   DPI_ERR_STATE     before DPI_Init, after DPI_Finalize
 *   DPI_ERR_FORK      in a child of fork(); only DPI_Init after exec is allowed there
 *
 * Timeouts are microseconds: 0 is the default deadline (setting DPI_TIMEOUT), DPI_NO_WAIT does not wait.
 * Thread rules: 'any' (any thread at any time), 'handle' (one thread at a time for each handle; a second thread that
 * is caught inside gets DPI_ERR_THREAD).
 */
#ifndef DPI_H
#define DPI_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DPI_VERSION_MAJOR 0
#define DPI_VERSION_MINOR 1
#define DPI_VERSION_PATCH 0
#define DPI_VERSION ((DPI_VERSION_MAJOR << 16) | (DPI_VERSION_MINOR << 8) | DPI_VERSION_PATCH)

#if defined(__GNUC__)
#define DPI_API __attribute__((visibility("default")))
#else
#define DPI_API
#endif

/* ------------------------------------------------------------------------------------------------------- errors */

/* The one table of error classes: name, number, what died or is wrong. Numbers never change. */
#define DPI_ERRORS(X)                                                                              \
	X(SUCCESS, 0, "success")                                                                   \
	X(ERR_ARGUMENT, 1, "an argument is null or outside its range")                             \
	X(ERR_HANDLE, 2, "the handle is closed, or not a handle of this kind")                     \
	X(ERR_STATE, 3, "the call is not allowed in this state")                                   \
	X(ERR_THREAD, 4, "another thread is inside a call on this handle")                         \
	X(ERR_FORK, 5, "the context belongs to the parent of this forked process")                 \
	X(ERR_USE, 6, "the buffer's use, or the flow's schema, does not have this call")           \
	X(ERR_SIZE, 7, "the record or row is too large, or not of the size of rows") \
	X(ERR_RANGE, 8, "the offset or position lies outside the buffer")                          \
	X(ERR_NAME, 9, "no such name in the cluster")                                              \
	X(ERR_EXISTS, 10, "the name is taken")                                                     \
	X(ERR_NODE, 11, "no such node in the cluster")                                             \
	X(ERR_TIMEOUT, 12, "the deadline passed; the operation did not happen")                    \
	X(ERR_FULL, 13, "the buffer is full")                                                      \
	X(ERR_MEMORY, 14, "memory could not be had")                                               \
	X(ERR_LIMIT, 15, "a limit of the system or of the library is reached")                     \
	X(ERR_PEER, 16, "the peer died or cannot be reached")                                      \
	X(ERR_REGISTRY, 17, "the registry died or cannot be reached")                              \
	X(ERR_RECLAIMED, 18, "the position was truncated, or the piece freed")                     \
	X(ERR_UNKNOWN, 19, "whether the operation happened cannot be known")                       \
	X(ERR_UNSUPPORTED, 20, "not supported by this library, transport or machine")              \
	X(ERR_CONFIG, 21, "a setting or the cluster file is wrong")                                \
	X(ERR_AUTH, 22, "the peer does not prove that it holds the cluster key")                   \
	X(ERR_VERSION, 23, "header, library or peer have versions that do not fit")                \
	X(ERR_TRANSPORT, 24, "the transport failed")                                               \
	X(ERR_AGAIN, 25, "not now; try again after progress")                                      \
	X(ERR_CANCELLED, 26, "the operation was cancelled")                                        \
	X(ERR_DESTROYED, 27, "the buffer or flow was destroyed")                                   \
	X(ERR_CORRUPT, 28, "a peer wrote what no correct peer writes")                             \
	X(ERR_INTERNAL, 29, "a defect of the library")                                             \
	X(ERR_END, 30, "the flow has ended: nothing comes any more")                               \
	X(ERR_SEALED, 31, "the flow is sealed: no source can be opened any more")                  \
	X(ERR_FLOW, 32, "the flow failed")                                                         \
	X(ERR_SCHEMA, 33, "the flow's schema is another")                                          \
	X(ERR_FENCED, 34, "another has taken this endpoint's place")

enum {
#define DPI_ERROR_ENUM(name, number, text) DPI_##name = number,
	DPI_ERRORS(DPI_ERROR_ENUM)
#undef DPI_ERROR_ENUM
};

/* The name of an error class, such as "DPI_ERR_SIZE". *name is static. Never blocks. Thread: any.
 * Errors: none of its own; a number that is no class is DPI_ERR_ARGUMENT. */
DPI_API int DPI_Get_Error_Name(int error, const char **name);

/* What an error class means, a phrase. *text is static. Never blocks. Thread: any.
 * Errors: none of its own; a number that is no class is DPI_ERR_ARGUMENT. */
DPI_API int DPI_Get_Error_Text(int error, const char **text);

/* The sentence of this thread's last failed call: what happened, the likely cause, what to do. *text belongs to the
 * library and stands until the thread's next failed call; "" when none failed. Works before DPI_Init. Never blocks.
 * Thread: any. Errors: none of its own. */
DPI_API int DPI_Get_Error_Detail(const char **text);

/* --------------------------------------------------------------------------------------------------- environment */

typedef struct dpi_context_handle *DPI_Context;
typedef struct dpi_buffer_handle *DPI_Buffer;
typedef struct dpi_request_handle *DPI_Request;
typedef struct dpi_memory_handle *DPI_Memory;

#define DPI_NO_WAIT (-1)	/* as a timeout: do not wait */
#define DPI_NAME_MAX 128	/* bytes of a name, the terminating zero counted */
#define DPI_NODE_SELF (-1)	/* as a node: the calling process */

/* How to start. settings: an array of count strings "name=value", the names of the settings table without the DPI_
 * prefix, which go before the environment; owned by the caller, read during the call only. */
typedef struct DPI_Init_Attr {
	size_t size;			/* sizeof(DPI_Init_Attr) */
	const char *const *settings;	/* may be NULL */
	size_t settings_count;
} DPI_Init_Attr;
#define DPI_INIT_ATTR_INIT { sizeof(DPI_Init_Attr), 0, 0 }

/* Make this process a node of its cluster: the one that dpirun, the cluster file or DPI_CLUSTER names, or, with none
 * of these, a cluster of this process alone. One context a process at a time.
 * ctx    out: the context; DPI_Finalize ends it.
 * Blocks until the registry has admitted the node, at most DPI_TIMEOUT. Thread: any.
 * Errors: STATE (a context is open) CONFIG REGISTRY AUTH VERSION MEMORY LIMIT TRANSPORT UNSUPPORTED TIMEOUT PEER. Source: DPI paper, Listing 1. */
#define DPI_Init(ctx) DPI_Init_Abi(DPI_VERSION, (const DPI_Init_Attr *)0, (ctx))
/* The same with attributes. attr: may be NULL; owned by the caller. */
#define DPI_Init_With(attr, ctx) DPI_Init_Abi(DPI_VERSION, (attr), (ctx))
/* What both stand for: version is the header's DPI_VERSION, compared with the library's. */
DPI_API int DPI_Init_Abi(uint32_t version, const DPI_Init_Attr *attr, DPI_Context *ctx);

/* Leave the cluster: publishes what was appended, closes every handle, tells the peers and frees everything. ctx is dead afterwards.
 * Blocks for goodbyes, at most 1 s. Thread: any, with no other call under way (else DPI_ERR_THREAD). Errors: THREAD. */
DPI_API int DPI_Finalize(DPI_Context ctx);

/* The version of the loaded library and the file it was loaded from; both static. Either may be NULL. Works before
 * DPI_Init. Never blocks. Thread: any. Errors: none of its own. */
DPI_API int DPI_Get_Version(uint32_t *version, const char **path);

/* This process's node number, from 0. Never blocks. Thread: any. Errors: none of its own. */
DPI_API int DPI_Get_Node_Id(DPI_Context ctx, int *node);

/* How many nodes the cluster has: the size the launcher or cluster file gave, or, where none was given, how many have
 * joined by now. Never blocks. Thread: any. Errors: none of its own. */
DPI_API int DPI_Get_Node_Count(DPI_Context ctx, int *count);

/* One node as this process sees it. */
typedef struct DPI_Node_Info {
	size_t size;			/* set by the caller: sizeof(DPI_Node_Info) */
	int node;
	int alive;			/* 1 joined, 0 dead or gone */
	int64_t pid;			/* on its own host */
	char host[64];			/* as the node itself says; never used to decide anything */
	char transport[32];		/* chosen towards it; "" before the first contact */
	char reason[256];		/* each candidate: chosen, or rejected and why */
} DPI_Node_Info;
#define DPI_NODE_INFO_INIT { sizeof(DPI_Node_Info), 0, 0, 0, {0}, {0}, {0} }

/* Describe a node. info: in: size; out: the rest; owned by the caller. Blocks for the registry's answer at most
 * DPI_TIMEOUT. Thread: any. Errors: NODE REGISTRY TIMEOUT. */
DPI_API int DPI_Get_Node_Info(int node, DPI_Context ctx, DPI_Node_Info *info);

/* Wait until count callers of the cluster are in the barrier of this name; they then all leave, and the name starts
 * anew. name: 1 … DPI_NAME_MAX-1 bytes. count: from 1, the same for all. Blocks, at most timeout_us.
 * Thread: any. Errors: TIMEOUT (this caller left the barrier; the detail says how many came) PEER (a node that was in
 * it died: all in it get this) EXISTS (others gave another count) REGISTRY. */
DPI_API int DPI_Barrier(const char *name, uint32_t count, int64_t timeout_us, DPI_Context ctx);

/* The value in force of a setting, as text, and where it came from ("default", "environment", "file", "call", "launcher", "pmix").
 * name: as in the settings table, "linger" or "DPI_LINGER". value: size bytes of the caller, always terminated.
 * origin: static text; may be NULL. Never blocks. Thread: any. Errors: CONFIG (no such setting) SIZE (value too small). */
DPI_API int DPI_Get_Setting(const char *name, DPI_Context ctx, char *value, size_t size, const char **origin);

/* ---------------------------------------------------------------------------------------------------- statistics */

/* The one table of counters of a buffer handle: name, unit, meaning. All count from the handle's opening. */
#define DPI_BUFFER_STATS(X)                                                                        \
	X(appends, "records", "records appended by this handle")                                   \
	X(append_bytes, "bytes", "payload of these records")                                       \
	X(publishes, "times", "groups of records published to the home")                           \
	X(flushes, "times", "explicit flushes")                                                    \
	X(full_waits, "times", "appends that found the buffer full and waited")                    \
	X(full_wait_us, "us", "time in these waits")                                               \
	X(grows, "times", "larger memory given to this appender")                                  \
	X(records, "records", "records lent to this consumer, or read")                            \
	X(record_bytes, "bytes", "payload of these records")                                       \
	X(empty_waits, "times", "calls that found nothing and waited")                             \
	X(empty_wait_us, "us", "time in these waits")                                              \
	X(reads, "times", "region reads")                                                          \
	X(read_bytes, "bytes", "payload of these reads")                                           \
	X(writes, "times", "region writes")                                                        \
	X(write_bytes, "bytes", "payload of these writes")                                         \
	X(atomics, "times", "fetch-and-adds and compare-and-swaps")

/* The one table of counters of a peer: name, unit, meaning. */
#define DPI_PEER_STATS(X)                                                                          \
	X(puts, "times", "puts posted to the peer; stores through shared memory are not counted")  \
	X(put_bytes, "bytes", "payload of these puts")                                             \
	X(gets, "times", "gets posted to the peer")                                                \
	X(get_bytes, "bytes", "payload of these gets")                                             \
	X(atomics, "times", "atomics posted to the peer")                                          \
	X(agains, "times", "posts that the transport could not take at once")                      \
	X(wakeups, "times", "times this process woke the peer")                                    \
	X(calls, "times", "control requests to the peer")                                          \
	X(served, "times", "control requests of the peer answered here")

typedef struct DPI_Buffer_Stats {
	size_t size;			/* set by the caller: sizeof(DPI_Buffer_Stats) */
#define DPI_STAT_FIELD(name, unit, text) uint64_t name;
	DPI_BUFFER_STATS(DPI_STAT_FIELD)
} DPI_Buffer_Stats;

typedef struct DPI_Peer_Stats {
	size_t size;			/* set by the caller: sizeof(DPI_Peer_Stats) */
	DPI_PEER_STATS(DPI_STAT_FIELD)
#undef DPI_STAT_FIELD
} DPI_Peer_Stats;

/* The counters of this handle, or of all traffic with a node. stats: in: size; out: the rest. Never blocks.
 * Thread: any; figures of a handle in use by another thread may lag. Errors: NODE (second call). */
DPI_API int DPI_Get_Buffer_Stats(DPI_Buffer buf, DPI_Buffer_Stats *stats);
DPI_API int DPI_Get_Peer_Stats(int node, DPI_Context ctx, DPI_Peer_Stats *stats);

/* ------------------------------------------------------------------------------------------------ buffers by name */

enum { DPI_USE_QUEUE = 1, DPI_USE_LOG = 2, DPI_USE_REGION = 3 };	/* what a buffer is for; fixed at creation */
enum { DPI_CREATE_NEW = 0, DPI_CREATE_OR_OPEN = 1 };			/* a taken name: an error, or open it */
enum { DPI_FULL_WAIT = 0, DPI_FULL_ERROR = 1 };				/* a full buffer: wait, or DPI_ERR_FULL at once */
enum { DPI_GROWTH_DOUBLE = 0, DPI_GROWTH_NONE = 1 };
enum { DPI_HUGE_NEVER = 0, DPI_HUGE_TRY = 1, DPI_HUGE_REQUIRE = 2 };
#define DPI_NUMA_ANY 0
#define DPI_NUMA_NODE(n) ((n) + 1)

typedef struct DPI_Buffer_Attr {
	size_t size;		/* sizeof(DPI_Buffer_Attr) */
	int use;		/* DPI_USE_*; default queue */
	int create;		/* DPI_CREATE_* */
	uint64_t capacity;	/* bytes. queue, log: an appender's ring at first, default 256 KiB, rounded up to a power of
				   two that holds two largest records. region: its size, no default */
	uint64_t max_capacity;	/* bytes. queue: all rings together, default 256 MiB. log: all records kept, default 256 MiB */
	uint64_t max_record;	/* bytes; default 64 KiB; a larger record is DPI_ERR_SIZE */
	int growth;		/* DPI_GROWTH_*: may a ring that stays full be replaced by one of twice the size */
	int full;		/* DPI_FULL_* */
	int huge_pages;		/* DPI_HUGE_* for the buffer's memory at its home */
	int numa;		/* DPI_NUMA_ANY or DPI_NUMA_NODE(n): where the memory lies at its home */
	int64_t timeout_us;	/* deadline of calls on the handle this call returns */
	int64_t linger_us;	/* unflushed appends are visible after this at the latest; default setting DPI_LINGER */
	void *memory;		/* region on the calling node: the caller's own memory, capacity bytes, which must stay
				   until the buffer is destroyed; NULL: the library allocates. Memory of DPI_Allocate_Memory is
				   reached directly on the same host, other memory by tcp or by messages to the home */
} DPI_Buffer_Attr;
#define DPI_BUFFER_ATTR_INIT { sizeof(DPI_Buffer_Attr), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

typedef struct DPI_Open_Attr {
	size_t size;		/* sizeof(DPI_Open_Attr) */
	int64_t wait_us;	/* how long to wait for the name to appear */
	int64_t timeout_us;	/* deadline of calls on the handle */
	int64_t linger_us;	/* as in DPI_Buffer_Attr, for this handle */
} DPI_Open_Attr;
#define DPI_OPEN_ATTR_INIT { sizeof(DPI_Open_Attr), 0, 0, 0 }

typedef struct DPI_Buffer_Info {
	size_t size;		/* set by the caller: sizeof(DPI_Buffer_Info) */
	int use;
	int home;		/* its home node */
	uint64_t capacity;	/* bytes: of this appender's ring, or of the region */
	uint64_t max_capacity;
	uint64_t max_record;
	uint64_t memory;	/* bytes now held for the buffer at its home */
	uint64_t appenders;	/* now attached */
	uint64_t first;		/* log: the oldest position kept */
	uint64_t end;		/* log: the position the next record gets */
	char transport[32];	/* this handle's way to the home: "local", "shm", "tcp", …; "control": a region whose
				   memory no transport reaches, so the home does what messages ask for */
	char name[DPI_NAME_MAX];
} DPI_Buffer_Info;
#define DPI_BUFFER_INFO_INIT { sizeof(DPI_Buffer_Info), 0, 0, 0, 0, 0, 0, 0, 0, 0, {0}, {0} }

/* Create a named buffer in the memory of a node and open a handle to it.
 * name   1 … DPI_NAME_MAX-1 bytes, unique in the cluster; copied.   node   its home, or DPI_NODE_SELF.
 * attr   may be NULL for a queue with the defaults; owned by the caller.   buf   out; close it with DPI_Close_Buffer.
 * Blocks until the home node has joined and answered, at most DPI_TIMEOUT. Thread: any.
 * Errors: EXISTS NODE TIMEOUT MEMORY LIMIT PEER REGISTRY UNSUPPORTED; USE, SIZE (an existing buffer of another use, or smaller, with DPI_CREATE_OR_OPEN).
 * Source: DPI paper 5.1, Listing 1. */
DPI_API int DPI_Create_Buffer(const char *name, int node, const DPI_Buffer_Attr *attr, DPI_Context ctx, DPI_Buffer *buf);

/* Open a handle to a named buffer, waiting for the name to appear. attr: may be NULL. Each handle is one appender.
 * Blocks at most attr->wait_us. Thread: any. Errors: NAME (did not appear in time) PEER REGISTRY MEMORY LIMIT TRANSPORT. */
DPI_API int DPI_Open_Buffer(const char *name, const DPI_Open_Attr *attr, DPI_Context ctx, DPI_Buffer *buf);

/* Close a handle: publishes what it appended, gives back what it was lent. The buffer lives on. Blocks for the
 * publishing at most the handle's timeout. Thread: handle. Errors: PEER DESTROYED TIMEOUT (the handle is closed all the same). */
DPI_API int DPI_Close_Buffer(DPI_Buffer buf);

/* Remove the name and free the memory at the home. Calls on handles still open are DPI_ERR_DESTROYED.
 * Blocks for the home's answer, at most DPI_TIMEOUT. Thread: any. Errors: NAME PEER REGISTRY TIMEOUT. */
DPI_API int DPI_Destroy_Buffer(const char *name, DPI_Context ctx);

/* Describe the buffer and this handle. info: in: size. Blocks for the home's answer at most the handle's timeout.
 * Thread: any. Errors: PEER DESTROYED TIMEOUT. */
DPI_API int DPI_Get_Buffer_Info(DPI_Buffer buf, DPI_Buffer_Info *info);

/* Change the deadline of calls on this handle. Never blocks. Thread: handle. Errors: THREAD. */
DPI_API int DPI_Set_Timeout(int64_t timeout_us, DPI_Buffer buf);

/* --------------------------------------------------------------------------------- append: queues and logs, anywhere */

/* A record: where it lies and how long it is. */
typedef struct DPI_Record {
	const void *data;
	size_t size;		/* bytes, 0 … max_record */
} DPI_Record;

/* Append a record. data: size bytes, the caller's; may be reused on return. Records of one handle keep their order.
 * The record is visible at the home after DPI_Flush_Buffer, or the linger time, at the latest.
 * Blocks while the buffer is full, at most the handle's timeout. Thread: handle.
 * Errors: USE THREAD SIZE TIMEOUT FULL PEER DESTROYED UNKNOWN (on every error but UNKNOWN nothing was appended).
 * Source: DPI paper 5.1. */
DPI_API int DPI_Append(const void *data, size_t size, DPI_Buffer buf);

/* Append one record made of count pieces. iov: the caller's. Otherwise as DPI_Append. */
DPI_API int DPI_Append_Vector(const struct iovec *iov, int count, DPI_Buffer buf);

/* Append count records in order. appended: out, how many were, also on error; may be NULL. Otherwise as DPI_Append. */
DPI_API int DPI_Append_Batch(const DPI_Record *records, size_t count, DPI_Buffer buf, size_t *appended);

/* Append a record to a log and learn its position. Waits for the home to order it, at most the handle's timeout.
 * position: out. Thread: handle. Errors: as DPI_Append; UNKNOWN when the deadline passes after the record was sent. */
DPI_API int DPI_Append_Position(const void *data, size_t size, DPI_Buffer buf, uint64_t *position);

/* Hand out room for a record of up to size bytes, to be built in place. room: out, 8-byte aligned, the library's;
 * the caller writes it until DPI_Commit_Append or DPI_Discard_Append; no other append on the handle between.
 * Blocks, errors and thread rule as DPI_Append; STATE when room is already handed out. */
DPI_API int DPI_Reserve_Append(size_t size, DPI_Buffer buf, void **room);

/* Append the record built in the room: its first size bytes, at most what was reserved. Never blocks for room.
 * Thread: handle. Errors: USE THREAD SIZE STATE PEER DESTROYED. */
DPI_API int DPI_Commit_Append(size_t size, DPI_Buffer buf);

/* Give the room back unused. Never blocks. Thread: handle. Errors: USE THREAD STATE. */
DPI_API int DPI_Discard_Append(DPI_Buffer buf);

/* Make every earlier operation on this handle visible at the home: appends to its consumer or readers, writes to
 * every reader. Blocks at most the handle's timeout. Thread: handle.
 * Errors: THREAD TIMEOUT PEER DESTROYED. Source: DPI paper, Listing 1. */
DPI_API int DPI_Flush_Buffer(DPI_Buffer buf);

/* ------------------------------------------------------------------------------------ consume: queues, at their home */

/* Take the next record of a queue. Gives back the records lent before on this handle. The first handle that calls this,
 * DPI_Next_Records or DPI_Next_Run is the queue's consumer until it is closed. record: out; data stays in place until the next
 * DPI_Next_Record, DPI_Release_Records or close on the handle.
 * Blocks while the queue is empty, at most the handle's timeout. Thread: handle.
 * Errors: USE (not a queue, not at home, or another handle is the consumer) THREAD TIMEOUT DESTROYED
 * CORRUPT (an appender wrote garbage; it is cut off, call again for the others). */
DPI_API int DPI_Next_Record(DPI_Buffer buf, DPI_Record *record);

/* Lend up to max records where they lie, without giving any back. records: the caller's array. count: out, at least 1
 * on success. Otherwise as DPI_Next_Record. */
DPI_API int DPI_Next_Records(DPI_Buffer buf, size_t max, DPI_Record *records, size_t *count);

/* Records of one size that lie evenly: record i at data + i * stride. */
typedef struct DPI_Run {
	const void *data;
	size_t size;		/* bytes of each, 0 … max_record */
	size_t stride;		/* bytes from one to the next, a multiple of 8 */
	size_t count;		/* of them */
} DPI_Run;

/* Lend up to max of the next records as one run: the next one, and what lies behind it and is of its size. Records of one
 * size, a multiple of 8 up to 128 bytes, that came fast lie without gaps. run: out. Otherwise as DPI_Next_Records, which fills an
 * array: a loop over a run costs no more than one over an array of the program's own. */
DPI_API int DPI_Next_Run(DPI_Buffer buf, size_t max, DPI_Run *run);

/* Give back the count records lent longest; their space is reclaimed. Never blocks. Thread: handle.
 * Errors: USE THREAD RANGE (more than are lent). */
DPI_API int DPI_Release_Records(size_t count, DPI_Buffer buf);

/* --------------------------------------------------------------------------------------------- logs, from anywhere */

/* Copy the record at a position. data: size bytes of the caller. record_size: out, its length; next: out, the position
 * after it; each may be NULL. At the log's end it waits for a record, at most the handle's timeout.
 * Thread: handle. Errors: USE THREAD TIMEOUT (nothing there yet) SIZE (data too small: record_size says how much; nothing
 * copied) RANGE (no record starts there) RECLAIMED PEER DESTROYED. */
DPI_API int DPI_Read_Record(uint64_t position, void *data, size_t size, DPI_Buffer buf, size_t *record_size,
			    uint64_t *next);

/* Give up every record before a position; space is freed in whole segments. Positions are never reused.
 * Blocks for the home's answer at most the handle's timeout. Thread: handle. Errors: USE THREAD RANGE PEER DESTROYED TIMEOUT. */
DPI_API int DPI_Truncate_Log(uint64_t position, DPI_Buffer buf);

/* ------------------------------------------------------------------------------------------- regions, from anywhere */

/* Copy size bytes at offset into data, the caller's. Bytes being written meanwhile may be torn, except aligned 8-byte
 * words. Blocks at most the handle's timeout. Thread: handle. Errors: USE THREAD RANGE TIMEOUT PEER DESTROYED. Source: DPI paper 5.1. */
DPI_API int DPI_Read(void *data, size_t size, uint64_t offset, DPI_Buffer buf);

/* Copy size bytes of data, the caller's and free for reuse on return, to offset. Visible to others after
 * DPI_Flush_Buffer. Blocks, errors and thread rule as DPI_Read. Source: DPI paper 5.1. */
DPI_API int DPI_Write(const void *data, size_t size, uint64_t offset, DPI_Buffer buf);

/* Add operand to the 8-byte word at offset, a multiple of 8, as one atomic step among all atomics on the region.
 * previous: out, the word before; may be NULL. Blocks at most the handle's timeout.
 * Thread: handle. Errors: USE THREAD RANGE PEER DESTROYED UNKNOWN (the deadline passed after it was sent). */
DPI_API int DPI_Fetch_Add(uint64_t offset, uint64_t operand, DPI_Buffer buf, uint64_t *previous);

/* Set the word at offset to desired if it is expected, as one atomic step. previous: out, the word before: equal to
 * expected if it was set; may be NULL. Otherwise as DPI_Fetch_Add. */
DPI_API int DPI_Compare_Swap(uint64_t offset, uint64_t expected, uint64_t desired, DPI_Buffer buf, uint64_t *previous);

/* The region's memory in this process: at its home, or mapped from the same host; DPI_ERR_UNSUPPORTED where it is not
 * mapped. address: out, valid until the handle is closed. Never blocks. Thread: any. Errors: USE UNSUPPORTED. */
DPI_API int DPI_Get_Address(DPI_Buffer buf, void **address);

/* --------------------------------------------------------------------------------- pieces of regions, from anywhere */

/* Names a piece: bytes of a region that DPI_Allocate_Piece has set apart. Plain data: a program may store it, send it and use
 * it with any handle of the region, on any node, until the piece is freed. */
typedef struct DPI_Reference {
	uint64_t offset;	/* of the piece in the region, a multiple of 8 */
	uint64_t length;	/* bytes, as asked for */
	uint64_t generation;	/* no other piece of the region has it, or ever had; 0: names none */
} DPI_Reference;

/* Set size bytes of a region apart, from 1 to the region's size, which hold what lies there (zeros, if nothing was ever
 * written). The piece lives until DPI_Free_Piece, whoever allocated it. reference: out.
 * Blocks for the home's answer at most the handle's timeout. Thread: handle.
 * Errors: USE THREAD FULL (no such run is free) MEMORY LIMIT (a million pieces) PEER DESTROYED UNKNOWN (the deadline passed after it was
 * sent). */
DPI_API int DPI_Allocate_Piece(uint64_t size, DPI_Buffer buf, DPI_Reference *reference);

/* Free a piece. Every copy of its reference is stale from then on, and its bytes may become part of other pieces.
 * Blocks and thread rule as DPI_Allocate_Piece. Errors: USE THREAD RECLAIMED (freed already) PEER DESTROYED UNKNOWN (the deadline passed
 * after it was sent). */
DPI_API int DPI_Free_Piece(const DPI_Reference *reference, DPI_Buffer buf);

/* DPI_Read, DPI_Write, DPI_Fetch_Add and DPI_Compare_Swap at an offset within a piece. The home carries them out and looks at
 * the generation in the same step: a stale reference is DPI_ERR_RECLAIMED, and never reads or changes a byte of a later
 * piece. A long read or write has several such steps, each of tens of KiB. A read of 0 bytes only looks. It costs a message to the
 * home and back; a program that knows that the piece lives may use the plain calls at its offset, which look at
 * nothing. reference: the caller's, read during the call. Otherwise as the plain calls. Errors: as theirs, RANGE being outside
 * the piece, and RECLAIMED (the piece was freed). */
DPI_API int DPI_Read_Piece(void *data, size_t size, uint64_t offset, const DPI_Reference *reference, DPI_Buffer buf);
DPI_API int DPI_Write_Piece(const void *data, size_t size, uint64_t offset, const DPI_Reference *reference, DPI_Buffer buf);
DPI_API int DPI_Fetch_Add_Piece(uint64_t offset, uint64_t operand, const DPI_Reference *reference, DPI_Buffer buf,
				uint64_t *previous);
DPI_API int DPI_Compare_Swap_Piece(uint64_t offset, uint64_t expected, uint64_t desired, const DPI_Reference *reference,
				   DPI_Buffer buf, uint64_t *previous);

/* ------------------------------------------------------------------------------------------ several buffers at once */

/* One part of a scatter or gather. */
typedef struct DPI_Part {
	DPI_Buffer buffer;
	void *data;		/* read by scatter, filled by gather */
	size_t size;		/* bytes at data; after a gather from a log, the record's length */
	uint64_t offset;	/* of a region, or position in a log */
	int error;		/* out: this part's own result */
} DPI_Part;

/* Append every part to its queue or log, or write it to its region; parts of one buffer in order. Every part is tried; the
 * result is the first part's that failed, each part has its own. Blocks at most the longest timeout of the handles.
 * Thread: handle, for each. Errors: those of DPI_Append and DPI_Write. Source: DPI paper 5.1, one-to-many operations. */
DPI_API int DPI_Scatter(DPI_Part *parts, size_t count);

/* Read every part from its region or log. Otherwise as DPI_Scatter. Errors: those of DPI_Read and DPI_Read_Record. */
DPI_API int DPI_Gather(DPI_Part *parts, size_t count);

/* ------------------------------------------------------------------------------------------------- without blocking */

/* Each starts what the call without _Nb does and never blocks. The caller's memory is the library's until the request
 * has completed, which DPI_Test, DPI_Wait or DPI_Wait_Any finds out; they return the operation's own result and set the
 * request to DPI_REQUEST_NULL. Operations of one handle take effect in the order they were started. Errors of the
 * arguments come at once, with no request. Thread: handle; a request belongs to its handle's thread. */
#define DPI_REQUEST_NULL ((DPI_Request)0)
DPI_API int DPI_Append_Nb(const void *data, size_t size, DPI_Buffer buf, DPI_Request *request);
DPI_API int DPI_Append_Position_Nb(const void *data, size_t size, DPI_Buffer buf, uint64_t *position, DPI_Request *request);
DPI_API int DPI_Flush_Buffer_Nb(DPI_Buffer buf, DPI_Request *request);
DPI_API int DPI_Read_Nb(void *data, size_t size, uint64_t offset, DPI_Buffer buf, DPI_Request *request);
DPI_API int DPI_Write_Nb(const void *data, size_t size, uint64_t offset, DPI_Buffer buf, DPI_Request *request);
DPI_API int DPI_Read_Record_Nb(uint64_t position, void *data, size_t size, DPI_Buffer buf, size_t *record_size,
			       uint64_t *next, DPI_Request *request);
DPI_API int DPI_Fetch_Add_Nb(uint64_t offset, uint64_t operand, DPI_Buffer buf, uint64_t *previous, DPI_Request *request);
DPI_API int DPI_Compare_Swap_Nb(uint64_t offset, uint64_t expected, uint64_t desired, DPI_Buffer buf, uint64_t *previous,
				DPI_Request *request);
DPI_API int DPI_Read_Piece_Nb(void *data, size_t size, uint64_t offset, const DPI_Reference *reference, DPI_Buffer buf,
			      DPI_Request *request);
DPI_API int DPI_Write_Piece_Nb(const void *data, size_t size, uint64_t offset, const DPI_Reference *reference, DPI_Buffer buf,
			       DPI_Request *request);
DPI_API int DPI_Fetch_Add_Piece_Nb(uint64_t offset, uint64_t operand, const DPI_Reference *reference, DPI_Buffer buf,
				   uint64_t *previous, DPI_Request *request);
DPI_API int DPI_Compare_Swap_Piece_Nb(uint64_t offset, uint64_t expected, uint64_t desired, const DPI_Reference *reference,
				      DPI_Buffer buf, uint64_t *previous, DPI_Request *request);
DPI_API int DPI_Scatter_Nb(DPI_Part *parts, size_t count, DPI_Request *request);
DPI_API int DPI_Gather_Nb(DPI_Part *parts, size_t count, DPI_Request *request);

/* Make progress and say whether a request has completed. done: out, 1 or 0. A null request is done.
 * Never blocks. Thread: handle. Errors: THREAD, and the operation's own. */
DPI_API int DPI_Test(DPI_Request *request, int *done);

/* Wait for a request at most timeout_us. On DPI_ERR_TIMEOUT the request stays under way: wait again, or cancel.
 * Thread: handle. Errors: THREAD TIMEOUT, and the operation's own. */
DPI_API int DPI_Wait(DPI_Request *request, int64_t timeout_us);

/* Wait for one of count requests, which may be of several handles of one thread. index: out, which completed; null requests are passed over;
 * with none left DPI_ERR_ARGUMENT. Otherwise as DPI_Wait. */
DPI_API int DPI_Wait_Any(DPI_Request *requests, size_t count, int64_t timeout_us, size_t *index);

/* Ask that a request not happen. It completes as DPI_ERR_CANCELLED if it had not begun, else with its own result;
 * until DPI_Test or DPI_Wait has said so its memory stays the library's. Never blocks. Thread: handle. Errors: THREAD. */
DPI_API int DPI_Cancel(DPI_Request request);

/* ------------------------------------------------------------------------------------- file descriptors, for event loops */

/* A program that sleeps in epoll, poll or io_uring learns from a file descriptor that a handle became ready: that the call it
 * would make finds something, or fails, without waiting. A descriptor that has not been armed is never readable. Arming makes
 * it unreadable; if nothing is there already, it becomes readable when something may be, once, until it is armed again:
 *	arm it; ready: make the calls, and again; else sleep until it is readable, make the calls, and again.
 * Then no wake-up is lost. Seldom it is readable for nothing. The program waits on it and may read it, no more: it belongs to
 * the library and is closed with its handle. While it sleeps, the library makes progress. */
enum { DPI_EVENT_RECORDS = 1, DPI_EVENT_ROOM = 2 };

/* The descriptor of an event of a handle, made by the first call; the same every time.
 * event   DPI_EVENT_RECORDS: a queue has records; makes the handle its consumer, as DPI_Next_Record does.
 *         DPI_EVENT_ROOM: a queue or log has room for the record that last found none on this handle, or, before, for the
 *         largest, and all requests of the handle have completed.
 * fd      out; -1 on error. Never blocks. Thread: handle. Errors: USE THREAD MEMORY LIMIT (no file descriptor is left). */
DPI_API int DPI_Get_Buffer_Descriptor(int event, DPI_Buffer buf, int *fd);

/* Arm it. ready: out, 1: there is something already, and it is not armed; else 0. Makes progress. Never blocks.
 * Thread: handle. Errors: USE THREAD STATE (DPI_Get_Buffer_Descriptor comes first). */
DPI_API int DPI_Arm_Buffer(int event, DPI_Buffer buf, int *ready);

/* The same of a request: ready when it has completed, for DPI_Test. Closed when that, or a wait, has said so. Thread: handle.
 * fd: out; -1 on error. Never blocks. Errors: MEMORY LIMIT (no file descriptor is left). */
DPI_API int DPI_Get_Request_Descriptor(DPI_Request request, int *fd);
/* ready: out, 1 or 0. Makes progress. Never blocks. Thread: handle. Errors: THREAD STATE (DPI_Get_Request_Descriptor comes first). */
DPI_API int DPI_Arm_Request(DPI_Request request, int *ready);

/* One for all handles of the context: readable when something happened for any of them, whichever. Closed by DPI_Finalize.
 * fd: out; -1 on error. Never blocks. Thread: any. Errors: MEMORY LIMIT (no file descriptor is left). */
DPI_API int DPI_Get_Context_Descriptor(DPI_Context ctx, int *fd);
/* Arm it; then look at every handle, with calls that do not wait, before sleeping. Makes progress. Never blocks.
 * Thread: any, but one that waits on it. Errors: STATE (DPI_Get_Context_Descriptor comes first). */
DPI_API int DPI_Arm_Context(DPI_Context ctx);

/* ----------------------------------------------------------------------------------------------------- local memory */

/* Register memory of the caller with every open transport, so that reads and writes from and to it need no copy or
 * registration each time. addr, size: any; must stay until deregistered. memory: out. May block for the
 * registration. Thread: any. Errors: MEMORY LIMIT (memlock too small: the detail has limit, need and remedy). */
DPI_API int DPI_Register_Memory(void *addr, size_t size, DPI_Context ctx, DPI_Memory *memory);

/* End a registration. Operations that use the memory must have completed. Thread: any. Errors: STATE (a region lies over it). */
DPI_API int DPI_Deregister_Memory(DPI_Memory memory);

/* Allocate zeroed, page-aligned, registered memory that can also be shared with other processes of the host: a region
 * over it is reached by them directly. huge_pages, numa: as in DPI_Buffer_Attr. addr, memory: out. Thread: any. Errors: MEMORY LIMIT. */
DPI_API int DPI_Allocate_Memory(size_t size, int huge_pages, int numa, DPI_Context ctx, void **addr, DPI_Memory *memory);

/* Free what DPI_Allocate_Memory gave. Thread: any. Errors: STATE (a region lies over it). */
DPI_API int DPI_Free_Memory(DPI_Memory memory);

/* ------------------------------------------------------------------------------------------------ flows: columns */

/* The one table of column types: name, number, bytes of a value (0: given by the column, or variable), meaning. Numbers never change. */
#define DPI_TYPES(X)                                                                               \
	X(BOOL, 1, 1, "0 or 1")                                                                    \
	X(INT8, 2, 1, "signed integer")                                                            \
	X(INT16, 3, 2, "signed integer")                                                           \
	X(INT32, 4, 4, "signed integer")                                                           \
	X(INT64, 5, 8, "signed integer")                                                           \
	X(UINT8, 6, 1, "unsigned integer")                                                         \
	X(UINT16, 7, 2, "unsigned integer")                                                        \
	X(UINT32, 8, 4, "unsigned integer")                                                        \
	X(UINT64, 9, 8, "unsigned integer")                                                        \
	X(FLOAT, 10, 4, "IEEE 754 binary32")                                                       \
	X(DOUBLE, 11, 8, "IEEE 754 binary64")                                                      \
	X(DATE32, 12, 4, "days since 1970-01-01, signed")                                          \
	X(DECIMAL64, 13, 8, "signed integer times 10 to the power of -scale, at most 18 digits")    \
	X(DECIMAL128, 14, 16, "signed integer times 10 to the power of -scale, at most 38 digits")  \
	X(FIXED, 15, 0, "bytes, as many in every value")                                           \
	X(BINARY, 16, 0, "bytes, any number")                                                      \
	X(UTF8, 17, 0, "text in UTF-8")

enum {
#define DPI_TYPE_ENUM(name, number, width, text) DPI_TYPE_##name = number,
	DPI_TYPES(DPI_TYPE_ENUM)
#undef DPI_TYPE_ENUM
};

/* ------------------------------------------------------------------------------------- flows: schemas and rows */

/* A schema is what the tuples of a flow consist of: an immutable list of columns, of this process, not of a context: it
 * needs no DPI_Init and outlives DPI_Finalize. A row is one tuple in memory. Its columns stand in the order of the
 * schema, each at the next multiple of its alignment, which is the size of its value, but 8 for DECIMAL128, 1 for FIXED
 * and 4 for BINARY and UTF8. So a schema of columns that are neither NULL nor variable has the rows that a C struct of
 * the same fields has. Behind the last column comes a bit for each nullable column, in their order, the least
 * significant bit of a byte first: 1 is NULL. All this, padded to the largest alignment, is the row's fixed part. BINARY
 * and UTF8 hold two uint32_t there: where their bytes begin, counted from the row's beginning, and how many they are;
 * the bytes stand behind the fixed part. Everything is little endian. */
typedef struct dpi_schema_handle *DPI_Schema;

#define DPI_COLUMNS_MAX 1024		/* columns of a schema */
#define DPI_FIXED_MAX (1 << 20)		/* bytes of a FIXED value */
#define DPI_ROW_MAX 0x7ffffff8		/* bytes of a row */
#define DPI_TYPE_NULL 0			/* in a DPI_Value: NULL, whatever the column's type */

/* A column. Decimals have a precision, their most digits: 1 … 18 (DECIMAL64) or 38; 0 is the largest. */
typedef struct DPI_Column {
	const char *name;	/* 1 … DPI_NAME_MAX-1 bytes of UTF-8 without control characters, unique in its schema */
	int type;		/* DPI_TYPE_* */
	int nullable;		/* 1: values may be NULL */
	uint32_t width;		/* FIXED: bytes of a value, 1 … DPI_FIXED_MAX; else 0 */
	int precision;		/* decimals: digits; else 0 */
	int scale;		/* decimals: of these, behind the point; else 0 */
} DPI_Column;

/* A schema and its rows. */
typedef struct DPI_Schema_Info {
	size_t size;		/* set by the caller: sizeof(DPI_Schema_Info) */
	size_t columns;
	size_t row_size;	/* bytes of a row's fixed part; of the whole row, where rows do not vary */
	int row_align;		/* 1, 2, 4 or 8 */
	int varies;		/* 1: a column is BINARY or UTF8, and rows have a size each */
	uint64_t digest;	/* equal for equal schemas, hardly ever for others */
} DPI_Schema_Info;
#define DPI_SCHEMA_INFO_INIT { sizeof(DPI_Schema_Info), 0, 0, 0, 0, 0 }

/* A value of a row. All zero is NULL. */
typedef struct DPI_Value {
	int type;		/* the column's, or DPI_TYPE_NULL */
	uint32_t size;		/* FIXED, BINARY, UTF8: bytes at data */
	union {
		int64_t i;	/* BOOL (0 or 1), INT8 … INT64, DATE32, DECIMAL64 */
		uint64_t u;	/* UINT8 … UINT64 */
		double d;	/* FLOAT, DOUBLE */
		uint64_t w[2];	/* DECIMAL128: low and high word in two's complement */
		const void *data;
	};
} DPI_Value;

/* Make a schema of count columns, which are copied. columns: the caller's. schema: out; free it with DPI_Free_Schema.
 * Never blocks. Thread: any. Errors: MEMORY LIMIT; the detail of DPI_ERR_ARGUMENT names the column. */
DPI_API int DPI_Create_Schema(const DPI_Column *columns, size_t count, DPI_Schema *schema);

/* Free a schema; flows that were made with it keep what they need. Never blocks. Thread: any, with no other call on the
 * schema under way. Errors: none of its own. */
DPI_API int DPI_Free_Schema(DPI_Schema schema);

/* Describe a schema and the layout of its rows. info: in: size; out: the rest. Never blocks. Thread: any. Errors: none of
 * its own. */
DPI_API int DPI_Get_Schema_Info(DPI_Schema schema, DPI_Schema_Info *info);

/* Describe a column, counted from 0. column: out, precision filled in; its name stands until the schema is freed. offset:
 * out, bytes from a row's beginning; may be NULL. Never blocks. Thread: any. Errors: RANGE (no such column). */
DPI_API int DPI_Get_Column(size_t index, DPI_Schema schema, DPI_Column *column, size_t *offset);

/* The column of this name. index: out. Never blocks. Thread: any. Errors: NAME (there is none). */
DPI_API int DPI_Find_Column(const char *name, DPI_Schema schema, size_t *index);

/* Are two schemas the same, column by column? equal: out, 1 or 0. difference: out, the first difference as a sentence of
 * at most size bytes, always terminated, "" if equal; may be NULL with size 0. Never blocks. Thread: any. Errors: none of
 * its own. */
DPI_API int DPI_Compare_Schemas(DPI_Schema first, DPI_Schema second, int *equal, char *difference, size_t size);

/* Build a row. values: one for each column, in order. row: room bytes of the caller, at any address; what values point to
 * is no part of it. size: out, bytes of the row, also on DPI_ERR_SIZE, when row is not touched; may be NULL.
 * Never blocks. Thread: any. Errors: RANGE (a number does not fit its column) SIZE (room is too small, or the row would
 * exceed DPI_ROW_MAX). */
DPI_API int DPI_Pack_Row(const DPI_Value *values, DPI_Schema schema, void *row, size_t room, size_t *size);

/* Take a value from a row of size bytes, at any address. column: counted from 0. value: out; data points into the row.
 * Never reads outside the row. Never blocks. Thread: any. Errors: RANGE (no such column) CORRUPT (it is no row of this
 * schema). */
DPI_API int DPI_Get_Value(const void *row, size_t size, size_t column, DPI_Schema schema, DPI_Value *value);

/* Is this a row of the schema: its size, the places of its variable values, every BOOL 0 or 1 and, with utf8 1, every
 * UTF8 valid? Never reads outside the row. Never blocks. Thread: any. Errors: CORRUPT (it is none; the detail names the
 * column). */
DPI_API int DPI_Check_Row(const void *row, size_t size, int utf8, DPI_Schema schema);

/* ------------------------------------------------------------------------------------------------- flows: Arrow */

/* The Arrow C data interface, as published. */
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
	const char *format;
	const char *name;
	const char *metadata;
	int64_t flags;
	int64_t n_children;
	struct ArrowSchema **children;
	struct ArrowSchema *dictionary;
	void (*release)(struct ArrowSchema *);
	void *private_data;
};

struct ArrowArray {
	int64_t length;
	int64_t null_count;
	int64_t offset;
	int64_t n_buffers;
	int64_t n_children;
	const void **buffers;
	struct ArrowArray **children;
	struct ArrowArray *dictionary;
	void (*release)(struct ArrowArray *);
	void *private_data;
};

#endif

/* Make a schema of an Arrow struct type: bool, the integers, float32, float64, date32, decimal64, decimal128, fixed-size
 * binary, binary and utf8. arrow: the caller's, neither changed nor released. schema: out; free it with DPI_Free_Schema.
 * Never blocks. Thread: any. Errors: MEMORY LIMIT UNSUPPORTED (another type; the detail names the column and what to cast
 * it to). */
DPI_API int DPI_Import_Arrow_Schema(const struct ArrowSchema *arrow, DPI_Schema *schema);

/* Give a schema as an Arrow struct type. arrow: out; the caller releases it. Never blocks. Thread: any. Errors: MEMORY. */
DPI_API int DPI_Export_Arrow_Schema(DPI_Schema schema, struct ArrowSchema *arrow);

/* ------------------------------------------------------------------------------------------ flows: data movement */

/* Hashing, partitioning, gathering and transposing what lies in the caller's memory, with the vector instructions that
 * this processor has. No context is needed, and no memory is kept. None of these calls blocks. Thread: any. Source: RAPID
 * paper 2.3. */

#define DPI_PARTS_MAX 4096	/* most parts of a partitioning */
#define DPI_KEYS_MAX 64		/* most columns of a key */

/* One column of many rows where it lies: an array of its own, or a field of rows. */
typedef struct DPI_Values {
	int type;		/* DPI_TYPE_* */
	int scale;		/* decimals: digits behind the point, 0 … 38 */
	uint32_t width;		/* FIXED: bytes of a value; of other types ignored */
	const void *data;	/* the first value; BINARY, UTF8: the bytes */
	size_t stride;		/* bytes from a value to the next, such as the size of a row; 0: packed, and BOOL as bits */
	const uint8_t *valid;	/* bit i, lowest first: value i is not NULL; NULL: none is */
	const int32_t *offset;	/* BINARY, UTF8: value i is the bytes offset[i] … offset[i + 1] of data */
	const uint8_t *null;	/* fields of rows: value i is NULL if null[i * stride] has a bit of null_mask; or NULL */
	uint8_t null_mask;
} DPI_Values;

/* The specified hash of keys of key_count columns, of count rows. Equal values of joinable types have equal hashes, in every
 * process and on every machine. salt: any; another one, another hash. hashes: out, count of the caller.
 * Never blocks. Thread: any. Errors: none of its own. */
DPI_API int DPI_Hash_Rows(const DPI_Values *keys, size_t key_count, size_t count, uint64_t salt, uint64_t *hashes);

/* How rows are dealt out. */
enum {
	DPI_PARTITION_HASH = 0,		/* the upper half of DPI_Hash_Rows, scaled to the parts */
	DPI_PARTITION_CRC32C = 1,	/* CRC32C of the key's bytes, scaled */
	DPI_PARTITION_XXH64 = 2,	/* the upper half of XXH64 of the key's bytes, scaled; salt is its seed */
	DPI_PARTITION_RADIX = 3,	/* bits of the key as one number, the first column the highest; NULL is 0 */
	DPI_PARTITION_RANGE = 4		/* ascending bounds; NULL is below every value */
};

typedef struct DPI_Partition_Attr {
	size_t size;			/* sizeof(DPI_Partition_Attr) */
	int method;			/* DPI_PARTITION_* */
	uint32_t parts;			/* 1 … DPI_PARTS_MAX; radix: a power of two */
	const DPI_Values *keys;		/* key_count columns, of as many rows as the call says */
	size_t key_count;		/* 1 … DPI_KEYS_MAX */
	uint64_t salt;
	uint32_t shift;			/* radix: the lowest bit that counts, 0 … 63 */
	const DPI_Values *bounds;	/* range: key_count columns of parts - 1 rows, of the keys' types, widths and
					   scales; row i is the least key of part i + 1 */
	const uint8_t *bits;		/* radix: how many of the lowest bits of each key column count, from 1 on, at
					   most 64 together; NULL: those of the columns' types, of a sole column 64 */
} DPI_Partition_Attr;
#define DPI_PARTITION_ATTR_INIT { sizeof(DPI_Partition_Attr), 0, 0, 0, 0, 0, 0, 0, 0 }

/* Find each row's part, and how many rows each part gets. attr: owned by the caller. part: out, count of the caller; may
 * be NULL. counts: out, attr->parts of the caller; may be NULL. Never blocks. Thread: any. Errors: UNSUPPORTED (the
 * method does not take a key of this type, or radix one of more than 64 bits). */
DPI_API int DPI_Partition(const DPI_Partition_Attr *attr, size_t count, uint16_t *part, uint64_t *counts);

/* Choose the bounds of a range from a sample of rows, so that its rows are dealt out evenly: bound i is the key of the row
 * that has (i + 1) * count / parts rows before it in order. A key that is frequent may be several bounds; the parts between
 * them get nothing. attr: parts, keys and key_count count. count: rows of the sample, at least 1; some hundred for each part
 * are enough, picked at random. memory: the caller's, for the bounds, at an address that is a multiple of 8; NULL: only the
 * size is wanted. size: in: bytes at memory; out: bytes needed. bounds: out, key_count, which point into memory: as
 * DPI_Partition_Attr and DPI_Flow_Attr take them. Never blocks. Thread: any. Errors: SIZE (memory is too small) LIMIT (4 G
 * rows, or bounds of 2 GiB) MEMORY (4 bytes a row while it runs). Source: DeWitt, Naughton, Schneider, Parallel Sorting on
 * a Shared-Nothing Architecture using Probabilistic Splitting, 1991. */
DPI_API int DPI_Sample_Bounds(const DPI_Partition_Attr *attr, size_t count, void *memory, size_t *size,
			      DPI_Values *bounds);

/* Copy each row to its part, in order. attr: as for DPI_Partition; its keys are fields of the rows, or columns beside
 * them. rows: count of width bytes, stride bytes apart. part: each row's part, as DPI_Partition found it, or found by the
 * program: then only attr->parts counts; NULL: found on the way, which is faster than two calls. to: the memory of each
 * part, which must have room for filled[p] rows and those that come, and overlap nothing. filled: in: the rows that each
 * part has already; out: with those that came; all 0 at first. Never blocks. Thread: any. Errors: UNSUPPORTED (as
 * DPI_Partition) RANGE (a row's part is not below attr->parts; nothing was copied) MEMORY (1.4 MB while it
 * runs). */
DPI_API int DPI_Partition_Rows(const DPI_Partition_Attr *attr, const void *rows, size_t stride, size_t width, size_t count,
			       const uint16_t *part, void *const *to, uint64_t *filled);

/* Where values of a BINARY or UTF8 column go, as Arrow keeps them; the caller's. */
typedef struct DPI_Bytes_Column {
	int32_t *offset;	/* value i is the bytes offset[i] … offset[i + 1]; one more of them than values */
	void *bytes;		/* those of one value behind those of another; NULL if size is 0 */
	size_t size;		/* bytes there is room for; too few: changed to what it takes, and the call is DPI_ERR_SIZE */
} DPI_Bytes_Column;

/* The same with columns. part: not NULL. to: column by column, the memory of each part: the values of part p of column c
 * go to to[c * parts + p], packed; BOOL of stride 0 as bits; of BINARY and UTF8 it is a DPI_Bytes_Column, and NULL has no
 * bytes there. valid: the same for the bits of validity; may be NULL if no column has any. Otherwise as DPI_Partition_Rows.
 * Errors: RANGE MEMORY SIZE (bytes of a DPI_Bytes_Column are too few; nothing was copied, and each that is too small says in
 * size what it takes) LIMIT (2 GiB of bytes in one). */
DPI_API int DPI_Partition_Columns(const DPI_Values *columns, size_t column_count, size_t count, const uint16_t *part,
				  uint32_t parts, void *const *to, uint8_t *const *valid, uint64_t *filled);

/* Copy the rows whose bit is set, in order. bits: count bits, lowest first. to: the caller's, width bytes for each; NULL:
 * count them only. gathered: out, how many. Never blocks. Thread: any. Errors: none of its own. */
DPI_API int DPI_Gather_Rows(const void *rows, size_t stride, size_t width, size_t count, const uint8_t *bits, void *to,
			    uint64_t *gathered);

/* The same with columns. to, valid: a place for each column, as in DPI_Partition_Columns with one part.
 * Otherwise as DPI_Gather_Rows. Errors: SIZE LIMIT (as DPI_Partition_Columns). */
DPI_API int DPI_Gather_Columns(const DPI_Values *columns, size_t column_count, size_t count, const uint8_t *bits,
			       void *const *to, uint8_t *const *valid, uint64_t *gathered);

/* One field of rows and the column it becomes or comes from. */
typedef struct DPI_Field {
	size_t offset;		/* bytes from a row's start */
	size_t width;		/* bytes: 1, 2, 4, 8 and 16 are fast, others are taken too */
	void *column;		/* the values, packed; the caller's */
} DPI_Field;

/* Copy fields of count rows, stride bytes apart, to columns. Never blocks. Thread: any. Errors: none of its own. */
DPI_API int DPI_Rows_To_Columns(const void *rows, size_t stride, size_t count, const DPI_Field *fields, size_t field_count);

/* Copy columns into the fields of count rows; bytes of the rows that are in no field stay. Otherwise as
 * DPI_Rows_To_Columns. */
DPI_API int DPI_Columns_To_Rows(const DPI_Field *fields, size_t field_count, size_t count, void *rows, size_t stride);

/* ------------------------------------------------------------------------------------------- flows: keys of codecs */

#define DPI_KEY_SIZE 32		/* bytes of a key of AES-256-GCM */
#define DPI_KEYS_HELD_MAX 64	/* most keys that a process holds */

/* Hold a key under a name in this process, for the codec aes-256-gcm of flows that name it; a key of the same name is
 * replaced, for endpoints opened later. It is never sent, and wiped when it is removed; a forked child does not have it.
 * name: 1 … DPI_NAME_MAX-1 bytes; copied. key: DPI_KEY_SIZE random bytes, the caller's, who wipes them; copied. Works
 * before DPI_Init. Never blocks. Thread: any. Errors: SIZE (not DPI_KEY_SIZE bytes) LIMIT (DPI_KEYS_HELD_MAX are held)
 * MEMORY. */
DPI_API int DPI_Set_Key(const char *name, const void *key, size_t size);

/* Wipe a key. Endpoints that are open keep what they derived from it until they are closed.
 * Never blocks. Thread: any. Errors: NAME (there is none of this name). */
DPI_API int DPI_Remove_Key(const char *name);

/* -------------------------------------------------------------------------------------------- flows: functions by name */

/* What a definition names and cannot carry: functions of the program, registered in every process that opens a source of the
 * flow, or asks DPI_Route; map functions where their stage is placed; group functions also where keys are sketched, or are in a Bloom
 * filter. They are deterministic, the same everywhere, and called by
 * any thread that pushes, or takes. */

/* group: the key of a row, which counts as a UINT64. arg: as registered. Returns DPI_SUCCESS or an error, which the push
 * returns. */
typedef int DPI_Group_Function(const void *row, size_t size, void *arg, uint64_t *key);
/* dist: the targets of a row: to[0 … *count - 1], in 0 … targets - 1; none: the row is filtered; duplicates are ignored.
 * key: of the group function; of key columns the hash with salt 0; 0 without a key. to has room for targets. Returns as
 * above. */
typedef int DPI_Dist_Function(const void *row, size_t size, uint64_t key, uint32_t targets, void *arg, uint32_t *to,
			      uint32_t *count);

#define DPI_FUNCTIONS_MAX 1024	/* registered in a process */

/* Register a function under a name and a version, for flows whose definition has both; the same name and version again
 * replaces it for endpoints opened later. name: 1 … DPI_NAME_MAX-1 bytes; copied. version: any. function: stays callable
 * while an endpoint that uses it is open. arg: handed to it. Works before DPI_Init. Never blocks. Thread: any.
 * Errors: LIMIT (DPI_FUNCTIONS_MAX are registered) MEMORY. */
DPI_API int DPI_Register_Group(const char *name, uint32_t version, DPI_Group_Function *function, void *arg);
DPI_API int DPI_Register_Dist(const char *name, uint32_t version, DPI_Dist_Function *function, void *arg);

/* map: of a row, one row or none: to out, room bytes of 8-byte alignment. written: out, bytes of that row; 0: none. If room is
 * too small, DPI_ERR_SIZE with written the bytes it takes: then it is called again. Other errors are the row's: see
 * DPI_ROW_ERROR_*. Columns of the flow's key that come out have the values that came in. */
typedef int DPI_Map_Function(const void *row, size_t size, void *arg, void *out, size_t room, size_t *written);
DPI_API int DPI_Register_Map(const char *name, uint32_t version, DPI_Map_Function *function, void *arg);

/* ------------------------------------------------------------------------------- flows: stages, reduce and codecs */

/* What becomes of rows on the way: stages at the source, in order; rows of one key to partial rows; codecs over segments; the
 * wire; the codecs undone; partial rows to results; stages at the target. Group and dist read rows as they are pushed. */

enum { DPI_AT_SOURCE = 0, DPI_AT_TARGET = 1 };

/* A stage is a map: of each row it makes one, or none. */
enum {
	DPI_STAGE_FILTER = 0,		/* rows for which `text`, an expression, is true */
	DPI_STAGE_PROJECT = 1,		/* rows of `columns`: each an expression, or a column as it is */
	DPI_STAGE_CAST = 2,		/* the rows, with `columns` cast to other types */
	DPI_STAGE_SAMPLE = 3,		/* `fraction` of the rows */
	DPI_STAGE_NORMALISE = 4,	/* the rows, with x in each of `columns` replaced by (x - minus) / by, a DOUBLE */
	DPI_STAGE_MAP = 5		/* what the registered map function `text` makes of the rows */
};

/* A column of a stage. What does not belong to the kind is 0. */
typedef struct DPI_Stage_Column {
	const char *name;	/* PROJECT: of the column that comes out; CAST, NORMALISE: of one that comes in */
	const char *text;	/* PROJECT: an expression over the columns that come in; NULL: the one called name */
	int type;		/* CAST: as in DPI_Column, with the next three */
	uint32_t width;
	int precision, scale;
	double minus, by;	/* NORMALISE: such as mean and deviation, or least value and range; by is not 0 */
} DPI_Stage_Column;

typedef struct DPI_Stage {
	int kind;		/* DPI_STAGE_* */
	int place;		/* DPI_AT_*; none at the source stands behind one at the target */
	int pushable;		/* 1: a stage at the target may run at the source instead, where rows become fewer or smaller by
				   it and no reduce stands between */
	const char *text;	/* FILTER: an expression of type BOOL; MAP: the function's name */
	uint32_t version;	/* MAP: the function's */
	DPI_Schema schema;	/* MAP: of the rows that come out; NULL: of those that come in */
	const DPI_Stage_Column *columns;
	size_t column_count;
	double fraction;	/* SAMPLE: 0 … 1, in steps of 2^-32 */
	const char *const *key;	/* SAMPLE: columns: rows of equal keys pass all or none, by their hash; NULL: rows pass by their
				   number at the endpoint, of the first n the whole part of n times fraction */
	size_t key_count;
	uint64_t salt;		/* SAMPLE: of this hash */
} DPI_Stage;
#define DPI_STAGES_MAX 64	/* of a flow */

/* A row's error in an expression (overflow, division by zero, a bad cast) or of a map function: the flow fails; what failed
 * yields NULL, but for map functions; or the row is dropped, and counted in the endpoint's statistics. */
enum { DPI_ROW_ERROR_FAILS = 0, DPI_ROW_ERROR_NULL = 1, DPI_ROW_ERROR_DROPS = 2 };

#define DPI_AGGREGATES_MAX 256		/* of a reduction */
#define DPI_STATE_MAX (1 << 20)		/* bytes of a registered reducer's state, or of a top k */

/* What becomes of the values that the rows of one key have in a column. NULL is passed over, but for count(*) and first. */
enum {
	DPI_AGGREGATE_COUNT_ALL = 0,	  /* INT64: rows; no column */
	DPI_AGGREGATE_COUNT = 1,	  /* INT64: values that are not NULL */
	DPI_AGGREGATE_SUM = 2,		  /* of integers INT64 or UINT64, of decimals DECIMAL128, of floats DOUBLE */
	DPI_AGGREGATE_MIN = 3,		  /* the column's type; NaN is above all others; bytes and text compare as bytes */
	DPI_AGGREGATE_MAX = 4,
	DPI_AGGREGATE_AVG = 5,		  /* of decimals DECIMAL128 with at least 6 digits behind the point; else DOUBLE */
	DPI_AGGREGATE_FIRST = 6,	  /* the first row's value, NULL or not */
	DPI_AGGREGATE_TOP_K = 7,	  /* BINARY: values of the column, packed, of the k rows that are largest in `by`; one that
					     varies in size behind its size, a uint32_t */
	DPI_AGGREGATE_COUNT_DISTINCT = 8, /* INT64: by HyperLogLog */
	DPI_AGGREGATE_REDUCER = 9	  /* a registered one */
};

typedef struct DPI_Aggregate {
	int function;		/* DPI_AGGREGATE_* */
	const char *column;	/* argument; NULL for COUNT_ALL; may be NULL for a reducer */
	const char *name;	/* of the output's column, unique there; NULL: the column's own, or "count" */
	const char *by;		/* TOP_K: what orders, a column of any type; NULL: the column itself.
				   REDUCER: a second argument, or NULL */
	uint32_t k;		/* TOP_K */
	int ascending;		/* TOP_K: 1: the smallest first */
	uint32_t precision;	/* COUNT_DISTINCT: 4 … 16; default 12. A state has 2^precision bytes */
	const char *reducer;	/* REDUCER: its name and version */
	uint32_t version;
} DPI_Aggregate;

/* A reducer of the program. Its functions are deterministic, the same in every process, and return DPI_SUCCESS or an error,
 * with which the flow fails. States are 8-byte aligned and travel as bytes: without pointers. FIXED values may lie in
 * memory that another process can write: read each byte once. */
typedef struct DPI_Reducer {
	size_t size;		/* sizeof(DPI_Reducer) */
	uint32_t state;		/* bytes of a state, 1 … DPI_STATE_MAX */
	DPI_Column result;	/* type, nullable, width, precision and scale of what it yields; its name does not count */
	int (*init)(void *state, void *arg);				/* of bytes that are zero; NULL: zero is fine */
	int (*accumulate)(void *state, const DPI_Value *values, void *arg); /* the row's arguments: column, by; also NULLs */
	int (*merge)(void *state, const void *from, void *arg);		/* what from saw came after; NULL: none */
	int (*finalise)(const void *state, void *arg, DPI_Value *result); /* what it points to stays till the next call */
	int (*check)(const void *state, void *arg);			/* of a state from elsewhere; NULL: all are good */
	void *arg;
} DPI_Reducer;
#define DPI_REDUCER_INIT { sizeof(DPI_Reducer), 0, { 0, 0, 0, 0, 0, 0 }, 0, 0, 0, 0, 0, 0 }

/* Register one, as DPI_Register_Group does. reducer: copied; its functions stay callable while an endpoint that uses them is open.
 * Works before DPI_Init. Never blocks. Thread: any. Errors: ARGUMENT (no name; state, result or a function is missing) LIMIT
 * (DPI_FUNCTIONS_MAX reducers are registered) MEMORY. */
DPI_API int DPI_Register_Reducer(const char *name, uint32_t version, const DPI_Reducer *reducer);

/* Partial at the source, final at the target; all at the target; or all at the target and pushable: it may run as the first does,
 * where that gives the same results and no row that travels is larger. */
enum { DPI_REDUCE_BOTH = 0, DPI_REDUCE_TARGET = 1, DPI_REDUCE_PUSHABLE = 2 };
enum { DPI_FULL_SPILLS = 0, DPI_FULL_FAILS = 1 };	/* a target's full table: a file; or the flow fails */
enum { DPI_WINDOW_END = 0, DPI_WINDOW_MARKS = 1, DPI_WINDOW_ROWS = 2 }; /* results: at the end; at marks; every so many rows */

/* A codec over segments. */
enum { DPI_CODEC_LZ4 = 1, DPI_CODEC_ZSTD = 2, DPI_CODEC_DEFLATE = 3, DPI_CODEC_AES_256_GCM = 4 };
typedef struct DPI_Codec {
	int codec;		/* DPI_CODEC_* */
	int level;		/* of those that compress, as its library counts; 0: the usual one */
	const char *key;	/* AES_256_GCM: the name of a key that each process with an endpoint holds: DPI_Set_Key */
} DPI_Codec;
#define DPI_CODECS_MAX 4	/* of a flow */

/* ----------------------------------------------------------------------------------------------- flows: definition */

/* A flow moves rows of one schema from its sources to its targets. Its targets are numbered 0 … targets - 1 and logical:
 * any process opens any of them. Sources come and go. It ends once it is sealed, all its sources are closed, and what they
 * pushed was taken. When it fails, calls on all its endpoints, everywhere, return its failure: FLOW PEER CANCELLED
 * DESTROYED. */
typedef struct dpi_flow_handle *DPI_Flow;
typedef struct dpi_source_handle *DPI_Source;
typedef struct dpi_target_handle *DPI_Target;

#define DPI_TARGETS_MAX DPI_PARTS_MAX	/* of a flow */
#define DPI_SOURCES_MAX 65536		/* of a flow, in all its life */
#define DPI_DEFINITION_MAX 60000	/* bytes of a definition as it travels */

/* dist: which targets a row goes to. */
enum {
	DPI_DIST_HASH = 0,		/* by the specified hash of the key: as DPI_PARTITION_HASH */
	DPI_DIST_RADIX = 1,		/* by bits of integer keys: as DPI_PARTITION_RADIX */
	DPI_DIST_RANGE = 2,		/* by ascending bounds: as DPI_PARTITION_RANGE */
	DPI_DIST_ROUND_ROBIN = 3,	/* each in turn, as each source counts; a key is for the rest */
	DPI_DIST_BROADCAST = 4,		/* to all; likewise */
	DPI_DIST_TABLE = 5,		/* hash as above over table_size parts; table says the target of each */
	DPI_DIST_FUNCTION = 6		/* as a registered function says */
};
enum { DPI_HINT_BANDWIDTH = 0, DPI_HINT_LATENCY = 1 };	/* send full segments; or every row at once */
enum { DPI_DEATH_FAILS = 0, DPI_DEATH_GOES_ON = 1 };	/* an endpoint's death: the flow fails; or the others go on */
enum { DPI_LAYOUT_ROWS = 0, DPI_LAYOUT_COLUMNS = 1 };	/* segments of rows; or of columns as Arrow has them */

typedef struct DPI_Flow_Attr {
	size_t size;			/* sizeof(DPI_Flow_Attr) */
	int create;			/* DPI_CREATE_*; an existing flow must have the same definition */
	DPI_Schema schema;		/* of its rows */
	uint32_t targets;		/* 1 … DPI_TARGETS_MAX; default 1 */
	uint32_t sources;		/* the flow is sealed when as many have been opened; 0: by DPI_Seal_Flow */
	const char *const *key;		/* group: names of key_count columns, in order; 0 … DPI_KEYS_MAX */
	size_t key_count;
	const char *group;		/* group: a registered function instead of columns; NULL: none. With aggregates rows have
					   what it says as one more column, a UINT64 of its name */
	uint32_t group_version;
	int dist;			/* DPI_DIST_* */
	uint64_t salt;			/* hash, table */
	uint32_t shift;			/* radix: the lowest bit that counts */
	const DPI_Values *bounds;	/* range: as in DPI_Partition_Attr, of targets - 1 rows */
	const uint32_t *table;		/* table: table_size targets */
	uint32_t table_size;		/* 1 … DPI_PARTS_MAX */
	const char *dist_function;	/* function: its name */
	uint32_t dist_version;
	int hint;			/* DPI_HINT_* */
	uint32_t segment;		/* bytes sent at once, at most; default 16 KiB, less with few expected; 512 … 1 MiB */
	uint64_t memory;		/* bytes of rings at each target; default 64 MiB */
	uint64_t expected;		/* rows, at a guess; 0: unknown. Few: segments and rings are small at first */
	int64_t linger_us;		/* rows that wait for their segment to fill travel after this; default setting DPI_LINGER */
	int on_death;			/* DPI_DEATH_* */
	const DPI_Stage *stages;	/* maps: stage_count, in order */
	size_t stage_count;		/* 0 … DPI_STAGES_MAX */
	int row_error;			/* DPI_ROW_ERROR_* */
	const DPI_Aggregate *aggregates; /* reduce by the key: aggregate_count */
	size_t aggregate_count;		/* 0: no reduce; … DPI_AGGREGATES_MAX */
	int reduce;			/* DPI_REDUCE_*; a reducer without merge runs at the target alone */
	uint64_t reduce_memory;		/* bytes of each target's table, and of a source's all; default 64 MiB; 64 KiB … 32 GiB */
	int reduce_full;		/* DPI_FULL_* */
	int window;			/* DPI_WINDOW_* */
	uint64_t window_rows;		/* DPI_WINDOW_ROWS: rows that reach reduce at one target; not with DPI_REDUCE_BOTH */
	const DPI_Codec *codecs;	/* codec_count, in the order of the source */
	size_t codec_count;		/* 0 … DPI_CODECS_MAX */
	int layout;			/* DPI_LAYOUT_* */
	/* acknowledgements: see "flows: acknowledgements" */
	int ack;			/* DPI_ACK_NONE … CONFIRMED: when a target acknowledges a row */
	int ack_of;			/* DPI_ACK_ALL, QUORUM, COUNT: how many of its targets have to */
	uint32_t ack_quorum;		/* quorum: so many */
	int ack_up_to;			/* 1: the keys of a source never fall, and are acknowledged as 'all up to' */
	uint32_t ack_pending;		/* rows of a source that wait, at most; default 16384 */
	const char *ack_column;		/* the key: an integer column, never NULL; NULL: the row's number at its source, from 1 */
	const char *ack_function;	/* or a registered function */
	uint32_t ack_version;
	/* delivery */
	int retain;			/* 0: direct; DPI_ACK_RELEASED, CONFIRMED: a source keeps its rows until their target says so */
	int64_t resume_us;		/* retained: a dead source is waited for so long; 0: it is not */
	int64_t detach_us;		/* a target that lags by more, when a push finds no room there, is detached; 0: it blocks */
} DPI_Flow_Attr;
#define DPI_FLOW_ATTR_INIT { sizeof(DPI_Flow_Attr), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

typedef struct DPI_Flow_Info {
	size_t size;			/* set by the caller: sizeof(DPI_Flow_Info) */
	uint32_t targets;
	uint32_t bound;			/* targets that are open now, or were and are closed */
	uint32_t sources;		/* opened so far */
	uint32_t closed;		/* of these closed, or dead */
	int sealed;
	int failed;			/* its error class; 0: none */
	char name[DPI_NAME_MAX];
	uint32_t dead;			/* sources of those closed that died: what they had not sent is lost */
	uint32_t lost;			/* sources that died, or were given up, and may be resumed yet */
	uint32_t detached;		/* targets that fell too far behind */
} DPI_Flow_Info;
#define DPI_FLOW_INFO_INIT { sizeof(DPI_Flow_Info), 0, 0, 0, 0, 0, 0, {0}, 0, 0, 0 }

/* What became of a source or a target: nobody has opened it; open; closed, or its flow has ended there; dead; dead, but it may be
 * resumed, or bound anew; detached. */
enum { DPI_END_NONE = 0, DPI_END_OPEN = 1, DPI_END_CLOSED = 2, DPI_END_DEAD = 3, DPI_END_LOST = 4, DPI_END_DETACHED = 5 };
typedef struct DPI_Flow_End {
	size_t size;			/* set by the caller: sizeof(DPI_Flow_End) */
	int state;			/* DPI_END_* */
	int node;			/* that has it, or had it last; -1: none */
	uint32_t epoch;			/* source: how often it was resumed; target: how often it was bound */
	uint64_t id;			/* of a source that can be resumed; else 0 */
} DPI_Flow_End;
#define DPI_FLOW_END_INIT { sizeof(DPI_Flow_End), 0, 0, 0, 0 }

/* Create a flow by name and open a handle to it. name: 1 … DPI_NAME_MAX-1 bytes, unique in the cluster; copied. attr: the
 * caller's. flow: out; close it with DPI_Close_Flow. Functions that attr names need not be registered here: DPI_Open_Source
 * looks for them. Blocks for the registry's answer at most DPI_TIMEOUT. Thread: any. Errors: EXISTS (and with
 * DPI_CREATE_OR_OPEN: it is there with another definition; the detail names the difference) NAME (a key column is not in
 * the schema) SIZE (a row's fixed part does not fit a segment) LIMIT (beyond DPI_DEFINITION_MAX) UNSUPPORTED (a key that
 * the dist does not take) REGISTRY TIMEOUT MEMORY. Source: DPI paper 4.2. */
DPI_API int DPI_Create_Flow(const char *name, const DPI_Flow_Attr *attr, DPI_Context ctx, DPI_Flow *flow);

/* The flows that are wanted most, in a line; all else is default. Every process that needs the flow may make the call: who
 * comes first creates it, the others open it. Shuffle: each row to one of targets targets, by the hash of the column key.
 * Replicate: each row to all targets. Combine: at the target that the hash of the column key says, the rows of each key become
 * one, by aggregates. Gather: all rows to one target. sources: the flow is sealed when so many have been opened; 0: by
 * DPI_Seal_Flow. targets: 0 is 1. Otherwise as DPI_Create_Flow, its errors included: EXISTS NAME SIZE LIMIT UNSUPPORTED
 * REGISTRY TIMEOUT MEMORY. Thread: any. Source: DPI paper 4.2. */
DPI_API int DPI_Create_Shuffle(const char *name, DPI_Schema schema, const char *key, uint32_t sources, uint32_t targets,
			       DPI_Context ctx, DPI_Flow *flow);
DPI_API int DPI_Create_Replicate(const char *name, DPI_Schema schema, uint32_t sources, uint32_t targets, DPI_Context ctx,
				 DPI_Flow *flow);
DPI_API int DPI_Create_Combine(const char *name, DPI_Schema schema, const char *key, const DPI_Aggregate *aggregates,
			       size_t aggregate_count, uint32_t sources, uint32_t targets, DPI_Context ctx, DPI_Flow *flow);
DPI_API int DPI_Create_Gather(const char *name, DPI_Schema schema, uint32_t sources, DPI_Context ctx, DPI_Flow *flow);

/* Open a handle to a flow, waiting for its name at most wait_us. schema: what this process takes rows to be; NULL: it will
 * look (DPI_Get_Flow_Schema). Thread: any. Errors: NAME (did not appear in time) SCHEMA (the flow's differs; the detail says
 * how) REGISTRY TIMEOUT MEMORY LIMIT. */
DPI_API int DPI_Open_Flow(const char *name, DPI_Schema schema, int64_t wait_us, DPI_Context ctx, DPI_Flow *flow);

/* A schema handle for the flow's rows; free it with DPI_Free_Schema. Never blocks. Thread: any. Errors: LIMIT. */
DPI_API int DPI_Get_Flow_Schema(DPI_Flow flow, DPI_Schema *schema);

/* The same for the rows that targets give: what stages and reduce make of those pushed. Without these it is the same schema. */
DPI_API int DPI_Get_Flow_Output_Schema(DPI_Flow flow, DPI_Schema *schema);

/* Describe the flow as this process knows it now. info: in: size. Never blocks. Thread: any. Errors: none of its own. */
DPI_API int DPI_Get_Flow_Info(DPI_Flow flow, DPI_Flow_Info *info);

/* Who has one of the flow's sources or targets, and what became of it, as this process knows it now: so it is told which of
 * them died where the flow goes on. source, target: its number, from 0. end: in: size. Never blocks. Thread: any. Errors:
 * ARGUMENT (no such target; a source has state DPI_END_NONE before it is opened). */
DPI_API int DPI_Get_Flow_Source(uint32_t source, DPI_Flow flow, DPI_Flow_End *end);
DPI_API int DPI_Get_Flow_Target(uint32_t target, DPI_Flow flow, DPI_Flow_End *end);

/* Close a handle; endpoints opened with it stay open, the flow lives on. Never blocks. Thread: any. Errors: none of its own. */
DPI_API int DPI_Close_Flow(DPI_Flow flow);

/* Declare that no more sources come: a later DPI_Open_Source is DPI_ERR_SEALED. Sealing again is no error. Blocks for the
 * registry's answer at most DPI_TIMEOUT. Thread: any. Errors: FLOW PEER CANCELLED DESTROYED (it failed with that) REGISTRY
 * TIMEOUT. */
DPI_API int DPI_Seal_Flow(DPI_Flow flow);

/* End a flow at once: calls on its endpoints, everywhere, return DPI_ERR_CANCELLED with reason. reason: a sentence, copied;
 * may be NULL. Blocks, errors and thread rule as DPI_Seal_Flow. */
DPI_API int DPI_Cancel_Flow(const char *reason, DPI_Flow flow);

/* Remove the name, and cancel the flow if it has not ended. Blocks for the registry's answer at most DPI_TIMEOUT. Thread: any.
 * Errors: NAME REGISTRY TIMEOUT. */
DPI_API int DPI_Destroy_Flow(const char *name, DPI_Context ctx);

/* Where would this row go? targets: out, the caller's, room for as many as the flow has; count: out. Round robin: what the
 * next push of a fresh source would do. Never blocks. Thread: any. Errors: SIZE CORRUPT (no row of the schema; a dist function
 * named a target that is none) NAME (a function of the definition is not registered here) MEMORY, and a function's own. */
DPI_API int DPI_Route(const void *row, size_t size, DPI_Flow flow, uint32_t *targets, uint32_t *count);

/* --------------------------------------------------------------------------------------------------- flows: sources */

typedef struct DPI_Source_Attr {
	size_t size;			/* sizeof(DPI_Source_Attr) */
	int64_t timeout_us;		/* deadline of calls on the handle */
	uint64_t id;			/* retained flows: the source can be resumed by it; 0: it has none */
	const uint64_t *rows;		/* to resume: how many rows were pushed to each target, as DPI_Get_Source_Rows said; NULL: none */
	int takeover;			/* 1: the source with this id may still be open: then it is fenced */
} DPI_Source_Attr;
#define DPI_SOURCE_ATTR_INIT { sizeof(DPI_Source_Attr), 0, 0, 0, 0 }

/* Open a source of a flow; each thread that pushes opens its own. attr: may be NULL; the caller's. With an id that a source of the flow
 * had which died, or was closed with an error, it is the same source, which goes on: its rows are pushed again, those that targets
 * have got are passed over. The calls of one that is taken over are DPI_ERR_FENCED, and nothing of it is lost. source: out; close it
 * with DPI_Close_Source, else the flow does not end. Blocks for the registry's answer at most DPI_TIMEOUT. Thread: any.
 * Errors: SEALED NAME (a function of the definition is not registered here, or a key of its codecs not held) UNSUPPORTED (a
 * codec's library is not installed: the detail names the package; rows, where stages at the source stand before round robin; id, where
 * partial rows travel) LIMIT
 * (DPI_SOURCES_MAX; handles) REGISTRY TIMEOUT MEMORY FLOW PEER CANCELLED DESTROYED; with an id also USE (the flow is not retained) EXISTS (the source with this id is open, or is over and
 * cannot be resumed any more). */
DPI_API int DPI_Open_Source(DPI_Flow flow, const DPI_Source_Attr *attr, DPI_Source *source);

/* Push a row: to all the targets that dist says, or, on an error, to none. row: size bytes as the schema lays them out; may
 * be reused on return. Rows of one source reach a target in the order pushed. They travel when a segment is full, after the
 * linger time, or with DPI_Flush_Source. Waits for a target to be opened, and for room at it, at most the handle's timeout;
 * the first row to a target asks its process for memory. Thread: handle. Errors: THREAD SIZE CORRUPT (no row of the schema;
 * a dist function named a target that is none; what was kept encrypted for a target that was bound anew was changed where it
 * lay: close the source, and resume it) STATE (room is handed out) TIMEOUT (the detail names the target) LIMIT (the
 * target's memory has no room for another source) UNKNOWN (the last of a row larger than a segment reached some of its targets) RANGE (a
 * row's error in a stage: the flow fails) PEER FLOW CANCELLED DESTROYED MEMORY, and a function's own. Source: DPI paper 4.3. */
DPI_API int DPI_Push(const void *row, size_t size, DPI_Source source);

/* The same, but never waits for a target or for room: DPI_ERR_AGAIN, and no target has got the row. The first row to a process
 * connects to it. A row larger than a segment begins anew with each call: DPI_Push is for these. Errors: as DPI_Push, AGAIN. */
DPI_API int DPI_Try_Push(const void *row, size_t size, DPI_Source source);

/* Push count rows, which stand back to back in a schema whose rows do not vary. pushed: out, how many were, also on an
 * error; may be NULL. Otherwise as DPI_Push. Errors: also USE (rows vary). */
DPI_API int DPI_Push_Batch(const void *rows, size_t count, DPI_Source source, size_t *pushed);

/* Push the rows of a record batch: each where it would go by itself; in a flow of DPI_LAYOUT_COLUMNS copied once, column by
 * column, in one of rows made a row first. array: a struct array with a child for each column, of the formats of DPI_Import_Arrow_Schema; the caller's, who
 * releases it; not needed any more on return. schema: its type, compared with the flow's; NULL: it is known to be equal.
 * pushed: out, how many of its rows were, the first ones, also on an error; may be NULL. Otherwise as DPI_Push. Errors: also
 * STATE (room is handed out) SCHEMA (the detail has the first difference) ARGUMENT (array is no batch of the flow's
 * columns; a NULL where there is none) UNSUPPORTED (a type that no column has). */
DPI_API int DPI_Push_Arrow(const struct ArrowArray *array, const struct ArrowSchema *schema, DPI_Source source, size_t *pushed);

/* Hand out room in the segment for a target, to build a row in place; what dist would say is not asked. size: bytes of the
 * row, where rows vary at most; room: out, 8-byte aligned, to be written until DPI_Commit or DPI_Discard, before which
 * nothing else is pushed. Waits and errors as DPI_Push; STATE when room is already handed out; SIZE (another than the
 * rows', or it does not fit a segment); USE (the source has stages, or reduces, or segments are columns); PEER also where the
 * flow goes on without this target. Thread: handle. */
DPI_API int DPI_Reserve(size_t size, uint32_t target, DPI_Source source, void **room);
/* Push the row built in the room: its first size bytes. Never blocks. Thread: handle. Errors: THREAD STATE; SIZE CORRUPT (no
 * row of the schema: the room stays handed out) PEER FLOW CANCELLED DESTROYED. */
DPI_API int DPI_Commit(size_t size, DPI_Source source);
/* Give the room back unused. Never blocks. Thread: handle. Errors: THREAD STATE PEER FLOW CANCELLED DESTROYED. */
DPI_API int DPI_Discard(DPI_Source source);

/* Push a mark: it reaches every target after all rows that this source pushed before it. mark: any, but not below this
 * source's last. Rows before it travel at once. Waits for each target as DPI_Push, so the handle's timeout is not
 * DPI_NO_WAIT. On an error some targets may have got it: push it again. Thread: handle. Errors: THREAD ARGUMENT (it falls)
 * STATE TIMEOUT LIMIT PEER FLOW CANCELLED DESTROYED MEMORY CORRUPT (as DPI_Flush_Source). */
DPI_API int DPI_Push_Mark(uint64_t mark, DPI_Source source);

/* Make every row pushed before visible at its target; not taken. Blocks at most the handle's timeout. Thread: handle.
 * Errors: THREAD TIMEOUT PEER FLOW CANCELLED DESTROYED CORRUPT (what was kept encrypted for a target that was bound anew was changed
 * where it lay). */
DPI_API int DPI_Flush_Source(DPI_Source source);

/* Close a source: flushes, and says to each target how many rows it got. The handle is closed whatever is returned; on
 * an error but HANDLE and THREAD the source counts as dead. Blocks at most the handle's timeout, with DPI_NO_WAIT, as it cannot
 * be tried again, at most DPI_TIMEOUT. Thread: handle.
 * Errors: as DPI_Flush_Source, REGISTRY. */
DPI_API int DPI_Close_Source(DPI_Source source);

/* The file descriptor of a source, as those of buffers (DPI_Get_Buffer_Descriptor): ready means that there is room for the row
 * that last found none, or that none has: DPI_Try_Push may push it, or says what failed. fd: out; -1 on error. Never blocks.
 * Thread: handle. Errors: THREAD MEMORY LIMIT (no file descriptor is left). */
DPI_API int DPI_Get_Source_Descriptor(DPI_Source source, int *fd);
/* Arm it. ready: out, 1: ready already, and not armed; else 0. Makes progress. Connects to the target's process, if that was
 * not done; else never blocks. Thread: handle. Errors: THREAD STATE (room is handed out; DPI_Get_Source_Descriptor comes
 * first). */
DPI_API int DPI_Arm_Source(DPI_Source source, int *ready);

/* How many rows the source has pushed to each target, those included that attr->rows had said when it was resumed. Once
 * DPI_Flush_Source has returned they outlive the source: a program that then stores them with its own state can resume from there.
 * rows: out, the caller's, room for a number of each target. Never blocks. Thread: handle. Errors: THREAD. */
DPI_API int DPI_Get_Source_Rows(DPI_Source source, uint64_t *rows);

/* The number by which targets know the source, DPI_Tuple.source. number: out. Never blocks. Thread: any. Errors: none of its
 * own. */
DPI_API int DPI_Get_Source_Number(DPI_Source source, uint32_t *number);

/* --------------------------------------------------------------------------------------------------- flows: targets */

/* Of a source's rows to one target the first so many: those whose effects a program has stored. */
typedef struct DPI_Position {
	uint32_t source;
	uint64_t rows;
} DPI_Position;

typedef struct DPI_Target_Attr {
	size_t size;			/* sizeof(DPI_Target_Attr) */
	int64_t timeout_us;		/* deadline of calls on the handle */
	int numa;			/* DPI_NUMA_ANY or DPI_NUMA_NODE(n): where its rings lie */
	int sketch;			/* 1: estimate how many different keys come, and which most often: DPI_Get_Heavy_Keys; costs time for each row */
	int rebind;			/* retained flow: 1: take the target, lost or open, from the process that has it */
	const DPI_Position *position;	/* and go on from here: positions of them; a source that is none of these goes on from what was not */
	size_t positions;		/* acknowledged; copied */
} DPI_Target_Attr;
#define DPI_TARGET_ATTR_INIT { sizeof(DPI_Target_Attr), 0, 0, 0, 0, 0, 0 }

enum { DPI_TUPLE_ROW = 0, DPI_TUPLE_MARK = 1 };

typedef struct DPI_Tuple {
	const void *data;		/* the row; NULL for a mark */
	size_t size;			/* bytes */
	uint64_t mark;			/* of a mark */
	uint32_t source;		/* of a row: 0, 1, … in the order the flow's sources were opened; of a result of reduce
					   DPI_SOURCE_NONE */
	int kind;			/* DPI_TUPLE_* */
} DPI_Tuple;

#define DPI_SOURCE_NONE 0xffffffffu

/* A run of rows of one source, where they lie. */
typedef struct DPI_Batch {
	const void *rows;		/* the first; each begins stride bytes after the one before; NULL: rows vary */
	size_t count;			/* 0: a mark */
	size_t stride;			/* bytes */
	const DPI_Record *record;	/* rows vary: count of them, until the run is given back; else NULL */
	uint64_t mark;
	uint32_t source;
	int kind;			/* DPI_TUPLE_* */
} DPI_Batch;

/* Open a target of a flow and receive its rows. index: which. attr: may be NULL. target: out; close it with
 * DPI_Close_Target. Blocks for the registry's answer at most DPI_TIMEOUT. Thread: any. Errors: EXISTS (it is open, or was)
 * USE (rebind or positions in a direct flow)
 * RANGE (there is no such target) NAME (a function or key of the definition is not registered here) UNSUPPORTED (a codec's
 * library is missing; or a sketch, and no key in the rows that come) LIMIT (the flow's memory has no room for all its
 * sources; handles) REGISTRY TIMEOUT MEMORY FLOW PEER CANCELLED DESTROYED. */
DPI_API int DPI_Open_Target(uint32_t index, const DPI_Target_Attr *attr, DPI_Flow flow, DPI_Target *target);

/* Take the next row, or mark. A mark comes once every source that is open has pushed it or a later one. Gives back the row
 * that the last call gave. tuple: out; data stays in place until the next DPI_Next, DPI_Try_Next, DPI_Next_Batch or close on
 * the handle. Waits at most the handle's timeout. Thread: handle. Errors: THREAD END (the flow has ended: nothing comes any
 * more) TIMEOUT (the detail says how many sources are open, and names one) PEER FLOW CANCELLED DESTROYED CORRUPT (a source
 * wrote what none writes; it is cut off) RECLAIMED (a source does not keep the position handed in; likewise) FENCED (the target
 * was bound anew elsewhere) AUTH (a source encrypts with another key; it is cut off) RANGE (a row's error in a
 * stage: the flow fails) REGISTRY (it is gone: nobody can say whether more comes) MEMORY. */
DPI_API int DPI_Next(DPI_Target target, DPI_Tuple *tuple);

/* The same, but never waits. Errors: as DPI_Next, AGAIN (nothing is there now). */
DPI_API int DPI_Try_Next(DPI_Target target, DPI_Tuple *tuple);

/* Lend a run of rows, or give a mark, which is not lent and not given back. Runs that are lent stay. batch: out. Otherwise
 * as DPI_Next. Errors: also LIMIT (DPI_LENT_MAX runs are lent). */
#define DPI_LENT_MAX 64
DPI_API int DPI_Next_Batch(DPI_Target target, DPI_Batch *batch);

/* Lend a segment of a flow of DPI_LAYOUT_COLUMNS as a record batch, its buffers 64-byte aligned where it lies; only the
 * offsets of BINARY and UTF8 are a checked copy. What stages at the target, or reduce, have made, and runs of a flow of rows, are lent
 * as a copy, 8-byte aligned. batch: out: count, source, or a mark. array: out; of a mark, and on an error,
 * all zero. Any thread may release it, or what was moved out of it; DPI_Release_Batch or closing the target ends the loan,
 * too: then its buffers must not be read any more, but it must still be released. Room is given back in the order in which it
 * was lent, by the next call on the handle. schema: out, the caller's to release; may be NULL. Otherwise as DPI_Next_Batch,
 * with which it may be mixed. */
DPI_API int DPI_Next_Arrow(DPI_Target target, DPI_Batch *batch, struct ArrowArray *array, struct ArrowSchema *schema);

/* Give back the count runs lent longest that were not given back. Never blocks. Thread: handle. Errors: THREAD RANGE (more
 * than are lent). */
DPI_API int DPI_Release_Batch(size_t count, DPI_Target target);

/* Wait until one of count targets has something: a row, a mark, its end or an error. index: out, the first such; a call
 * that takes from it does not wait. timeout_us: at most; 0: DPI_TIMEOUT; DPI_NO_WAIT. Thread: handle, for each. Errors:
 * THREAD TIMEOUT. */
DPI_API int DPI_Wait_Targets(const DPI_Target *targets, size_t count, int64_t timeout_us, size_t *index);

/* The file descriptor of a target, as those of buffers (DPI_Get_Buffer_Descriptor): ready means that DPI_Try_Next gives a row, a
 * mark, the end or an error. fd: out; -1 on error. Never blocks. Thread: handle. Errors: THREAD MEMORY LIMIT (no file
 * descriptor is left). */
DPI_API int DPI_Get_Target_Descriptor(DPI_Target target, int *fd);
/* Arm it. ready: out, 1: ready already, and not armed; else 0. Makes progress. Never blocks. Thread: handle. Errors: THREAD
 * STATE (DPI_Get_Target_Descriptor comes first). */
DPI_API int DPI_Arm_Target(DPI_Target target, int *ready);

/* Close a target. Before its flow has ended this is a death of the target: see DPI_Flow_Attr. The handle is closed whatever
 * is returned but THREAD. Blocks for the registry's answer at most DPI_TIMEOUT. Thread: handle. Errors: THREAD REGISTRY
 * TIMEOUT. */
DPI_API int DPI_Close_Target(DPI_Target target);

/* ------------------------------------------------------------------------------------------ flows: acknowledgements */

/* Targets acknowledge rows to their sources. A row's key says which rows are meant: attr->ack_column or ack_function of the
 * row as it was pushed, as 64 bits, or its number. Of the n targets that dist gave a row, all have to acknowledge it, or
 * ack_quorum of them; or every single one is told. n never shrinks: of a target that died nothing more comes, and a row that
 * so few are left for is told as lost. A row for no target, or that a stage at the source drops, is acknowledged at once; what
 * rows are reduced to acknowledges all of them. */
enum {
	DPI_ACK_NONE = 0,
	DPI_ACK_RECEIVED = 1,	/* it is in the target's memory */
	DPI_ACK_RELEASED = 2,	/* the target's program has given it back */
	DPI_ACK_CONFIRMED = 3	/* the target's program has called DPI_Ack for it */
};
enum { DPI_ACK_ALL = 0, DPI_ACK_QUORUM = 1, DPI_ACK_COUNT = 2 };

/* What has become of a row; with ack_up_to of many: of all up to key that were not told of before. */
typedef struct DPI_Acked {
	uint64_t key;
	uint32_t rows;			/* that this is about: without ack_up_to 1 */
	uint32_t acknowledged;		/* targets that have acknowledged it, so far; of several rows the last */
	uint32_t targets;		/* n */
	int error;			/* DPI_ERR_PEER: lost: too many of its targets are gone; else DPI_SUCCESS */
} DPI_Acked;

/* ack_function: the key of a row. As DPI_Group_Function; registered in every process that opens a source. */
typedef int DPI_Ack_Function(const void *row, size_t size, void *arg, uint64_t *key);
/* As DPI_Register_Group. */
DPI_API int DPI_Register_Ack(const char *name, uint32_t version, DPI_Ack_Function *function, void *arg);

/* What this source knows to have become of its rows, in the order in which that came about; with ack_up_to in that of their
 * pushes, several at once. Each is told once; with DPI_ACK_COUNT again whenever more targets have acknowledged it. acks: out,
 * the caller's, room for max; count: out. Waits, at most the handle's timeout, until there is one; if no row is left to wait
 * for, *count is 0. What was pushed travels at once. Thread: handle. Errors: THREAD USE (the flow has no acknowledgements)
 * TIMEOUT PEER FLOW CANCELLED DESTROYED MEMORY. Source: DPI paper 4.2. */
DPI_API int DPI_Next_Acks(DPI_Acked *acks, size_t max, DPI_Source source, size_t *count);
/* The same, but never waits, and sends nothing sooner. Errors: as DPI_Next_Acks, AGAIN (there is none now). */
DPI_API int DPI_Try_Next_Acks(DPI_Acked *acks, size_t max, DPI_Source source, size_t *count);

/* A file descriptor of a source for its acknowledgements, beside that of DPI_Get_Source_Descriptor, and as those of buffers
 * (DPI_Get_Buffer_Descriptor): ready means that DPI_Try_Next_Acks gives some, or says what failed. fd: out; -1 on error. Never blocks.
 * Thread: handle. Errors: THREAD USE (the flow has no acknowledgements) MEMORY LIMIT (no file descriptor is left). */
DPI_API int DPI_Get_Ack_Descriptor(DPI_Source source, int *fd);
/* Arm it. ready: out, 1: ready already, and not armed; else 0. What was pushed travels at once, as with DPI_Next_Acks. Makes progress.
 * Never blocks. Thread: handle. Errors: THREAD USE STATE (DPI_Get_Ack_Descriptor comes first) MEMORY. */
DPI_API int DPI_Arm_Acks(DPI_Source source, int *ready);

/* Wait until every row of this key, with ack_up_to every row up to it, that this source has pushed is acknowledged; with
 * DPI_ACK_COUNT by all its targets. They are told by that, and DPI_Next_Acks does not. A key of no row that waits is
 * acknowledged. Waits at most the handle's timeout; what was pushed travels at once. Thread: handle. Errors: THREAD USE TIMEOUT
 * (the detail names a target that has not) PEER (a row is lost; the detail says by which target's death; DPI_Next_Acks tells
 * of it) FLOW CANCELLED DESTROYED MEMORY. */
DPI_API int DPI_Wait_Ack(uint64_t key, DPI_Source source);
/* The same, but never waits. acknowledged: out, 0 or 1. Errors: as DPI_Wait_Ack without TIMEOUT. */
DPI_API int DPI_Test_Ack(uint64_t key, DPI_Source source, int *acknowledged);

/* How many rows this source has pushed: the number of the last. position: out. Never blocks. Thread: handle. Errors: THREAD
 * USE (the flow has no acknowledgements) PEER FLOW CANCELLED DESTROYED. */
DPI_API int DPI_Get_Source_Position(DPI_Source source, uint64_t *position);

/* DPI_ACK_CONFIRMED: acknowledge the first rows rows that came from a source to this target, all of which it has given to the
 * program; DPI_ACK_TAKEN: all that it has given so far. source: its number, or DPI_ACK_EVERY_SOURCE. What is confirmed stays
 * so; a source that is closed or dead is told nothing. Never blocks. Thread: handle. Errors: THREAD USE (the flow's
 * acknowledgements are of another kind, or none) RANGE (no such source has sent anything; it has not sent as many rows) PEER
 * FLOW CANCELLED DESTROYED. */
#define DPI_ACK_EVERY_SOURCE 0xffffffffu
#define DPI_ACK_TAKEN UINT64_MAX
DPI_API int DPI_Ack(uint32_t source, uint64_t rows, DPI_Target target);
/* How many rows of a source this target has given to the program: what DPI_Ack takes. They count as they reach the target, before
 * its stages; where it reduces, when all results of their window were given. rows: out; 0 if none has come, or, unless the flow
 * is retained, the source is closed. Never blocks. Thread: handle. Errors: THREAD. */
DPI_API int DPI_Get_Taken(uint32_t source, DPI_Target target, uint64_t *rows);

/* --------------------------------------------------------------------------------------------- flows: Bloom filters */

/* What keys the rows of one flow have, for the sources of others: rows whose key is certainly not among them need not travel, such
 * as those of a join's large side that find no partner. A filter says of every key that was added that it may be there, and of few
 * others. Keys are those of the flows' key columns, or of one UINT64 that their group function gives, by their specified hash with salt 0: equal values of joinable types are equal,
 * whatever salt, dist or column names their flows have. A key with a NULL equals none: it is not added, and its rows are dropped.
 * Each process fills a part; when all parts are published under a name, any process opens the whole. */
typedef struct dpi_bloom_handle *DPI_Bloom;

typedef struct DPI_Bloom_Attr {
	size_t size;			/* sizeof(DPI_Bloom_Attr) */
	uint64_t expected;		/* different keys, in all parts together; no default */
	double rate;			/* of others that it takes for one of so many, 1e-6 … 0.5; default 0.01 */
	uint64_t memory;		/* bytes that it may take; default 64 MiB; at most 1 GiB */
} DPI_Bloom_Attr;
#define DPI_BLOOM_ATTR_INIT { sizeof(DPI_Bloom_Attr), 0, 0, 0 }
#define DPI_BLOOM_PARTS_MAX 4096	/* of a published filter */

/* Make an empty filter of keys of a flow, or a part of one: all parts with the same attr. flow: one with a key. bloom: out;
 * close it with DPI_Close_Bloom. Never blocks. Thread: any. Errors: UNSUPPORTED (the flow has no key) NAME (its group function is not
 * registered here) LIMIT (it would take more than attr->memory; handles) MEMORY. */
DPI_API int DPI_Create_Bloom(DPI_Flow flow, const DPI_Bloom_Attr *attr, DPI_Bloom *bloom);

/* Add the keys of count rows of that flow's schema, size bytes each, back to back; one where rows vary. Never blocks. Thread:
 * handle. Errors: THREAD SIZE CORRUPT (no row of the schema) USE (rows vary) STATE (it is published, a source has it, it was
 * opened, or a target adds to it); what the flow's group function returns. */
DPI_API int DPI_Insert_Bloom(const void *rows, size_t size, size_t count, DPI_Bloom bloom);

/* Let a target add the keys of all rows that it gives from now on, or has given out no further than to be taken next, until its
 * flow has ended, it is closed, or is set to another filter. bloom: one that no other target adds to; NULL: none. Never blocks.
 * Thread: handle, of both. Errors: THREAD STATE (as DPI_Insert_Bloom; the flow has ended) UNSUPPORTED (the filter's keys are of
 * other types: the detail says which; the key does not come out of the flow's stages) NAME (as DPI_Create_Bloom) MEMORY. */
DPI_API int DPI_Set_Target_Bloom(DPI_Bloom bloom, DPI_Target target);

/* Publish a filter as one of so many parts; the last one makes the whole and gives it the name, for which DPI_Open_Bloom waits.
 * name: as those of flows and buffers, from which it differs, and up to 8 bytes shorter; copied. parts: 1 … DPI_BLOOM_PARTS_MAX, the same
 * everywhere. All parts lie with the process that came first, until DPI_Destroy_Bloom or its end. Nothing is added any more. Blocks
 * at most DPI_TIMEOUT for each of its steps. Thread: handle. Errors: THREAD STATE (published already; a target adds to it) EXISTS
 * (all parts are there; the name is another thing's) CORRUPT (a part is none) PEER REGISTRY TIMEOUT MEMORY LIMIT UNKNOWN. */
DPI_API int DPI_Publish_Bloom(const char *name, uint32_t parts, DPI_Bloom bloom);

/* Get a copy of a filter all of whose parts are published, waiting for that at most wait_us. bloom: out; close it with
 * DPI_Close_Bloom. Thread: any. Errors: NAME (not in time; the detail says how many parts there are) CORRUPT VERSION (what was
 * published is no filter, or another version's) PEER DESTROYED REGISTRY TIMEOUT MEMORY LIMIT. */
DPI_API int DPI_Open_Bloom(const char *name, int64_t wait_us, DPI_Context ctx, DPI_Bloom *bloom);

/* Drop rows that are pushed from now on if their key is certainly not in the filter: before they are routed, by whatever call,
 * which succeeds all the same; the source's counters have them as unmatched. A row that is acknowledged is so at once. bloom: whole,
 * not a part; may be closed then; any number of sources share it; NULL: none. Never blocks. Thread: handle, of both. Errors: THREAD
 * STATE (a part of several; a target adds to it; room is handed out) UNSUPPORTED (the flow's key has other types than the filter's:
 * the detail says which; it has no key; the source has an id) MEMORY PEER FLOW CANCELLED DESTROYED. */
DPI_API int DPI_Set_Source_Bloom(DPI_Bloom bloom, DPI_Source source);

/* Close a handle. What was published, and what sources and targets have, stays. Never blocks. Thread: handle. Errors: THREAD. */
DPI_API int DPI_Close_Bloom(DPI_Bloom bloom);

/* Remove the name and free the memory of what was published; copies that were opened stay. Blocks at most DPI_TIMEOUT. Thread: any.
 * Errors: NAME PEER REGISTRY TIMEOUT. */
DPI_API int DPI_Destroy_Bloom(const char *name, DPI_Context ctx);

/* ------------------------------------------------------------------------------------------------ flows: statistics */

/* The one table of counters of a source: name, unit, meaning. */
#define DPI_SOURCE_STATS(X)                                                                        \
	X(rows, "rows", "sent, counted once for each target")                                      \
	X(bytes, "bytes", "of these rows")                                                         \
	X(segments, "times", "segments begun")                                                     \
	X(marks, "times", "marks pushed")                                                          \
	X(filtered, "rows", "rows that dist sent nowhere")                                         \
	X(dropped, "rows", "rows for targets that died, in a flow that goes on")                   \
	X(stalls, "times", "pushes that waited for room")                                          \
	X(stall_us, "us", "time in these waits")                                                   \
	X(stall_target, "target", "the target of the last of them")                                \
	X(sifted, "rows", "rows that stages at the source did not let pass")                       \
	X(row_errors, "rows", "of these those with an error: DPI_ROW_ERROR_DROPS")                 \
	X(reduced, "rows", "rows that partial rows were made of, once for each target")            \
	X(plain_bytes, "bytes", "of segments, before their codecs")                                \
	X(coded_bytes, "bytes", "of the same segments, after them")                                \
	X(codec_memory, "bytes", "of rows that wait for their codecs, and of these, now")                \
	X(waiting, "target", "1 + the target that a push waits for at this moment; 0: none")       \
	X(kept, "bytes", "that are not given back by their targets, now: of a retained flow")      \
	X(replays, "times", "a target was bound anew, and got again what was kept for it")         \
	X(replayed, "bytes", "of segments sent again")                                             \
	X(most_rows, "rows", "pushed to the target that got most")                                 \
	X(most_target, "target", "which that is")                                                  \
	X(unmatched, "rows", "rows whose key the source's Bloom filter has not got")

/* The one table of counters of a target: name, unit, meaning. */
#define DPI_TARGET_STATS(X)                                                                        \
	X(rows, "rows", "that came, before stages and reduce")                                     \
	X(bytes, "bytes", "of these rows")                                                         \
	X(batches, "times", "runs of rows taken")                                                  \
	X(marks, "times", "marks reported")                                                        \
	X(waits, "times", "calls that found nothing and waited")                                   \
	X(wait_us, "us", "time in these waits")                                                    \
	X(sources, "sources", "that have sent something")                                          \
	X(memory, "bytes", "of rings, now")                                                        \
	X(sifted, "rows", "rows that stages at the target did not let pass")                       \
	X(row_errors, "rows", "of these those with an error: DPI_ROW_ERROR_DROPS")                 \
	X(results, "rows", "that reduce has made")                                                 \
	X(spilled, "rows", "that had no place in its table and went to the file, each time counted") \
	X(coded_bytes, "bytes", "of segments, before their codecs were undone")                    \
	X(plain_bytes, "bytes", "of the same segments, after that")                                \
	X(codec_memory, "bytes", "of what is being decoded, and of decoded rows, now")                   \
	X(waiting, "calls", "1: a call waits for rows at this moment")                             \
	X(epoch, "times", "the target had been bound when this handle was opened")                 \
	X(passed, "rows", "that came again and were passed over")                                  \
	X(distinct, "keys", "different keys in the rows taken, estimated, if a sketch was asked for") \
	X(heavy_rows, "rows", "taken with the key that came most often, at most; likewise")        \
	X(heavy_hash, "hash", "the hash of this key, with the flow's salt; likewise")

typedef struct DPI_Source_Stats {
	size_t size;			/* set by the caller: sizeof(DPI_Source_Stats) */
#define DPI_STAT_FIELD(name, unit, text) uint64_t name;
	DPI_SOURCE_STATS(DPI_STAT_FIELD)
} DPI_Source_Stats;

typedef struct DPI_Target_Stats {
	size_t size;			/* set by the caller: sizeof(DPI_Target_Stats) */
	DPI_TARGET_STATS(DPI_STAT_FIELD)
#undef DPI_STAT_FIELD
} DPI_Target_Stats;

/* The counters of a handle. stats: in: size; out: the rest. Never blocks. Thread: any; figures of a handle in use by another
 * thread may lag. Errors: none of its own. */
DPI_API int DPI_Get_Source_Stats(DPI_Source source, DPI_Source_Stats *stats);
DPI_API int DPI_Get_Target_Stats(DPI_Target target, DPI_Target_Stats *stats);

/* The one table of counters of a stage, where it runs: name, unit, meaning. */
#define DPI_STAGE_STATS(X)                                                                         \
	X(rows, "rows", "that came to the stage")                                                  \
	X(passed, "rows", "of these those that passed it, or that it made of them")                \
	X(bytes, "bytes", "of the rows that passed")                                               \
	X(batches, "times", "runs of rows, of one or more each")                                   \
	X(row_errors, "rows", "that had an error: DPI_ROW_ERROR_DROPS")
typedef struct DPI_Stage_Stats {
	size_t size;			/* set by the caller: sizeof(DPI_Stage_Stats) */
#define DPI_STAT_FIELD(name, unit, text) uint64_t name;
	DPI_STAGE_STATS(DPI_STAT_FIELD)
#undef DPI_STAT_FIELD
} DPI_Stage_Stats;

/* The counters of one stage of a flow at this source or target. stage: its place in attr->stages of the definition. stats:
 * in: size; out: the rest. Never blocks. Thread: any; figures of a handle in use by another thread may lag. Errors: RANGE
 * (no such stage runs here; the detail says where it does). */
DPI_API int DPI_Get_Source_Stage_Stats(DPI_Source source, uint32_t stage, DPI_Stage_Stats *stats);
DPI_API int DPI_Get_Target_Stage_Stats(DPI_Target target, uint32_t stage, DPI_Stage_Stats *stats);

/* What a source or target of any process does, or a stage that runs at it, as its process knows it at this moment. */
enum {
	DPI_ENDPOINT_NONE = 0,
	DPI_ENDPOINT_SOURCE = 1,
	DPI_ENDPOINT_TARGET = 2,
	DPI_ENDPOINT_SOURCE_STAGE = 3,	/* a stage of the source before it */
	DPI_ENDPOINT_TARGET_STAGE = 4
};
typedef struct DPI_Endpoint_Info {
	size_t size;			/* of the first, set by the caller: sizeof(DPI_Endpoint_Info); of all then */
	int kind;			/* DPI_ENDPOINT_* */
	int node;			/* whose it is */
	uint32_t number;		/* of the source, or which target; also of a stage's */
	uint64_t fill;			/* target: bytes in its rings that were not given back */
	DPI_Flow_Info flow;
	DPI_Source_Stats source;	/* of a source */
	DPI_Target_Stats target;	/* of a target */
	DPI_Stage_Stats stage;		/* of a stage */
	uint32_t stage_number;		/* its place in attr->stages of the definition */
	int stage_kind;			/* DPI_STAGE_* */
} DPI_Endpoint_Info;
#define DPI_ENDPOINT_INFO_INIT { .size = sizeof(DPI_Endpoint_Info) }

/* The sources and targets that are open on a node, of every flow, each with the stages that run at it behind it. Their threads
 * take no part: the node's progress thread reads their counters. node: or DPI_NODE_SELF. info: room of them, the caller's; the
 * first's size is set; may be NULL if room is 0. count: out, how many there are, of which as many as fit are stored. Blocks for
 * the node's answer at most DPI_TIMEOUT. Thread: any. Errors: NODE PEER TIMEOUT MEMORY. */
DPI_API int DPI_Get_Endpoints(int node, DPI_Context ctx, DPI_Endpoint_Info *info, size_t room, size_t *count);

/* Whom a source or target has waited for: of a source's stalls those for room at one target; of a target's waits those that ended
 * with something of one source. All of an endpoint together are its stalls and stall_us, or its waits and wait_us. */
typedef struct DPI_Stall {
	size_t size;			/* of the first, set by the caller: sizeof(DPI_Stall); of all then */
	char flow[DPI_NAME_MAX];
	int kind;			/* who waited: DPI_ENDPOINT_SOURCE or DPI_ENDPOINT_TARGET */
	int node;			/* whose it is */
	uint32_t number;		/* of the source, or which target */
	uint32_t peer;			/* which target, or the source's number; DPI_SOURCE_NONE: a wait that no one source's rows ended */
	uint64_t count;			/* waits */
	uint64_t time_us;		/* time in these */
} DPI_Stall;
#define DPI_STALL_INIT { .size = sizeof(DPI_Stall) }

/* The stalls of the sources and targets that are open on a node, endpoint by endpoint, only of peers that any waited for. As
 * DPI_Get_Endpoints. */
DPI_API int DPI_Get_Stalls(int node, DPI_Context ctx, DPI_Stall *stalls, size_t room, size_t *count);

/* The one table of counters of a flow, of all its sources and targets that are open in the cluster together: name, unit, meaning. */
#define DPI_FLOW_STATS(X)                                                                          \
	X(sources, "sources", "open")                                                              \
	X(targets, "targets", "open")                                                              \
	X(sent, "rows", "sent, counted once for each target")                                      \
	X(sent_bytes, "bytes", "of these rows")                                                    \
	X(rows, "rows", "that came to targets, before stages and reduce there")                    \
	X(bytes, "bytes", "of these rows")                                                         \
	X(results, "rows", "that reduce has made")                                                 \
	X(filtered, "rows", "rows that dist sent nowhere")                                         \
	X(unmatched, "rows", "rows whose key the sources' Bloom filters have not got")             \
	X(sifted, "rows", "rows that stages did not let pass")                                     \
	X(row_errors, "rows", "of these those with an error: DPI_ROW_ERROR_DROPS")                 \
	X(dropped, "rows", "rows for targets that died, in a flow that goes on")                   \
	X(reduced, "rows", "rows that partial rows were made of, once for each target")            \
	X(spilled, "rows", "that had no place in a target's table, each time counted")             \
	X(stalls, "times", "pushes that waited for room")                                          \
	X(stall_us, "us", "time in these waits")                                                   \
	X(slowest_target, "target", "the one for which sources have waited longest")               \
	X(slowest_us, "us", "time in these waits")                                                 \
	X(waits, "times", "calls at targets that found nothing and waited")                        \
	X(wait_us, "us", "time in these waits")                                                    \
	X(most_rows, "rows", "that came to the target that got most")                              \
	X(most_target, "target", "which that is")                                                  \
	X(kept, "bytes", "that are not given back by targets, now: of a retained flow")            \
	X(memory, "bytes", "of rings, now")                                                        \
	X(fill, "bytes", "in these that were not given back, now")
typedef struct DPI_Flow_Stats {
	size_t size;			/* set by the caller: sizeof(DPI_Flow_Stats) */
#define DPI_STAT_FIELD(name, unit, text) uint64_t name;
	DPI_FLOW_STATS(DPI_STAT_FIELD)
#undef DPI_STAT_FIELD
} DPI_Flow_Stats;

/* The counters of a flow, of every node that is alive. stats: in: size; out: the rest. Blocks for the nodes' answers, each at most
 * DPI_TIMEOUT. Thread: any. Errors: TIMEOUT (a node does not answer; the detail says which) MEMORY. */
DPI_API int DPI_Get_Flow_Stats(DPI_Flow flow, DPI_Flow_Stats *stats);

#define DPI_HEAVY_KEYS 16		/* most keys of a target */
#define DPI_HEAVY_TEXT 128		/* bytes of a key's text, the terminating zero counted */

/* A key that came often to a target which was opened with a sketch. */
typedef struct DPI_Heavy_Key {
	size_t size;			/* of the first, set by the caller: sizeof(DPI_Heavy_Key); of all then */
	char flow[DPI_NAME_MAX];
	int node;			/* whose the target is */
	uint32_t target;		/* which of the flow's */
	uint64_t rows;			/* that came with the key, at most */
	uint64_t error;			/* at least rows - error */
	uint64_t total;			/* rows that came with any key */
	uint64_t hash;			/* of the key, with the flow's salt */
	char key[DPI_HEAVY_TEXT];	/* its columns as text, ", " between them, cut behind a whole character */
} DPI_Heavy_Key;
#define DPI_HEAVY_KEY_INIT { .size = sizeof(DPI_Heavy_Key) }

/* The keys that came most often to the targets that are open on a node and were opened with a sketch: target by target, the most
 * frequent one first, as of the last time that it waited or took 65536 rows. As DPI_Get_Endpoints. */
DPI_API int DPI_Get_Heavy_Keys(int node, DPI_Context ctx, DPI_Heavy_Key *keys, size_t room, size_t *count);

#ifdef __cplusplus
}
#endif

#include "dpi_inline.h"

#endif
