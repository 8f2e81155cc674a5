/* SPDX-License-Identifier: Apache-2.0
 * address.h: where a control socket listens, as people write it: unix:NAME (abstract name), HOST:PORT, [V6]:PORT. */
#ifndef DPI_CORE_ADDRESS_H
#define DPI_CORE_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define DPI_ADDRESS_TEXT 128 /* bytes of the text, the terminating zero counted */

struct dpi_address {
	struct sockaddr_storage storage;
	socklen_t size;
};

/* Is it written right? Looks nothing up. DPI_ERR_CONFIG with what is wrong. */
int dpi_address_check(const char *text);
/* Does it look like an address, and not like a path of a file? */
bool dpi_address_likely(const char *text);
/* Look it up. Host names go to the resolver. DPI_ERR_CONFIG. */
int dpi_address_find(const char *text, struct dpi_address *a);
/* Of this machine only: Unix or loopback. */
bool dpi_address_local(const struct dpi_address *a);
void dpi_address_text(const struct dpi_address *a, char *text);

/* A non-blocking listening socket. errno's text is in the sentence; DPI_ERR_EXISTS where the address is in use. */
int dpi_address_listen(const struct dpi_address *a, int *fd);
/* A non-blocking connected socket. Returns 0, or errno: ETIMEDOUT at the deadline. */
int dpi_address_connect(const struct dpi_address *a, int64_t deadline, int *fd);
/* The address a socket is bound to. */
int dpi_address_of(int fd, struct dpi_address *a);

/* The addresses under which others reach a TCP socket bound to bound: itself, or, bound to all addresses, those of the
 * machine's interfaces. Writes at most most texts, returns how many. */
int dpi_address_announce(const struct dpi_address *bound, char text[][DPI_ADDRESS_TEXT], int most);
/* An address of the interface of this name; DPI_ERR_CONFIG. */
int dpi_address_interface(const char *name, struct dpi_address *a);

/* How an address lies to this host, best first. */
enum { DPI_ADDRESS_UNIX, DPI_ADDRESS_NEAR, DPI_ADDRESS_FAR, DPI_ADDRESS_OWN, DPI_ADDRESS_LOOPBACK };
/* NEAR: in a network that one of this host's interfaces is in; OWN: an address of this host; FAR: the rest, names too. Looks
 * nothing up. */
int dpi_address_distance(const char *text);

/* The user at the other end. Unix: by the kernel's word. TCP over loopback: by the kernel's table of sockets. -1: cannot be
 * known. */
int64_t dpi_socket_user(int fd);

#endif
