/* SPDX-License-Identifier: Apache-2.0
 * provider.c: which of the providers that libfabric has is used, and why. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <rdma/fi_ext.h>

#include "fabric.h"

#define FABRIC_VERSION FI_VERSION(1, 14)
#define NAMED_MR (FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT)

/* -------------------------------------------------------------------------- libfabric's own lines on standard error */

static int log_enabled(const struct fi_provider *p, enum fi_log_level level, enum fi_log_subsys subsystem, uint64_t flags)
{
	(void)p, (void)level, (void)subsystem, (void)flags;
	return 0;
}
static int log_ready(const struct fi_provider *p, enum fi_log_level level, enum fi_log_subsys subsystem, uint64_t flags, uint64_t *at)
{
	(void)p, (void)level, (void)subsystem, (void)flags, (void)at;
	return 0;
}
static void log_line(const struct fi_provider *p, enum fi_log_level level, enum fi_log_subsys subsystem, const char *function, int line,
		     const char *text)
{
	(void)p, (void)level, (void)subsystem, (void)function, (void)line, (void)text;
}

/* A library does not write to standard error: what matters comes as an error. Whoever wants libfabric's lines sets FI_LOG_LEVEL. */
void dpi_fabric_quiet(bool on)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct fi_ops_log ops = { .enabled = log_enabled, .ready = log_ready, .log = log_line };
	static struct fid_logging log;
	static unsigned users;
	static bool ours;
	pthread_mutex_lock(&lock);
	if (on && !users++ && !getenv("FI_LOG_LEVEL")) {
		log = (struct fid_logging){ .ops = &ops };
		ours = !fi_import_log(FABRIC_VERSION, 0, &log);
	} else if (!on && !--users && ours) {
		fi_close(&log.fid);
		ours = false;
	}
	pthread_mutex_unlock(&lock);
}

/* --------------------------------------------------------------------------------------------------------- candidates */

struct refusal {
	const char *part, *reason; /* of a provider's name */
};
static const struct refusal never[] = { /* not even if named */
	{ "sockets", "thousands of times slower than tcp" },
	{ "udp", "datagrams" },
	{ "ofi_hook", "a wrapper around another provider" },
	{ "shm", "up to libfabric 1.17 it crashes when a peer's endpoint goes away; the library's own shm reaches this host" },
};
static const struct refusal only_named[] = {
	{ "net", "an experiment of this libfabric; tcp is the same and is not" },
	{ "ofi_rxd", "datagrams under a layer that repeats them" },
};

static const char *refused(const struct refusal *list, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		const char *at = strstr(name, list[i].part);
		size_t n = strlen(list[i].part);
		if (at && (at == name || at[-1] == ';') && (!at[n] || at[n] == ';')) return list[i].reason;
	}
	return NULL;
}
#define REFUSED(list, name) refused(list, sizeof list / sizeof *list, name)

struct place {
	uint8_t family, bytes[16];
	bool any;
};

/* Why an address may not be listened on; NULL: it may. where: its text. ip: it is one of IP. */
static const char *misplaced(const DPI_Tp_Core *core, const struct fi_info *i, const struct place *p, char *where, size_t size, bool *ip)
{
	static const uint8_t zero[16];
	uint8_t bytes[16] = { 0 }, family = 0;
	bool link_local = false;
	char text[INET6_ADDRSTRLEN] = "";
	if (i->src_addr && i->addr_format != FI_ADDR_STR && i->src_addrlen >= sizeof(struct sockaddr_in)) {
		struct sockaddr_storage s = { 0 };
		memcpy(&s, i->src_addr, i->src_addrlen < sizeof s ? i->src_addrlen : sizeof s);
		if (i->addr_format == FI_SOCKADDR_IN || (i->addr_format == FI_SOCKADDR && s.ss_family == AF_INET)) {
			struct sockaddr_in in;
			memcpy(&in, &s, sizeof in);
			memcpy(bytes, &in.sin_addr, 4);
			family = 4;
			inet_ntop(AF_INET, bytes, text, sizeof text);
		} else if (i->addr_format == FI_SOCKADDR_IN6 || (i->addr_format == FI_SOCKADDR && s.ss_family == AF_INET6)) {
			struct sockaddr_in6 in6;
			memcpy(&in6, &s, sizeof in6);
			memcpy(bytes, &in6.sin6_addr, 16);
			link_local = IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr);
			family = 6;
			inet_ntop(AF_INET6, bytes, text, sizeof text);
		}
	}
	*ip = family;
	bool loopback = family == 4 ? bytes[0] == 127 : family == 6 && !memcmp(bytes, zero, 15) && bytes[15] == 1;
	snprintf(where, size, "%s%s%s", i->domain_attr && i->domain_attr->name ? i->domain_attr->name : "?", *text ? ", " : "", text);
	if (!family && i->addr_format == FI_ADDR_STR) return NULL; /* names within a host */
	if (!core->secure && !loopback) return "reaches other hosts, for which there has to be a cluster key (DPI_KEY_FILE)";
	if (family && !p->any && (family != p->family || memcmp(bytes, p->bytes, 16))) return "not the address that DPI_LISTEN says";
	if (link_local) return "an address that means nothing on another host";
	if (core->secure && p->any && loopback) return "reaches this host only";
	return NULL;
}

