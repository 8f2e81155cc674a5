/* SPDX-License-Identifier: Apache-2.0
 * mock_cm.c: the connection manager: identifiers, and events from one to another. */
#include "mock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS = 256 };

struct channel {
	struct rdma_event_channel channel;
	struct rdma_cm_event *event[EVENTS];
	unsigned head, tail;
};
struct id {
	struct rdma_cm_id id;
	struct id *next, *peer;
	bool listens, connected, refused;
	int refusal;
	uint8_t reads, reads_served; /* that it asked for, or was asked for */
	uint8_t retries, waits;	     /* likewise */
};

static struct id *ids;
static uint16_t next_port = 20000;

static struct sockaddr_in *in(struct sockaddr *a)
{
	return (struct sockaddr_in *)(void *)a;
}

static void text_of(const struct sockaddr *a, char ip[INET6_ADDRSTRLEN])
{
	bool six = a->sa_family == AF_INET6;
	size_t at = six ? offsetof(struct sockaddr_in6, sin6_addr) : offsetof(struct sockaddr_in, sin_addr);
	inet_ntop(a->sa_family, (const char *)a + at, ip, INET6_ADDRSTRLEN);
}

static void arrive(struct rdma_cm_event *e)
{
	struct channel *c = (struct channel *)(void *)e->id->channel;
	uint64_t one = 1;
	c->event[c->tail++ % EVENTS] = e;
	if (write(c->channel.fd, &one, sizeof one) != sizeof one) abort();
}

static void tell(struct id *i, enum rdma_cm_event_type type, int status, struct id *listener, const void *data, uint8_t size)
{
	static struct rdma_cm_event *crossing[2];
	if (mock.mute || !i->id.channel) return;
	if (mock.silent) {
		mock.silent--;
		return;
	}
	if ((int)mock.instead >= 0 && (mock.instead_of < 0 || mock.instead_of == (int)type)) {
		type = mock.instead;
		status = type == RDMA_CM_EVENT_REJECTED ? 8 : -ETIMEDOUT;
		if (!mock.instead_always) mock.instead = (enum rdma_cm_event_type)-1;
	}
	struct rdma_cm_event *e = calloc(1, sizeof *e);
	e->id = &i->id;
	e->listen_id = listener ? &listener->id : NULL;
	e->event = type;
	e->status = status;
	e->param.conn.responder_resources = i->reads_served;
	e->param.conn.initiator_depth = i->reads;
	if (size) {
		uint8_t *copy = calloc(1, 196); /* as much as a reply carries, zeroed */
		memcpy(copy, data, size);
		if (mock.says) mock.says(type, copy);
		e->param.conn.private_data = copy;
		e->param.conn.private_data_len = type == RDMA_CM_EVENT_CONNECT_REQUEST ? 56 : 196;
	}
	if (type != RDMA_CM_EVENT_CONNECT_REQUEST || !mock.crossing) {
		arrive(e);
		return;
	}
	crossing[--mock.crossing] = e;
	for (int n = 0; n < 2 && !mock.crossing; n++) arrive(crossing[n]);
}

struct rdma_event_channel *rdma_create_event_channel(void)
{
	struct channel *c = mock_fails(MOCK_create_event_channel) ? NULL : calloc(1, sizeof *c);
	if (!c) return NULL;
	c->channel.fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	return &c->channel;
}

static void free_event(struct rdma_cm_event *e)
{
	bool multicast = e->event == RDMA_CM_EVENT_MULTICAST_JOIN || e->event == RDMA_CM_EVENT_MULTICAST_ERROR;
	if (!multicast) free((void *)(uintptr_t)e->param.conn.private_data);
	free(e);
}

void rdma_destroy_event_channel(struct rdma_event_channel *channel)
{
	struct channel *c = (struct channel *)(void *)channel;
	while (c->head != c->tail) {
		struct rdma_cm_event *e = c->event[c->head++ % EVENTS];
		if (e && e->event == RDMA_CM_EVENT_CONNECT_REQUEST) rdma_destroy_id(e->id);
		if (e) free_event(e);
	}
	close(c->channel.fd);
	free(c);
}

