/* SPDX-License-Identifier: Apache-2.0
 * address.c: the listening socket and the address blob that peers get.
 *
 * The blob: version, number of hosts, port (16 bits), 4 zero bytes, incarnation, token, then for each host its family
 * (4 or 6) and 4 or 16 bytes. The token is handed out with the blob, over authenticated channels only. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <unistd.h>

#include "tcp.h"

enum { BLOB_VERSION = 1, BLOB_HEAD = 32 };

/* What to bind to. */
struct place {
	struct tcp_host host;
	bool every;
};

static bool host_of(const struct sockaddr *address, struct tcp_host *h);

static const struct tcp_host loopback4 = { 4, { 127, 0, 0, 1 } }, loopback6 = { 6, { [15] = 1 } };

bool dpi_tcp_host_is_loopback(const struct tcp_host *h)
{
	return h->family == 4 ? h->bytes[0] == 127 : !memcmp(h->bytes, loopback6.bytes, 16);
}

bool dpi_tcp_host_is_near(const struct tcp_host *h)
{
	struct ifaddrs *list, *i;
	struct tcp_host own, mask;
	bool near = false;
	if (dpi_tcp_host_is_loopback(h) || getifaddrs(&list)) return false; /* the former is quick */
	for (i = list; i && !near; i = i->ifa_next) {
		if (!i->ifa_netmask || !(i->ifa_flags & IFF_UP) || !host_of(i->ifa_addr, &own) || own.family != h->family) continue;
		i->ifa_netmask->sa_family = i->ifa_addr->sa_family;
		unsigned size = h->family == 4 ? 4 : 16, same = 0;
		if (!host_of(i->ifa_netmask, &mask) || !memcmp(own.bytes, h->bytes, size)) continue; /* its own address is not the peer's */
		while (same < size && !((own.bytes[same] ^ h->bytes[same]) & mask.bytes[same])) same++;
		near = same == size;
	}
	freeifaddrs(list);
	return near;
}

socklen_t dpi_tcp_host_socket(const struct tcp_host *h, uint16_t port, struct sockaddr_storage *to)
{
	memset(to, 0, sizeof *to);
	if (h->family == 4) {
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
		memcpy(&in.sin_addr, h->bytes, 4);
		memcpy(to, &in, sizeof in);
		return sizeof in;
	}
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	memcpy(&in6.sin6_addr, h->bytes, 16);
	memcpy(to, &in6, sizeof in6);
	return sizeof in6;
}

void dpi_tcp_name(const struct sockaddr_storage *from, char *name, size_t size)
{
	char text[INET6_ADDRSTRLEN] = "";
	if (from->ss_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, from, sizeof in);
		inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
		snprintf(name, size, "%s:%u", text, ntohs(in.sin_port));
	} else if (from->ss_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, from, sizeof in6);
		inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof text);
		snprintf(name, size, "[%s]:%u", text, ntohs(in6.sin6_port));
	} else {
		snprintf(name, size, "a local socket");
	}
}

/* An interface's address as a host; false: of no use to peers. Link-local IPv6 means nothing on another machine. */
static bool host_of(const struct sockaddr *address, struct tcp_host *h)
{
	memset(h, 0, sizeof *h);
	if (address && address->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, address, sizeof in);
		h->family = 4;
		memcpy(h->bytes, &in.sin_addr, 4);
		return true;
	}
	if (address && address->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, address, sizeof in6);
		h->family = 6;
		memcpy(h->bytes, &in6.sin6_addr, 16);
		return !IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr);
	}
	return false;
}

/* The first IPv4 address of an interface, else its first IPv6 address. */
static bool interface_find(const char *name, struct tcp_host *h)
{
	struct ifaddrs *list, *i;
	struct tcp_host found;
	h->family = 0;
	if (getifaddrs(&list)) return false;
	for (i = list; i; i = i->ifa_next)
		if (!strcmp(i->ifa_name, name) && host_of(i->ifa_addr, &found) && (!h->family || found.family < h->family))
			*h = found;
	freeifaddrs(list);
	return h->family != 0;
}

