/* SPDX-License-Identifier: Apache-2.0 */
/* Which RDMA devices a peer runs between, the same for all of them. */
#ifndef BENCH_RDMA_DEVICES_H
#define BENCH_RDMA_DEVICES_H

struct rdma_device {
	char name[64], gid[8]; /* index of the one of an IPv4 address; "": there is none, as on InfiniBand */
};

/* Of those whose first port is up. --path wire: the first and the last by name, where RDMA_HOSTS and RDMA_KEY_FILE put ours on two, too; else,
 * or loop: the first, twice. Where there is none the program is skipped. */
void rdma_devices_choose(struct rdma_device devices[2], const char *path);

#endif
