/* SPDX-License-Identifier: Apache-2.0
 * mock.c: libfabric's calls, played. */
#include "mock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mock mock;

/* -------------------------------------------------------------------------------------------------------- objects */

struct landing { /* a write on its way */
	struct landing *next;
	const struct end *target;
	struct fi_rma_iov to;
	uint8_t *bytes;
};
struct done { /* a completion */
	struct done *next;
	struct landing *write; /* lands when this is read, at the latest */
	void *context;
	size_t size;
	int code;
	const void *owner;
};
struct queue {
	struct fid_cq cq;
	struct done *head;
	int fd;
	bool stale; /* it waits for an endpoint that is closed */
};
struct event {
	struct event *next;
	uint32_t kind; /* 0: an error */
	struct fid *fid;
	struct fi_info *info;
	int code;
};
struct events {
	struct fid_eq eq;
	struct event *head;
	int fd;
};
struct posted {
	struct posted *next;
	void *bytes, *context;
	size_t size;
};
struct message {
	struct message *next;
	uint8_t *bytes;
	size_t size;
};
struct end { /* an endpoint, active or passive */
	union {
		struct fid_ep ep;
		struct fid_pep pep;
	};
	struct end *next;
	bool passive, datagrams, enabled;
	uint16_t port;
	struct queue *queue;
	struct events *events;
	struct end *peer; /* MSG */
	struct posted *buffers;
	struct message *waiting;
	struct landing *writes; /* nothing says yet when they land */
};
struct region {
	struct fid_mr mr;
	struct region *next;
	uint8_t *at;
	size_t size;
	uint64_t access;
	struct end *end; /* it is bound to */
	uint64_t key;	 /* that mr has when it is enabled */
	bool enabled;
};
struct table {
	struct fid_av av;
};
static struct end *ends;
static struct region *regions;
static uint16_t next_port = 1;

/* Does this call fail now? */
static int fault(enum mock_call call)
{
	mock.calls[call]++;
	if (!mock.fail[call]) return 0;
	if (mock.after[call]) {
		mock.after[call]--;
		return 0;
	}
	int code = mock.fail[call];
	if (mock.times[call] && !--mock.times[call]) mock.fail[call] = 0;
	return -code;
}

void mock_reset(void)
{
	mock = (struct mock){ .provider = "mock", .ip = INADDR_LOOPBACK, .types = 3, .order = FI_ORDER_SAS | FI_ORDER_SAW, .key_size = 8, .inject = 64,
			      .message = 1 << 20, .tx_size = 256, .iov_limit = 4 };
}

static void *object(size_t size)
{
	void *o = calloc(1, size);
	mock.objects++;
	return o;
}

static void gone(void *o)
{
	mock.objects--;
	free(o);
}

static void poke(int fd)
{
	uint64_t one = 1;
	if (fd >= 0 && write(fd, &one, sizeof one) < 0) abort();
}

static void unpoke(int fd)
{
	uint64_t all;
	if (fd >= 0 && read(fd, &all, sizeof all) < 0) return;
}

/* --------------------------------------------------------------------------------------------------- writes on their way */

static bool of_endpoints(void)
{
	return mock.mr_mode & FI_MR_ENDPOINT;
}

/* Where in a region; NULL: nowhere. */
static uint8_t *place(const struct end *target, const struct fi_rma_iov *v, uint64_t need)
{
	struct region *r = regions;
	while (r && fi_mr_key(&r->mr) != v->key) r = r->next;
	if (!r || !(r->access & need) || !r->enabled || (of_endpoints() && r->end != target)) return NULL;
	uint64_t at = v->addr - (mock.mr_mode & FI_MR_VIRT_ADDR ? (uintptr_t)r->at : 0);
	return at > r->size || v->len > r->size - at ? NULL : r->at + at;
}

static void end_of(struct landing *w, bool land)
{
	uint8_t *to = w && land ? place(w->target, &w->to, FI_REMOTE_WRITE) : NULL;
	if (to) memcpy(to, w->bytes, w->to.len);
	if (w) free(w->bytes);
	free(w);
}

static void end_of_all(struct end *e, bool land)
{
	while (e->writes) {
		struct landing *w = e->writes;
		e->writes = w->next;
		end_of(w, land);
	}
}

/* --------------------------------------------------------------------------------------------- the completion queue */

