/* SPDX-License-Identifier: Apache-2.0
 * address.c: addresses of control sockets: parse, listen, connect. */
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"

#define BACKLOG 1024

/* Split HOST:PORT; host without brackets. */
static bool split(const char *text, char *host, size_t room, char port[8])
{
	const char *colon = strrchr(text, ':'), *begin = text, *end = colon;
	if (!colon) return false;
	if (*text == '[') {
		begin++;
		if (end == text || end[-1] != ']') return false;
		end--;
	} else if (memchr(text, ':', (size_t)(colon - text))) return false;
	size_t n = (size_t)(end - begin), digits = strlen(colon + 1);
	if (end <= begin || n >= room || !digits || digits > 5 || strspn(colon + 1, "0123456789") != digits) return false;
	if (strtol(colon + 1, NULL, 10) > 65535) return false;
	memcpy(host, begin, n);
	host[n] = 0;
	memcpy(port, colon + 1, digits + 1);
	return true;
}

bool dpi_address_likely(const char *text)
{
	char host[DPI_ADDRESS_TEXT], port[8];
	return !strncmp(text, "unix:", 5) || (!strchr(text, '/') && split(text, host, sizeof host, port));
}

int dpi_address_check(const char *text)
{
	char host[DPI_ADDRESS_TEXT], port[8];
	size_t n = strlen(text), good = 0;
	while (text[good] > ' ' && text[good] < 0x7f) good++;
	if (n >= DPI_ADDRESS_TEXT || good != n)
		return dpi_fail(DPI_ERR_CONFIG, "an address has at most %d printable characters and no blanks",
				DPI_ADDRESS_TEXT - 1);
	if (!strncmp(text, "unix:", 5)) {
		if (n == 5 || n - 5 > sizeof((struct sockaddr_un *)0)->sun_path - 1)
			return dpi_fail(DPI_ERR_CONFIG, "'%s': the name after unix: has 1 to %zu characters", text,
					sizeof((struct sockaddr_un *)0)->sun_path - 1);
		return DPI_SUCCESS;
	}
	if (!split(text, host, sizeof host, port))
		return dpi_fail(DPI_ERR_CONFIG, "'%s' is not an address: write HOST:PORT, [V6]:PORT or unix:NAME", text);
	return DPI_SUCCESS;
}

int dpi_address_find(const char *text, struct dpi_address *a)
{
	char host[DPI_ADDRESS_TEXT], port[8];
	int error = dpi_address_check(text);
	if (error) return error;
	memset(a, 0, sizeof *a);
	if (!strncmp(text, "unix:", 5)) {
		struct sockaddr_un *u = (struct sockaddr_un *)&a->storage;
		size_t n = strlen(text + 5);
		u->sun_family = AF_UNIX;
		memcpy(u->sun_path + 1, text + 5, n); /* a zero byte first: abstract */
		a->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
		return DPI_SUCCESS;
	}
	split(text, host, sizeof host, port);
	struct addrinfo hint = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	struct addrinfo *found = NULL, *best;
	int e = getaddrinfo(host, port, &hint, &found);
	if (e == EAI_NONAME) { /* not a number; the resolver is heavy, so only now */
		hint.ai_flags = AI_NUMERICSERV;
		e = getaddrinfo(host, port, &hint, &found);
	}
	if (e) return dpi_fail(DPI_ERR_CONFIG, "'%s': the host cannot be found: %s", text, gai_strerror(e));
	for (best = found; best && best->ai_family != AF_INET; best = best->ai_next) continue;
	if (!best) best = found;
	memcpy(&a->storage, best->ai_addr, best->ai_addrlen);
	a->size = best->ai_addrlen;
	freeaddrinfo(found);
	return DPI_SUCCESS;
}

static bool loopback(const struct sockaddr *s)
{
	const struct sockaddr_in *v4 = (const void *)s;
	const struct sockaddr_in6 *v6 = (const void *)s;
	if (s->sa_family == AF_INET) return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
	return s->sa_family == AF_INET6 && (IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
					    (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == 127));
}

bool dpi_address_local(const struct dpi_address *a)
{
	return a->storage.ss_family == AF_UNIX || loopback((const struct sockaddr *)&a->storage);
}

