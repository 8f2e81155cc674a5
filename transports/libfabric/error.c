/* SPDX-License-Identifier: Apache-2.0
 * error.c: the one table of what a provider's error codes mean. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "fabric.h"

/* code of libfabric, class, cause and remedy */
#define FABRIC_ERRORS(X)                                                                                               \
	X(FI_ENOMEM, MEMORY, "there is no memory, or none may be locked: raise 'ulimit -l' or close windows and connections") \
	X(FI_ENOSPC, LIMIT, "the provider has no room left: close windows and connections")                            \
	X(FI_EMFILE, LIMIT, "the process has no free file descriptor: raise 'ulimit -n'")                               \
	X(FI_EPERM, TRANSPORT, "the system does not allow it: check the permissions of the device")                     \
	X(FI_EACCES, TRANSPORT, "the target does not give access to this memory, or the system not to the device")      \
	X(FI_ENODATA, UNSUPPORTED, "no provider has what is asked for: 'fi_info' lists them; check DPI_FABRIC and DPI_LISTEN") \
	X(FI_ENODEV, TRANSPORT, "the device is gone or was never there: check it with 'fi_info'")                       \
	X(FI_ENOSYS, UNSUPPORTED, "the provider cannot do it: choose another with DPI_FABRIC")                          \
	X(FI_EOPNOTSUPP, UNSUPPORTED, "the provider cannot do it: choose another with DPI_FABRIC")                      \
	X(FI_EINVAL, TRANSPORT, "the provider refused an argument; this is a defect, or one of the provider")           \
	X(FI_EADDRINUSE, TRANSPORT, "the address is in use: check DPI_LISTEN")                                          \
	X(FI_EADDRNOTAVAIL, TRANSPORT, "this host does not have the address: check DPI_LISTEN")                         \
	X(FI_ENETDOWN, TRANSPORT, "the network is down: check the interface")                                           \
	X(FI_ENETUNREACH, PEER, "no route leads there: check the network")                                              \
	X(FI_EHOSTUNREACH, PEER, "no route leads there: check the network")                                             \
	X(FI_EHOSTDOWN, PEER, "the host is down")                                                                       \
	X(FI_ECONNREFUSED, PEER, "nobody listens there: its process has probably died")                                 \
	X(FI_ECONNRESET, PEER, "its process has probably died")                                                         \
	X(FI_ECONNABORTED, PEER, "its process has probably died")                                                       \
	X(FI_ENOTCONN, PEER, "its process has probably died")                                                           \
	X(FI_ESHUTDOWN, PEER, "its process has probably died")                                                          \
	X(EPIPE, PEER, "its process has probably died")                                                              \
	X(FI_EIO, PEER, "the connection failed: its process has probably died, or the link is down")                    \
	X(FI_ETIMEDOUT, PEER, "it did not answer: its process has died or the network is cut")                          \
	X(FI_ETRUNC, PEER, "it sent more than a message holds; the nodes run different libraries, or this is a defect") \
	X(FI_EMSGSIZE, PEER, "a message was larger than the provider takes; this is a defect")                          \
	X(FI_ENOKEY, PEER, "its window is not registered any more")                                                     \
	X(FI_EKEYREJECTED, PEER, "its window is not registered any more")                                               \
	X(FI_ENORX, PEER, "it has no receive buffers posted; this is a defect, or the nodes run different libraries")   \
	X(FI_EOVERRUN, PEER, "more came than was read; this is a defect")                                               \
	X(FI_ECANCELED, PEER, "the provider gave it up")                                                                \
	X(FI_EOTHER, PEER, "the provider does not say more; set FI_LOG_LEVEL=info to see its own lines")

static const struct fabric_error table[] = {
#define FABRIC_ENTRY(code, class, meaning) { code, DPI_ERR_##class, meaning },
	FABRIC_ERRORS(FABRIC_ENTRY)
#undef FABRIC_ENTRY
};

const struct fabric_error *dpi_fabric_error(int code)
{
	static const struct fabric_error other = { 0, DPI_ERR_TRANSPORT, "set FI_LOG_LEVEL=info to see the provider's own lines" };
	if (code < 0) code = -code;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (table[i].code == code) return &table[i];
	return &other;
}

int dpi_fabric_fail(DPI_Tp *tp, int code, const char *format, ...)
{
	const struct fabric_error *e = dpi_fabric_error(code);
	char what[160];
	va_list args;
	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	return fabric_fail(tp, e->class, "libfabric (%s): %s: %s; %s", tp->choice.name, what, fi_strerror(code < 0 ? -code : code), e->meaning);
}
