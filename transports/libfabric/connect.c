/* SPDX-License-Identifier: Apache-2.0
 * connect.c: how links come about, from both sides.
 *
 * Who connects says hello: over a new connection (FI_EP_MSG), or to the address of the other's door from an endpoint of its own (FI_EP_RDM).
 * The answer, a welcome, comes over the connection, or from an endpoint made for this peer, whose address is in it. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "fabric.h"

static int name_of(struct fid *fid, uint8_t bytes[WIRE_ADDRESS], size_t *size)
{
	*size = WIRE_ADDRESS;
	return fi_getname(fid, bytes, size);
}

int dpi_fabric_door(DPI_Tp *tp)
{
	size_t size;
	int error;
	if (tp->choice.message) {
		error = fi_passive_ep(tp->fabric, tp->choice.info, &tp->pep, tp);
		if (error) tp->pep = NULL;
		if (!error) error = fi_pep_bind(tp->pep, &tp->eq->fid, 0);
		if (!error) error = fi_listen(tp->pep);
		if (!error) error = name_of(&tp->pep->fid, tp->address, &size);
	} else {
		tp->door = dpi_fabric_link(tp, tp->choice.info, STATE_DOOR);
		if (!tp->door) return DPI_ERR_TRANSPORT; /* the sentence is said */
		error = name_of(&tp->door->ep->fid, tp->address, &size);
	}
	if (!error && (!size || size > WIRE_ADDRESS)) error = -FI_EOTHER;
	if (error) return dpi_fabric_fail(tp, error, "nothing can be listened at on %s", tp->choice.where);
	tp->address_size = (uint32_t)size;
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------ the accepting side */

static const char *const refusals[] = { "", "it speaks another version of the protocol", "it looks for an earlier process at this address",
					"no endpoint can be opened for it" };

/* Answer a hello. over: the link, or the door. */
static bool welcome(DPI_Tp_Endpoint *over, DPI_Tp_Endpoint *link, enum wire_status status)
{
	DPI_Tp *tp = over->tp;
	struct wire_frame a = { .op = WIRE_WELCOME, .slot = status };
	uint8_t address[WIRE_ADDRESS];
	size_t size = 0;
	a.word[2] = link ? link->tag : 0;
	a.word[3] = (uint32_t)tp->core->node;
	a.word[4] = status == WIRE_ACCEPTED ? tp->core->incarnation : 0;
	if (link && !tp->choice.message && (name_of(&link->ep->fid, address, &size) || size > WIRE_ADDRESS)) return false;
	struct iovec v = { address, size };
	if (!link) return !dpi_fabric_message(over, &a, NULL, 0, false);
	if (!dpi_fabric_message(over, &a, &v, 1, false)) return true;
	struct fabric_item *i = dpi_fabric_item(over, ITEM_FRAME, false);
	if (!i || !(i->copy = malloc(WIRE_ADDRESS))) {
		if (i) dpi_fabric_item_free(over, i);
		return false;
	}
	memcpy(i->copy, address, size);
	a.length = (uint32_t)size;
	i->frame = a;
	dpi_fabric_enqueue(over, i);
	return true;
}

static void dismiss(DPI_Tp_Endpoint *c)
{
	if (c->state == STATE_HELLO) c->tp->strangers--;
	if (c->state == STATE_DOOR) return;
	c->state = STATE_GONE;
	c->tp->graves = true;
}

static void turn_away(DPI_Tp_Endpoint *c, const struct wire_frame *f, fi_addr_t to, enum wire_status status)
{
	dpi_fabric_log(c->tp, "refused a hello that says it is of node %d: %s", (int)f->word[4], refusals[status]);
	if (c->state == STATE_DOOR) c->to = to;
	c->tag_theirs = f->word[7];
	welcome(c, NULL, status);
	if (c->state == STATE_DOOR) c->to = FI_ADDR_UNSPEC;
	dismiss(c);
}

