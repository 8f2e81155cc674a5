/* SPDX-License-Identifier: Apache-2.0
 * mock.h: a libfabric of the test's own: its exported calls, and the tables behind them, played in one process, where two open
 * transports meet. Whatever a provider may answer can be asked for. */
#ifndef MOCK_H
#define MOCK_H

#include <transports/libfabric/fabric.h>

/* The calls that can fail. */
#define MOCK_CALLS(X)                                                                                                       \
	X(GETINFO) X(FABRIC) X(DOMAIN) X(CQ_OPEN) X(EQ_OPEN) X(AV_OPEN) X(AV_INSERT) X(ENDPOINT) X(BIND) X(ENABLE) X(GETNAME) \
	X(PASSIVE) X(LISTEN) X(CONNECT) X(ACCEPT) X(REGISTER) X(MR_BIND) X(MR_ENABLE) X(RECV) X(SEND) X(INJECT) X(WRITE) X(READ) \
	X(GETWAIT) X(CQ_READ) X(REJECT)
enum mock_call {
#define MOCK_ENUM(name) MOCK_##name,
	MOCK_CALLS(MOCK_ENUM)
#undef MOCK_ENUM
	MOCK_COUNT
};

struct mock {
	/* the provider */
	const char *provider; /* "mock" */
	const char *second;   /* another one in the list; NULL */
	uint32_t ip;	      /* 127.0.0.1 */
	const char *ip6;      /* instead; NULL */
	int no_ip;	      /* the addresses of so many, from the first on, are of a kind of their own */
	int types;	      /* 1: FI_EP_MSG, 2: FI_EP_RDM, 3: both */
	uint64_t order;	      /* FI_ORDER_SAS | FI_ORDER_SAW */
	int mr_mode; /* with FI_MR_ENDPOINT a region is of use once it is enabled, to who writes or reads by its endpoint */
	uint64_t mode;
	size_t key_size, inject, message, tx_size, iov_limit;
	bool nic, second_without_nic, no_fd, link_down;
	const char *device[2]; /* with nic: of the provider and of the second one; NULL: not said */
	/* faults */
	int fail[MOCK_COUNT];  /* FI_… that the call returns */
	int after[MOCK_COUNT]; /* so many calls are good first */
	int times[MOCK_COUNT]; /* and so many fail; 0: all from then on */
	int complete[MOCK_COUNT]; /* SEND, RECV, WRITE, READ: the next one completes with this FI_… */
	bool overtake;		  /* completions are read one by one, those of receives first, the last one first */
	bool hold;		  /* nothing is delivered; what was sent waits */
	void (*tamper)(uint8_t *bytes, size_t size); /* with each message on its way */
	void (*idle)(void);	  /* a completion queue was read and is empty: others may have their turn */
	/* what was seen */
	int calls[MOCK_COUNT];
	int objects; /* open */
	int registered;
	int stale; /* fi_trywait on a queue that waits for a closed endpoint */
};
extern struct mock mock;

void mock_reset(void);
void mock_release(void); /* after hold */
void mock_cut(void);	  /* MSG: every connection shuts down, without a word */
void mock_event(int code); /* MSG: an event of this FI_… for every connection */
void mock_flood(int n);	  /* MSG: n connections by somebody who says nothing */
void mock_spill(const void *bytes, size_t size); /* a message from nowhere to every endpoint with a buffer */

#endif