static void enter(struct queue *q, struct done **at, struct done *d)
{
	d->next = *at;
	*at = d;
	poke(q->fd);
}

static void enter_last(struct queue *q, struct done *d)
{
	struct done **at = &q->head;
	while (*at) at = &(*at)->next;
	enter(q, at, d);
}

static struct done *done_of(const void *owner, void *context, size_t size, int code)
{
	struct done *d = calloc(1, sizeof *d);
	*d = (struct done){ .context = context, .size = size, .code = code, .owner = owner };
	return d;
}

static void complete(struct queue *q, const void *owner, void *context, size_t size, int code)
{
	enter_last(q, done_of(owner, context, size, code));
}

static ssize_t cq_read(struct fid_cq *cq, void *to, size_t count)
{
	struct queue *q = (struct queue *)cq;
	struct fi_cq_msg_entry *e = to;
	size_t n = 0;
	int error = fault(MOCK_CQ_READ);
	if (error) return error;
	if (mock.overtake) count = 1;
	for (; n < count && q->head && !q->head->code; n++) {
		struct done *d = q->head;
		e[n] = (struct fi_cq_msg_entry){ .op_context = d->context, .len = d->size };
		end_of(d->write, true);
		q->head = d->next;
		free(d);
	}
	if (n) return (ssize_t)n;
	if (q->head) return -FI_EAVAIL;
	unpoke(q->fd);
	if (mock.idle) mock.idle();
	return -FI_EAGAIN;
}

static ssize_t cq_readerr(struct fid_cq *cq, struct fi_cq_err_entry *e, uint64_t flags)
{
	struct queue *q = (struct queue *)cq;
	struct done *d = q->head;
	(void)flags;
	if (!d || !d->code) return -FI_EAGAIN;
	*e = (struct fi_cq_err_entry){ .op_context = d->context, .err = d->code };
	q->head = d->next;
	free(d);
	return 1;
}

static int cq_close(struct fid *fid)
{
	struct queue *q = (struct queue *)fid;
	while (q->head) {
		struct done *d = q->head;
		end_of(d->write, false);
		q->head = d->next;
		free(d);
	}
	if (q->fd >= 0) close(q->fd);
	gone(q);
	return 0;
}

static int get_wait(struct fid *fid, int command, void *arg)
{
	int error = fault(MOCK_GETWAIT);
	if (command != FI_GETWAIT || error) return error ? error : -FI_ENOSYS;
	*(int *)arg = fid->fclass == FI_CLASS_CQ ? ((struct queue *)fid)->fd : ((struct events *)fid)->fd;
	return 0;
}

static struct fi_ops cq_fid_ops = { .size = sizeof cq_fid_ops, .close = cq_close, .control = get_wait };
static struct fi_ops_cq cq_ops = { .size = sizeof cq_ops, .read = cq_read, .readerr = cq_readerr };

static int cq_open(struct fid_domain *domain, struct fi_cq_attr *attr, struct fid_cq **cq, void *context)
{
	int error = fault(MOCK_CQ_OPEN);
	(void)domain, (void)context;
	if (!error && mock.no_fd && attr->wait_obj == FI_WAIT_FD) error = -FI_ENOSYS;
	if (error) return error;
	struct queue *q = object(sizeof *q);
	q->cq.fid = (struct fid){ .fclass = FI_CLASS_CQ, .ops = &cq_fid_ops };
	q->cq.ops = &cq_ops;
	q->fd = attr->wait_obj == FI_WAIT_FD ? eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) : -1;
	*cq = &q->cq;
	return 0;
}

/* ------------------------------------------------------------------------------------------------ connection events */

static void happen(struct events *q, uint32_t kind, struct fid *fid, struct fi_info *info, int code)
{
	struct event **at = &q->head, *e = calloc(1, sizeof *e);
	while (*at) at = &(*at)->next;
	*e = (struct event){ .kind = kind, .code = code };
	e->fid = fid;
	e->info = info;
	*at = e;
	poke(q->fd);
}

