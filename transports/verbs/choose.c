/* SPDX-License-Identifier: Apache-2.0
 * choose.c: which device and port to use, and why.
 *
 * Where a connection goes is said by IP addresses, which the connection manager maps to devices. So each address of an
 * interface is tried; those that a device stands behind are candidates. DPI_LISTEN names one of them. Else the best port
 * is taken: active; in the network of the cluster's address, where one is; near the processor that this process runs on; fast. All its
 * addresses are listened on. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>

#include "verbs.h"

enum { CANDIDATES = 32, BACKLOG = 256 };
#define UNCONNECTED "it has no reliable connections, which verbs needs; libfabric may carry over it"

struct candidate {
	struct rdma_cm_id *id; /* bound */
	struct verbs_host host;
	uint8_t prefix;
	bool named, active;
	bool reaches; /* the cluster's address lies in its network */
	int near;     /* to the processor of this process: 1, 0, or -1: not known */
	uint64_t rate; /* Gb/s × 10; 0: not known */
	int error; /* it cannot be used: errno of binding to it, or of its port */
	char interface[IF_NAMESIZE], name[64];
};

static uint8_t prefix_of(const struct sockaddr *mask)
{
	struct verbs_host h;
	int bits = 0;
	dpi_verbs_host(mask, &h);
	for (size_t i = 0; i < sizeof h.bytes; i++) bits += __builtin_popcount(h.bytes[i]);
	return (uint8_t)bits;
}

static int near_of(const DPI_Tp *tp, const char *device)
{
	const DPI_Tp_Core *core = tp->core;
	return core->size >= sizeof *core && core->near ? core->near(core->self, device) : -1;
}

/* Gb/s × 10 of a lane; 0: not known */
static uint64_t speed_of(uint8_t speed)
{
	static const struct {
		uint8_t speed;
		uint16_t rate;
	} rates[] = { { 1, 25 }, { 2, 50 }, { 4, 100 }, { 8, 100 }, { 16, 140 }, { 32, 250 }, { 64, 500 }, { 128, 1000 } };
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
		if (rates[i].speed == speed) return rates[i].rate;
	return 0;
}

static uint64_t width_of(uint8_t width)
{
	return width == 2 ? 4 : width == 4 ? 8 : width == 8 ? 12 : width == 16 ? 2 : 1;
}

/* Gb/s × 10 of a port; where its speed is of a later generation than those above, the system knows. 0: not known */
static uint64_t rate_of(const struct rdma_cm_id *id, const struct ibv_port_attr *port)
{
	uint64_t rate = speed_of(port->active_speed) * width_of(port->active_width);
	char path[128];
	double gigabits = 0;
	if (rate) return rate;
	snprintf(path, sizeof path, "/sys/class/infiniband/%.63s/ports/%u/rate", id->verbs->device->name, id->port_num);
	FILE *f = fopen(path, "re"); /* such as: 800 Gb/sec (4X XDR) */
	if (f && fscanf(f, "%lf", &gigabits) != 1) gigabits = 0;
	if (f) fclose(f);
	return gigabits > 0 && gigabits < 1e6 ? (uint64_t)(gigabits * 10) : 0;
}

/* EFA and usNIC have none, and no connection manager. */
bool dpi_verbs_connects(const struct ibv_device *d)
{
	return d->transport_type == IBV_TRANSPORT_IB || d->transport_type == IBV_TRANSPORT_IWARP;
}

