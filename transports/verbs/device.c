/* SPDX-License-Identifier: Apache-2.0
 * device.c: which device and port to use, what they can do, and the address that peers get.
 *
 * Where a connection goes is said by IP addresses, which the connection manager maps to devices. So each address of an
 * interface is tried; those that a device stands behind are candidates. DPI_LISTEN names one of them. Else the best port
 * is taken: active, near (the same NUMA node as this process), fast; all its addresses are listened on.
 *
 * The address blob: version, number of hosts, 6 zero bytes, incarnation, token, then for each host its family (4 or 6),
 * port (2 bytes), and 4 or 16 bytes. The token is handed out with the blob, over authenticated channels only. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "multicast.h"

enum { BLOB_VERSION = 1, BLOB_HEAD = 32, CANDIDATES = 32, BACKLOG = 256 };

struct candidate {
	struct rdma_cm_id *id; /* bound */
	struct verbs_host host;
	uint8_t prefix;
	bool named, active;
	int numa;
	uint64_t rate;
	char interface[IF_NAMESIZE], name[64];
};

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
static bool host_of(const struct sockaddr *a, struct verbs_host *h)
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

bool dpi_verbs_local(const struct sockaddr *a)
{
	struct verbs_host h, mine;
	struct ifaddrs *list;
	bool found = false;
	if (!host_of(a, &h) || getifaddrs(&list)) return false;
	for (struct ifaddrs *i = list; i && !found; i = i->ifa_next)
		found = host_of(i->ifa_addr, &mine) && mine.family == h.family && !memcmp(mine.bytes, h.bytes, sizeof h.bytes);
	freeifaddrs(list);
	return found;
}

static uint8_t prefix_of(const struct sockaddr *mask)
{
	struct verbs_host h;
	int bits = 0;
	host_of(mask, &h);
	for (size_t i = 0; i < sizeof h.bytes; i++) bits += __builtin_popcount(h.bytes[i]);
	return (uint8_t)bits;
}

static int numa_of(const char *device)
{
	char path[128];
	int node = -1;
	snprintf(path, sizeof path, "/sys/class/infiniband/%s/device/numa_node", device);
	FILE *f = fopen(path, "re");
	if (f && fscanf(f, "%d", &node) != 1) node = -1;
	if (f) fclose(f);
	return node;
}

/* Gb/s × 10 of a lane */
static uint64_t speed_of(uint8_t speed)
{
	static const struct {
		uint8_t speed;
		uint16_t rate;
	} rates[] = { { 1, 25 }, { 2, 50 }, { 4, 100 }, { 8, 100 }, { 16, 140 }, { 32, 250 }, { 64, 500 }, { 128, 1000 } };
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
		if (rates[i].speed == speed) return rates[i].rate;
	return 1;
}

static uint64_t width_of(uint8_t width)
{
	return width == 2 ? 4 : width == 4 ? 8 : width == 8 ? 12 : width == 16 ? 2 : 1;
}

static bool candidate_of(DPI_Tp *tp, const struct ifaddrs *i, struct candidate *c)
{
	struct sockaddr_storage at;
	struct ibv_port_attr port;
	memset(c, 0, sizeof *c);
	if (!(i->ifa_flags & IFF_UP) || i->ifa_flags & IFF_LOOPBACK || !host_of(i->ifa_addr, &c->host)) return false;
	if (rdma_create_id(tp->channel, &c->id, NULL, RDMA_PS_TCP)) return false;
	dpi_verbs_socket(&c->host, 0, &at);
	if (rdma_bind_addr(c->id, (struct sockaddr *)&at) || !c->id->verbs || ibv_query_port(c->id->verbs, c->id->port_num, &port)) {
		rdma_destroy_id(c->id);
		return false;
	}
	c->active = port.state == IBV_PORT_ACTIVE;
	c->rate = speed_of(port.active_speed) * width_of(port.active_width);
	c->prefix = prefix_of(i->ifa_netmask);
	c->numa = numa_of(c->id->verbs->device->name);
	snprintf(c->interface, sizeof c->interface, "%s", i->ifa_name);
	dpi_verbs_name(i->ifa_addr, c->name, sizeof c->name);
	return true;
}

/* Setting LISTEN: an address, an interface, or a loopback address, which stands for this host alone. */
static bool names(const char *setting, const struct candidate *c)
{
	uint8_t bytes[16];
	if (inet_pton(AF_INET, setting, bytes) == 1) return c->host.family == 4 && !memcmp(bytes, c->host.bytes, 4);
	if (inet_pton(AF_INET6, setting, bytes) == 1) return c->host.family == 6 && !memcmp(bytes, c->host.bytes, 16);
	return !strcmp(setting, c->interface);
}

static bool names_all(const char *setting)
{
	struct in_addr in;
	struct in6_addr in6;
	if (!setting || !*setting || !strcmp(setting, "lo")) return true;
	if (inet_pton(AF_INET, setting, &in) == 1) return !in.s_addr || ntohl(in.s_addr) >> 24 == 127;
	if (inet_pton(AF_INET6, setting, &in6) == 1) return IN6_IS_ADDR_UNSPECIFIED(&in6) || IN6_IS_ADDR_LOOPBACK(&in6);
	return false;
}