static ssize_t eq_read(struct fid_eq *eq, uint32_t *kind, void *to, size_t size, uint64_t flags)
{
	struct events *q = (struct events *)eq;
	struct event *e = q->head;
	(void)flags;
	if (!e) {
		unpoke(q->fd);
		return -FI_EAGAIN;
	}
	if (!e->kind) return -FI_EAVAIL;
	struct fi_eq_cm_entry entry = { .fid = e->fid, .info = e->info };
	if (size < sizeof entry) return -FI_ETOOSMALL;
	memcpy(to, &entry, sizeof entry);
	*kind = e->kind;
	q->head = e->next;
	free(e);
	return sizeof(struct fi_eq_cm_entry);
}

static ssize_t eq_readerr(struct fid_eq *eq, struct fi_eq_err_entry *to, uint64_t flags)
{
	struct events *q = (struct events *)eq;
	struct event *e = q->head;
	(void)flags;
	if (!e || e->kind) return -FI_EAGAIN;
	*to = (struct fi_eq_err_entry){ .fid = e->fid, .err = e->code };
	q->head = e->next;
	free(e);
	return sizeof *to;
}

static int eq_close(struct fid *fid)
{
	struct events *q = (struct events *)fid;
	while (q->head) {
		struct event *e = q->head;
		q->head = e->next;
		if (e->info) fi_freeinfo(e->info);
		free(e);
	}
	if (q->fd >= 0) close(q->fd);
	gone(q);
	return 0;
}

static struct fi_ops eq_fid_ops = { .size = sizeof eq_fid_ops, .close = eq_close, .control = get_wait };
static struct fi_ops_eq eq_ops = { .size = sizeof eq_ops, .read = eq_read, .readerr = eq_readerr };

static int eq_open(struct fid_fabric *fabric, struct fi_eq_attr *attr, struct fid_eq **eq, void *context)
{
	int error = fault(MOCK_EQ_OPEN);
	(void)fabric, (void)context;
	if (error) return error;
	struct events *q = object(sizeof *q);
	q->eq.fid = (struct fid){ .fclass = FI_CLASS_EQ, .ops = &eq_fid_ops };
	q->eq.ops = &eq_ops;
	q->fd = attr->wait_obj == FI_WAIT_FD ? eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) : -1;
	*eq = &q->eq;
	return 0;
}

/* --------------------------------------------------------------------------------------------------------- messages */

static struct sockaddr_in address_of(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(mock.ip) };
}

static struct end *end_at(uint16_t port)
{
	struct end *e = ends;
	while (e && e->port != port) e = e->next;
	return e;
}

/* What waits goes into the buffers there are. */
static void deliver(struct end *e)
{
	while (!mock.hold && e->waiting && e->buffers) {
		struct message *m = e->waiting;
		struct posted *b = e->buffers;
		int code = mock.complete[MOCK_RECV];
		mock.complete[MOCK_RECV] = 0;
		e->waiting = m->next;
		e->buffers = b->next;
		if (m->size > b->size) code = FI_ETRUNC;
		else memcpy(b->bytes, m->bytes, m->size);
		if (mock.overtake) enter(e->queue, &e->queue->head, done_of(e, b->context, m->size, code));
		else complete(e->queue, e, b->context, m->size, code);
		free(m->bytes);
		free(m);
		free(b);
	}
}

static void arrive(struct end *e, const void *bytes, size_t size)
{
	struct message **at = &e->waiting, *m = calloc(1, sizeof *m);
	while (*at) at = &(*at)->next;
	m->bytes = malloc(size ? size : 1);
	memcpy(m->bytes, bytes, size);
	m->size = size;
	if (mock.tamper) mock.tamper(m->bytes, size);
	*at = m;
	deliver(e);
}

static struct end *target(struct end *e, fi_addr_t to)
{
	return e->peer ? e->peer : end_at((uint16_t)to);
}

static ssize_t post_send(struct end *e, const void *bytes, size_t size, fi_addr_t to, enum mock_call call)
{
	int error = fault(call);
	struct end *t = target(e, to);
	if (error) return error;
	if (!t) return -FI_EAGAIN;
	if (!e->datagrams && mock.order & FI_ORDER_SAW) end_of_all(e, true);
	arrive(t, bytes, size);
	return 0;
}

static ssize_t ep_send(struct fid_ep *ep, const void *bytes, size_t size, void *desc, fi_addr_t to, void *context)
{
	struct end *e = (struct end *)ep;
	(void)desc;
	ssize_t error = post_send(e, bytes, size, to, MOCK_SEND);
	if (error) return error;
	complete(e->queue, e, context, 0, mock.complete[MOCK_SEND]);
	mock.complete[MOCK_SEND] = 0;
	return 0;
}