/* false: no device stands behind the address. */
static bool candidate_of(DPI_Tp *tp, const struct ifaddrs *i, const struct verbs_host *cluster, struct candidate *c)
{
	struct sockaddr_storage at;
	struct ibv_port_attr port;
	memset(c, 0, sizeof *c);
	if (!(i->ifa_flags & IFF_UP) || i->ifa_flags & IFF_LOOPBACK || !dpi_verbs_host(i->ifa_addr, &c->host)) return false;
	if (rdma_create_id(tp->channel, &c->id, NULL, RDMA_PS_TCP)) return false;
	dpi_verbs_socket(&c->host, 0, &at);
	snprintf(c->interface, sizeof c->interface, "%s", i->ifa_name);
	dpi_verbs_name(i->ifa_addr, c->name, sizeof c->name);
	if (rdma_bind_addr(c->id, (struct sockaddr *)&at)) c->error = errno;
	else if (!c->id->verbs || !dpi_verbs_connects(c->id->verbs->device)) c->error = ENODEV;
	else c->error = ibv_query_port(c->id->verbs, c->id->port_num, &port);
	if (c->error == ENODEV) {
		rdma_destroy_id(c->id);
		return false;
	}
	if (c->error) return true;
	c->active = port.state == IBV_PORT_ACTIVE;
	c->rate = rate_of(c->id, &port);
	c->prefix = prefix_of(i->ifa_netmask);
	c->near = near_of(tp, c->id->verbs->device->name);
	c->reaches = cluster && dpi_verbs_common_bits(&c->host, cluster) > c->prefix;
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

/* The host in setting CLUSTER, where that is a numeric address: HOST:PORT, [V6]:PORT. */
static bool cluster_host(const char *text, struct verbs_host *h)
{
	char host[INET6_ADDRSTRLEN];
	const char *colon = text ? strrchr(text, ':') : NULL;
	size_t n = colon ? (size_t)(colon - text) : 0;
	bool six = n > 2 && text[0] == '[' && text[n - 1] == ']';
	if (six) text++, n -= 2;
	if (!n || n >= sizeof host) return false;
	snprintf(host, sizeof host, "%.*s", (int)n, text);
	*h = (struct verbs_host){ .family = six ? 6 : 4 };
	return inet_pton(six ? AF_INET6 : AF_INET, host, h->bytes) == 1;
}

static bool better(const struct candidate *a, const struct candidate *b)
{
	if (a->named != b->named) return a->named;
	if (a->active != b->active) return a->active;
	if (a->reaches != b->reaches) return a->reaches;
	if (!a->near != !b->near) return a->near;
	return a->rate > b->rate;
}

static void say(const DPI_Tp *tp, const struct candidate *c, const struct candidate *best)
{
	const DPI_Tp_Core *core = tp->core;
	char rate[32] = "";
	if (c->error) {
		core->log(core->self, 2, "%s (%s): left out: %s: %s", c->name, c->interface,
			  c->id->verbs ? "its port does not say its state" : "the connection manager does not bind to it", strerror(c->error));
		return;
	}
	bool same = c->id->verbs == best->id->verbs && c->id->port_num == best->id->port_num;
	const char *why = c == best			? c->named ? "chosen: DPI_LISTEN names it" : "chosen"
			  : best->named			? "left out: DPI_LISTEN names another"
			  : same			? "listened on too"
			  : c->active != best->active	? "left out: its port is down"
			  : c->reaches != best->reaches ? "left out: another is in the cluster's network"
			  : !c->near != !best->near	? "left out: another is nearer"
			  : c->rate < best->rate	? "left out: another is faster"
							: "left out: another of its kind comes first";
	if (c->rate) snprintf(rate, sizeof rate, ", %.4g Gb/s", (double)c->rate / 10);
	core->log(core->self, 2, "device %s port %u, %s (%s)%s%s%s: %s", c->id->verbs->device->name, c->id->port_num, c->name, c->interface, rate,
		  c->reaches ? ", in the cluster's network" : "", c->near > 0 ? ", near this process" : c->near ? "" : ", far from this process", why);
}

/* Devices that no address leads to, so that nobody wonders where they are. */
static void say_of_others(const DPI_Tp *tp, const struct candidate *all, int count)
{
	const DPI_Tp_Core *core = tp->core;
	int devices = 0;
	struct ibv_device **list = ibv_get_device_list(&devices);
	for (int i = 0; list && i < devices; i++) {
		int k = 0;
		while (k < count && (!all[k].id->verbs || strcmp(all[k].id->verbs->device->name, list[i]->name))) k++;
		if (k == count)
			core->log(core->self, 2, "device %s: left out: %s", list[i]->name,
				  dpi_verbs_connects(list[i]) ? "no address leads to it; an interface of it must be up and have one" : UNCONNECTED);
	}
	if (list) ibv_free_device_list(list);
}

/* No candidate will do: why. */
static int nothing(DPI_Tp *tp, const struct candidate *all, int count, bool any, const char *setting)
{
	int devices = 0, good = 0;
	char unfit[64] = "";
	for (int i = 0; i < count; i++) {
		good += !all[i].error;
		if (all[i].error && (any || all[i].named))
			return verbs_fail(tp, DPI_ERR_UNSUPPORTED, "verbs cannot use %s (%s): %s; check 'rdma link', the modes of /dev/infiniband and the kernel log",
					  all[i].name, all[i].interface, strerror(all[i].error));
	}
	if (good) return verbs_fail(tp, DPI_ERR_CONFIG, "DPI_LISTEN is '%s', which is no address or interface of an RDMA device; 'rdma link' lists devices", setting);
	struct ibv_device **list = ibv_get_device_list(&devices);
	int connect = 0;
	for (int i = 0; list && i < devices; i++) {
		connect += dpi_verbs_connects(list[i]);
		snprintf(unfit, sizeof unfit, "%s", list[i]->name);
	}
	if (list) ibv_free_device_list(list);
	if (*unfit && !connect) return verbs_fail(tp, DPI_ERR_UNSUPPORTED, "device %s: " UNCONNECTED, unfit);
	return verbs_fail(tp, DPI_ERR_UNSUPPORTED,
			  "no RDMA device has a port with an IP address; 'rdma link' and 'ip address' show them; over Ethernet: rdma link add rxe0 type rxe netdev "
			  "IFACE");
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
	struct verbs_host cluster;
	bool known = cluster_host(tp->core->setting(tp->core->self, "CLUSTER"), &cluster), any = names_all(setting);
	int count = 0, error = DPI_SUCCESS;
	if (getifaddrs(&list)) list = NULL;
	for (struct ifaddrs *i = list; i && count < CANDIDATES; i = i->ifa_next) {
		if (!candidate_of(tp, i, known ? &cluster : NULL, &all[count])) continue;
		all[count].named = !any && names(setting, &all[count]);
		count++;
	}
	if (list) freeifaddrs(list);
	for (int i = 0; i < count; i++)
		if (!all[i].error && (!best || better(&all[i], best))) best = &all[i];
	if (!best || (!any && !best->named))
		error = nothing(tp, all, count, any, setting);
	else if (!best->active)
		error = verbs_fail(tp, DPI_ERR_UNSUPPORTED, "port %u of RDMA device %s (%s) is down; check the cable, 'ip link' and 'rdma link'",
				   best->id->port_num, best->id->verbs->device->name, best->interface);
	for (int i = 0; i < count; i++) say(tp, &all[i], best);
	say_of_others(tp, all, count);
	if (!error) {
		tp->verbs = best->id->verbs;
		tp->port = best->id->port_num;
		snprintf(tp->device, sizeof tp->device, "%s", tp->verbs->device->name);
		error = dpi_verbs_limits_find(tp);
	}
	bool only = best && best->named;
	if (!error) error = listen_on(tp, best);
	for (int i = 0; i < count; i++) {
		struct candidate *c = &all[i];
		if (!c->id) continue;
		if (!error && !only && !c->error && tp->self.hosts < HOSTS && c->id->verbs == tp->verbs && c->id->port_num == tp->port) error = listen_on(tp, c);
		if (c->id) rdma_destroy_id(c->id);
	}
	return error;
}