/* Setting LISTEN as a place to bind to. */
static int place_find(DPI_Tp *tp, struct place *p)
{
	const DPI_Tp_Core *core = tp->core;
	const char *text = core->setting(core->self, "LISTEN");
	memset(p, 0, sizeof *p);
	if (!text || !*text) {
		p->every = core->secure;
		p->host = loopback4;
		return DPI_SUCCESS;
	}
	if (inet_pton(AF_INET, text, p->host.bytes) == 1) {
		p->host.family = 4;
		p->every = !memcmp(p->host.bytes, (uint8_t[4]){ 0 }, 4);
	} else if (inet_pton(AF_INET6, text, p->host.bytes) == 1) {
		p->host.family = 6;
		p->every = !memcmp(p->host.bytes, (uint8_t[16]){ 0 }, 16);
	} else if (!interface_find(text, &p->host)) {
		return tcp_fail(tp, DPI_ERR_CONFIG,
				"DPI_LISTEN is '%s', which is neither a numeric address nor an "
				"interface of this host that has one; 'ip address' lists them",
				text);
	}
	if (!core->secure && !dpi_tcp_host_is_loopback(&p->host))
		return tcp_fail(tp, DPI_ERR_CONFIG,
				"DPI_LISTEN is '%s', but without a cluster key only loopback may be "
				"listened on; set DPI_KEY_FILE, or leave DPI_LISTEN out",
				text);
	return DPI_SUCCESS;
}