int rdma_get_cm_event(struct rdma_event_channel *channel, struct rdma_cm_event **e)
{
	struct channel *c = (struct channel *)(void *)channel;
	uint64_t n;
	do {
		if (read(channel->fd, &n, sizeof n) != sizeof n) return -1;
		*e = c->event[c->head++ % EVENTS];
	} while (!*e);
	return 0;
}
int rdma_ack_cm_event(struct rdma_cm_event *e) { return free_event(e), 0; }
const char *rdma_event_str(enum rdma_cm_event_type type) { return type == RDMA_CM_EVENT_UNREACHABLE ? "unreachable" : "an event"; }

int rdma_create_id(struct rdma_event_channel *channel, struct rdma_cm_id **id, void *user, enum rdma_port_space ps)
{
	struct id *i = mock_fails(MOCK_create_id) ? NULL : calloc(1, sizeof *i);
	if (!i) return -1;
	i->id.channel = channel;
	i->id.context = user;
	i->id.ps = ps;
	i->next = ids;
	ids = i;
	mock.ids++;
	*id = &i->id;
	return 0;
}

int rdma_destroy_id(struct rdma_cm_id *id)
{
	struct id **p = &ids, *i = (struct id *)(void *)id;
	struct channel *c = (struct channel *)(void *)id->channel;
	for (unsigned k = c ? c->head : 0; c && k != c->tail; k++) /* its events are withdrawn */
		if (c->event[k % EVENTS] && c->event[k % EVENTS]->id == id) {
			free_event(c->event[k % EVENTS]);
			c->event[k % EVENTS] = NULL;
		}
	if (i->peer) {
		i->peer->peer = NULL;
		if (i->connected) tell(i->peer, RDMA_CM_EVENT_DISCONNECTED, 0, NULL, NULL, 0);
	}
	while (*p != i) p = &(*p)->next;
	*p = i->next;
	free(i);
	mock.ids--;
	if (mock.destroyed) mock.destroyed();
	return 0;
}

int rdma_bind_addr(struct rdma_cm_id *id, struct sockaddr *a)
{
	char ip[INET6_ADDRSTRLEN];
	text_of(a, ip);
	if (mock_fails(MOCK_bind_addr)) return -1;
	for (int i = 0; i < mock.devices; i++)
		if (!mock.only[i].unconnected && !strcmp(ip, mock_address(i))) {
			id->verbs = mock_context(mock_device_of(i));
			id->port_num = mock.only[i].behind ? mock.only[i].behind : 1;
		}
	memcpy(&id->route.addr.src_storage, a, sizeof(struct sockaddr_in6));
	if (!in(&id->route.addr.src_addr)->sin_port) in(&id->route.addr.src_addr)->sin_port = htons(next_port++);
	return id->verbs ? 0 : (errno = ENODEV, -1);
}
int rdma_listen(struct rdma_cm_id *id, int backlog)
{
	(void)backlog;
	if (mock_fails(MOCK_listen)) return -1;
	((struct id *)(void *)id)->listens = true;
	return 0;
}
__be16 rdma_get_src_port(struct rdma_cm_id *id) { return in(&id->route.addr.src_addr)->sin_port; }
int rdma_set_option(struct rdma_cm_id *id, int level, int name, void *value, size_t size)
{
	return (void)id, (void)level, (void)name, (void)value, (void)size, 0;
}

