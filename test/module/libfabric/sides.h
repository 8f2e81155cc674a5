/* SPDX-License-Identifier: Apache-2.0
 * sides.h: two libfabric transports in one process, a and b, over the provider that mock.c plays, each with a core that notes what it is
 * told. */
#ifndef FABRIC_SIDES_H
#define FABRIC_SIDES_H

#include <dpi.h>
#include <harness.h>

#include "mock.h"

struct op {
	int completions, error;
	uint64_t result;
};
struct node {
	DPI_Tp_Core core;
	DPI_Tp *tp;
	DPI_Tp_Endpoint *to; /* the other */
	DPI_Tp_Window *window;
	DPI_Tp_Key key;
	DPI_Tp_Remote *remote; /* the other's window */
	int lost, delivered;
	uint64_t rung;
	size_t at, size; /* when its bell rings, so much of data is to be there */
	char why[512];
	uint8_t memory[1 << 18] __attribute__((aligned(8)));
};
extern struct node a, b, third; /* third: opened by those who want a third */
extern uint8_t data[1 << 18];
extern char sentence[1024]; /* of the last error */
extern const char *fabric_setting, *listen_setting;
extern int warnings; /* logged */
extern char warning[1024]; /* the last one */

#define LARGE 100000 /* bytes, more than a message */
#define WORD_AT 120000 /* an offset beyond them */
#define LONG 100000000 /* µs, of what is to succeed */
#define ALL (DPI_TP_READ | DPI_TP_WRITE | DPI_TP_ATOMIC)
#define PLAIN (DPI_TP_READ | DPI_TP_WRITE)

const DPI_Transport *table(void);
void prepare(struct node *n, int number); /* its core */
int open_node(struct node *n, int number);
void open_both(void);
void close_both(void); /* and the third; the mock has nothing left */
void turn(void);       /* progress of both, and of the third */
void turns(int n);
void others(void); /* while one node waits in connect, the other has its turn */
int connect_node(struct node *from, struct node *to, int64_t timeout_us);
void expose(struct node *n, uint32_t access);
void attach(struct node *n, const struct node *to);
void start(uint32_t access); /* both open, connected, with a window each */
void fill(int seed);	     /* data */
int put(struct node *n, size_t size, uint64_t offset, const DPI_Tp_Notify *notify);
int flush(struct node *n);
int get(struct node *n, void *to, size_t size, uint64_t offset);

#define CHECK_TP(call)                                                                                 \
	do {                                                                                           \
		int tp_e = (call);                                                                     \
		if (tp_e) FAIL("%s: %d: %s", #call, tp_e, sentence);                                   \
	} while (0)
#define CHECK_TP_ERROR(call, class, part)                                                              \
	do {                                                                                           \
		sentence[0] = 0;                                                                       \
		CHECK_INT(call, ==, class);                                                            \
		CHECK_HAS(sentence, part);                                                             \
	} while (0)

/* Post, again as long as it says so, and finish. */
#define DO(op, call)                                                                                   \
	do {                                                                                           \
		int do_e, do_n = 0;                                                                    \
		(op) = (struct op){ 0 };                                                               \
		while ((do_e = (call)) == DPI_ERR_AGAIN && do_n++ < 1000) turn();                      \
		while (do_e == DPI_TP_PENDING && !(op).completions && do_n++ < 2000) turn();           \
		CHECK(do_e != DPI_TP_PENDING || (op).completions == 1);                                \
		if (do_e != DPI_TP_PENDING) (op).error = do_e;                                         \
	} while (0)

#endif
