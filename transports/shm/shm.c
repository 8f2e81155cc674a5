/* SPDX-License-Identifier: Apache-2.0
 * shm.c: shared memory between processes of one host. A window is a memfd that the peer maps; every operation is done by
 * the caller's own loads and stores before the call returns, so there is nothing to progress, to wait for or to break: a
 * peer's death shows on the control channel, and stores into its memory go on harmlessly. */
#include "shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The kernel's boot id, so that an address from another host does not fit; zeros where it cannot be read. */
static void boot_id(uint8_t id[16])
{
	char text[64] = "";
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC), n = 0;
	ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
	if (fd >= 0) close(fd);
	memset(id, 0, 16);
	for (const char *p = text; got > 0 && *p && n < 32; p++) {
		const char *digits = "0123456789abcdef", *d = strchr(digits, *p);
		if (!d) continue;
		id[n / 2] = (uint8_t)(id[n / 2] << 4 | (d - digits));
		n++;
	}
}

static int shm_probe(const DPI_Tp_Core *core, char *reason, size_t size)
{
	int fd = memfd_create("dpi-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0) {
		snprintf(reason, size, "memfd_create: %s", strerror(errno));
		return core->fail_text(core->self, DPI_ERR_UNSUPPORTED,
				       "the kernel gives no sealable shared memory: memfd_create: %s", strerror(errno));
	}
	close(fd);
	return DPI_SUCCESS;
}

static int shm_open_(const DPI_Tp_Core *core, const DPI_Transport *lower, DPI_Tp **tp)
{
	if (lower)
		return core->fail_text(core->self, DPI_ERR_CONFIG,
				       "shm does not work over another transport; write shm, not shm:%s", lower->name);
	*tp = calloc(1, sizeof **tp);
	if (!*tp) return core->fail_text(core->self, DPI_ERR_MEMORY, "no memory to open transport shm");
	(*tp)->core = core;
	boot_id((*tp)->boot);
	return DPI_SUCCESS;
}

static int shm_query(DPI_Tp *tp, DPI_Tp_Attr *attr)
{
	(void)tp;
	DPI_Tp_Attr a = {
		.size = sizeof a,
		.capabilities = DPI_TP_DIRECT | DPI_TP_PUT_ORDER | DPI_TP_ATOMICS | DPI_TP_CPU_ATOMICS |
				DPI_TP_PASSIVE | DPI_TP_SAME_HOST,
		.lanes = SHM_LANES,
		.max_iov = SHM_IOV,
		.inline_size = UINT32_MAX,
		.alignment = 1,
		.latency_us = 0.1, /* a cache line's way to another core */
		.bandwidth_bytes_us = 4500, /* one core, beyond the caches */
		.overhead_us = 0.03,
	};
	uint32_t size = attr->size < sizeof a ? attr->size : sizeof a;
	memcpy(attr, &a, size);
	attr->size = size;
	return DPI_SUCCESS;
}

static int shm_address(DPI_Tp *tp, void *bytes, uint32_t *size)
{
	struct shm_address a = { .magic = SHM_MAGIC, .incarnation = tp->core->incarnation };
	if (*size < sizeof a)
		return shm_fail(tp, DPI_ERR_ARGUMENT, "an address of shm takes %zu bytes, there are %u", sizeof a, *size);
	memcpy(a.boot, tp->boot, sizeof a.boot);
	memcpy(bytes, &a, sizeof a);
	*size = sizeof a;
	return DPI_SUCCESS;
}

static int shm_connect(DPI_Tp *tp, uint32_t lane, const DPI_Tp_Peer *peer, int64_t timeout_us,
		       DPI_Tp_Endpoint **endpoint)
{
	struct shm_address a;
	(void)timeout_us;
	if (lane >= SHM_LANES)
		return shm_fail(tp, DPI_ERR_ARGUMENT, "shm has %d lanes, there is no lane %u", SHM_LANES, lane);
	if (!peer->same_host)
		return shm_fail(tp, DPI_ERR_PEER,
				"node %d is not proven to be on this host (no descriptor could be handed over); "
				"use another transport", peer->node);
	if (peer->address_size != sizeof a || (memcpy(&a, peer->address, sizeof a), a.magic != SHM_MAGIC))
		return shm_fail(tp, DPI_ERR_PEER,
				"what node %d gave is no address of shm; does it run another version of the library?",
				peer->node);
	if (memcmp(a.boot, tp->boot, sizeof a.boot))
		return shm_fail(tp, DPI_ERR_PEER, "node %d runs under another kernel; use another transport", peer->node);
	if (a.incarnation != peer->incarnation)
		return shm_fail(tp, DPI_ERR_PEER,
				"the address given for node %d belongs to another process (incarnation %llx, not %llx): the "
				"node was restarted; connect to what it is now", peer->node,
				(unsigned long long)a.incarnation, (unsigned long long)peer->incarnation);
	DPI_Tp_Endpoint *e = calloc(1, sizeof *e);
	if (!e) return shm_fail(tp, DPI_ERR_MEMORY, "no memory for a connection to node %d", peer->node);
	e->tp = tp;
	e->ring_node = peer->node == tp->core->node ? -1 : peer->node;
	e->incarnation = peer->incarnation;
	LIST_INSERT_HEAD(&tp->endpoints[lane], e, link);
	*endpoint = e;
	return DPI_SUCCESS;
}

static void shm_disconnect(DPI_Tp_Endpoint *endpoint)
{
	while (!LIST_EMPTY(&endpoint->remotes)) shm_detach(LIST_FIRST(&endpoint->remotes));
	LIST_REMOVE(endpoint, link);
	free(endpoint);
}

static void shm_close(DPI_Tp *tp)
{
	for (int lane = 0; lane < SHM_LANES; lane++)
		while (!LIST_EMPTY(&tp->endpoints[lane])) shm_disconnect(LIST_FIRST(&tp->endpoints[lane]));
	while (!LIST_EMPTY(&tp->windows)) shm_withdraw(LIST_FIRST(&tp->windows));
	free(tp);
}

static int shm_progress(DPI_Tp *tp, uint32_t lane, int *events)
{
	(void)tp, (void)lane;
	if (events) *events = 0;
	return DPI_SUCCESS;
}

/* No send: the core's control channels carry small messages. No descriptor and no cancel: nothing is ever pending. */
extern const DPI_Transport dpi_shm;
const DPI_Transport dpi_shm = {
	.abi = DPI_TP_ABI,
	.size = sizeof dpi_shm,
	.name = "shm",
	.probe = shm_probe,
	.open = shm_open_,
	.close = shm_close,
	.query = shm_query,
	.address = shm_address,
	.connect = shm_connect,
	.disconnect = shm_disconnect,
	.expose = shm_expose,
	.withdraw = shm_withdraw,
	.attach = shm_attach,
	.detach = shm_detach,
	.put = shm_put,
	.get = shm_get,
	.fetch_add = shm_fetch_add,
	.compare_swap = shm_compare_swap,
	.flush = shm_flush,
	.progress = shm_progress,
};