/* Two nodes that connect to each other at once are to have one link, that of the lower number: the other one takes it, and the lower one
 * does not answer the other's hello before its own has failed. */
static DPI_Tp_Endpoint *opening(const DPI_Tp *tp, int node, uint64_t incarnation)
{
	for (DPI_Tp_Endpoint *c = tp->links; c && node != tp->core->node; c = c->next)
		if (c->state == STATE_OPENING && c->node == node && c->incarnation == incarnation) return c;
	return NULL;
}

void dpi_fabric_hello(DPI_Tp_Endpoint *c, const struct wire_frame *f, const uint8_t *address)
{
	DPI_Tp *tp = c->tp;
	bool door = c->state == STATE_DOOR;
	fi_addr_t to = FI_ADDR_UNSPEC;
	/* the token first, in a time that does not depend on where it differs */
	if (((f->word[2] ^ tp->token[0]) | (f->word[3] ^ tp->token[1])) || f->word[4] > INT32_MAX) {
		dpi_fabric_log(tp, "somebody said hello who does not know this node's token; dropped");
		dismiss(c);
		return;
	}
	uint8_t bytes[WIRE_ADDRESS] = { 0 };
	memcpy(bytes, address, f->length);
	if (door && (f->length != tp->address_size || fi_av_insert(tp->av, bytes, 1, &to, 0, NULL) != 1)) {
		dpi_fabric_log(tp, "node %d said hello from an address of no use", (int)f->word[4]);
		return;
	}
	if (f->word[1] != WIRE_VERSION || f->word[6] != tp->core->incarnation) {
		turn_away(c, f, to, f->word[1] != WIRE_VERSION ? WIRE_OTHER_VERSION : WIRE_OTHER_INCARNATION);
		return;
	}
	DPI_Tp_Endpoint *own = opening(tp, (int)f->word[4], f->word[5]);
	DPI_Tp_Endpoint *link = door ? dpi_fabric_link(tp, tp->choice.info, STATE_OPEN) : c;
	if (!link) {
		turn_away(c, f, to, WIRE_NO_ENDPOINT);
		return;
	}
	if (door) link->to = to;
	else tp->strangers--;
	link->state = STATE_OPEN;
	link->node = (int)f->word[4];
	link->incarnation = f->word[5];
	link->tag_theirs = f->word[7];
	link->heard = dpi_fabric_now();
	link->deferred = own && tp->core->node < link->node;
	if (link->deferred) return;
	if (own) own->crossed = true;
	if (!welcome(link, link, WIRE_ACCEPTED)) dpi_fabric_lose(link, "the hello of node %d could not be answered", link->node);
}

static void knock(DPI_Tp *tp, struct fi_info *info)
{
	if (tp->strangers >= STRANGERS) {
		dpi_fabric_log(tp, "%d connections have not said hello; turned another one away", STRANGERS);
		fi_reject(tp->pep, info->handle, NULL, 0);
		return;
	}
	DPI_Tp_Endpoint *c = dpi_fabric_link(tp, info, STATE_HELLO);
	if (!c) {
		fi_reject(tp->pep, info->handle, NULL, 0);
		return;
	}
	tp->strangers++;
	c->deadline = dpi_fabric_now() + HELLO_US;
	int error = fi_accept(c->ep, NULL, 0);
	if (error) {
		dpi_fabric_log(tp, "a connection could not be accepted: %s: %s", fi_strerror(-error), dpi_fabric_error(error)->meaning);
		dismiss(c);
	}
}

void dpi_fabric_expire(DPI_Tp *tp)
{
	int64_t now = dpi_fabric_now();
	for (DPI_Tp_Endpoint *c = tp->links; c; c = c->next)
		if (c->state == STATE_HELLO && c->deadline < now) {
			dpi_fabric_log(tp, "somebody connected and said nothing for %d s; closed", HELLO_US / 1000000);
			dismiss(c);
		}
}