static ssize_t ep_inject(struct fid_ep *ep, const void *bytes, size_t size, fi_addr_t to)
{
	return post_send((struct end *)ep, bytes, size, to, MOCK_INJECT);
}

static ssize_t ep_recv(struct fid_ep *ep, void *bytes, size_t size, void *desc, fi_addr_t from, void *context)
{
	struct end *e = (struct end *)ep;
	int error = fault(MOCK_RECV);
	(void)desc, (void)from;
	if (error) return error;
	struct posted **at = &e->buffers, *b = calloc(1, sizeof *b);
	while (*at) at = &(*at)->next;
	*b = (struct posted){ .bytes = bytes, .size = size, .context = context };
	*at = b;
	deliver(e);
	return 0;
}

static struct fi_ops_msg msg_ops = { .size = sizeof msg_ops, .recv = ep_recv, .send = ep_send, .inject = ep_inject };

/* --------------------------------------------------------------------------------------------- reads and writes */

/* A write lands as late as it may: if it is to be complete by its delivery, when its completion is read; else before a later message of a
 * connection with that order, and if there is no such promise, not before the endpoint is closed. */
static ssize_t ep_writemsg(struct fid_ep *ep, const struct fi_msg_rma *m, uint64_t flags)
{
	struct end *e = (struct end *)ep;
	int error = fault(MOCK_WRITE), code = mock.complete[MOCK_WRITE];
	size_t at = 0;
	if (error) return error;
	mock.complete[MOCK_WRITE] = 0;
	if (!place(target(e, m->addr), m->rma_iov, FI_REMOTE_WRITE)) code = FI_EACCES;
	struct done *d = done_of(e, m->context, 0, code);
	if (!code) {
		struct landing *w = calloc(1, sizeof *w), **last = flags & FI_DELIVERY_COMPLETE ? &d->write : &e->writes;
		w->to = *m->rma_iov;
		w->target = target(e, m->addr);
		w->bytes = malloc(w->to.len);
		for (size_t i = 0; i < m->iov_count; at += m->msg_iov[i++].iov_len) memcpy(w->bytes + at, m->msg_iov[i].iov_base, m->msg_iov[i].iov_len);
		while (*last) last = &(*last)->next;
		*last = w;
	}
	enter_last(e->queue, d);
	return 0;
}

static ssize_t ep_readmsg(struct fid_ep *ep, const struct fi_msg_rma *m, uint64_t flags)
{
	struct end *e = (struct end *)ep;
	int error = fault(MOCK_READ), code = mock.complete[MOCK_READ];
	uint8_t *from = place(target(e, m->addr), m->rma_iov, FI_REMOTE_READ);
	(void)flags;
	if (error) return error;
	mock.complete[MOCK_READ] = 0;
	if (!from) code = FI_EACCES;
	for (size_t i = 0; !code && i < m->iov_count; from += m->msg_iov[i++].iov_len) memcpy(m->msg_iov[i].iov_base, from, m->msg_iov[i].iov_len);
	complete(e->queue, e, m->context, 0, code);
	return 0;
}
static struct fi_ops_rma rma_ops = { .size = sizeof rma_ops, .readmsg = ep_readmsg, .writemsg = ep_writemsg };

static int mr_close(struct fid *fid)
{
	struct region **at = &regions;
	while (&(*at)->mr.fid != fid) at = &(*at)->next;
	*at = (*at)->next;
	mock.registered--;
	gone(fid);
	return 0;
}

/* To an endpoint that is enabled, once. */
static int mr_bind(struct fid *fid, struct fid *to, uint64_t flags)
{
	struct region *r = (struct region *)fid;
	struct end *e = (struct end *)to;
	int error = fault(MOCK_MR_BIND);
	if (error) return error;
	if (!of_endpoints() || r->end || to->fclass != FI_CLASS_EP || !e->enabled || flags) return -FI_EINVAL;
	r->end = e;
	return 0;
}

static int mr_control(struct fid *fid, int command, void *arg)
{
	struct region *r = (struct region *)fid;
	int error = fault(MOCK_MR_ENABLE);
	(void)arg;
	if (error) return error;
	if (command != FI_ENABLE || !r->end || r->enabled) return -FI_EINVAL;
	r->enabled = true;
	r->mr.key = r->key;
	return 0;
}

