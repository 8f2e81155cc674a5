/* SPDX-License-Identifier: Apache-2.0 */
/* Plain libfabric over loopback, by connections where the provider has them, else by reliable datagrams.
 * --mode stream: --direction send: messages of --size bytes, --window of them posted on both sides, and the receiver reads every line;
 * write, read: as many writes or reads in flight, of memory of the other side, which makes progress and nothing else.
 * --mode spin and --mode block bounce --size bytes between two processes. */
#include "../latency.h"
#include "../process.h"

#include <netinet/in.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { SHORT = 4, EVENTS = 32, SPARE = 4, CONSUMER = 0, APPENDER = 1 }; /* a message of SHORT bytes begins and ends a stream */

static struct options o;

/* What one side tells the other. */
struct said {
	size_t length;
	unsigned char address[256];
	uint64_t base, key;
	_Atomic int ready, left;
};
static struct said *said;

struct slot {
	struct fi_context2 context; /* first: a completion points to it */
	struct slot *next;
	unsigned char *bytes; /* NULL: of a send, write or read */
};

struct side {
	struct said *ours, *theirs;
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_cq *cq;
	struct fid_eq *eq;
	struct fid_av *av;
	struct fid_pep *pep;
	struct fid_ep *ep;
	fi_addr_t peer;
	struct fid_mr *mr;
	void *desc;
	unsigned char *memory; /* one record, then those of the slots */
	struct slot *slots, *free;
	uint64_t flying, records, sum, first, last; /* first, last: when short messages came */
	unsigned shorts;
};

static void need(ssize_t error, const char *call)
{
	if (error)
		die(1, "%s: %s", call, fi_strerror((int)-error));
}

static bool streaming(void)
{
	return !strcmp(o.mode, "stream");
}

static bool one_sided(void)
{
	return streaming() && strcmp(o.direction, "send");
}

/* NULL: the provider has none of this type here. */
static struct fi_info *find(enum fi_ep_type type)
{
	struct fi_info *hints = fi_allocinfo(), *info = NULL;

	if (!hints)
		die(1, "no memory");
	hints->caps = FI_MSG | FI_RMA;
	hints->mode = FI_CONTEXT | FI_CONTEXT2;
	hints->ep_attr->type = type;
	hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
	hints->domain_attr->threading = FI_THREAD_DOMAIN;
	hints->domain_attr->control_progress = FI_PROGRESS_MANUAL;
	hints->domain_attr->data_progress = FI_PROGRESS_MANUAL;
	hints->tx_attr->msg_order = hints->rx_attr->msg_order = FI_ORDER_SAS;
	hints->fabric_attr->prov_name = strdup(o.provider);
	if (fi_getinfo(FI_VERSION(1, 14), "127.0.0.1", NULL, FI_SOURCE, hints, &info))
		info = NULL;
	fi_freeinfo(hints);
	return info;
}

