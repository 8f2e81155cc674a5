/* SPDX-License-Identifier: Apache-2.0
 * device.c: what the device that was chosen can do, and the address that peers get.
 *
 * The address blob: version, number of hosts, 6 zero bytes, incarnation, token, then for each host its family (4 or 6),
 * port (2 bytes), and 4 or 16 bytes. The token is handed out with the blob, over authenticated channels only. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "multicast.h"

enum { BLOB_VERSION = 1, BLOB_HEAD = 32, READS = 16, SIW_VENDOR = 0x626d74, RXE_VENDOR = 0xffffff, RXE_PACKETS = 128 };

void dpi_verbs_socket(const struct verbs_host *h, uint16_t port, struct sockaddr_storage *to)
{
	memset(to, 0, sizeof *to);
	if (h->family == 4) {
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
		memcpy(&in.sin_addr, h->bytes, 4);
		memcpy(to, &in, sizeof in);
		return;
	}
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	memcpy(&in6.sin6_addr, h->bytes, 16);
	memcpy(to, &in6, sizeof in6);
}

void dpi_verbs_name(const struct sockaddr *a, char *name, size_t size)
{
	char text[INET6_ADDRSTRLEN] = "?";
	if (a && a->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)a)->sin_addr, text, sizeof text);
	if (a && a->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, text, sizeof text);
	snprintf(name, size, "%s", text);
}

/* An address that peers can use; link-local IPv6 means nothing on another machine. */
bool dpi_verbs_host(const struct sockaddr *a, struct verbs_host *h)
{
	memset(h, 0, sizeof *h);
	if (a && a->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, a, sizeof in);
		h->family = 4;
		memcpy(h->bytes, &in.sin_addr, 4);
		return true;
	}
	if (a && a->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, a, sizeof in6);
		h->family = 6;
		memcpy(h->bytes, &in6.sin6_addr, 16);
		return !IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr);
	}
	return false;
}

unsigned dpi_verbs_common_bits(const struct verbs_host *a, const struct verbs_host *b)
{
	unsigned bits = 0;
	if (a->family != b->family) return 0;
	while (bits < (a->family == 4 ? 32u : 128u) && !((a->bytes[bits / 8] ^ b->bytes[bits / 8]) & 0x80 >> bits % 8)) bits++;
	return bits + 1;
}

bool dpi_verbs_local(const struct sockaddr *a)
{
	struct verbs_host h, mine;
	struct ifaddrs *list;
	bool found = false;
	if (!dpi_verbs_host(a, &h) || getifaddrs(&list)) return false;
	for (struct ifaddrs *i = list; i && !found; i = i->ifa_next)
		found = dpi_verbs_host(i->ifa_addr, &mine) && mine.family == h.family && !memcmp(mine.bytes, h.bytes, sizeof h.bytes);
	freeifaddrs(list);
	return found;
}

static uint32_t least(uint64_t a, uint64_t b)
{
	return (uint32_t)(a < b ? a : b);
}

bool dpi_verbs_port_down(const DPI_Tp *tp)
{
	struct ibv_port_attr port;
	return !ibv_query_port(tp->verbs, tp->port, &port) && port.state != IBV_PORT_ACTIVE;
}

