/* SPDX-License-Identifier: Apache-2.0
 * pipe.c: posting where the device may raise SIGPIPE.
 *
 * A device in software that runs over TCP, as siw does, writes to its socket within the call that posts, on behalf of the thread that
 * calls. If the peer has closed that socket, the kernel raises SIGPIPE in that thread, as for any writer, and a program that has not
 * ignored it would end, although the peer's death is to be an error class. So the signal is held back meanwhile, and one that has come
 * is taken away, unless one was pending before. Adapters, iWARP ones too, write to no socket here, and pay nothing. */
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "verbs.h"

static bool pending(void)
{
	sigset_t all;
	return !sigpending(&all) && sigismember(&all, SIGPIPE) == 1;
}

int dpi_verbs_post_over_tcp(struct ibv_qp *qp, struct ibv_send_wr *requests, struct ibv_send_wr **bad)
{
	static const struct timespec at_once = { 0 };
	sigset_t pipe, before;
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	if (pthread_sigmask(SIG_BLOCK, &pipe, &before)) return ibv_post_send(qp, requests, bad);
	bool blocked = sigismember(&before, SIGPIPE) == 1, kept = blocked && pending();
	int error = ibv_post_send(qp, requests, bad);
	if (!kept) sigtimedwait(&pipe, NULL, &at_once);
	if (!blocked) pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}