static struct fi_ops mr_fid_ops = { .size = sizeof mr_fid_ops, .close = mr_close, .bind = mr_bind, .control = mr_control };

static int mr_reg(struct fid *fid, const void *at, size_t size, uint64_t access, uint64_t offset, uint64_t key, uint64_t flags,
		  struct fid_mr **mr, void *context)
{
	int error = fault(MOCK_REGISTER);
	(void)fid, (void)offset, (void)flags, (void)context;
	if (error) return error;
	if (!(mock.mr_mode & FI_MR_PROV_KEY) && mock.key_size < 8 && key >> 8 * mock.key_size) return -FI_EKEYREJECTED;
	struct region *r = object(sizeof *r);
	static uint64_t next_key = 100;
	r->mr.fid = (struct fid){ .fclass = FI_CLASS_MR, .ops = &mr_fid_ops };
	r->mr.mem_desc = r;
	r->key = mock.mr_mode & FI_MR_PROV_KEY ? next_key++ : key;
	r->enabled = !of_endpoints();
	r->mr.key = r->enabled ? r->key : FI_KEY_NOTAVAIL;
	r->at = (uint8_t *)(uintptr_t)at;
	r->size = size;
	r->access = access;
	r->next = regions;
	regions = r;
	mock.registered++;
	*mr = &r->mr;
	return 0;
}
static struct fi_ops_mr mr_ops = { .size = sizeof mr_ops, .reg = mr_reg };

/* --------------------------------------------------------------------------------------------------------- endpoints */

static int ep_close(struct fid *fid)
{
	struct end *e = (struct end *)fid, **at = &ends;
	for (struct region *r = regions; r; r = r->next)
		if (r->end == e) return -FI_EBUSY;
	while (*at != e) at = &(*at)->next;
	*at = e->next;
	if (e->peer) e->peer->peer = NULL;
	if (e->datagrams && e->queue && e->queue->fd >= 0) e->queue->stale = true; /* as ofi_rxm has it */
	for (struct end *o = ends; o; o = o->next) /* who knocked is gone before the door was opened */
		for (struct event *v = o->events ? o->events->head : NULL; v; v = v->next)
			if (v->info && v->info->handle == fid) v->info->handle = NULL;
	while (e->buffers) {
		struct posted *b = e->buffers;
		e->buffers = b->next;
		if (e->queue) complete(e->queue, NULL, b->context, 0, FI_ECANCELED);
		free(b);
	}
	end_of_all(e, false);
	for (struct done *d = e->queue ? e->queue->head : NULL; d; d = d->next) {
		if (d->owner != e) continue;
		end_of(d->write, false);
		d->write = NULL;
	}
	while (e->waiting) {
		struct message *m = e->waiting;
		e->waiting = m->next;
		free(m->bytes);
		free(m);
	}
	for (struct event **v = e->events ? &e->events->head : NULL; v && *v;) {
		struct event *old = *v;
		if (old->fid != fid) {
			v = &old->next;
			continue;
		}
		*v = old->next;
		if (old->info) fi_freeinfo(old->info);
		free(old);
	}
	gone(e);
	return 0;
}

static int ep_bind(struct fid *fid, struct fid *to, uint64_t flags)
{
	struct end *e = (struct end *)fid;
	int error = fault(MOCK_BIND);
	(void)flags;
	if (error) return error;
	if (to->fclass == FI_CLASS_CQ) e->queue = (struct queue *)to;
	if (to->fclass == FI_CLASS_EQ) e->events = (struct events *)to;
	return 0;
}

static int ep_control(struct fid *fid, int command, void *arg)
{
	int error = command == FI_ENABLE ? fault(MOCK_ENABLE) : -FI_ENOSYS;
	(void)arg;
	if (!error) ((struct end *)fid)->enabled = true;
	return error;
}

static int ep_getname(fid_t fid, void *to, size_t *size)
{
	struct sockaddr_in in = address_of(((struct end *)fid)->port);
	int error = fault(MOCK_GETNAME);
	if (error) return error;
	memcpy(to, &in, sizeof in);
	*size = sizeof in;
	return 0;
}

static struct end *end_new(struct fi_info *info, bool passive, void *context);