int dpi_verbs_limits_find(DPI_Tp *tp)
{
	struct verbs_limits *l = &tp->limits;
	struct ibv_device_attr d;
	struct ibv_port_attr p;
	memset(&d, 0, sizeof d);
	int error = ibv_query_device(tp->verbs, &d);
	if (!error) error = ibv_query_port(tp->verbs, tp->port, &p);
	if (error)
		return verbs_fail(tp, DPI_ERR_TRANSPORT, "device %s does not say what it can do: %s; see the kernel log", tp->device, strerror(error));
	l->iwarp = tp->verbs->device->transport_type == IBV_TRANSPORT_IWARP;
	l->siw = l->iwarp && d.vendor_id == SIW_VENDOR;
	if (!l->iwarp && d.vendor_id == RXE_VENDOR) l->ahead = RXE_PACKETS * 128u << p.active_mtu;
	l->depth = least((uint32_t)d.max_qp_wr, DEPTH);
	l->sges = least((uint32_t)d.max_sge, SGES);
	l->read_sges = least(d.max_sge_rd > 0 ? (uint32_t)d.max_sge_rd : 1, l->sges);
	l->reads = least(d.max_qp_init_rd_atom > 0 ? (uint32_t)d.max_qp_init_rd_atom : 0, READS);
	l->reads_served = least(d.max_qp_rd_atom > 0 ? (uint32_t)d.max_qp_rd_atom : 0, READS);
	l->pairs = d.max_qp > 0 ? (uint32_t)d.max_qp : 0;
	l->regions = d.max_mr > 0 ? (uint32_t)d.max_mr : 0;
	l->chunk = least(p.max_msg_sz ? p.max_msg_sz : CHUNK, CHUNK) & ~7u;
	l->inline_bytes = INLINE_MAX;
	l->shared_receive = d.max_srq > 0 && d.max_srq_wr >= CREDITS && d.max_srq_sge >= 1;
	l->group = l->shared_receive ? least((uint32_t)d.max_srq_wr / CREDITS, GROUP) : 1;
	l->group = least(l->group, d.max_cqe > 0 ? (uint32_t)d.max_cqe / (l->depth + CREDITS) : 0);
	/* a stream of bytes is cut anywhere, a packet at multiples of 8 from its first byte */
	l->words = !l->iwarp;
	l->atomics = d.atomic_cap != IBV_ATOMIC_NONE && l->words;
	l->global_atomics = d.atomic_cap == IBV_ATOMIC_GLOB && l->words;
	l->datagrams = least(least((uint32_t)d.max_qp_wr, CAST_RECEIVES), (uint32_t)d.max_cqe / 2);
	if (!l->iwarp && d.max_mcast_grp > 0 && p.active_mtu >= IBV_MTU_256 && p.active_mtu <= IBV_MTU_4096 && l->datagrams >= DEPTH_MIN)
		l->mtu = 128u << p.active_mtu;
	int least_depth = l->shared_receive ? DEPTH_MIN : CREDITS; /* else each connection has its own receives */
	if (d.max_qp_wr < least_depth || l->sges < 1 || l->chunk < BUFFER * BUFFERS || !l->group || !l->reads || !l->reads_served)
		return verbs_fail(tp, DPI_ERR_UNSUPPORTED,
				  "device %s is too small: %d work requests (%d are needed), %d pieces, %d completions, %d reads at once and %d of a peer's, messages of "
				  "%u bytes; use another device or transport", tp->device, d.max_qp_wr, least_depth, d.max_sge, d.max_cqe, d.max_qp_init_rd_atom,
				  d.max_qp_rd_atom, p.max_msg_sz);
	return DPI_SUCCESS;
}

/* KiB of locked memory that the process has already; 0 where the system does not say */
static unsigned long long locked(void)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/self/status", "re");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "VmPin: %llu", &kib) == 1) break;
	if (f) fclose(f);
	return kib;
}

