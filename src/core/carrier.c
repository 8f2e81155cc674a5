/* SPDX-License-Identifier: Apache-2.0
 * carrier.c: the transports of a context: which are open, which one carries to a peer. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "loop_state.h"
#include "peer.h"
#include "wait.h"

/* ------------------------------------------------------------------------------------- what transports call back */

static void core_complete(void *self, void *cookie, int error, uint64_t result)
{
	(void)self;
	struct dpi_operation *op = cookie;
	op->done(op, error, result);
}

static void core_ring(void *self, int node, uint32_t bell)
{
	struct dpi_carrier *c = self;
	if (bell >= DPI_BELLS || !c->ctx) return;
	if (node < 0 || node == c->ctx->node) {
		dpi_bell_ring(&c->ctx->bells, bell);
		return;
	}
	struct dpi_peer *peer = dpi_peer_find(c->ctx, node);
	if (peer) dpi_peer_ring(peer, bell);
}

static void core_deliver(void *self, int node, const void *bytes, size_t size)
{
	(void)self, (void)bytes;
	dpi_log(DPI_LOG_DEBUG, "a message of %zu bytes from node %d: nobody asked for one", size, node);
}

static void core_lost(void *self, int node, uint64_t incarnation, const char *sentence)
{
	struct dpi_carrier *c = self;
	struct dpi_peer *peer = c->ctx ? dpi_peer_find(c->ctx, node) : NULL;
	if (!peer || peer->incarnation != incarnation) return; /* an earlier process of that number, dead already */
	if (!atomic_load(&peer->endpoint_lost[c->index])) {
		snprintf(peer->lost_sentence[c->index], sizeof peer->lost_sentence[0], "%s", sentence);
		/* release: whoever sees the flag sees the sentence */
		atomic_store_explicit(&peer->endpoint_lost[c->index], true, memory_order_release);
	}
	for (uint32_t i = 0; i < DPI_BELLS; i++) dpi_bell_ring(&c->ctx->bells, i);
}

static int core_fail(void *self, int error, const char *format, ...)
{
	(void)self;
	va_list args;
	va_start(args, format);
	dpi_fail_v(error, format, args);
	va_end(args);
	return error;
}

static const char *core_setting(void *self, const char *name)
{
	struct dpi_carrier *c = self;
	int i = dpi_setting_find(name);
	return i < 0 || !c->ctx ? NULL : c->ctx->settings.value[i];
}

static void core_log(void *self, int level, const char *format, ...)
{
	struct dpi_carrier *c = self;
	char text[1000];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	dpi_log(level, "transport %s: %s", c->name, text);
}

static int core_near(void *self, const char *device)
{
	struct dpi_carrier *c = self;
	return c->ctx ? dpi_topology_near_here(&c->ctx->topology, device) : -1;
}

/* A process alone proves its key to nobody, and yet its transports are to be those that it has in its cluster. */
bool dpi_transports_secure(const struct dpi_context *ctx)
{
	return ctx->secure || *ctx->settings.value[DPI_SETTING_KEY_FILE];
}

void dpi_carrier_core(struct dpi_carrier *c, struct dpi_context *ctx)
{
	c->ctx = ctx;
	c->core = (DPI_Tp_Core){ .abi = DPI_TP_ABI,
				 .size = sizeof c->core,
				 .self = c,
				 .complete = core_complete,
				 .ring = core_ring,
				 .deliver = core_deliver,
				 .lost = core_lost,
				 .fail_text = core_fail,
				 .setting = core_setting,
				 .log = core_log,
				 .node = ctx ? ctx->node : 0,
				 .incarnation = ctx ? ctx->incarnation : 0,
				 .secure = ctx && dpi_transports_secure(ctx),
				 .near = core_near };
}

/* ------------------------------------------------------------------------------------------------------- opening */