static int ep_connect(struct fid_ep *ep, const void *to, const void *param, size_t size)
{
	struct end *e = (struct end *)ep;
	struct sockaddr_in in;
	int error = fault(MOCK_CONNECT);
	(void)param, (void)size;
	if (error) return error;
	memcpy(&in, to, sizeof in);
	struct end *t = end_at(ntohs(in.sin_port));
	if (!t || !t->passive) {
		happen(e->events, 0, &e->ep.fid, NULL, FI_ECONNREFUSED);
		return 0;
	}
	struct fi_info *info = fi_dupinfo(NULL);
	info->handle = &e->ep.fid;
	happen(t->events, FI_CONNREQ, &t->pep.fid, info, 0);
	return 0;
}

static int ep_accept(struct fid_ep *ep, const void *param, size_t size)
{
	struct end *e = (struct end *)ep;
	int error = fault(MOCK_ACCEPT);
	(void)param, (void)size;
	if (error) return error;
	happen(e->events, FI_CONNECTED, &e->ep.fid, NULL, 0);
	if (!e->peer) return 0; /* a stranger who is not there any more */
	happen(e->peer->events, FI_CONNECTED, &e->peer->ep.fid, NULL, 0);
	return 0;
}

static int pep_reject(struct fid_pep *pep, fid_t handle, const void *param, size_t size)
{
	struct end *e = (struct end *)handle;
	(void)pep, (void)param, (void)size;
	fault(MOCK_REJECT);
	if (e) happen(e->events, 0, &e->ep.fid, NULL, FI_ECONNREFUSED);
	return 0;
}

static int ep_shutdown(struct fid_ep *ep, uint64_t flags)
{
	struct end *e = (struct end *)ep;
	(void)flags;
	if (!e->peer) return -FI_ENOTCONN;
	happen(e->peer->events, FI_SHUTDOWN, &e->peer->ep.fid, NULL, 0);
	e->peer->peer = NULL;
	e->peer = NULL;
	return 0;
}

static int pep_listen(struct fid_pep *pep)
{
	(void)pep;
	return fault(MOCK_LISTEN);
}

static struct fi_ops ep_fid_ops = { .size = sizeof ep_fid_ops, .close = ep_close, .bind = ep_bind, .control = ep_control };
static struct fi_ops_cm cm_ops = { .size = sizeof cm_ops, .getname = ep_getname, .connect = ep_connect, .accept = ep_accept, .reject = pep_reject,
				   .shutdown = ep_shutdown, .listen = pep_listen };

static struct end *end_new(struct fi_info *info, bool passive, void *context)
{
	struct end *e = object(sizeof *e);
	if (passive) {
		e->pep.fid = (struct fid){ .fclass = FI_CLASS_PEP, .ops = &ep_fid_ops, .context = context };
		e->pep.cm = &cm_ops;
	} else {
		e->ep.fid = (struct fid){ .fclass = FI_CLASS_EP, .ops = &ep_fid_ops, .context = context };
		e->ep.cm = &cm_ops;
		e->ep.msg = &msg_ops;
		e->ep.rma = &rma_ops;
	}
	e->passive = passive;
	e->datagrams = info->ep_attr->type == FI_EP_RDM;
	e->port = next_port++;
	if (info->handle) {
		e->peer = (struct end *)info->handle;
		e->peer->peer = e;
	}
	e->next = ends;
	ends = e;
	return e;
}

static int endpoint(struct fid_domain *domain, struct fi_info *info, struct fid_ep **ep, void *context)
{
	int error = fault(MOCK_ENDPOINT);
	(void)domain;
	if (!error) *ep = &end_new(info, false, context)->ep;
	return error;
}

static int passive_ep(struct fid_fabric *fabric, struct fi_info *info, struct fid_pep **pep, void *context)
{
	int error = fault(MOCK_PASSIVE);
	(void)fabric;
	if (!error) *pep = &end_new(info, true, context)->pep;
	return error;
}

/* --------------------------------------------------------------------------------------------------- the rest of it */

static int plain_close(struct fid *fid)
{
	gone(fid);
	return 0;
}
static struct fi_ops plain_ops = { .size = sizeof plain_ops, .close = plain_close };

