/* SPDX-License-Identifier: Apache-2.0
 * post.c: puts, gets, atomics, flushes, messages. None waits. */
#include <sys/uio.h>

#include "pipe.h"

static int ready(const DPI_Tp_Endpoint *c)
{
	if (c->fd < 0) return fail(c->tp, DPI_ERR_PEER, "%s", c->why);
	if (c->broken) return fail(c->tp, DPI_ERR_PEER, "the connection to node %d is broken; its process has ended", c->node);
	return c->to - c->from >= QUEUE ? DPI_ERR_AGAIN : DPI_SUCCESS;
}

static int outside(const DPI_Tp_Remote *r)
{
	return fail(r->endpoint->tp, DPI_ERR_RANGE, "outside the window of %llu bytes, or a word at no multiple of 8",
		    (unsigned long long)r->key.length);
}

/* May it be posted? An order of checks in which nothing overflows. */
static int check(const DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, uint32_t access,
		 uint64_t *total)
{
	*total = 0;
	if (count < 0 || count > MAX_IOV)
		return fail(r->endpoint->tp, DPI_ERR_LIMIT, "%d pieces, pipe takes %d", count, MAX_IOV);
	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len > r->key.length - *total) return outside(r);
		*total += iov[i].iov_len;
	}
	if (!within(r->key.length, offset, *total)) return outside(r);
	if (!(r->key.access & access))
		return fail(r->endpoint->tp, DPI_ERR_USE, "the window is exposed for access 0x%x, not 0x%x", r->key.access, access);
	return ready(r->endpoint);
}

static int no_memory(const DPI_Tp_Endpoint *c, uint64_t size)
{
	return fail(c->tp, DPI_ERR_MEMORY, "no memory to queue %llu bytes; post less at once", (unsigned long long)size);
}

int pipe_put(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify,
	     uint32_t flags, void *cookie)
{
	DPI_Tp_Endpoint *c = r->endpoint;
	struct message m = {.op = PUT, .id = r->key.id, .secret = r->key.secret, .offset = offset};
	m.bell = notify ? notify->bell : DPI_TP_NO_BELL;
	m.word = notify ? notify->offset : DPI_TP_NO_OFFSET;
	m.value = notify ? notify->value : 0;
	(void)flags, (void)cookie; /* DPI_TP_MORE allows holding back, and asks for nothing */
	int error = check(r, iov, count, offset, DPI_TP_WRITE, &m.size);
	bool word = !(m.word & 7) && r->key.access & KEY_WORDS && within(r->key.length, m.word, 8);
	if (m.word != DPI_TP_NO_OFFSET && !word) return outside(r);
	if (error) return error;
	uint8_t *at = append(c, &m, m.size);
	if (!at) return no_memory(c, m.size);
	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len) memcpy(at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	c->puts++;
	transmit(c);
	return DPI_SUCCESS;
}

/* A request, whose answer completes it. */
static int ask(DPI_Tp_Endpoint *c, const struct message *m, const struct request *q)
{
	int error = ready(c);
	if (error) return error;
	if (c->asked - c->answered == OUTSTANDING) return DPI_ERR_AGAIN;
	if (!append(c, m, 0)) return no_memory(c, 0);
	if (q->remote) q->remote->pending++;
	c->request[c->asked++ % OUTSTANDING] = *q;
	transmit(c);
	return DPI_TP_PENDING;
}

int pipe_get(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, void *cookie)
{
	struct message m = {.op = GET, .id = r->key.id, .secret = r->key.secret, .offset = offset};
	struct request q = {.op = GET, .count = count, .remote = r, .cookie = cookie};
	int error = check(r, iov, count, offset, DPI_TP_READ, &m.size);
	if (error || !m.size) return error;
	memcpy(q.iov, iov, (size_t)count * sizeof *iov);
	q.size = m.size;
	return ask(r->endpoint, &m, &q);
}

static int atomic(DPI_Tp_Remote *r, enum op op, uint64_t offset, uint64_t word, uint64_t value, void *cookie)
{
	struct message m = {.op = op, .id = r->key.id, .secret = r->key.secret, .offset = offset, .word = word, .value = value};
	struct request q = {.op = op, .remote = r, .cookie = cookie};
	uint64_t size;
	int error = check(r, &(struct iovec){.iov_len = 8}, 1, offset, DPI_TP_ATOMIC, &size);
	if (offset & 7) return outside(r);
	return error ? error : ask(r->endpoint, &m, &q);
}

int pipe_fetch_add(DPI_Tp_Remote *r, uint64_t offset, uint64_t operand, uint64_t *result, void *cookie)
{
	(void)result; /* comes with the completion */
	return atomic(r, ADD, offset, 0, operand, cookie);
}

int pipe_compare_swap(DPI_Tp_Remote *r, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *result,
		      void *cookie)
{
	(void)result;
	return atomic(r, SWAP, offset, expected, desired, cookie);
}

int pipe_flush(DPI_Tp_Endpoint *c, void *cookie)
{
	struct message m = {.op = FLUSH};
	struct request q = {.op = FLUSH, .puts = c->puts, .cookie = cookie};
	int error = ready(c);
	if (error == DPI_ERR_PEER) return error;
	return c->puts == c->flushed ? DPI_SUCCESS : ask(c, &m, &q);
}

int pipe_send(DPI_Tp_Endpoint *c, const void *bytes, size_t size, uint32_t flags)
{
	struct message m = {.op = SEND, .size = size};
	(void)flags;
	if (size > MAX_SEND) return fail(c->tp, DPI_ERR_SIZE, "a message of %zu bytes, pipe takes %d", size, MAX_SEND);
	int error = ready(c);
	if (error) return error;
	uint8_t *at = append(c, &m, size);
	if (!at) return no_memory(c, size);
	if (size) memcpy(at, bytes, size);
	transmit(c);
	return DPI_SUCCESS;
}

/* The answer, when it comes, goes nowhere. Puts are done when they are posted. */
int pipe_cancel(DPI_Tp_Endpoint *c, void *cookie)
{
	for (uint64_t i = c->answered; i != c->asked; i++) {
		struct request *q = &c->request[i % OUTSTANDING];
		if (q->cancelled || q->cookie != cookie) continue;
		q->cancelled = true;
		if (q->remote) q->remote->pending--;
	}
	return DPI_SUCCESS;
}