static void carrier_free(struct dpi_carrier *c)
{
	if (c->tp) c->table->close(c->tp);
	for (int i = 0; i < 2; i++)
		if (c->module[i]) dlclose(c->module[i]);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* automatic: nobody named it, so a module has to have a device: without one the transports that are built in are faster. */
static int carrier_open(struct dpi_context *ctx, const char *name, bool automatic)
{
	struct dpi_carrier *c = calloc(1, sizeof *c);
	const DPI_Transport *table, *lower = NULL;
	int error;
	if (!c) return dpi_fail(DPI_ERR_MEMORY, "no memory for transport %s", name);
	pthread_mutex_init(&c->lock, NULL);
	c->fd = -1;
	c->index = ctx->carriers;
	snprintf(c->name, sizeof c->name, "%s", name);
	char *colon = strchr(c->name, ':');
	if (colon) *colon = 0;
	const char *path = ctx->settings.value[DPI_SETTING_MODULES];
	error = dpi_transport_find(path, c->name, &c->module[0], &table);
	if (colon) *colon = ':';
	if (!error && colon) error = dpi_transport_find(path, colon + 1, &c->module[1], &lower);
	if (!error && !colon && table == dpi_transport_builtin("hook"))
		error = dpi_fail(DPI_ERR_CONFIG, "DPI_TRANSPORT: hook wraps another transport: write hook:shm or hook:tcp");
	if (error) goto fail;
	dpi_transport_fill(&c->filled, table);
	c->table = &c->filled;
	if (lower) dpi_transport_fill(&c->lower, lower);
	dpi_carrier_core(c, ctx);
	char reason[128] = "";
	error = c->table->probe(&c->core, reason, sizeof reason);
	if (error && error != DPI_ERR_UNSUPPORTED) {
		dpi_fail(error, "transport %s cannot work here: %s", name, *reason ? reason : dpi_detail());
		goto fail;
	}
	error = c->table->open(&c->core, lower ? &c->lower : NULL, &c->tp);
	if (error) goto fail;
	c->attr.size = sizeof c->attr;
	error = c->table->query(c->tp, &c->attr);
	if (!error && automatic && !*c->attr.device && !dpi_transport_builtin(name))
		error = dpi_fail(DPI_ERR_UNSUPPORTED, "it would work without a device, more slowly than tcp; DPI_TRANSPORT may name it");
	if (error) goto fail;
	if (!(c->attr.capabilities & DPI_TP_FD) || c->table->get_fd(c->tp, 0, &c->fd)) c->fd = -1;
	if (c->fd < 0 && table->progress && !(c->attr.capabilities & DPI_TP_PASSIVE)) {
		error = dpi_fail(DPI_ERR_UNSUPPORTED, "transport %s needs progress and has no descriptor to sleep on: %s", name,
				 "this library cannot wait for it; choose another transport or provider");
		goto fail;
	}
	c->needs_progress = c->fd >= 0;
	c->watch.fd = c->fd;
	c->watch.ready = dpi_loop_carrier_ready;
	snprintf(c->reason, sizeof c->reason, "open");
	ctx->carrier[ctx->carriers++] = c;
	return DPI_SUCCESS;
fail:
	carrier_free(c);
	return error;
}

int dpi_carriers_open(struct dpi_context *ctx)
{
	char list[256], *save = NULL;
	const char *wanted = ctx->settings.value[DPI_SETTING_TRANSPORT];
	bool given = *wanted;
	if (strlen(wanted) >= sizeof list) return dpi_fail(DPI_ERR_CONFIG, "DPI_TRANSPORT is longer than %zu bytes", sizeof list - 1);
	strcpy(list, given ? wanted : DPI_TRANSPORTS_AUTOMATIC);
	for (char *name = strtok_r(list, ", ", &save); name; name = strtok_r(NULL, ", ", &save)) {
		if (dpi_carrier_find(ctx, name) || (!given && dpi_transport_needless(name))) continue;
		if (ctx->carriers == DPI_TRANSPORTS_MAX)
			return dpi_fail(DPI_ERR_CONFIG, "DPI_TRANSPORT names more than %d transports", DPI_TRANSPORTS_MAX);
		int error = carrier_open(ctx, name, !given);
		if (error && given) return error;
		if (error) dpi_log(DPI_LOG_INFORMATION, "transport %s left out: %s", name, dpi_detail());
	}
	if (!ctx->carriers) return dpi_fail(DPI_ERR_TRANSPORT, "no transport can be used: DPI_TRANSPORT is '%s'; see dpi-info --transports", wanted);
	return DPI_SUCCESS;
}

void dpi_carriers_close(struct dpi_context *ctx)
{
	while (ctx->carriers) carrier_free(ctx->carrier[--ctx->carriers]);
}

struct dpi_carrier *dpi_carrier_find(struct dpi_context *ctx, const char *name)
{
	for (int i = 0; i < ctx->carriers; i++)
		if (!strcmp(ctx->carrier[i]->name, name)) return ctx->carrier[i];
	return NULL;
}

/* --------------------------------------------------------------------------------------------------- towards a peer */

static const struct dpi_peer_address *address_of(const struct dpi_peer *peer, const char *name)
{
	for (int i = 0; i < peer->addresses; i++)
		if (!strcmp(peer->address[i].transport, name)) return &peer->address[i];
	return NULL;
}

/* Why a carrier cannot reach a peer; NULL if it can. */
static const char *cannot(const struct dpi_carrier *c, const struct dpi_peer *peer)
{
	if (!address_of(peer, c->name)) return "the peer does not have it open";
	if ((c->attr.capabilities & DPI_TP_SAME_HOST) && !peer->same_host) return "the peer is not proven to be on this host";
	if (atomic_load_explicit(&peer->endpoint_lost[c->index], memory_order_acquire)) return peer->lost_sentence[c->index];
	return NULL;
}

static bool failed(const struct dpi_carrier *c, const struct dpi_peer *peer)
{
	/* acquire: whoever sees the flag sees the sentence */
	return atomic_load_explicit(&peer->failed[c->index], memory_order_acquire);
}

void dpi_peer_order(const struct dpi_context *ctx, const struct dpi_peer *peer, int order[DPI_TRANSPORTS_MAX])
{
	bool last[DPI_TRANSPORTS_MAX];
	int n = 0;
	for (int i = 0; i < ctx->carriers; i++) {
		last[i] = failed(ctx->carrier[i], peer);
		if (!last[i]) order[n++] = i;
	}
	for (int i = 0; i < ctx->carriers; i++)
		if (last[i]) order[n++] = i;
}

void dpi_peer_choose(struct dpi_context *ctx, const struct dpi_peer *peer, struct dpi_way *way)
{
	size_t at = 0;
	int order[DPI_TRANSPORTS_MAX];
	*way = (struct dpi_way){ 0 };
	dpi_peer_order(ctx, peer, order);
	for (int i = 0; i < ctx->carriers && !way->carrier; i++)
		if (!cannot(ctx->carrier[order[i]], peer)) way->carrier = ctx->carrier[order[i]];
	for (int i = 0; i < ctx->carriers && at < sizeof way->reason; i++) {
		struct dpi_carrier *c = ctx->carrier[i];
		const char *why = cannot(c, peer);
		if (!why) why = c == way->carrier ? "chosen" : failed(c, peer) ? peer->failed_sentence[i] : "possible, less preferred";
		int n = snprintf(way->reason + at, sizeof way->reason - at, "%s%s: %s", at ? "; " : "", c->name, why);
		at += n > 0 ? (size_t)n : 0;
	}
}

/* A connection did not come about, or did. Caller holds the carrier's lock. */
static void note(const struct dpi_carrier *c, struct dpi_peer *peer, bool fails)
{
	if (fails && !*peer->failed_sentence[c->index]) {
		snprintf(peer->failed_sentence[c->index], sizeof peer->failed_sentence[0], "%s", dpi_detail());
		dpi_log(DPI_LOG_INFORMATION, "transport %s does not connect to node %d: %s", c->name, peer->node, dpi_detail());
	}
	/* release: pairs with failed */
	if (fails != failed(c, peer)) atomic_store_explicit(&peer->failed[c->index], fails, memory_order_release);
}

/* Where another transport may carry, too, one has half of the time to connect. One that was given little time is not to blame. */
#define FAIR_NS 500000000
int dpi_peer_endpoint(struct dpi_context *ctx, struct dpi_peer *peer, int carrier, int64_t deadline, DPI_Tp_Endpoint **endpoint)
{
	struct dpi_carrier *c = ctx->carrier[carrier];
	const char *why = cannot(c, peer);
	if (why)
		return dpi_fail(DPI_ERR_PEER, "transport %s does not reach node %d: %s", c->name, peer->node, why);
	const struct dpi_peer_address *a = address_of(peer, c->name);
	DPI_Tp_Peer p = { .node = peer->node, .incarnation = peer->incarnation, .same_host = peer->same_host,
			  .address = a->bytes, .address_size = a->size };
	bool others = false;
	for (int i = 0; i < ctx->carriers; i++)
		others |= i != carrier && !cannot(ctx->carrier[i], peer) && !failed(ctx->carrier[i], peer);
	int64_t left = (deadline == DPI_NEVER ? INT64_MAX : deadline - dpi_now()) / (others ? 2 : 1);
	int error = DPI_SUCCESS;
	pthread_mutex_lock(&c->lock);
	if (!peer->endpoint[carrier]) {
		error = c->table->connect(c->tp, 0, &p, left >= 1000 ? left / 1000 : 1, &peer->endpoint[carrier]);
		if (error != DPI_ERR_TIMEOUT || left >= FAIR_NS) note(c, peer, error);
		dpi_carrier_served(c);
	}
	*endpoint = peer->endpoint[carrier];
	pthread_mutex_unlock(&c->lock);
	return error;
}
