/* SPDX-License-Identifier: Apache-2.0
 * buffer.c: what the provider has in its hands: operations, and buffers of messages.
 *
 * An operation of a closed endpoint may still come out of the completion queue, so its memory is not used anew before that queue has
 * been seen empty. */
#include <stdlib.h>
#include <sys/mman.h>

#include "fabric.h"

struct fabric_slab {
	struct fabric_slab *next;
	uint8_t *bytes; /* NULL: operations without buffers */
	struct fid_mr *mr;
	struct fabric_op op[SLAB];
};

static struct fabric_slab *slab(DPI_Tp *tp, bool buffers)
{
	struct fabric_slab *s = calloc(1, sizeof *s);
	if (!s) return NULL;
	size_t size = SLAB * tp->message;
	if (buffers) {
		s->bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (s->bytes == MAP_FAILED) s->bytes = NULL;
		int error = s->bytes ? 0 : -FI_ENOMEM;
		if (!error && tp->mr_local) error = dpi_fabric_register(tp, NULL, s->bytes, size, FI_SEND | FI_RECV, &s->mr);
		if (error) {
			dpi_fabric_log(tp, "no buffers: %s: %s", fi_strerror(-error), dpi_fabric_error(error)->meaning);
			if (s->bytes) munmap(s->bytes, size);
			free(s);
			return NULL;
		}
	}
	struct fabric_op **list = buffers ? &tp->free_buffers : &tp->free_ops;
	for (int i = 0; i < SLAB; i++) {
		s->op[i].bytes = buffers ? s->bytes + (size_t)i * tp->message : NULL;
		s->op[i].desc = s->mr ? fi_mr_desc(s->mr) : NULL;
		s->op[i].next = *list;
		*list = &s->op[i];
	}
	s->next = tp->slabs;
	tp->slabs = s;
	return s;
}

struct fabric_op *dpi_fabric_op(DPI_Tp_Endpoint *c, enum fabric_kind kind)
{
	DPI_Tp *tp = c->tp;
	bool buffer = kind != OP_DIRECT;
	struct fabric_op **list = buffer ? &tp->free_buffers : &tp->free_ops;
	if (!*list && !slab(tp, buffer)) return NULL;
	struct fabric_op *op = *list;
	*list = op->next;
	op->kind = kind;
	op->endpoint = c;
	op->item = NULL;
	op->next = c->ops;
	op->link = &c->ops;
	if (op->next) op->next->link = &op->next;
	c->ops = op;
	return op;
}

void dpi_fabric_op_done(DPI_Tp *tp, struct fabric_op *op)
{
	*op->link = op->next;
	if (op->next) op->next->link = op->link;
	struct fabric_op **list = op->bytes ? &tp->free_buffers : &tp->free_ops;
	op->endpoint = NULL;
	op->next = *list;
	*list = op;
}

void dpi_fabric_orphan(DPI_Tp_Endpoint *c)
{
	DPI_Tp *tp = c->tp;
	while (c->ops) {
		struct fabric_op *op = c->ops;
		c->ops = op->next;
		if (op->next) op->next->link = &c->ops;
		op->endpoint = NULL;
		op->item = NULL;
		op->next = tp->limbo;
		op->link = &tp->limbo;
		if (op->next) op->next->link = &op->next;
		tp->limbo = op;
	}
	if (c->held) tp->holding--;
	c->held = NULL;
	memset(c->early, 0, sizeof c->early);
	c->waiting = 0;
	c->sends = c->directs = c->writes = 0;
}

void dpi_fabric_limbo_end(DPI_Tp *tp)
{
	while (tp->limbo) dpi_fabric_op_done(tp, tp->limbo);
}

int dpi_fabric_receive(DPI_Tp_Endpoint *c, struct fabric_op *op)
{
	ssize_t n = fi_recv(c->ep, op->bytes, c->tp->message, op->desc, FI_ADDR_UNSPEC, &op->context);
	if (n) dpi_fabric_op_done(c->tp, op);
	return (int)n;
}

void dpi_fabric_receive_again(DPI_Tp_Endpoint *c, struct fabric_op *op)
{
	if (!op->endpoint || !c->ep || c->broken) {
		dpi_fabric_op_done(c->tp, op);
		return;
	}
	*op->link = op->next; /* fresh completions behind old ones */
	if (op->next) op->next->link = op->link;
	op->next = c->ops;
	op->link = &c->ops;
	if (op->next) op->next->link = &op->next;
	c->ops = op;
	int error = dpi_fabric_receive(c, op);
	if (error && !c->broken) c->broken = -error;
}

void dpi_fabric_buffers_close(DPI_Tp *tp)
{
	while (tp->slabs) {
		struct fabric_slab *s = tp->slabs;
		tp->slabs = s->next;
		if (s->mr) fi_close(&s->mr->fid);
		if (s->bytes) munmap(s->bytes, SLAB * tp->message);
		free(s);
	}
}
