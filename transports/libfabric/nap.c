/* SPDX-License-Identifier: Apache-2.0
 * nap.c: a descriptor for providers that have none: a timer, set by arm, after which progress looks: after a share of the time since something
 * was sent or has come, so that looking late costs no more than that share. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "fabric.h"

enum {
	NAP_LEAST_US = 20,
	NAP_MOST_US = 100000 /* a look costs a sleeping process some 60 µs: so an idle one needs less than 0.1 % of a processor */
};

int dpi_fabric_nap_open(DPI_Tp *tp)
{
	struct epoll_event e = { .events = EPOLLIN };
	if (tp->timer_fd >= 0) return 0;
	tp->nap_anew = true;
	tp->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	return tp->timer_fd < 0 || epoll_ctl(tp->epoll_fd, EPOLL_CTL_ADD, tp->timer_fd, &e) ? -errno : 0;
}

/* Setting the timer takes back that it has gone off. */
void dpi_fabric_nap(DPI_Tp *tp)
{
	int64_t now = dpi_fabric_now();
	if (tp->nap_anew) tp->quiet_since = now;
	tp->nap_anew = false;
	int64_t us = (now - tp->quiet_since) / NAP_SHARE;
	if (us < NAP_LEAST_US) us = NAP_LEAST_US;
	if (us > NAP_MOST_US) us = NAP_MOST_US;
	struct itimerspec t = { .it_value.tv_nsec = (long)us * 1000 };
	timerfd_settime(tp->timer_fd, 0, &t, NULL);
}