static int listen_at(const struct tcp_host *h, bool every)
{
	static const struct tcp_host any4 = { 4, { 0 } }, any6 = { 6, { 0 } };
	struct sockaddr_storage at;
	socklen_t length = dpi_tcp_host_socket(!every ? h : h->family == 4 ? &any4 : &any6, 0, &at);
	int fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) return -1;
	if (every && h->family == 6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 0 }, sizeof(int));
	if (bind(fd, (struct sockaddr *)&at, length) || listen(fd, 1024)) {
		int error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

static void host_add(struct tcp_address *a, const struct tcp_host *h)
{
	if (a->hosts < HOSTS) a->host[a->hosts++] = *h;
}

/* Every address of this host that a peer can use; loopback last. */
static void hosts_find(struct tcp_address *a, bool with6)
{
	struct ifaddrs *list, *i;
	struct tcp_host h;
	if (!getifaddrs(&list)) {
		for (i = list; i; i = i->ifa_next)
			if (i->ifa_flags & IFF_UP && host_of(i->ifa_addr, &h) && (with6 || h.family == 4) &&
			    !dpi_tcp_host_is_loopback(&h) && a->hosts < HOSTS - 2)
				host_add(a, &h);
		freeifaddrs(list);
	}
	host_add(a, &loopback4);
	if (with6) host_add(a, &loopback6);
}

/* The interface that all addresses peers may use are of; empty: there are several, or loopback alone. */
static void device_find(const struct tcp_address *a, char *device, size_t size)
{
	struct ifaddrs *list, *i;
	struct tcp_host h;
	bool several = false;
	if (dpi_tcp_host_is_loopback(&a->host[0]) || getifaddrs(&list)) return; /* loopback is last */
	for (i = list; i; i = i->ifa_next)
		for (unsigned k = 0; host_of(i->ifa_addr, &h) && k < a->hosts; k++) {
			const struct tcp_host *own = &a->host[k];
			if (dpi_tcp_host_is_loopback(own) || own->family != h.family || memcmp(own->bytes, h.bytes, 16)) continue;
			several |= *device && strcmp(device, i->ifa_name);
			snprintf(device, size, "%s", i->ifa_name);
		}
	freeifaddrs(list);
	if (several) *device = 0;
}

int dpi_tcp_listen(DPI_Tp *tp)
{
	const DPI_Tp_Core *core = tp->core;
	struct place p;
	struct sockaddr_storage at;
	socklen_t length = sizeof at;
	int error = place_find(tp, &p);
	if (error) return error;
	const char *setting = core->setting(core->self, "LISTEN");
	bool chosen = setting && *setting, six = p.host.family == 6;
	if (!chosen && p.every) { /* IPv6 sockets take IPv4 too */
		tp->listen_fd = listen_at(&loopback6, true);
		six = tp->listen_fd >= 0;
	}
	if (tp->listen_fd < 0) tp->listen_fd = listen_at(&p.host, p.every);
	if (tp->listen_fd < 0 && !chosen && !p.every) { /* a host without IPv4 */
		p.host = loopback6;
		tp->listen_fd = listen_at(&p.host, false);
	}
	if (tp->listen_fd < 0 || getsockname(tp->listen_fd, (struct sockaddr *)&at, &length))
		return tcp_fail(tp, errno == EMFILE || errno == ENFILE ? DPI_ERR_LIMIT : DPI_ERR_TRANSPORT,
				"tcp cannot listen on %s: %s; check DPI_LISTEN and the limit of open files ('ulimit -n')",
				chosen ? setting : p.every ? "any address" : "loopback",
				strerror(errno));
	struct sockaddr_in in;
	memcpy(&in, &at, sizeof in); /* the port is at the same place in both families */
	tp->self.port = ntohs(in.sin_port);
	if (p.every)
		hosts_find(&tp->self, six);
	else
		host_add(&tp->self, &p.host);
	device_find(&tp->self, tp->device, sizeof tp->device);
	return DPI_SUCCESS;
}

int dpi_tcp_address(DPI_Tp *tp, void *bytes, uint32_t *size)
{
	const struct tcp_address *a = &tp->self;
	uint8_t blob[BLOB_HEAD + HOSTS * 17], *at = blob + BLOB_HEAD;
	wire_store(blob, (uint64_t)BLOB_VERSION | (uint64_t)a->hosts << 8 | (uint64_t)a->port << 16);
	wire_store(blob + 8, a->incarnation);
	memcpy(blob + 16, a->token, WIRE_TOKEN);
	for (unsigned i = 0; i < a->hosts; i++) {
		size_t n = a->host[i].family == 4 ? 4 : 16;
		*at++ = a->host[i].family;
		memcpy(at, a->host[i].bytes, n);
		at += n;
	}
	if (*size < (size_t)(at - blob))
		return tcp_fail(tp, DPI_ERR_SIZE, "tcp's address takes %zu bytes, there is room for %u", (size_t)(at - blob),
				*size);
	*size = (uint32_t)(at - blob);
	memcpy(bytes, blob, *size);
	return DPI_SUCCESS;
}

int dpi_tcp_address_parse(const uint8_t *bytes, size_t size, struct tcp_address *a)
{
	memset(a, 0, sizeof *a);
	if (size < BLOB_HEAD) return -1;
	uint64_t first = wire_load(bytes);
	unsigned hosts = (uint8_t)(first >> 8);
	if ((uint8_t)first != BLOB_VERSION || first >> 32 || !hosts || hosts > HOSTS) return -1;
	a->port = (uint16_t)(first >> 16);
	a->incarnation = wire_load(bytes + 8);
	memcpy(a->token, bytes + 16, WIRE_TOKEN);
	size_t at = BLOB_HEAD;
	for (unsigned i = 0; i < hosts; i++) {
		if (at >= size || (bytes[at] != 4 && bytes[at] != 6)) return -1;
		struct tcp_host *h = &a->host[i];
		h->family = bytes[at++];
		size_t n = h->family == 4 ? 4 : 16;
		if (size - at < n) return -1;
		memcpy(h->bytes, bytes + at, n);
		at += n;
	}
	a->hosts = hosts;
	return at == size && a->port ? 0 : -1;
}
