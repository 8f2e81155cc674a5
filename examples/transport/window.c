/* SPDX-License-Identifier: Apache-2.0
 * window.c: memory that peers reach, and peers' memory. */
#include <sys/random.h>

#include "pipe.h"

int pipe_expose(DPI_Tp *tp, const DPI_Tp_Memory *m, DPI_Tp_Window **window, DPI_Tp_Key *key)
{
	if (m->access & DPI_TP_ATOMIC && (uintptr_t)m->address & 7)
		return fail(tp, DPI_ERR_ARGUMENT, "memory at %p is not aligned to 8 bytes, as atomics need it", m->address);
	DPI_Tp_Window *w = malloc(sizeof *w);
	if (!w) return fail(tp, DPI_ERR_MEMORY, "no memory to register a window");
	*w = (DPI_Tp_Window){.tp = tp, .next = tp->windows, .memory = m->address, .length = m->length, .access = m->access};
	w->id = ++tp->windows_ever;
	if (getrandom(&w->secret, sizeof w->secret, 0) != sizeof w->secret) {
		free(w);
		return fail(tp, DPI_ERR_UNSUPPORTED, "the system gives no random bytes: %s", strerror(errno));
	}
	uint32_t words = (uintptr_t)m->address & 7 ? 0 : KEY_WORDS;
	struct key k = {KEY_MAGIC, w->access | words, w->id, w->secret, w->length, tp->core->incarnation};
	memset(key, 0, sizeof *key);
	memcpy(key->bytes, &k, sizeof k);
	key->size = sizeof k;
	key->fd = -1;
	*window = tp->windows = w;
	return DPI_SUCCESS;
}

/* A put is copied in when it is whole, an answer when it is asked for: nothing is ever in flight between two calls. */
int pipe_withdraw(DPI_Tp_Window *w)
{
	DPI_Tp_Window **at = &w->tp->windows;
	while (*at != w) at = &(*at)->next;
	*at = w->next;
	free(w);
	return DPI_SUCCESS;
}

int pipe_attach(DPI_Tp_Endpoint *c, const DPI_Tp_Key *key, uint64_t length, DPI_Tp_Remote **remote, void **direct)
{
	struct key k;
	DPI_Tp *tp = c->tp;
	if (c->fd < 0) return fail(tp, DPI_ERR_PEER, "%s", c->why);
	if (key->size == sizeof k) memcpy(&k, key->bytes, sizeof k);
	if (key->size != sizeof k || k.magic != KEY_MAGIC)
		return fail(tp, DPI_ERR_CORRUPT, "%u bytes that are no key of pipe", key->size);
	if (k.incarnation != c->incarnation)
		return fail(tp, DPI_ERR_PEER, "a key of another process than node %d's of now", c->node);
	if (length > k.length)
		return fail(tp, DPI_ERR_RANGE, "the window has %llu bytes, not %llu", (unsigned long long)k.length,
			    (unsigned long long)length);
	DPI_Tp_Remote *r = malloc(sizeof *r);
	if (!r) return fail(tp, DPI_ERR_MEMORY, "no memory to attach a window");
	k.length = length;
	*r = (DPI_Tp_Remote){.endpoint = c, .next = c->remotes, .key = k};
	*remote = c->remotes = r;
	*direct = NULL;
	return DPI_SUCCESS;
}

int pipe_detach(DPI_Tp_Remote *r)
{
	DPI_Tp_Remote **at = &r->endpoint->remotes;
	if (r->pending) return fail(r->endpoint->tp, DPI_ERR_AGAIN, "%u operations on the window are under way", r->pending);
	while (*at != r) at = &(*at)->next;
	*at = r->next;
	free(r);
	return DPI_SUCCESS;
}
