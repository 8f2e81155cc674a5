/* SPDX-License-Identifier: Apache-2.0
 * setup.c: what the processes of a job get. */
#include "setup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#define BACKLOG 1024
#define KEY_LEAST 16

extern char **environ;

void make_id(char id[17])
{
	unsigned char random[8];
	if (!fill_random(random, sizeof random)) quit(EXIT_SELF, "the kernel gives no random bytes: %s", strerror(errno));
	for (int i = 0; i < 8; i++) snprintf(id + 2 * i, 3, "%02x", random[i]);
}

/* ---------------------------------------------------------------------------------------------------------- key */

static void read_key(struct job *job, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st)) quit(EXIT_USAGE, "the key file %s cannot be read: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode)) quit(EXIT_USAGE, "the key file %s is not a regular file", path);
	if (st.st_uid != geteuid())
		quit(EXIT_USAGE, "the key file %s belongs to user %u, not to %u who runs this: copy it, or chown it", path,
		     (unsigned)st.st_uid, (unsigned)geteuid());
	if (st.st_mode & 077)
		quit(EXIT_USAGE, "others may use the key file %s (mode %04o): chmod 600 %s", path,
		     (unsigned)st.st_mode & 07777, path);
	ssize_t n = st.st_size > (off_t)sizeof job->key ? 0 : read(fd, job->key, sizeof job->key);
	if (n < KEY_LEAST)
		quit(EXIT_USAGE,
		     "the key file %s has %lld bytes: a key has %d to %zu (make one: head -c 32 /dev/urandom > FILE)", path,
		     (long long)st.st_size, KEY_LEAST, sizeof job->key);
	job->key_size = (size_t)n;
	close(fd);
}

static bool one_host(const struct job *job)
{
	for (int i = 0; i < job->hosts; i++)
		if (!job->host[i].local) return false;
	return true;
}

void setup_key(struct job *job)
{
	const struct options *o = job->options;
	const char *given = getenv("DPI_KEY_FILE");
	job->key_fd = -1;
	if (o->key == KEY_FILE) read_key(job, o->key_file);
	else if (o->key == KEY_DEFAULT && given && *given) read_key(job, given);
	else if (o->key == KEY_DEFAULT && !one_host(job)) {
		job->key_size = 32;
		if (!fill_random(job->key, job->key_size))
			quit(EXIT_SELF, "the kernel gives no random bytes: %s", strerror(errno));
	} else if (o->key == KEY_NONE)
		for (int i = 0; i < job->hosts; i++)
			if (!job->host[i].local && !(job->host[i].address && is_loopback(job->host[i].address)))
				quit(EXIT_USAGE, "without a key nodes listen on loopback only, and nobody reaches %s: %s",
				     job->host[i].name, "leave --no-key away");
}

int key_descriptor(const void *key, size_t size)
{
	int fd = memfd_create("dpi-key", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL) fd = memfd_create("dpi-key", MFD_CLOEXEC);
	if (fd < 0 || fchmod(fd, 0600) || write(fd, key, size) != (ssize_t)size) return -1;
	return fd;
}

/* ------------------------------------------------------------------------------------------------------- socket */

int listen_local(const char *id, char **cluster)
{
	struct sockaddr_un u = { .sun_family = AF_UNIX };
	int n = snprintf(u.sun_path + 1, sizeof u.sun_path - 1, "dpi-%s", id);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&u, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) ||
	    listen(fd, BACKLOG))
		quit(EXIT_SELF, "no socket for node 0: %s", strerror(errno));
	*cluster = print_text("unix:%s", u.sun_path + 1);
	return fd;
}

/* The first address of a name, an IPv4 one if there is one. */
static bool find_address(const char *name, struct sockaddr_storage *s, socklen_t *size, const char **why)
{
	struct addrinfo hint = { .ai_socktype = SOCK_STREAM }, *found = NULL, *best;
	int e = getaddrinfo(name, NULL, &hint, &found);
	if (e) {
		*why = gai_strerror(e);
		return false;
	}
	for (best = found; best && best->ai_family != AF_INET; best = best->ai_next) continue;
	if (!best) best = found;
	memcpy(s, best->ai_addr, best->ai_addrlen);
	*size = best->ai_addrlen;
	freeaddrinfo(found);
	return true;
}

int listen_host(const char *address, int *port, char **wrong)
{
	struct sockaddr_storage s = { 0 };
	socklen_t size = sizeof s;
	const char *why = NULL;
	int fd = -1;
	if (find_address(*address ? address : "0.0.0.0", &s, &size, &why)) {
		fd = socket(s.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd < 0 || bind(fd, (struct sockaddr *)&s, size) || listen(fd, BACKLOG)) why = strerror(errno);
		size = sizeof s;
		if (!why && getsockname(fd, (struct sockaddr *)&s, &size)) why = strerror(errno);
	}
	if (why) {
		*wrong = print_text(
			"cannot listen at '%s' for node 0: %s; address=A in the host file names an address of that host",
			address, why);
		if (fd >= 0) close(fd);
		return -1;
	}
	*port = ntohs(s.ss_family == AF_INET ? ((struct sockaddr_in *)&s)->sin_port
					     : ((struct sockaddr_in6 *)&s)->sin6_port);
	return fd;
}

char *address_text(const char *host, int port)
{
	const char *at = strrchr(host, '@'); /* the user is ssh's affair */
	if (at) host = at + 1;
	return strchr(host, ':') ? print_text("[%s]:%d", host, port) : print_text("%s:%d", host, port);
}

bool is_loopback(const char *address)
{
	return !strcmp(address, "localhost") || !strcmp(address, "::1") || !strncmp(address, "127.", 4);
}

/* -------------------------------------------------------------------------------------------------- environment */

bool reserved(const char *name)
{
	static const char *const names[] = { "DPI_CLUSTER", "DPI_NODE",	     "DPI_NODES",
					     "DPI_JOB",	    "DPI_LISTEN_FD", "DPI_KEY_FILE" };
	size_t n = strcspn(name, "=");
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (n == strlen(names[i]) && !strncmp(name, names[i], n)) return true;
	return false;
}

void inherit(struct strings *env, bool settings_only)
{
	for (char **e = environ; e && *e; e++)
		if (!reserved(*e) && (!settings_only || !strncmp(*e, "DPI_", 4))) strings_add(env, *e);
}

static void set_number(struct strings *env, const char *name, const char *before, int number)
{
	char text[64];
	snprintf(text, sizeof text, "%s%d", before, number);
	strings_set_pair(env, name, text);
}

void set_cluster(struct strings *env, const char *cluster, const char *id, int node, int nodes, int listen_fd, int key_fd)
{
	strings_set_pair(env, "DPI_CLUSTER", cluster);
	strings_set_pair(env, "DPI_JOB", id);
	set_number(env, "DPI_NODE", "", node);
	set_number(env, "DPI_NODES", "", nodes);
	if (listen_fd >= 0) set_number(env, "DPI_LISTEN_FD", "", listen_fd);
	if (key_fd >= 0) set_number(env, "DPI_KEY_FILE", "/proc/self/fd/", key_fd);
}