/* Why a candidate cannot be used; NULL: it can. */
static const char *unfit(const struct fi_info *i)
{
	if (!i->tx_attr || !i->rx_attr || !i->ep_attr || !i->domain_attr || !i->fabric_attr || !i->fabric_attr->prov_name)
		return "it says too little of itself";
	if (!(i->tx_attr->msg_order & FI_ORDER_SAS)) return "messages may overtake each other";
	if (i->ep_attr->max_msg_size < (i->ep_attr->type == FI_EP_MSG ? WIRE_MESSAGE : WIRE_DATAGRAM)) return "messages are too small";
	if (i->domain_attr->mr_mode & ~NAMED_MR) return "it wants memory registered in a way that this library does not know";
	if (i->domain_attr->mr_mode & FI_MR_LOCAL && i->domain_attr->mr_mode & FI_MR_ENDPOINT) /* buffers serve all of them */
		return "it wants the memory that messages lie in registered for each endpoint";
	if (i->domain_attr->mr_key_size > 8) return "its keys are longer than 8 bytes";
	if (i->mode & ~(FI_CONTEXT | FI_CONTEXT2 | FI_BUFFERED_RECV)) return "it asks for a mode that this library does not know";
	if (i->nic && i->nic->link_attr && i->nic->link_attr->state == FI_LINK_DOWN) return "its port is down";
	if (!i->tx_attr->iov_limit || !i->tx_attr->rma_iov_limit) return "it does not take one piece of memory";
	return NULL;
}

/* Not every provider with a device says what the system calls it. */
const char *dpi_fabric_device(const struct fi_info *i)
{
	if (!i->nic) return NULL;
	const char *name = i->nic->device_attr ? i->nic->device_attr->name : NULL;
	return name ? name : i->domain_attr->name;
}

/* Is its device near this process? 1, 0, or -1: not known. */
static int near_of(const DPI_Tp_Core *core, const struct fi_info *i)
{
	const char *device = dpi_fabric_device(i);
	return device && core->size >= sizeof *core && core->near ? core->near(core->self, device) : -1;
}

/* More is better: a device; the address that DPI_LISTEN says; no wait between a write and its notification; connections, whose end is
 * noticed; nearness; an address of IP, as where a device has those its others may lead nowhere. */
static int score(const struct fi_info *i, int near, bool ip, bool asked_for)
{
	return (i->nic ? 32 : 0) + (asked_for ? 16 : 0) + (i->tx_attr->msg_order & FI_ORDER_SAW ? 8 : 0) + (i->ep_attr->type == FI_EP_MSG ? 4 : 0) +
	       (near ? 2 : 0) + ip;
}

static struct fi_info *hints_of(enum fi_ep_type type, uint64_t order, const char *name)
{
	struct fi_info *h = fi_allocinfo();
	if (!h) return NULL;
	h->caps = FI_MSG | FI_RMA;
	h->mode = FI_CONTEXT | FI_CONTEXT2;
	h->ep_attr->type = type;
	h->domain_attr->mr_mode = NAMED_MR;
	h->domain_attr->threading = FI_THREAD_DOMAIN;
	h->domain_attr->control_progress = FI_PROGRESS_MANUAL;
	h->domain_attr->data_progress = FI_PROGRESS_MANUAL;
	h->domain_attr->resource_mgmt = FI_RM_ENABLED;
	h->tx_attr->msg_order = h->rx_attr->msg_order = order;
	if (*name) h->fabric_attr->prov_name = strdup(name);
	return h;
}

struct search {
	const DPI_Tp_Core *core;
	struct fabric_choice *choice;
	struct place place;
	const char *wanted;
	bool loud;
	int best, error;
	char why[512]; /* of those that were named and refused */
};

