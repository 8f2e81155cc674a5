/* SPDX-License-Identifier: Apache-2.0
 * transport_kit.h: what the cases of the transport interface (annex A of spec/) stand on: a core that is none. Two
 * processes, rank 0 and rank 1, each open the table that DPI_TRANSPORT names and hand each other addresses, keys and
 * descriptors over a Unix socket. No other part of the library is under it, so a table from anywhere can be tried: enrol it
 * with one line in transports.c, or run  conformance --transport NAME tp_  with libdpi-NAME.so in the loader's path.
 *
 *	KIT_TEST(tp_put, "T-35", 60)			// the statements it checks; its deadline, s
 *	{
 *		struct kit_remote r;
 *		struct kit_window w;
 *		kit_start(rank);
 *		kit_share(&w, 4096, KIT_ALL, &r);	// my window, and the other's attached
 *		if (rank == 0) CHECK_KIT(kit_put(&r, "abc", 3, 0, NULL)); // waits for its completion
 *		kit_barrier();				// makes progress meanwhile
 *		kit_end();
 *	}
 *
 * Everything here fails the case by itself when it cannot do what it says, unless it returns an error class. */
#ifndef TRANSPORT_KIT_H
#define TRANSPORT_KIT_H

#include <dpi_transport.h>
#include <harness.h>

/* Two processes, over each transport that is enrolled by itself. */
#define KIT_TEST(name, cites, seconds) TEST(name, cites, 2, .deadline_s = seconds, .one_transport = true)
/* Of hook itself, over shm, with this DPI_HOOK. */
#define HOOK_TEST(name, cites, setting) \
	TEST(name, cites, 2, .once = true, .one_transport = true, .env = "DPI_TRANSPORT=hook:shm DPI_HOOK=" setting)

#define KIT_ALL (DPI_TP_READ | DPI_TP_WRITE | DPI_TP_ATOMIC)
#define KIT_BELLS 64
#define KIT_INBOX 4096

struct kit_window {
	uint8_t *memory;
	uint64_t length; /* of the window; the memory is whole pages */
	int fd;		 /* -1: memory of no file */
	uint64_t fd_offset;
	DPI_Tp_Window *window; /* NULL: not exposed, or withdrawn */
	DPI_Tp_Key key;
};

struct kit_remote {
	DPI_Tp_Remote *remote;
	uint8_t *direct; /* NULL without DPI_TP_DIRECT */
	uint64_t length;
};

/* A posted operation: the cookie. */
struct kit_op {
	_Atomic int completions;
	int error;
	uint64_t result;
	int posted; /* what the post returned */
};

struct kit_address {
	uint8_t bytes[DPI_TP_ADDRESS_MAX];
	uint32_t size;
	int32_t node;
	uint64_t incarnation;
};

/* This process. */
struct kit {
	int rank, other;
	const DPI_Transport *table; /* every slot filled */
	const DPI_Transport *own;   /* as its author wrote it */
	const DPI_Transport *lower; /* filled; NULL */
	DPI_Tp_Core core;
	DPI_Tp *tp;
	DPI_Tp_Attr attr;
	DPI_Tp_Endpoint *to; /* the other */
	struct kit_address mine, theirs;
	int socket, bell_fd[2]; /* eventfds of the ranks */
	_Atomic int lost;	/* calls */
	int lost_node;
	char lost_sentence[512];
	int messages;		/* delivered, all */
	struct {
		int node;
		size_t size;
		uint8_t bytes[256]; /* the first of them */
	} inbox[KIT_INBOX];
	const char *(*setting)(const char *name); /* NULL: the environment's */
	char log[65536];			  /* every line */
};
extern struct kit kit;

/* Open the transport and exchange addresses; kit_start connects both ways too. kit_end closes it and checks that nothing was
 * completed twice or from a post. */