void dpi_address_text(const struct dpi_address *a, char *text)
{
	char host[INET6_ADDRSTRLEN] = "?";
	const struct sockaddr_un *u = (const void *)&a->storage;
	const struct sockaddr_in *v4 = (const void *)&a->storage;
	const struct sockaddr_in6 *v6 = (const void *)&a->storage;
	if (a->storage.ss_family == AF_UNIX) {
		size_t head = offsetof(struct sockaddr_un, sun_path) + 1;
		snprintf(text, DPI_ADDRESS_TEXT, "unix:%.*s", a->size > head ? (int)(a->size - head) : 0, u->sun_path + 1);
	} else if (a->storage.ss_family == AF_INET) {
		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
		snprintf(text, DPI_ADDRESS_TEXT, "%s:%u", host, ntohs(v4->sin_port));
	} else {
		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
		snprintf(text, DPI_ADDRESS_TEXT, "[%s]:%u", host, ntohs(v6->sin6_port));
	}
}

int dpi_address_listen(const struct dpi_address *a, int *fd)
{
	char text[DPI_ADDRESS_TEXT];
	int one = 1;
	dpi_address_text(a, text);
	*fd = socket(a->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return dpi_fail_errno(DPI_ERR_LIMIT, "no socket to listen at %s (raise the limit with ulimit -n)", text);
	/* a port in TIME_WAIT from the last run is no obstacle */
	if (a->storage.ss_family != AF_UNIX) setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (!bind(*fd, (const struct sockaddr *)&a->storage, a->size) && !listen(*fd, BACKLOG)) return DPI_SUCCESS;
	int error = dpi_fail_errno(errno == EADDRINUSE ? DPI_ERR_EXISTS : DPI_ERR_CONFIG, "cannot listen at %s", text);
	close(*fd);
	*fd = -1;
	return error;
}

int dpi_address_connect(const struct dpi_address *a, int64_t deadline, int *fd)
{
	int error;
	*fd = socket(a->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (*fd < 0) return errno;
	error = connect(*fd, (const struct sockaddr *)&a->storage, a->size) ? errno : 0;
	if (error == EINPROGRESS) {
		struct pollfd p = { .fd = *fd, .events = POLLOUT };
		int64_t left = deadline - dpi_now();
		int n = poll(&p, 1, left <= 0 ? 0 : left / 1000000 > INT32_MAX - 1 ? INT32_MAX : (int)(left / 1000000) + 1);
		socklen_t size = sizeof error;
		if (n <= 0) error = ETIMEDOUT;
		else if (getsockopt(*fd, SOL_SOCKET, SO_ERROR, &error, &size)) error = errno;
	}
	if (!error) return 0;
	close(*fd);
	*fd = -1;
	return error;
}

int dpi_address_of(int fd, struct dpi_address *a)
{
	memset(a, 0, sizeof *a);
	a->size = sizeof a->storage;
	if (getsockname(fd, (struct sockaddr *)&a->storage, &a->size))
		return dpi_fail_errno(DPI_ERR_CONFIG, "descriptor %d is not a socket", fd);
	return DPI_SUCCESS;
}

int dpi_address_announce(const struct dpi_address *bound, char text[][DPI_ADDRESS_TEXT], int most)
{
	static const struct in6_addr any6 = IN6ADDR_ANY_INIT;
	const struct sockaddr_in *v4 = (const void *)&bound->storage;
	const struct sockaddr_in6 *v6 = (const void *)&bound->storage;
	bool four = bound->storage.ss_family == AF_INET, any;
	any = four ? !v4->sin_addr.s_addr : !memcmp(&v6->sin6_addr, &any6, sizeof any6);
	struct ifaddrs *all = NULL;
	int count = 0;
	if (!any || getifaddrs(&all)) {
		dpi_address_text(bound, text[0]);
		return 1;
	}
	/* other machines first; loopback last, for network namespaces without anything else */
	for (int pass = 0; pass < 2; pass++)
		for (struct ifaddrs *i = all; i && count < most; i = i->ifa_next) {
			struct dpi_address a = { .size = bound->size };
			if (!i->ifa_addr || i->ifa_addr->sa_family != bound->storage.ss_family || !(i->ifa_flags & IFF_UP) ||
			    loopback(i->ifa_addr) != (pass == 1))
				continue;
			memcpy(&a.storage, i->ifa_addr, bound->size);
			if (!four && IN6_IS_ADDR_LINKLOCAL(&((struct sockaddr_in6 *)&a.storage)->sin6_addr)) continue;
			if (four) ((struct sockaddr_in *)&a.storage)->sin_port = v4->sin_port;
			else ((struct sockaddr_in6 *)&a.storage)->sin6_port = v6->sin6_port;
			dpi_address_text(&a, text[count++]);
		}
	freeifaddrs(all);
	return count;
}

int dpi_address_interface(const char *name, struct dpi_address *a)
{
	struct ifaddrs *all = NULL, *best = NULL;
	if (getifaddrs(&all)) return dpi_fail_errno(DPI_ERR_CONFIG, "the network interfaces cannot be listed");
	for (struct ifaddrs *i = all; i; i = i->ifa_next)
		if (i->ifa_addr && !strcmp(i->ifa_name, name) &&
		    (i->ifa_addr->sa_family == AF_INET || (i->ifa_addr->sa_family == AF_INET6 && !best))) {
			best = i;
			if (i->ifa_addr->sa_family == AF_INET) break;
		}
	memset(a, 0, sizeof *a);
	if (best) {
		a->size = best->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
		memcpy(&a->storage, best->ifa_addr, a->size);
	}
	freeifaddrs(all);
	if (!best)
		return dpi_fail(DPI_ERR_CONFIG, "'%s' is neither an address nor a network interface of this machine", name);
	return DPI_SUCCESS;
}

/* The bytes of an IP address; how many there are. */
static size_t bytes_of(const struct sockaddr *s, const uint8_t **bytes)
{
	*bytes = s->sa_family == AF_INET ? (const uint8_t *)&((const struct sockaddr_in *)(const void *)s)->sin_addr
					 : (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)s)->sin6_addr;
	return s->sa_family == AF_INET ? 4 : s->sa_family == AF_INET6 ? 16 : 0;
}

int dpi_address_distance(const char *text)
{
	char host[DPI_ADDRESS_TEXT], port[8];
	struct addrinfo hint = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV }, *found = NULL;
	struct ifaddrs *all = NULL;
	const uint8_t *a, *own, *mask;
	int distance = DPI_ADDRESS_FAR;
	if (!strncmp(text, "unix:", 5)) return DPI_ADDRESS_UNIX;
	if (!split(text, host, sizeof host, port) || getaddrinfo(host, port, &hint, &found)) return DPI_ADDRESS_FAR;
	size_t n = bytes_of(found->ai_addr, &a);
	if (loopback(found->ai_addr)) distance = DPI_ADDRESS_LOOPBACK;
	else if (getifaddrs(&all)) all = NULL;
	for (struct ifaddrs *i = all; i && distance != DPI_ADDRESS_OWN; i = i->ifa_next) {
		if (!i->ifa_addr || !i->ifa_netmask || i->ifa_addr->sa_family != found->ai_family || !(i->ifa_flags & IFF_UP)) continue;
		bytes_of(i->ifa_addr, &own);
		i->ifa_netmask->sa_family = i->ifa_addr->sa_family;
		bytes_of(i->ifa_netmask, &mask);
		size_t same = 0;
		while (same < n && !((a[same] ^ own[same]) & mask[same])) same++;
		if (same == n) distance = memcmp(a, own, n) ? DPI_ADDRESS_NEAR : DPI_ADDRESS_OWN;
	}
	if (all) freeifaddrs(all);
	freeaddrinfo(found);
	return distance;
}