static void consider(struct search *s, const struct fi_info *i)
{
	const DPI_Tp_Core *core = s->core;
	char where[64] = "";
	const char *why = unfit(i), *name = i->fabric_attr && i->fabric_attr->prov_name ? i->fabric_attr->prov_name : "?";
	bool ip = false, named = *s->wanted, message = i->ep_attr && i->ep_attr->type == FI_EP_MSG;
	if (named && strcmp(name, s->wanted)) return;
	if (!why) why = REFUSED(never, name);
	if (!why && !named) why = REFUSED(only_named, name);
	if (!why) why = misplaced(core, i, &s->place, where, sizeof where, &ip);
	int near = why ? -1 : near_of(core, i), points = why ? -1 : score(i, near, ip, ip && !s->place.any);
	bool better = points > s->best;
	if (s->loud)
		core->log(core->self, 3, "provider %s, %s%s%s%s%s: %s", name, message ? "connections" : "datagrams, reliable", *where ? " (" : "", where,
			  *where ? ")" : "", near > 0 ? ", near this process" : near ? "" : ", far from this process",
			  why ? why : better ? "possible, the best so far" : "possible, no better");
	if (why && named && !strstr(s->why, why)) {
		size_t n = strlen(s->why);
		snprintf(s->why + n, sizeof s->why - n, "%s%s", n ? "; " : "", why);
	}
	if (!better) return;
	struct fi_info *copy = fi_dupinfo(i);
	if (!copy) {
		s->error = DPI_ERR_MEMORY;
		return;
	}
	struct fabric_choice *c = s->choice;
	if (c->info) fi_freeinfo(c->info);
	s->best = points;
	c->info = copy;
	c->message = message;
	c->near = near;
	c->order_saw = message && i->tx_attr->msg_order & FI_ORDER_SAW;
	c->local = i->addr_format == FI_ADDR_STR;
	snprintf(c->name, sizeof c->name, "%s", name);
	snprintf(c->where, sizeof c->where, "%s", where);
}

int dpi_fabric_choose(const DPI_Tp_Core *core, struct fabric_choice *c, bool loud)
{
	static const enum fi_ep_type types[] = { FI_EP_MSG, FI_EP_RDM };
	static const uint64_t orders[] = { FI_ORDER_SAS | FI_ORDER_SAW, FI_ORDER_SAS };
	struct search s = { .core = core, .choice = c, .loud = loud, .best = -1 };
	memset(c, 0, sizeof *c);
	snprintf(c->name, sizeof c->name, "none");
	s.wanted = core->setting(core->self, "FABRIC");
	if (!s.wanted) s.wanted = "";
	int error = dpi_fabric_listen_address(core, &s.place.family, s.place.bytes, &s.place.any);
	if (error) return error;
	const char *never_this = REFUSED(never, s.wanted);
	if (never_this)
		return core->fail_text(core->self, DPI_ERR_CONFIG, "DPI_FABRIC is '%s', which is never used: %s; leave it out or name another", s.wanted,
				       never_this);
	for (int t = 0; t < 2; t++)
		for (int o = 0; o < 2; o++) {
			struct fi_info *hints = hints_of(types[t], orders[o], s.wanted), *list = NULL;
			if (!hints) s.error = DPI_ERR_MEMORY;
			else if (!fi_getinfo(FABRIC_VERSION, NULL, NULL, 0, hints, &list))
				for (struct fi_info *i = list; i; i = i->next) consider(&s, i);
			if (list) fi_freeinfo(list);
			if (hints) fi_freeinfo(hints);
		}
	if (s.error) {
		if (c->info) fi_freeinfo(c->info);
		c->info = NULL;
		return core->fail_text(core->self, s.error, "no memory to choose a libfabric provider");
	}
	if (!c->info && *s.wanted)
		return core->fail_text(core->self, DPI_ERR_CONFIG, "DPI_FABRIC is '%s', and that cannot be used here: %s; 'fi_info' lists what there is",
				       s.wanted, *s.why ? s.why : "libfabric has no such provider with reliable messages and remote writes");
	if (!c->info)
		return core->fail_text(core->self, DPI_ERR_UNSUPPORTED,
				       "libfabric has no provider that can be used%s; 'fi_info' lists what there is, DPI_LOG=debug says why not",
				       core->secure ? "" : " on loopback, and without a cluster key (DPI_KEY_FILE) nothing else may be");
	snprintf(c->reason, sizeof c->reason, "%s, %s, over %s: %s", c->name, c->message ? "connections" : "reliable datagrams", c->where,
		 *s.wanted ? "named by DPI_FABRIC" : c->near > 0 ? "a device near this process" : c->info->nic ? "a device" : "the best there is");
	return DPI_SUCCESS;
}
