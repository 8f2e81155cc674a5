/* SPDX-License-Identifier: Apache-2.0
 * sides.h: two verbs transports in one process, a and b, each with a core that notes what it is told. */
#ifndef VERBS_SIDES_H
#define VERBS_SIDES_H

#include <harness.h>

#include "mock.h"

enum { LONG = 60000000 }; /* µs: of what is not to be waited for */

struct op {
	int completions, error;
	uint64_t result;
	int posted;
};

struct side {
	DPI_Tp_Core core;
	DPI_Tp *tp;
	DPI_Tp_Endpoint *to;
	const char *listen, *multicast, *cluster; /* settings */
	int (*near)(const char *device);	  /* of its core; NULL: not known */
	int lost, lost_node, messages, rung, opened;
	uint32_t bell;
	char lost_sentence[600], sentence[1200], log[20000];
	uint8_t message[2048];
	size_t message_size;
	struct op *disconnect_on; /* when it completes, from the callback */
};
extern struct side a, b, third; /* third: opened by those who want a third */
const DPI_Transport *verbs(void);

void sides_init(void);		    /* cores; resets the mock */
int side_open(struct side *s);
void sides_open(void);		    /* both */
void side_close(struct side *s);
void sides_end(void);		    /* close both; the mock's device has nothing left */
int side_connect(struct side *from, struct side *to, int64_t timeout_us);
void sides_connect(void);	    /* both ways */
void sides_progress(void);	    /* until nothing moves */
void sides_start(void);		    /* all of it */

struct window {
	uint8_t memory[300000];
	DPI_Tp_Window *window;
	DPI_Tp_Key key;
	DPI_Tp_Remote *remote;
};
int window_expose(struct side *owner, struct window *w, uint32_t access);
void window_share(struct side *owner, struct side *other, struct window *w, uint32_t access); /* and attached there */

#define POST(o, call)                                                                                  \
	do {                                                                                           \
		(o)->completions = 0;                                                                  \
		while (((o)->posted = (call)) == DPI_ERR_AGAIN) sides_progress();                      \
	} while (0)
int finish(struct op *o); /* the error class, or -1 when nothing moves any more and it has not completed */
int put(struct side *s, DPI_Tp_Remote *r, const void *data, size_t size, uint64_t offset, const DPI_Tp_Notify *n);
int get(struct side *s, DPI_Tp_Remote *r, void *data, size_t size, uint64_t offset);
int flush(struct side *s);

#define CHECK_FAILS(s, call, class, part)                                                              \
	do {                                                                                           \
		(s)->sentence[0] = 0;                                                                  \
		CHECK_INT(call, ==, class);                                                            \
		CHECK_HAS((s)->sentence, part);                                                        \
	} while (0)

#endif
