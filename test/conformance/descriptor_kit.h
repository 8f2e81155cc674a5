/* SPDX-License-Identifier: Apache-2.0
 * descriptor_kit.h: what the cases of section 4.5 share: an epoll set of one descriptor, and calls that must succeed. */
#ifndef DESCRIPTOR_KIT_H
#define DESCRIPTOR_KIT_H

#include <errno.h>
#include <sys/epoll.h>

#include "memory_kit.h"

#define SMALL DPI_USE_QUEUE, .capacity = 4096, .max_capacity = 1 << 20, .max_record = 1000, .growth = DPI_GROWTH_NONE

static inline int loop_with(int fd)
{
	int loop = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
	CHECK(loop >= 0);
	if (fd >= 0) CHECK(!epoll_ctl(loop, EPOLL_CTL_ADD, fd, &e));
	return loop;
}

static inline bool readable(int loop, int ms)
{
	struct epoll_event e;
	int n;
	while ((n = epoll_wait(loop, &e, 1, ms)) < 0) CHECK_INT(errno, ==, EINTR);
	return n;
}

/* What must come: a lost wake-up fails here. */
#define CHECK_WOKEN(loop)                                                                              \
	do {                                                                                           \
		if (!readable(loop, 25000 * harness_slow())) FAIL("slept through what it waited for");  \
	} while (0)

static inline int fd_of(DPI_Buffer buf, int event)
{
	int fd = -1, again = -1;
	CHECK_DPI(DPI_Get_Buffer_Descriptor(event, buf, &fd));
	CHECK_DPI(DPI_Get_Buffer_Descriptor(event, buf, &again));
	CHECK(fd >= 0 && fd == again);
	return fd;
}

static inline int fd_of_request(DPI_Request request)
{
	int fd = -1, again = -1;
	CHECK_DPI(DPI_Get_Request_Descriptor(request, &fd));
	CHECK_DPI(DPI_Get_Request_Descriptor(request, &again));
	CHECK(fd >= 0 && fd == again);
	return fd;
}

static inline int fd_of_context(DPI_Context ctx)
{
	int fd = -1, again = -1;
	CHECK_DPI(DPI_Get_Context_Descriptor(ctx, &fd));
	CHECK_DPI(DPI_Get_Context_Descriptor(ctx, &again));
	CHECK(fd >= 0 && fd == again);
	return fd;
}

static inline bool arm(DPI_Buffer buf, int event)
{
	int ready = -1;
	CHECK_DPI(DPI_Arm_Buffer(event, buf, &ready));
	CHECK(ready == 0 || ready == 1);
	return ready;
}

static inline bool arm_request(DPI_Request request)
{
	int ready = -1;
	CHECK_DPI(DPI_Arm_Request(request, &ready));
	CHECK(ready == 0 || ready == 1);
	return ready;
}

#endif
