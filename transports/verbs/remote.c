/* SPDX-License-Identifier: Apache-2.0
 * remote.c: windows of peers. A remote asks the target for what its key stands for, and waits a little for the answer; until
 * it is here, posts return DPI_ERR_AGAIN. */
#include <sched.h>
#include <stdlib.h>

#include "verbs.h"

int dpi_verbs_attach(DPI_Tp_Endpoint *c, const DPI_Tp_Key *key, uint64_t length, DPI_Tp_Remote **remote, void **direct)
{
	DPI_Tp *tp = c->tp;
	if (c->state != STATE_OPEN || c->broken) return dpi_verbs_dead(c);
	uint64_t first = wire_load(key->bytes);
	if (key->size != KEY_SIZE || (uint8_t)first != KEY_VERSION || first >> 16)
		return verbs_fail(tp, DPI_ERR_CORRUPT,
				  "%u bytes of version %u are not a key of this verbs transport (%d bytes, version %d); use the same library on every node",
				  key->size, (unsigned)(uint8_t)first, KEY_SIZE, KEY_VERSION);
	uint64_t incarnation = wire_load(key->bytes + 32), has = wire_load(key->bytes + 24);
	if (incarnation != c->incarnation || wire_load(key->bytes + 40) != (uint32_t)c->node)
		return verbs_fail(tp, DPI_ERR_PEER,
				  "the key is not of node %d as it runs now: its process has been replaced, or the key is another node's; open the buffer again",
				  c->node);
	if (length > has)
		return verbs_fail(tp, DPI_ERR_RANGE, "the window of node %d has %llu bytes, not %llu", c->node, (unsigned long long)has,
				  (unsigned long long)length);
	DPI_Tp_Remote *r = calloc(1, sizeof *r);
	if (r) r->id = dpi_verbs_table_add(&tp->remotes, r);
	if (!r || !r->id) {
		free(r);
		return verbs_fail(tp, DPI_ERR_MEMORY, "no memory to attach a window of node %d", c->node);
	}
	r->endpoint = c;
	r->tp = tp;
	r->length = length;
	r->access = (uint8_t)(first >> 8);
	r->next = c->remotes;
	r->link = &c->remotes;
	if (r->next) r->next->link = &r->next;
	c->remotes = r;
	dpi_verbs_request(c, WIRE_ATTACH, (uint64_t[]){ r->id, wire_load(key->bytes + 8), wire_load(key->bytes + 16) });
	dpi_verbs_serve_queues(c);
	for (int64_t end = dpi_verbs_now() + ATTACH_US; r->state == REMOTE_ASKING && c->state == STATE_OPEN && dpi_verbs_now() < end;)
		if (!dpi_verbs_peek(tp)) sched_yield();
	*remote = r;
	*direct = NULL;
	return DPI_SUCCESS;
}

void dpi_verbs_remote_free(DPI_Tp_Remote *r)
{
	*r->link = r->next;
	if (r->next) r->next->link = r->link;
	dpi_verbs_table_remove(&r->tp->remotes, r->id);
	free(r);
}

static void give_back(DPI_Tp_Remote *r)
{
	DPI_Tp_Endpoint *c = r->endpoint;
	if (c->state == STATE_OPEN) dpi_verbs_request(c, WIRE_DETACH, &r->attachment);
}

int dpi_verbs_detach(DPI_Tp_Remote *r)
{
	DPI_Tp_Endpoint *c = r->endpoint;
	if (r->pending)
		return verbs_fail(r->tp, DPI_ERR_AGAIN, "%u operations on the window are under way; make progress and try again", r->pending);
	/* puts that were copied are under way still, but before this message */
	if (r->state == REMOTE_READY) give_back(r);
	dpi_verbs_remote_free(r);
	dpi_verbs_serve_queues(c);
	return DPI_SUCCESS;
}

/* The answer to ATTACH. A remote that has been detached meanwhile gives back what it was given. */
void dpi_verbs_attached(DPI_Tp_Endpoint *c, const struct wire_message *m)
{
	DPI_Tp_Remote *r = dpi_verbs_table_find(&c->tp->remotes, m->word[0]);
	if (!r) {
		if (!m->word[1]) dpi_verbs_request(c, WIRE_DETACH, &m->word[2]);
		return;
	}
	if (r->endpoint != c || r->state != REMOTE_ASKING || (!m->word[1] && m->word[4] < r->length)) {
		dpi_verbs_refuse(c, "it says of a window what it was not asked");
		return;
	}
	if (m->word[1]) {
		r->state = REMOTE_REFUSED;
		r->refusal = m->word[1] == DPI_ERR_CORRUPT || m->word[1] == DPI_ERR_MEMORY ? (int)m->word[1] : DPI_ERR_DESTROYED;
		return;
	}
	r->state = REMOTE_READY;
	r->attachment = m->word[2];
	r->address = m->word[3];
	r->rkey = (uint32_t)m->word[5];
}

void dpi_verbs_remote_idle(DPI_Tp_Remote *r)
{
	give_back(r);
	r->state = REMOTE_REFUSED;
	r->refusal = DPI_ERR_DESTROYED;
}

void dpi_verbs_revoked(DPI_Tp_Endpoint *c, uint64_t id)
{
	DPI_Tp_Remote *r = dpi_verbs_table_find(&c->tp->remotes, id);
	if (!r || r->endpoint != c || r->state != REMOTE_READY) return; /* it has been given back already */
	r->state = REMOTE_REVOKED;
	if (!r->pending) dpi_verbs_remote_idle(r);
}