static void open_side(struct side *s, int index)
{
	struct fi_cq_attr cq = { .size = 2 * o.window + 16, .format = FI_CQ_FORMAT_MSG,
				 .wait_obj = strcmp(o.mode, "block") ? FI_WAIT_NONE : FI_WAIT_UNSPEC };
	size_t count = 2 * o.window + SPARE, stride = (o.size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	uint64_t access = FI_SEND | FI_RECV | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;

	s->ours = &said[index];
	s->theirs = &said[!index];
	s->info = find(FI_EP_MSG);
	if (!s->info)
		s->info = find(FI_EP_RDM);
	if (!s->info)
		die(EXIT_SKIPPED, "libfabric has no provider '%s' on 127.0.0.1", o.provider);
	need(fi_fabric(s->info->fabric_attr, &s->fabric, NULL), "fi_fabric");
	need(fi_domain(s->fabric, s->info, &s->domain, NULL), "fi_domain");
	need(fi_cq_open(s->domain, &cq, &s->cq, NULL), "fi_cq_open");
	s->memory = record_new(stride * (count + 1));
	need(fi_mr_reg(s->domain, s->memory, stride * (count + 1), access, 0, 1 + (uint64_t)index, 0, &s->mr, NULL), "fi_mr_reg");
	s->desc = s->info->domain_attr->mr_mode & FI_MR_LOCAL ? fi_mr_desc(s->mr) : NULL;
	s->ours->base = (s->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR ? (uintptr_t)s->memory : 0) + stride;
	s->ours->key = fi_mr_key(s->mr);
	s->slots = calloc(count, sizeof *s->slots);
	if (!s->slots)
		die(1, "no memory");
	for (size_t i = 0; i < count; i++) {
		if (i < o.window + SPARE) {
			s->slots[i].bytes = s->memory + (i + 1) * stride;
			continue;
		}
		s->slots[i].next = s->free;
		s->free = &s->slots[i];
	}
}

static void receive(struct side *s, struct slot *slot)
{
	need(fi_recv(s->ep, slot->bytes, o.size > SHORT ? o.size : SHORT, s->desc, FI_ADDR_UNSPEC, &slot->context), "fi_recv");
}

static void enable(struct side *s, struct fi_info *info)
{
	need(fi_endpoint(s->domain, info, &s->ep, NULL), "fi_endpoint");
	if (s->eq)
		need(fi_ep_bind(s->ep, &s->eq->fid, 0), "fi_ep_bind");
	if (s->av)
		need(fi_ep_bind(s->ep, &s->av->fid, 0), "fi_ep_bind");
	need(fi_ep_bind(s->ep, &s->cq->fid, FI_TRANSMIT | FI_RECV), "fi_ep_bind");
	need(fi_enable(s->ep), "fi_enable");
	for (uint64_t i = 0; i < o.window + SPARE; i++)
		receive(s, &s->slots[i]);
}

static void say(struct side *s, struct fid *fid)
{
	s->ours->length = sizeof s->ours->address;
	need(fi_getname(fid, s->ours->address, &s->ours->length), "fi_getname");
	s->ours->ready = 1;
}

static void hear(struct side *s)
{
	unsigned spins = 0;

	while (!s->theirs->ready)
		relax(&spins);
}

static void event(struct side *s, uint32_t wanted, struct fi_eq_cm_entry *entry)
{
	uint32_t what = 0;
	ssize_t n = fi_eq_sread(s->eq, &what, entry, sizeof *entry, 10000, 0);

	if (n < 0 || what != wanted)
		die(1, "connecting by %s: %s", o.provider, n < 0 ? fi_strerror((int)-n) : "another event came than the one awaited");
}

static void connect_message(struct side *s, bool active)
{
	struct fi_eq_attr eq = { .wait_obj = FI_WAIT_UNSPEC };
	struct fi_eq_cm_entry entry;

	need(fi_eq_open(s->fabric, &eq, &s->eq, NULL), "fi_eq_open");
	if (active) {
		hear(s);
		enable(s, s->info);
		need(fi_connect(s->ep, s->theirs->address, NULL, 0), "fi_connect");
		event(s, FI_CONNECTED, &entry);
		return;
	}
	need(fi_passive_ep(s->fabric, s->info, &s->pep, NULL), "fi_passive_ep");
	need(fi_pep_bind(s->pep, &s->eq->fid, 0), "fi_pep_bind");
	need(fi_listen(s->pep), "fi_listen");
	say(s, &s->pep->fid);
	event(s, FI_CONNREQ, &entry);
	enable(s, entry.info);
	need(fi_accept(s->ep, NULL, 0), "fi_accept");
	event(s, FI_CONNECTED, &entry);
	fi_freeinfo(entry.info);
}

static void connect_datagrams(struct side *s)
{
	struct fi_av_attr av = { .type = FI_AV_UNSPEC };

	need(fi_av_open(s->domain, &av, &s->av, NULL), "fi_av_open");
	enable(s, s->info);
	say(s, &s->ep->fid);
	hear(s);
	if (fi_av_insert(s->av, s->theirs->address, 1, &s->peer, 0, NULL) != 1)
		die(1, "fi_av_insert failed");
}

static void close_side(struct side *s)
{
	fi_close(&s->ep->fid);
	if (s->pep)
		fi_close(&s->pep->fid);
	fi_close(&s->mr->fid);
	fi_close(&s->cq->fid);
	if (s->av)
		fi_close(&s->av->fid);
	fi_close(&s->domain->fid);
	if (s->eq)
		fi_close(&s->eq->fid);
	fi_close(&s->fabric->fid);
	fi_freeinfo(s->info);
	free(s->slots);
	free(s->memory);
}

/* One thing has completed: something of ours, or a message that came. */
static void done(struct side *s, const struct fi_cq_msg_entry *e)
{
	struct slot *slot = e->op_context;

	if (!slot) /* the provider tells of an inject */
		return;
	if (!slot->bytes) {
		slot->next = s->free;
		s->free = slot;
		s->flying--;
		return;
	}
	if (e->len == SHORT) {
		s->last = now_ns();
		if (!s->shorts++)
			s->first = s->last;
	} else {
		s->sum += read_lines(slot->bytes, e->len);
		s->records++;
	}
	receive(s, slot);
}

static void progress(struct side *s, bool sleep)
{
	struct fi_cq_msg_entry e[EVENTS];
	ssize_t n = sleep ? fi_cq_sread(s->cq, e, EVENTS, NULL, -1) : fi_cq_read(s->cq, e, EVENTS);

	if (n == -FI_EAVAIL) {
		struct fi_cq_err_entry error = { 0 };
		fi_cq_readerr(s->cq, &error, 0);
		if (s->theirs->left) /* what was posted for more messages is given back */
			return;
		die(1, "an operation failed: %s", fi_strerror(error.err));
	}
	for (ssize_t i = 0; i < n; i++)
		done(s, &e[i]);
	if (n < 0 && n != -FI_EAGAIN && n != -FI_EINTR)
		need(n, "fi_cq_read");
}

static void send_copy(struct side *s, size_t size)
{
	ssize_t n;

	while ((n = fi_inject(s->ep, s->memory, size, s->peer)) == -FI_EAGAIN)
		progress(s, false);
	need(n, "fi_inject");
}

/* Post one; false: the provider takes none now. */
static bool post(struct side *s, uint64_t stride)
{
	struct slot *slot = s->free;
	uint64_t at = s->theirs->base + s->records % o.window * stride;
	ssize_t n = !one_sided()		      ? fi_send(s->ep, s->memory, o.size, s->desc, s->peer, &slot->context)
		    : !strcmp(o.direction, "write") ? fi_write(s->ep, s->memory, o.size, s->desc, s->peer, at, s->theirs->key, &slot->context)
						      : fi_read(s->ep, s->memory, o.size, s->desc, s->peer, at, s->theirs->key, &slot->context);

	if (n == -FI_EAGAIN)
		return false;
	need(n, "posting");
	s->free = slot->next;
	s->flying++;
	s->records++;
	return true;
}

static void stream(struct side *s)
{
	uint64_t stride = (o.size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;

	send_copy(s, SHORT);
	while (!time_is_up || s->flying) {
		while (!time_is_up && s->flying < o.window && post(s, stride))
			;
		progress(s, false);
	}
	said[APPENDER].base = s->records;
	send_copy(s, SHORT);
	while (!s->shorts) /* the answer: all is there */
		progress(s, false);
}

/* Tell the other side, and go on until it has heard. */
static void end(struct side *s)
{
	send_copy(s, SHORT);
	while (!s->theirs->left)
		progress(s, false);
}

static void take_stream(struct side *s)
{
	uint64_t records;

	while (s->shorts < 2)
		progress(s, false);
	records = one_sided() ? said[APPENDER].base : s->records;
	if (!one_sided() && s->sum != records * read_lines(s->memory, o.size))
		die(1, "the records that arrived are not those sent");
	end(s);
	result_stream("raw_fabric", &o, records, s->last - s->first);
}

static void send_record(struct side *s)
{
	if (o.size <= s->info->tx_attr->inject_size) {
		send_copy(s, o.size);
		return;
	}
	while (!post(s, 0))
		progress(s, false);
}

static void wait_record(struct side *s)
{
	bool sleep = !strcmp(o.mode, "block");

	for (uint64_t seen = s->sum; s->sum == seen && !s->shorts;)
		progress(s, sleep);
}

static void round_trip(void *arg)
{
	send_record(arg);
	wait_record(arg);
}

static void echo(struct side *s)
{
	for (;;) {
		wait_record(s);
		if (s->shorts)
			break;
		send_record(s);
	}
}

static void join(struct side *s, int index)
{
	alarm(30); /* until timer_start says otherwise */
	open_side(s, index);
	if (s->info->ep_attr->type == FI_EP_MSG)
		connect_message(s, index == APPENDER);
	else
		connect_datagrams(s);
	timer_start(o.seconds);
}

static void child(unsigned index, void *arg)
{
	static struct side s;

	(void)index, (void)arg;
	pin_appender(0);
	join(&s, APPENDER);
	if (streaming())
		stream(&s);
	else
		echo(&s);
	s.ours->left = 1;
	close_side(&s);
}

int main(int argc, char **argv)
{
	static struct side s;

	options_parse(&o, "provider size seconds mode direction window", argc, argv);
	if (o.size <= SHORT)
		die(2, "--size is at least %d", SHORT + 1);
	said = shared_memory(2 * sizeof *said);
	spawn(child, 0, NULL);
	pin_consumer();
	join(&s, CONSUMER);
	if (streaming()) {
		take_stream(&s);
	} else {
		latency_run("raw_fabric", &o, round_trip, &s);
		end(&s);
	}
	reap(1);
	close_side(&s);
	return 0;
}