/* ---------------------------------------------------------------------------------------------------------- events */

static DPI_Tp_Endpoint *link_of(DPI_Tp *tp, const struct fid *fid)
{
	DPI_Tp_Endpoint *c = tp->links;
	while (c && (!c->ep || &c->ep->fid != fid)) c = c->next;
	return c;
}

static void event_failed(DPI_Tp *tp)
{
	struct fi_eq_err_entry e = { 0 };
	if (fi_eq_readerr(tp->eq, &e, 0) < 0) return;
	DPI_Tp_Endpoint *c = e.fid ? link_of(tp, e.fid) : NULL;
	if (!c) return;
	if (c->state == STATE_HELLO) {
		dismiss(c);
		return;
	}
	if (c->state == STATE_OPENING) {
		const struct fabric_error *why = dpi_fabric_error(e.err);
		c->refused = why->class == DPI_ERR_TRANSPORT ? DPI_ERR_PEER : why->class;
		dpi_fabric_lose(c, "%s; %s", fi_strerror(e.err), why->meaning);
		return;
	}
	dpi_fabric_broke(c, e.err ? e.err : FI_EOTHER);
}

void dpi_fabric_events(DPI_Tp *tp)
{
	union { /* connection data, of which there is none, would follow the entry */
		uint8_t bytes[sizeof(struct fi_eq_cm_entry) + 512];
		uint64_t align;
	} room;
	struct fi_eq_cm_entry cm;
	uint32_t event;
	for (int i = 0; i < STRANGERS; i++) {
		ssize_t n = fi_eq_read(tp->eq, &event, room.bytes, sizeof room.bytes, 0);
		if (n == -FI_EAVAIL) {
			event_failed(tp);
			tp->events++;
			continue;
		}
		if (n < (ssize_t)sizeof cm) return;
		memcpy(&cm, room.bytes, sizeof cm);
		tp->events++;
		if (event == FI_CONNREQ) {
			knock(tp, cm.info);
			fi_freeinfo(cm.info);
			continue;
		}
		DPI_Tp_Endpoint *c = link_of(tp, cm.fid);
		if (!c) continue;
		if (event == FI_CONNECTED) c->connected = true;
		if (event != FI_SHUTDOWN) continue;
		dpi_fabric_drain(tp); /* what the peer sent before may say why */
		c = link_of(tp, cm.fid);
		if (!c) continue;
		if (c->state == STATE_HELLO) dismiss(c);
		else dpi_fabric_lose(c, "node %d closed the %s connection without a goodbye; its process has probably died", c->node, tp->choice.name);
	}
}

/* ------------------------------------------------------------------------------------------------ the connecting side */

/* Say hello as soon as the provider takes it. */
void dpi_fabric_greet(DPI_Tp_Endpoint *c)
{
	DPI_Tp *tp = c->tp;
	struct wire_frame f = { .op = WIRE_HELLO };
	uint8_t address[WIRE_ADDRESS];
	size_t size = 0;
	if (tp->choice.message && !c->connected) return;
	int error = tp->choice.message ? 0 : name_of(&c->ep->fid, address, &size);
	if (error || size > WIRE_ADDRESS) {
		c->broken = error ? -error : FI_EOTHER;
		return;
	}
	f.word[1] = WIRE_VERSION;
	f.word[2] = c->token[0];
	f.word[3] = c->token[1];
	f.word[4] = (uint32_t)tp->core->node;
	f.word[5] = tp->core->incarnation;
	f.word[6] = c->incarnation;
	f.word[7] = c->tag;
	struct iovec v = { address, size };
	c->greeted = !dpi_fabric_message(c, &f, &v, 1, false);
}