static int av_insert(struct fid_av *av, const void *address, size_t count, fi_addr_t *to, uint64_t flags, void *context)
{
	struct sockaddr_in in;
	(void)av, (void)count, (void)flags, (void)context;
	if (fault(MOCK_AV_INSERT)) return 0;
	memcpy(&in, address, sizeof in);
	*to = ntohs(in.sin_port);
	return 1;
}
static int av_remove(struct fid_av *av, fi_addr_t *to, size_t count, uint64_t flags)
{
	(void)av, (void)to, (void)count, (void)flags;
	return 0;
}
static struct fi_ops_av av_ops = { .size = sizeof av_ops, .insert = av_insert, .remove = av_remove };

static int av_open(struct fid_domain *domain, struct fi_av_attr *attr, struct fid_av **av, void *context)
{
	int error = fault(MOCK_AV_OPEN);
	(void)domain, (void)attr, (void)context;
	if (error) return error;
	struct table *t = object(sizeof *t);
	t->av.fid = (struct fid){ .fclass = FI_CLASS_AV, .ops = &plain_ops };
	t->av.ops = &av_ops;
	*av = &t->av;
	return 0;
}
static struct fi_ops_domain domain_ops = { .size = sizeof domain_ops, .av_open = av_open, .cq_open = cq_open, .endpoint = endpoint };

static int domain_open(struct fid_fabric *fabric, struct fi_info *info, struct fid_domain **domain, void *context)
{
	int error = fault(MOCK_DOMAIN);
	(void)fabric, (void)info, (void)context;
	if (error) return error;
	struct fid_domain *d = object(sizeof *d);
	d->fid = (struct fid){ .fclass = FI_CLASS_DOMAIN, .ops = &plain_ops };
	d->ops = &domain_ops;
	d->mr = &mr_ops;
	*domain = d;
	return 0;
}

static int trywait(struct fid_fabric *fabric, struct fid **fids, int count)
{
	(void)fabric;
	for (int i = 0; i < count; i++)
		if (fids[i]->fclass == FI_CLASS_CQ && ((struct queue *)fids[i])->stale) mock.stale++;
	for (int i = 0; i < count; i++)
		if (fids[i]->fclass == FI_CLASS_CQ ? !!((struct queue *)fids[i])->head : !!((struct events *)fids[i])->head) return -FI_EAGAIN;
	return 0;
}
static struct fi_ops_fabric fabric_ops = { .size = sizeof fabric_ops, .domain = domain_open, .passive_ep = passive_ep, .eq_open = eq_open,
					   .trywait = trywait };

int fi_fabric(struct fi_fabric_attr *attr, struct fid_fabric **fabric, void *context)
{
	int error = fault(MOCK_FABRIC);
	(void)attr, (void)context;
	if (error) return error;
	struct fid_fabric *f = object(sizeof *f);
	f->fid = (struct fid){ .fclass = FI_CLASS_FABRIC, .ops = &plain_ops };
	f->ops = &fabric_ops;
	*fabric = f;
	return 0;
}

static void *copy_of(const void *from, size_t size)
{
	void *to = from ? malloc(size) : NULL;
	return to ? memcpy(to, from, size) : NULL;
}

/* With NULL an empty one, as fi_allocinfo has it. */
struct fi_info *fi_dupinfo(const struct fi_info *i)
{
	static const struct fi_tx_attr tx;
	static const struct fi_rx_attr rx;
	static const struct fi_ep_attr ep;
	static const struct fi_domain_attr domain;
	static const struct fi_fabric_attr fabric;
	struct fi_info *n = calloc(1, sizeof *n);
	if (i) *n = *i;
	n->next = NULL;
	n->tx_attr = copy_of(i ? i->tx_attr : &tx, sizeof tx);
	n->rx_attr = copy_of(i ? i->rx_attr : &rx, sizeof rx);
	n->ep_attr = copy_of(i ? i->ep_attr : &ep, sizeof ep);
	n->domain_attr = copy_of(i ? i->domain_attr : &domain, sizeof domain);
	n->fabric_attr = copy_of(i ? i->fabric_attr : &fabric, sizeof fabric);
	n->src_addr = copy_of(n->src_addr, n->src_addrlen);
	n->dest_addr = copy_of(n->dest_addr, n->dest_addrlen);
	if (n->domain_attr->name) n->domain_attr->name = strdup(n->domain_attr->name);
	if (n->fabric_attr->prov_name) n->fabric_attr->prov_name = strdup(n->fabric_attr->prov_name);
	return n;
}