static bool better(const struct candidate *a, const struct candidate *b, int numa)
{
	if (a->named != b->named) return a->named;
	if (a->active != b->active) return a->active;
	bool near_a = a->numa < 0 || a->numa == numa, near_b = b->numa < 0 || b->numa == numa;
	if (near_a != near_b) return near_a;
	return a->rate > b->rate;
}

static void say(const DPI_Tp *tp, const struct candidate *c, const struct candidate *best, int numa)
{
	const DPI_Tp_Core *core = tp->core;
	bool same = c->id->verbs == best->id->verbs && c->id->port_num == best->id->port_num;
	const char *why = c == best		     ? c->named ? "chosen: DPI_LISTEN names it" : "chosen"
			  : best->named		     ? "left out: DPI_LISTEN names another"
			  : same		     ? "listened on too"
			  : c->active != best->active ? "left out: its port is down"
			  : c->numa >= 0 && c->numa != numa && best->numa == numa ? "left out: another is nearer to this process's processors"
			  : c->rate < best->rate     ? "left out: another is faster"
						     : "left out: another of its kind comes first";
	core->log(core->self, 2, "device %s port %u, %s (%s): %s", c->id->verbs->device->name, c->id->port_num, c->name, c->interface, why);
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

static int limits_find(DPI_Tp *tp)
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
	l->depth = least((uint32_t)d.max_qp_wr, DEPTH);
	l->sges = least((uint32_t)d.max_sge, SGES);
	l->read_sges = least(d.max_sge_rd > 0 ? (uint32_t)d.max_sge_rd : 1, l->sges);
	l->reads = least(d.max_qp_rd_atom > 0 ? (uint32_t)d.max_qp_rd_atom : 1, 16);
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
	if (l->depth < DEPTH_MIN || l->sges < 1 || l->chunk < BUFFER * BUFFERS || !l->group)
		return verbs_fail(tp, DPI_ERR_UNSUPPORTED,
				  "device %s is too small: %d work requests (%d are needed), %d pieces, %d completions, messages of %u bytes; use another device or "
				  "transport", tp->device, d.max_qp_wr, DEPTH_MIN, d.max_sge, d.max_cqe, p.max_msg_sz);
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
			      "device %s refused %s: %s; it needs %llu KiB of locked memory, and the limit of all together is %llu KiB: raise it "
			      "('ulimit -l unlimited', memlock in /etc/security/limits.conf, LimitMEMLOCK of the service)",
			      tp->device, what, strerror(error), need, (unsigned long long)limit.rlim_cur / 1024);
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

static int listen_on(DPI_Tp *tp, struct candidate *c)
{
	if (rdma_listen(c->id, BACKLOG))
		return verbs_fail(tp, DPI_ERR_TRANSPORT, "verbs cannot listen on %s (%s): %s", c->name, c->interface, strerror(errno));
	struct verbs_host *h = &tp->self.host[tp->self.hosts];
	*h = c->host;
	h->port = ntohs(rdma_get_src_port(c->id));
	tp->prefix[tp->self.hosts++] = c->prefix;
	tp->listener[tp->listeners++] = c->id;
	c->id = NULL;
	return DPI_SUCCESS;
}

int dpi_verbs_device_find(DPI_Tp *tp)
{
	const char *setting = tp->core->setting(tp->core->self, "LISTEN");
	struct candidate all[CANDIDATES], *best = NULL;
	struct ifaddrs *list = NULL;
	int count = 0, error = DPI_SUCCESS;
	unsigned cpu, numa = 0;
	bool any = names_all(setting);
	if (getcpu(&cpu, &numa)) numa = 0;
	if (getifaddrs(&list)) list = NULL;
	for (struct ifaddrs *i = list; i && count < CANDIDATES; i = i->ifa_next) {
		if (!candidate_of(tp, i, &all[count])) continue;
		all[count].named = !any && names(setting, &all[count]);
		count++;
	}
	if (list) freeifaddrs(list);
	for (int i = 0; i < count; i++)
		if (!best || better(&all[i], best, (int)numa)) best = &all[i];
	if (!best)
		error = verbs_fail(tp, DPI_ERR_UNSUPPORTED,
				   "no RDMA device has a port with an IP address; 'rdma link' and 'ip address' show them; over Ethernet: rdma link add "
				   "rxe0 type rxe netdev IFACE");
	else if (!any && !best->named)
		error = verbs_fail(tp, DPI_ERR_CONFIG, "DPI_LISTEN is '%s', which is no address or interface of an RDMA device; 'rdma link' lists devices", setting);
	else if (!best->active)
		error = verbs_fail(tp, DPI_ERR_UNSUPPORTED, "port %u of RDMA device %s (%s) is down; check the cable, 'ip link' and 'rdma link'",
				   best->id->port_num, best->id->verbs->device->name, best->interface);
	for (int i = 0; i < count; i++)
		if (best) say(tp, &all[i], best, (int)numa);
	if (!error) {
		tp->verbs = best->id->verbs;
		tp->port = best->id->port_num;
		snprintf(tp->device, sizeof tp->device, "%s", tp->verbs->device->name);
		error = limits_find(tp);
	}
	bool only = best && best->named;
	if (!error) error = listen_on(tp, best);
	for (int i = 0; i < count; i++) {
		struct candidate *c = &all[i];
		if (!c->id) continue;
		if (!error && !only && tp->self.hosts < HOSTS && c->id->verbs == tp->verbs && c->id->port_num == tp->port) error = listen_on(tp, c);
		if (c->id) rdma_destroy_id(c->id);
	}
	return error;
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
