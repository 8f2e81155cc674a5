/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs of verbs alone share: a device with memory, and a queue pair to another process of the bench. */
#ifndef BENCH_VERBS_SIDE_H
#define BENCH_VERBS_SIDE_H

#include <infiniband/verbs.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rdma_devices.h"

/* What one end of a queue pair tells the other, in memory that both see. */
struct verbs_said {
	uint32_t pair, key;
	uint16_t lid;
	union ibv_gid gid;
	uint64_t address;
	_Atomic int ready;
};

struct verbs_side {
	const struct rdma_device *device;
	struct ibv_context *context;
	struct ibv_device_attr limits;
	struct ibv_port_attr port;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_mr *mr;
	unsigned char *memory;
	uint32_t inline_bytes; /* of a request of the latest queue pair */
};

/* So many bytes, zeroed and open to the others; a completion queue of so many entries. */
void verbs_open(struct verbs_side *s, const struct rdma_device *device, size_t bytes, int completions);

/* A reliable connection with whoever calls this with the two exchanged; room for so many requests, of so many pieces, and messages. */
struct ibv_qp *verbs_pair(struct verbs_side *s, struct verbs_said *ours, struct verbs_said *theirs, uint32_t requests, uint32_t pieces, uint32_t messages);

void verbs_post(struct ibv_qp *qp, struct ibv_send_wr *requests);

/* The next completion, if there is one, which is checked. */
bool verbs_poll(struct verbs_side *s, struct ibv_wc *wc);

void verbs_close(struct verbs_side *s);

#endif