/* An address as /proc/net/tcp prints it. */
static void proc_text(const struct dpi_address *a, char text[48])
{
	const struct sockaddr_in *v4 = (const void *)&a->storage;
	const struct sockaddr_in6 *v6 = (const void *)&a->storage;
	uint32_t word[4];
	if (a->storage.ss_family == AF_INET) {
		snprintf(text, 48, "%08X:%04X", v4->sin_addr.s_addr, ntohs(v4->sin_port));
		return;
	}
	memcpy(word, &v6->sin6_addr, sizeof word);
	snprintf(text, 48, "%08X%08X%08X%08X:%04X", word[0], word[1], word[2], word[3], ntohs(v6->sin6_port));
}

int64_t dpi_socket_user(int fd)
{
	struct ucred who;
	struct dpi_address own, other;
	socklen_t size = sizeof who;
	char line[512], local[48], remote[48], want_local[48], want_remote[48];
	int64_t user = -1;
	unsigned uid;
	if (dpi_address_of(fd, &own)) return -1;
	if (own.storage.ss_family == AF_UNIX)
		return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) ? -1 : (int64_t)who.uid;
	memset(&other, 0, sizeof other);
	other.size = sizeof other.storage;
	if (getpeername(fd, (struct sockaddr *)&other.storage, &other.size)) return -1;
	proc_text(&other, want_local); /* the other end's line has the two the other way round */
	proc_text(&own, want_remote);
	FILE *f = fopen(own.storage.ss_family == AF_INET ? "/proc/self/net/tcp" : "/proc/self/net/tcp6", "re");
	if (!f) return -1;
	while (user < 0 && fgets(line, sizeof line, f))
		if (sscanf(line, "%*s %47s %47s %*s %*s %*s %*s %u", local, remote, &uid) == 3 &&
		    !strcmp(local, want_local) && !strcmp(remote, want_remote))
			user = (int64_t)uid;
	fclose(f);
	return user;
}