int rdma_resolve_addr(struct rdma_cm_id *id, struct sockaddr *from, struct sockaddr *to, int ms)
{
	if (ms > mock.resolve_ms) mock.resolve_ms = ms;
	if (mock_fails(MOCK_resolve_addr) || rdma_bind_addr(id, from)) return -1;
	memcpy(&id->route.addr.dst_storage, to, sizeof(struct sockaddr_in6));
	tell((struct id *)(void *)id, RDMA_CM_EVENT_ADDR_RESOLVED, 0, NULL, NULL, 0);
	return 0;
}
int rdma_resolve_route(struct rdma_cm_id *id, int ms)
{
	if (ms > mock.resolve_ms) mock.resolve_ms = ms;
	if (mock_fails(MOCK_resolve_route)) return -1;
	tell((struct id *)(void *)id, RDMA_CM_EVENT_ROUTE_RESOLVED, 0, NULL, NULL, 0);
	return 0;
}

static struct id *listener(struct rdma_cm_id *id)
{
	const struct sockaddr_in *to = in(&id->route.addr.dst_addr);
	for (struct id *i = ids; i; i = i->next) {
		char here[INET6_ADDRSTRLEN], there[INET6_ADDRSTRLEN];
		if (!i->listens || in(&i->id.route.addr.src_addr)->sin_port != to->sin_port) continue;
		text_of(&i->id.route.addr.src_addr, here);
		text_of(&id->route.addr.dst_addr, there);
		if (!strcmp(here, there)) return i;
	}
	return NULL;
}

/* As librdmacm judges. */
static bool beyond_device(const struct rdma_conn_param *p)
{
	if (p->responder_resources <= mock.device.max_qp_rd_atom && p->initiator_depth <= mock.device.max_qp_init_rd_atom) return false;
	errno = EINVAL;
	return true;
}

int rdma_connect(struct rdma_cm_id *id, struct rdma_conn_param *p)
{
	struct id *me = (struct id *)(void *)id, *to = listener(id);
	struct rdma_cm_id *passive;
	if (mock_fails(MOCK_connect) || (id->channel && beyond_device(p))) return -1;
	if (!to) {
		tell(me, RDMA_CM_EVENT_REJECTED, 8, NULL, NULL, 0);
		return 0;
	}
	if (rdma_create_id(to->id.channel, &passive, NULL, RDMA_PS_TCP)) return -1;
	struct id *other = (struct id *)(void *)passive;
	passive->verbs = to->id.verbs;
	passive->port_num = to->id.port_num;
	memcpy(&passive->route.addr.dst_storage, &id->route.addr.src_storage, sizeof(struct sockaddr_in6));
	memcpy(&passive->route.addr.src_storage, &id->route.addr.dst_storage, sizeof(struct sockaddr_in6));
	me->peer = other;
	other->peer = me;
	me->reads = other->reads_served = p->initiator_depth;
	me->reads_served = other->reads = p->responder_resources;
	other->retries = p->retry_count;
	other->waits = p->rnr_retry_count;
	tell(other, RDMA_CM_EVENT_CONNECT_REQUEST, 0, to, p->private_data, p->private_data_len);
	return 0;
}

int rdma_disconnect(struct rdma_cm_id *id)
{
	struct id *i = (struct id *)(void *)id;
	if (!i->connected) return errno = EINVAL, -1;
	i->connected = false;
	if (i->peer) tell(i->peer, RDMA_CM_EVENT_DISCONNECTED, 0, NULL, NULL, 0);
	tell(i, RDMA_CM_EVENT_DISCONNECTED, 0, NULL, NULL, 0);
	return 0;
}

int rdma_reject(struct rdma_cm_id *id, const void *data, uint8_t size)
{
	struct id *i = (struct id *)(void *)id;
	if (!i->peer) return 0;
	i->peer->refused = true;
	i->peer->refusal = (int)(wire_load(data) >> 48);
	tell(i->peer, RDMA_CM_EVENT_REJECTED, 28, NULL, data, size);
	i->peer->peer = NULL;
	i->peer = NULL;
	if (!mock.gone) return 0;
	errno = EINVAL;
	return -1;
}

