/* SPDX-License-Identifier: Apache-2.0
 * mock.h: an RDMA device that is none, for the verbs transport: the ibv_ and rdma_ calls that it makes, played in one process
 * between transports that are open there, and every failure that they can have, on demand. */
#ifndef VERBS_MOCK_H
#define VERBS_MOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "transports/verbs/verbs.h"

#define MOCK_CALLS(X)                                                                                  \
	X(get_device_list) X(open_device) X(query_device) X(query_port) X(alloc_pd) X(create_comp_channel) X(create_cq)        \
	X(create_srq) X(reg_mr) X(poll_cq) X(req_notify) X(post_send) X(post_recv) X(create_event_channel) X(create_id) X(bind_addr) \
	X(listen) X(resolve_addr) X(resolve_route) X(create_qp) X(modify_qp) X(connect) X(accept) X(ifaddrs) X(join_multicast) X(create_ah)

enum mock_call {
#define MOCK_CALL(name) MOCK_##name,
	MOCK_CALLS(MOCK_CALL)
#undef MOCK_CALL
	MOCK_CALL_COUNT
};

enum { MOCK_DEVICES = 4, MOCK_SIW = 0x626d74, MOCK_ADAPTER = 0x1425, /* vendors of iWARP devices */
       MOCK_RXE = 0xffffff };

struct mock {
	/* what the device says */
	struct ibv_device_attr device;
	struct ibv_port_attr port;
	enum ibv_transport_type transport;
	int devices;		/* 0 … MOCK_DEVICES; each has an interface, mock0 …, and an address, 10.9.0.1 … */
	struct {
		const char *name;    /* NULL: mock0 … */
		const char *address; /* IPv4 or IPv6; NULL: 10.9.0.1 …; empty: none */
		uint8_t behind;	     /* it is an interface of this port of the device before; 0: of port 1 of a device of its own */
		uint32_t message;    /* longest; 0: the port's */
		bool down;
		uint8_t speed; /* 0: the port's */
		bool new_speed; /* of a generation that libibverbs has no bit for */
		bool unconnected; /* it has datagrams only, and no connection manager */
	} only[MOCK_DEVICES]; /* how a device differs */
	uint32_t inline_most;
	bool inline_cut; /* who asks for more inline bytes gets fewer, instead of a refusal */
	/* what goes wrong: the call after so many good ones fails with errno; only once, or from then on */
	struct {
		bool on, always;
		int after, error;
	} fail[MOCK_CALL_COUNT];
	int calls[MOCK_CALL_COUNT];
	/* the status of the work request after so many; -1: none */
	int status_after;
	enum ibv_wc_status status;
	int receive_status_after; /* likewise, of a message that arrives */
	enum ibv_wc_status receive_status;
	int atomics;   /* that the device carried out */
	int requests, inlined, signalled; /* posted; that carry their bytes; that ask for a completion */
	int doorbells;	 /* calls that post */
	int overruns;	 /* completions that a queue had no room for */
	int lost, unready; /* the next tries to reach a peer that get lost; that find no receive buffer ready */
	int stalls;    /* requests that would stop siw's sender, and with it its answers to what the peer reads */
	int overtakes; /* requests that complete before a read that was posted first, as they do over iWARP */
	bool pipe;  /* posting raises SIGPIPE, as a socket does that the peer has closed */
	bool hold;  /* requests are not carried out until mock_run */
	bool mute;  /* the connection manager says nothing */
	bool taken; /* the next message takes a receive buffer, and does not arrive whole */
	bool unsaid; /* the device does not say that a queue pair has its last receive buffer behind it */
	bool late;  /* what a queue pair in the error state has to say comes after its end */
	bool gone;  /* nobody waits for a refusal any more */
	bool brief; /* who accepts is killed then */
	void (*says)(enum rdma_cm_event_type type, uint8_t *bytes); /* changes what is said with a request or an answer; NULL: nothing */
	void (*destroyed)(void); /* told of an identifier's end; NULL: nobody */
	enum rdma_cm_event_type instead; /* this event in place of the next answer to a step of connecting; -1: none */
	int instead_of;			 /* of that type; -1: of any */
	bool instead_always;
	int crossing;			 /* requests arrive when so many have been made */
	int silent;			 /* it swallows so many events first */
	int resolve_ms;			 /* the longest try of resolving that was asked for */
	const char *status_file, *rate_file; /* what the system says in /proc/self/status, and of a device's rate; NULL: as it is */
	int64_t frozen_us; /* the clock shows this; 0: it goes */
	/* What becomes of a datagram on its way: how often it comes. bytes and size may be changed; count: those before it. NULL: once. */
	int (*datagram)(int count, uint8_t *bytes, uint32_t *size);
	int datagrams;
	int join_status; /* of joining a group */
	bool no_send_only;
	int regions, queue_pairs, ids, handles, members;	 /* alive */
	int missing; /* receive buffers of shared queues that went with a queue pair */
};
extern struct mock mock;

void mock_reset(void);
void mock_fail(enum mock_call call, int after, int error); /* once */
void mock_fail_always(enum mock_call call, int error);
bool mock_fails(enum mock_call call);			    /* sets errno */
void mock_run(void);					    /* carry out what was held */
int mock_receives(const struct ibv_srq *srq);		    /* buffers posted there */
void mock_async(enum ibv_event_type type, void *of); /* of a queue pair or a queue; NULL: of none */
void mock_cm_event(DPI_Tp_Endpoint *c, enum rdma_cm_event_type type, int status); /* one more event for it */
void mock_own_event(DPI_Tp *tp, enum rdma_cm_event_type type); /* one for its listening address */
/* A stranger's request to a transport's address, with these private bytes; the refusal's status, or -1 while there is no answer. */
struct rdma_cm_id *mock_stranger(const DPI_Tp *tp, const void *bytes, uint8_t size);
int mock_stranger_refused(struct rdma_cm_id *id);
void mock_stranger_end(struct rdma_cm_id *id);

/* A datagram from anybody, as it is. */
void mock_datagram(uint32_t group, const uint8_t *bytes, uint32_t size);

/* between the two halves */
void mock_attach(struct ibv_qp *qp, uint32_t group);
void mock_detach(struct ibv_qp *qp, uint32_t group);
struct ibv_context *mock_context(int device);
const char *mock_address(int device);
int mock_device_of(int interface);
void mock_qp_pair(struct ibv_qp *a, struct ibv_qp *b);
void mock_qp_retries(struct ibv_qp *qp, int retries, int waits);
void mock_qp_unpair(struct ibv_qp *qp);

#endif