void kit_open(int rank);
void kit_start(int rank);
void kit_end(void);
int kit_open_table(DPI_Tp **tp); /* the open slot, once more, with the kit's core */
void kit_fill_table(DPI_Transport *filled, const DPI_Transport *table); /* with stubs in its empty slots */
bool kit_has(uint32_t capability);
void kit_peer(DPI_Tp_Peer *peer); /* the other, to connect to */
int kit_connect(void);		  /* to the other: kit.to */

/* Windows. share: expose and attach at both sides. */
void kit_memory(struct kit_window *w, uint64_t length, bool file);
int kit_expose(struct kit_window *w, uint32_t access);
int kit_attach(const DPI_Tp_Key *key, uint64_t length, struct kit_remote *r);
void kit_share(struct kit_window *mine, uint64_t length, uint32_t access, struct kit_remote *theirs);
void kit_swap_keys(const DPI_Tp_Key *mine, DPI_Tp_Key *theirs); /* the caller closes theirs->fd */
void kit_free(struct kit_window *w); /* withdraws if need be */
void kit_detach(struct kit_remote *r);

/* Together with the other rank; each makes progress. */
void kit_barrier(void);
void kit_swap(const void *mine, void *theirs, size_t size);
int kit_progress(void);	 /* one round; events */
void kit_pause(void);	 /* a round, and the core to others if nothing moved */
#define KIT_AWAIT(condition)                                                                           \
	do {                                                                                           \
		while (!(condition)) kit_pause();                                                      \
	} while (0)

/* Post, again as long as the answer is DPI_ERR_AGAIN:
 *	KIT_POST(&op, kit.table->get(r.remote, &iov, 1, 0, &op));
 * op.posted says what came of it; kit_finish waits for the completion, if one is to come, and returns the error. */
#define KIT_POST(op, call)                                                                             \
	do {                                                                                           \
		kit_before(op);                                                                        \
	} while (kit_after((op), (call)))
void kit_before(struct kit_op *op);
bool kit_after(struct kit_op *op, int result);
bool kit_finished(const struct kit_op *op);
int kit_finish(struct kit_op *op);

/* To the end, each: the error class. */
int kit_put(struct kit_remote *r, const void *data, size_t size, uint64_t offset, const DPI_Tp_Notify *notify);
int kit_put_pieces(struct kit_remote *r, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify);
int kit_get(struct kit_remote *r, void *data, size_t size, uint64_t offset);
int kit_fetch_add(struct kit_remote *r, uint64_t offset, uint64_t operand, uint64_t *before);
int kit_compare_swap(struct kit_remote *r, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *before);
int kit_flush(void);

/* The last sentence of fail_text in this thread. */
const char *kit_sentence(void);
#define CHECK_KIT(call)                                                                                \
	do {                                                                                           \
		int kit_e = (call);                                                                    \
		if (kit_e) FAIL("%s: error %d: %s", #call, kit_e, kit_sentence());                     \
	} while (0)
/* It must fail with this class, and with a sentence. */
#define CHECK_KIT_ERROR(call, class)                                                                   \
	do {                                                                                           \
		kit_forget_sentence();                                                                 \
		int kit_e = (call);                                                                    \
		if (kit_e != (class)) FAIL("%s: %d, not %s: %s", #call, kit_e, #class, kit_sentence()); \
		if (kit_e != DPI_ERR_AGAIN && !*kit_sentence()) FAIL("%s: %s without a sentence", #call, #class); \
	} while (0)
void kit_forget_sentence(void);

/* How often a bell was rung at this rank; the word of a notification. */
uint64_t kit_rung(uint32_t bell);
uint64_t kit_word(const struct kit_window *w, uint64_t offset); /* with acquire */

/* Bytes that say where they belong. */
uint8_t kit_pattern(uint64_t seed, uint64_t at);
void kit_fill(void *memory, uint64_t seed, uint64_t from, uint64_t size);
bool kit_filled(const void *memory, uint64_t seed, uint64_t from, uint64_t size);
bool kit_all(const void *memory, uint8_t byte, uint64_t size);
uint64_t kit_random(uint64_t *state);
int64_t kit_us(void); /* clock */

#endif