void dpi_fabric_welcome(DPI_Tp_Endpoint *c, const struct wire_frame *f, const uint8_t *address)
{
	DPI_Tp *tp = c->tp;
	uint8_t bytes[WIRE_ADDRESS] = { 0 };
	fi_addr_t to = FI_ADDR_UNSPEC;
	if (f->word[1] != c->tag) {
		dpi_fabric_log(tp, "dropped a welcome that nobody waits for");
		return;
	}
	if (f->slot == WIRE_OTHER_VERSION) c->refused = DPI_ERR_VERSION;
	if (f->slot != WIRE_ACCEPTED) {
		dpi_fabric_lose(c, "%s", f->slot == WIRE_OTHER_VERSION	? "it speaks another version of the protocol"
					 : f->slot == WIRE_NO_ENDPOINT	? "it can open no endpoint for another link; its log says why"
									: "another process is there");
		return;
	}
	if (f->word[3] != (uint32_t)c->node || f->word[4] != c->incarnation) {
		dpi_fabric_lose(c, "another process answered");
		return;
	}
	memcpy(bytes, address, f->length);
	if (!tp->choice.message && (f->length != tp->address_size || fi_av_insert(tp->av, bytes, 1, &to, 0, NULL) != 1)) {
		dpi_fabric_lose(c, "it answered from an address of no use");
		return;
	}
	if (!tp->choice.message) c->to = to;
	c->tag_theirs = f->word[2];
	c->heard = dpi_fabric_now();
	c->stuck = 0;
	c->state = STATE_OPEN;
}

static DPI_Tp_Endpoint *existing(DPI_Tp *tp, const DPI_Tp_Peer *peer)
{
	for (DPI_Tp_Endpoint *c = tp->links; c; c = c->next)
		if (c->state == STATE_OPEN && !c->claimed && !c->deferred && !c->broken && c->node == peer->node && c->incarnation == peer->incarnation) return c;
	return NULL;
}

/* The link on its way; NULL with the sentence. */
static DPI_Tp_Endpoint *begin(DPI_Tp *tp, const DPI_Tp_Peer *peer, struct fabric_address *a, int *class)
{
	struct fi_info *info = fi_dupinfo(tp->choice.info);
	*class = DPI_ERR_MEMORY;
	if (info && tp->choice.message) {
		free(info->dest_addr);
		info->dest_addr = malloc(a->size);
		info->dest_addrlen = a->size;
		if (info->dest_addr) memcpy(info->dest_addr, a->bytes, a->size);
	}
	if (!info || (tp->choice.message && !info->dest_addr)) {
		if (info) fi_freeinfo(info);
		fabric_fail(tp, DPI_ERR_MEMORY, "no memory for a libfabric link to node %d", peer->node);
		return NULL;
	}
	DPI_Tp_Endpoint *c = dpi_fabric_link(tp, info, STATE_OPENING);
	fi_freeinfo(info);
	*class = DPI_ERR_TRANSPORT;
	if (!c) return NULL;
	c->node = peer->node;
	c->incarnation = peer->incarnation;
	c->token[0] = a->token[0];
	c->token[1] = a->token[1];
	int error = tp->choice.message ? fi_connect(c->ep, a->bytes, NULL, 0) : fi_av_insert(tp->av, a->bytes, 1, &c->to, 0, NULL) == 1 ? 0 : -FI_EINVAL;
	if (!error) return c;
	const struct fabric_error *why = dpi_fabric_error(error);
	*class = DPI_ERR_PEER;
	fabric_fail(tp, DPI_ERR_PEER, "node %d cannot be reached over %s: %s; %s", peer->node, tp->choice.name, fi_strerror(-error), why->meaning);
	dpi_fabric_forget(c);
	return NULL;
}