int rdma_accept(struct rdma_cm_id *id, struct rdma_conn_param *p)
{
	struct id *i = (struct id *)(void *)id;
	if (mock_fails(MOCK_accept) || !i->peer || beyond_device(p)) return -1;
	if (p->responder_resources > i->peer->reads || p->initiator_depth > i->peer->reads_served) { /* the other device cannot be set to it */
		tell(i->peer, RDMA_CM_EVENT_CONNECT_ERROR, -EINVAL, NULL, NULL, 0);
		return 0;
	}
	mock_qp_pair(id->qp, i->peer->id.qp);
	mock_qp_retries(id->qp, i->retries, i->waits); /* as the asker said */
	if (i->peer->id.qp) mock_qp_retries(i->peer->id.qp, i->retries, p->rnr_retry_count); /* as each said */
	i->connected = i->peer->connected = true;
	tell(i->peer, RDMA_CM_EVENT_ESTABLISHED, 0, NULL, p->private_data, p->private_data_len);
	if (mock.brief) tell(i->peer, RDMA_CM_EVENT_DISCONNECTED, 0, NULL, NULL, 0);
	tell(i, RDMA_CM_EVENT_ESTABLISHED, 0, NULL, NULL, 0);
	return 0;
}

/* ------------------------------------------------------------------------------------------------------- multicast */

int rdma_join_multicast_ex(struct rdma_cm_id *id, struct rdma_cm_join_mc_attr_ex *a, void *user)
{
	uint32_t group = ntohl(in(a->addr)->sin_addr.s_addr);
	bool member = a->join_flags == RDMA_MC_JOIN_FLAG_FULLMEMBER;
	if (mock_fails(MOCK_join_multicast)) return -1;
	struct rdma_cm_event *e = calloc(1, sizeof *e);
	e->id = id;
	e->status = !member && mock.no_send_only ? -EOPNOTSUPP : mock.join_status;
	e->event = e->status ? RDMA_CM_EVENT_MULTICAST_ERROR : RDMA_CM_EVENT_MULTICAST_JOIN;
	e->param.ud.private_data = user;
	e->param.ud.qp_num = 0xffffff;
	memcpy(e->param.ud.ah_attr.grh.dgid.raw + 12, &group, 4);
	if (!e->status && member) mock_attach(id->qp, group);
	arrive(e);
	return 0;
}

int rdma_leave_multicast(struct rdma_cm_id *id, struct sockaddr *a)
{
	if (id->qp) mock_detach(id->qp, ntohl(in(a)->sin_addr.s_addr));
	return 0;
}

/* ------------------------------------------------------------------------------------------------------ on demand */

void mock_cm_event(DPI_Tp_Endpoint *c, enum rdma_cm_event_type type, int status)
{
	tell((struct id *)(void *)c->id, type, status, NULL, NULL, 0);
}

void mock_own_event(DPI_Tp *tp, enum rdma_cm_event_type type)
{
	tell((struct id *)(void *)tp->listener[0], type, 0, NULL, NULL, 0);
}

struct rdma_cm_id *mock_stranger(const DPI_Tp *tp, const void *bytes, uint8_t size)
{
	struct rdma_cm_id *id;
	struct rdma_conn_param p = { .private_data = bytes, .private_data_len = size };
	struct sockaddr_storage to;
	if (rdma_create_id(NULL, &id, NULL, RDMA_PS_TCP)) return NULL;
	dpi_verbs_socket(&tp->self.host[0], tp->self.host[0].port, &to);
	memcpy(&id->route.addr.dst_storage, &to, sizeof(struct sockaddr_in6));
	in(&id->route.addr.src_addr)->sin_family = AF_INET;
	in(&id->route.addr.src_addr)->sin_addr.s_addr = htonl(0x0a090001u);
	return rdma_connect(id, &p) ? NULL : id;
}

int mock_stranger_refused(struct rdma_cm_id *id)
{
	const struct id *i = (struct id *)(void *)id;
	return i->refused ? i->refusal : -1;
}

void mock_stranger_end(struct rdma_cm_id *id)
{
	rdma_destroy_id(id);
}