static int refuse(DPI_Tp *tp, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int refuse(DPI_Tp *tp, int error, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(tp->refusal, sizeof tp->refusal, format, args);
	va_end(args);
	return verbs_fail(tp, error, "%s", tp->refusal);
}

int dpi_verbs_refused(DPI_Tp *tp, int error, uint64_t bytes, const char *what)
{
	const struct verbs_limits *l = &tp->limits;
	struct rlimit limit;
	unsigned long long need = (bytes + 1023) / 1024, have = locked();
	if ((error == ENOMEM || error == EAGAIN || error == EPERM) && !getrlimit(RLIMIT_MEMLOCK, &limit) && limit.rlim_cur != RLIM_INFINITY &&
	    have + need > limit.rlim_cur / 1024)
		return refuse(tp, DPI_ERR_LIMIT,
			      "device %s refused %s: %s; it needs %llu KiB of locked memory, %llu KiB are locked already, and the limit of all together is %llu KiB: raise it "
			      "('ulimit -l unlimited', memlock in /etc/security/limits.conf, LimitMEMLOCK of the service)",
			      tp->device, what, strerror(error), need, have, (unsigned long long)limit.rlim_cur / 1024);
	if (error == ENOMEM || error == ENOSPC || error == EAGAIN) {
		unsigned pairs = 0, regions = tp->windows + tp->slab_count;
		for (const DPI_Tp_Endpoint *c = tp->connections; c; c = c->next) pairs += c->qp != NULL;
		for (const struct verbs_region *r = tp->regions; r; r = r->next) regions++;
		return refuse(tp, DPI_ERR_LIMIT,
			      "device %s refused %s of %llu bytes: %s; of the device's %u queue pairs and %u registrations this process has %u and %u: close "
			      "buffers or connections, here or in other processes", tp->device, what, (unsigned long long)bytes, strerror(error), l->pairs,
			      l->regions, pairs, regions + pairs);
	}
	if (error == EFAULT)
		return refuse(tp, DPI_ERR_ARGUMENT, "device %s refused %s: a part of these %llu bytes is not mapped, or not writable", tp->device, what,
			      (unsigned long long)bytes);
	return refuse(tp, DPI_ERR_TRANSPORT, "device %s refused %s of %llu bytes: %s; see the kernel log", tp->device, what, (unsigned long long)bytes,
		      strerror(error));
}

int dpi_verbs_address(DPI_Tp *tp, void *bytes, uint32_t *size)
{
	const struct verbs_address *a = &tp->self;
	uint8_t blob[BLOB_HEAD + HOSTS * 19], *at = blob + BLOB_HEAD;
	wire_store(blob, (uint64_t)BLOB_VERSION | (uint64_t)a->hosts << 8);
	wire_store(blob + 8, a->incarnation);
	memcpy(blob + 16, a->token, WIRE_TOKEN);
	for (unsigned i = 0; i < a->hosts; i++) {
		size_t n = a->host[i].family == 4 ? 4 : 16;
		*at++ = a->host[i].family;
		*at++ = (uint8_t)a->host[i].port;
		*at++ = (uint8_t)(a->host[i].port >> 8);
		memcpy(at, a->host[i].bytes, n);
		at += n;
	}
	if (*size < (size_t)(at - blob))
		return verbs_fail(tp, DPI_ERR_SIZE, "verbs' address takes %zu bytes, there is room for %u", (size_t)(at - blob), *size);
	*size = (uint32_t)(at - blob);
	memcpy(bytes, blob, *size);
	return DPI_SUCCESS;
}

int dpi_verbs_address_parse(const uint8_t *bytes, size_t size, struct verbs_address *a)
{
	memset(a, 0, sizeof *a);
	if (!bytes || size < BLOB_HEAD) return -1;
	uint64_t first = wire_load(bytes);
	unsigned hosts = (uint8_t)(first >> 8);
	if ((uint8_t)first != BLOB_VERSION || first >> 16 || !hosts || hosts > HOSTS) return -1;
	a->incarnation = wire_load(bytes + 8);
	memcpy(a->token, bytes + 16, WIRE_TOKEN);
	size_t at = BLOB_HEAD;
	for (unsigned i = 0; i < hosts; i++) {
		struct verbs_host *h = &a->host[i];
		if (size - at < 3 || (bytes[at] != 4 && bytes[at] != 6)) return -1;
		h->family = bytes[at];
		h->port = (uint16_t)(bytes[at + 1] | bytes[at + 2] << 8);
		size_t n = h->family == 4 ? 4 : 16;
		at += 3;
		if (size - at < n || !h->port) return -1;
		memcpy(h->bytes, bytes + at, n);
		at += n;
	}
	a->hosts = hosts;
	return at == size ? 0 : -1;
}