/* Everybody else is served meanwhile: the peer may be waiting for this node in the same way. */
static void await(DPI_Tp *tp, const DPI_Tp_Endpoint *c, int64_t end)
{
	for (;;) {
		tp->armed = true; /* look at connection events too */
		dpi_fabric_progress(tp, 0, NULL);
		int64_t now = dpi_fabric_now(), left = end - now;
		if (c->state != STATE_OPENING || c->crossed || left <= 0) return;
		if (left > 2000) left = 2000; /* not every provider tells by its descriptor how a connection fares */
		int64_t again = (now - c->stuck) / NAP_SHARE > 200 ? (now - c->stuck) / NAP_SHARE : 200;
		if (c->stuck && left > again) left = again;
		struct pollfd p = { .fd = tp->timer_fd < 0 ? tp->epoll_fd : -1, .events = POLLIN };
		struct timespec t = { 0, left * 1000 };
		ppoll(&p, 1, &t, NULL);
	}
}

/* Wait for own, or take the peer's link if the two have crossed. */
static DPI_Tp_Endpoint *settle(DPI_Tp *tp, DPI_Tp_Endpoint *own, const DPI_Tp_Peer *peer, int64_t end)
{
	DPI_Tp_Endpoint *c = own;
	await(tp, own, end);
	if (own->crossed && own->state == STATE_OPENING) {
		c = existing(tp, peer);
		own->crossed = false;
		if (!c) { /* lost again */
			c = own;
			await(tp, own, end);
		}
	}
	for (DPI_Tp_Endpoint *d = tp->links; d; d = d->next) {
		if (!d->deferred || d->node != peer->node || d->state != STATE_OPEN) continue;
		d->deferred = false;
		if (c->state == STATE_OPEN || d->incarnation != peer->incarnation || !welcome(d, d, WIRE_ACCEPTED)) dismiss(d);
		else c = d;
	}
	if (c != own) dpi_fabric_forget(own);
	return c;
}

int dpi_fabric_connect(DPI_Tp *tp, uint32_t lane, const DPI_Tp_Peer *peer, int64_t timeout_us, DPI_Tp_Endpoint **endpoint)
{
	struct fabric_address a;
	int64_t start = dpi_fabric_now();
	if (lane) return fabric_fail(tp, DPI_ERR_ARGUMENT, "libfabric has one lane, there is no lane %u", lane);
	bool understood = !dpi_fabric_address_parse(peer->address, peer->address_size, &a);
	if (!understood || a.incarnation != peer->incarnation)
		return fabric_fail(tp, DPI_ERR_PEER,
				   "the libfabric address of node %d is %s; use the same library on every node and start a dead node anew", peer->node,
				   understood ? "that of an earlier or later process" : "not one this library understands");
	if (a.message != tp->choice.message || strcmp(a.provider, tp->choice.name) || (!a.message && a.size != tp->address_size))
		return fabric_fail(tp, DPI_ERR_PEER, "node %d uses libfabric's provider %s, this node %s; name one of them in DPI_FABRIC on every node",
				   peer->node, a.provider, tp->choice.name);
	if (tp->choice.local && !peer->same_host)
		return fabric_fail(tp, DPI_ERR_PEER, "node %d is on another host, which provider %s does not reach", peer->node, tp->choice.name);
	tp->armed = true;
	dpi_fabric_progress(tp, 0, NULL);
	DPI_Tp_Endpoint *c = existing(tp, peer);
	if (!c) {
		int class;
		c = begin(tp, peer, &a, &class);
		if (!c) return class;
		c->claimed = true; /* so that no other connect takes it */
		c = settle(tp, c, peer, timeout_us > INT64_MAX - start ? INT64_MAX : start + timeout_us);
	}
	if (c->state == STATE_OPEN) {
		c->claimed = true;
		*endpoint = c;
		return DPI_SUCCESS;
	}
	int class = c->state == STATE_OPENING ? DPI_ERR_TIMEOUT : c->refused ? c->refused : DPI_ERR_PEER;
	fabric_fail(tp, class, "node %d cannot be reached over libfabric (%s) within %lld ms: %s; check that its process runs and that no firewall stands between",
		    peer->node, tp->choice.name, (long long)(timeout_us / 1000), c->state == STATE_OPENING ? "it did not answer in time" : c->why);
	dpi_fabric_forget(c);
	return class;
}