void fi_freeinfo(struct fi_info *i)
{
	while (i) {
		struct fi_info *next = i->next;
		free(i->src_addr);
		free(i->dest_addr);
		free(i->domain_attr->name);
		free(i->fabric_attr->prov_name);
		free(i->tx_attr), free(i->rx_attr), free(i->ep_attr), free(i->domain_attr), free(i->fabric_attr);
		free(i);
		i = next;
	}
}

static struct fi_info *candidate(const struct fi_info *hints, const char *name, int number)
{
	static struct fi_device_attr attr[2];
	static struct fid_nic nic[2];
	static struct fi_link_attr link;
	attr[number].name = (char *)(uintptr_t)mock.device[number];
	link.state = mock.link_down ? FI_LINK_DOWN : FI_LINK_UNKNOWN;
	nic[number].device_attr = &attr[number];
	nic[number].link_attr = &link;
	struct fi_info *i = fi_dupinfo(NULL);
	struct sockaddr_in in = address_of(0);
	i->ep_attr->type = hints->ep_attr->type;
	i->ep_attr->max_msg_size = mock.message;
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	if (mock.ip6) inet_pton(AF_INET6, mock.ip6, &in6.sin6_addr);
	i->addr_format = number < mock.no_ip ? FI_ADDR_EFA : mock.ip6 ? FI_SOCKADDR_IN6 : FI_SOCKADDR_IN;
	i->src_addrlen = mock.ip6 ? sizeof in6 : sizeof in;
	i->src_addr = copy_of(mock.ip6 ? (void *)&in6 : &in, i->src_addrlen);
	i->mode = mock.mode;
	*i->tx_attr = (struct fi_tx_attr){ .msg_order = mock.order & hints->tx_attr->msg_order, .inject_size = mock.inject, .size = mock.tx_size,
					   .iov_limit = mock.iov_limit, .rma_iov_limit = mock.iov_limit };
	i->domain_attr->mr_mode = mock.mr_mode;
	i->domain_attr->mr_key_size = mock.key_size;
	i->domain_attr->name = strdup("lo");
	i->fabric_attr->prov_name = strdup(name);
	if (mock.nic && !(number && mock.second_without_nic)) i->nic = &nic[number];
	return i;
}

int fi_getinfo(uint32_t version, const char *node, const char *service, uint64_t flags, const struct fi_info *hints, struct fi_info **info)
{
	int error = fault(MOCK_GETINFO), type = hints->ep_attr->type == FI_EP_MSG ? 1 : 2;
	(void)version, (void)node, (void)service, (void)flags;
	if (error) return error;
	if (!(mock.types & type)) return -FI_ENODATA;
	*info = candidate(hints, mock.provider, 0);
	if (mock.second) (*info)->next = candidate(hints, mock.second, 1);
	return 0;
}

int fi_open(uint32_t version, const char *name, void *attr, size_t size, uint64_t flags, struct fid **fid, void *context)
{
	(void)version, (void)name, (void)attr, (void)size, (void)flags, (void)fid, (void)context;
	return -FI_ENOSYS;
}

const char *fi_strerror(int code)
{
	return code < 256 ? strerror(code) : "an error of libfabric";
}

/* ------------------------------------------------------------------------------------------------------------ faults */

void mock_release(void)
{
	mock.hold = false;
	for (struct end *e = ends; e; e = e->next) deliver(e);
}

void mock_cut(void)
{
	for (struct end *e = ends; e; e = e->next) {
		if (!e->peer) continue;
		happen(e->events, FI_SHUTDOWN, &e->ep.fid, NULL, 0);
		e->peer = NULL;
	}
}

void mock_event(int code)
{
	for (struct end *e = ends; e; e = e->next)
		if (e->peer) happen(e->events, 0, &e->ep.fid, NULL, code);
}

void mock_flood(int n)
{
	for (struct end *e = ends; e; e = e->next)
		for (int i = 0; e->passive && i < n; i++) happen(e->events, FI_CONNREQ, &e->pep.fid, fi_dupinfo(NULL), 0);
}

void mock_spill(const void *bytes, size_t size)
{
	for (struct end *e = ends; e; e = e->next)
		if (!e->passive) arrive(e, bytes, size);
}
