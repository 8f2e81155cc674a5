/* SPDX-License-Identifier: Apache-2.0
 * rejoin.c: what a node does when its registry has died: on a thread of its own it looks for node 0, which may be started again, and
 * tells it what this node knows. And the names that this node holds, which the registry tells it of. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control_state.h"
#include "names.h"

#define ATTEMPT_NS 500000000 /* of one attempt; the end of the context waits for it */
#define PAUSE_FIRST_NS 2000000
#define PAUSE_LAST_NS 200000000
#define REPORT_PAUSE_NS 2000000

struct dpi_rejoin {
	pthread_mutex_t lock; /* what follows; taken before that of the control plane */
	pthread_cond_t changed;
	pthread_t thread;
	bool running, wanted, stop;
	bool ended; /* the last registry has, for certain */
	struct dpi_names held;
	_Atomic bool outcast; /* this node has no place in the cluster any more */
};

/* ------------------------------------------------------------------------------------------------------ the names held */

void dpi_held_pack(struct dpi_pack *p, const char *name, const struct dpi_name *entry)
{
	dpi_pack_text(p, name);
	dpi_pack_u32(p, entry->kind);
	dpi_pack_u64(p, entry->id);
}

bool dpi_held_unpack(struct dpi_unpack *u, char name[DPI_NAME_MAX], struct dpi_name *entry)
{
	*entry = (struct dpi_name){ 0 };
	dpi_unpack_text(u, name, DPI_NAME_MAX);
	entry->kind = dpi_unpack_u32(u);
	entry->id = dpi_unpack_u64(u);
	for (const char *at = name; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f) return false;
	return !u->bad && u->at == u->end && *name && entry->kind >= DPI_NAME_BUFFER && entry->kind <= DPI_NAME_BLOOM;
}

static void handle_held(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct dpi_rejoin *r = ctx->control->rejoin;
	char name[DPI_NAME_MAX];
	struct dpi_name entry;
	if (in->from->node != DPI_REGISTRY_NODE || !dpi_held_unpack(&in->body, name, &entry)) {
		dpi_log(DPI_LOG_WARNING, "node %d tells of names what it has no right to, or what is malformed", in->from->node);
		return;
	}
	pthread_mutex_lock(&r->lock);
	struct dpi_named **at = dpi_names_find(&r->held, name);
	if (in->type == DPI_REGISTRY_RELEASE) {
		if (at && (*at)->entry.id == entry.id) dpi_names_remove(&r->held, at);
	} else if (at) {
		(*at)->entry = entry;
	} else if (!dpi_names_add(&r->held, name, &entry)) {
		dpi_log(DPI_LOG_ERROR, "no memory for the name '%s': if the registry dies, it is lost", name);
	}
	pthread_mutex_unlock(&r->lock);
}

/* ------------------------------------------------------------------------------------------------------------ the report */

/* Wait; true: the context is about to end. */
static bool pause_for(struct dpi_rejoin *r, int64_t ns)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += ns;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&r->lock);
	if (!r->stop) pthread_cond_timedwait(&r->changed, &r->lock, &until);
	bool stop = r->stop;
	pthread_mutex_unlock(&r->lock);
	return stop;
}

int dpi_report(struct dpi_context *ctx, struct dpi_peer *registry, uint16_t type, struct dpi_pack *message)
{
	while (dpi_control_piles_up(ctx, registry))
		if (pause_for(ctx->control->rejoin, REPORT_PAUSE_NS)) break;
	return dpi_tell(ctx, registry, type, message);
}

static int report_nodes(struct dpi_context *ctx, struct dpi_peer *registry)
{
	struct dpi_control *k = ctx->control;
	struct dpi_node n;
	int error = DPI_SUCCESS;
	for (int i = 0; !error && dpi_cluster_at(ctx, i, &n); i++) {
		struct dpi_pack p = { 0 };
		pthread_mutex_lock(&k->lock); /* the table has only what the last registry told */
		for (int j = 0; j < k->peer_count; j++) {
			const struct dpi_peer *peer = k->peers[j];
			if (peer->incarnation != n.incarnation || !atomic_load_explicit(&peer->dead, memory_order_acquire)) continue;
			n.alive = false;
			n.gone |= peer->gone;
			memcpy(n.why, peer->sentence, sizeof n.why);
		}
		pthread_mutex_unlock(&k->lock);
		dpi_pack_u8(&p, n.alive);
		dpi_node_pack(&p, &n);
		error = dpi_report(ctx, registry, DPI_REGISTRY_KNOWN, &p);
	}
	return error;
}

/* Names come and go only while there is a registry: the table does not change in between. */
static int report_names(struct dpi_context *ctx, struct dpi_peer *registry)
{
	struct dpi_rejoin *r = ctx->control->rejoin;
	int error = DPI_SUCCESS;
	for (uint32_t i = 0; i < r->held.buckets && !error; i++)
		for (struct dpi_named *n = r->held.bucket[i]; n && !error; n = n->next) {
			struct dpi_pack p = { 0 };
			dpi_held_pack(&p, n->text, &n->entry);
			error = dpi_report(ctx, registry, DPI_REGISTRY_HELD, &p);
		}
	return error;
}

static int report(struct dpi_context *ctx, struct dpi_peer *registry)
{
	struct dpi_control *k = ctx->control;
	struct dpi_pack p = { 0 };
	int error = report_nodes(ctx, registry);
	if (!error) error = report_names(ctx, registry);
	for (int i = 0; i < k->reporters && !error; i++) error = k->reporter[i](ctx, registry);
	if (error) return error;
	dpi_pack_u64(&p, atomic_load(&ctx->cluster->term));
	pthread_mutex_lock(&k->rejoin->lock);
	dpi_pack_u8(&p, k->rejoin->ended);
	pthread_mutex_unlock(&k->rejoin->lock);
	return dpi_report(ctx, registry, DPI_REGISTRY_TOLD, &p);
}

/* ------------------------------------------------------------------------------------------------------------ the thread */

/* Wait until there is something to do; false: the context is about to end. */
static bool await_work(struct dpi_rejoin *r)
{
	pthread_mutex_lock(&r->lock);
	while (!r->stop && !r->wanted) pthread_cond_wait(&r->changed, &r->lock);
	bool go = !r->stop;
	r->wanted = false;
	pthread_mutex_unlock(&r->lock);
	return go;
}

/* Find the registry and tell it all. */
static void find(struct dpi_context *ctx)
{
	struct dpi_rejoin *r = ctx->control->rejoin;
	int64_t pause = PAUSE_FIRST_NS;
	int error, said = DPI_SUCCESS;
	do {
		bool outcast = false;
		error = dpi_connect_back(ctx, dpi_now() + ATTEMPT_NS, &outcast);
		if (error && error != DPI_ERR_AGAIN && error != DPI_ERR_PEER && error != said)
			dpi_log(outcast ? DPI_LOG_WARNING : DPI_LOG_INFORMATION, "the registry is not found again: %s", dpi_detail());
		said = error;
		if (outcast) {
			atomic_store(&r->outcast, true);
			dpi_cluster_changed(ctx);
			return;
		}
		if (!error) break;
		if (pause_for(r, pause)) return;
		pause = pause * 2 > PAUSE_LAST_NS ? PAUSE_LAST_NS : pause * 2;
	} while (error);
	struct dpi_peer *registry = dpi_peer_find(ctx, DPI_REGISTRY_NODE);
	/* if it dies meanwhile, that is heard of otherwise */
	if (registry && report(ctx, registry)) dpi_log(DPI_LOG_INFORMATION, "the registry was not told all: %s", dpi_detail());
}

static void *rejoin_main(void *arg)
{
	struct dpi_context *ctx = arg;
	while (await_work(ctx->control->rejoin)) find(ctx);
	return NULL;
}

void dpi_rejoin_begin(struct dpi_context *ctx, const struct dpi_peer *registry)
{
	struct dpi_rejoin *r = ctx->control->rejoin;
	struct dpi_node n;
	if (ctx->registry || !dpi_registry_returns(ctx) || atomic_load(&r->outcast)) return;
	pthread_mutex_lock(&r->lock);
	/* one that was not back yet when it died is not the last */
	if (dpi_cluster_find(ctx, DPI_REGISTRY_NODE, &n) && n.incarnation == registry->incarnation) r->ended = registry->gone;
	r->wanted = true;
	pthread_cond_signal(&r->changed);
	if (!r->running && !r->stop) {
		pthread_attr_t attr;
		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, 512 * 1024);
		r->running = !pthread_create(&r->thread, &attr, rejoin_main, ctx);
		pthread_attr_destroy(&attr);
		if (!r->running) dpi_log(DPI_LOG_ERROR, "cannot start the thread that looks for the registry (ulimit -u?)");
	}
	pthread_mutex_unlock(&r->lock);
}

const char *dpi_rejoin_outlook(struct dpi_context *ctx)
{
	if (atomic_load(&ctx->control->rejoin->outcast)) return "it does without this node by now: start this process again";
	if (!dpi_registry_returns(ctx)) return "nothing brings it back to a cluster whose size was not said, or of PMIx: start the cluster again";
	return "start node 0 again as it was, with DPI_RESTART=1 (see dpi_cluster(7))";
}

static void handle_back(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t term = dpi_unpack_u64(&in->body);
	if (in->from->node != DPI_REGISTRY_NODE || in->body.bad || in->body.at != in->body.end) {
		dpi_log(DPI_LOG_WARNING, "node %d tells of the registry what it has no right to, or what is malformed", in->from->node);
		return;
	}
	atomic_store(&ctx->cluster->term, term);
	dpi_log(DPI_LOG_INFORMATION, "the registry is back, in its life %llu", (unsigned long long)term);
}

int dpi_rejoin_open(struct dpi_context *ctx)
{
	struct dpi_rejoin *r = ctx->control->rejoin = calloc(1, sizeof *r);
	pthread_condattr_t attr;
	if (!r) return dpi_fail(DPI_ERR_MEMORY, "no memory for the control plane");
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->changed, &attr);
	pthread_condattr_destroy(&attr);
	int error = dpi_handle_messages(ctx, DPI_REGISTRY_HOLD, handle_held);
	if (!error) error = dpi_handle_messages(ctx, DPI_REGISTRY_RELEASE, handle_held);
	return error ? error : dpi_handle_messages(ctx, DPI_REGISTRY_BACK, handle_back);
}

void dpi_rejoin_stop(struct dpi_context *ctx)
{
	struct dpi_rejoin *r = ctx->control ? ctx->control->rejoin : NULL;
	if (!r) return;
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_cond_broadcast(&r->changed);
	bool running = r->running;
	r->running = false;
	pthread_mutex_unlock(&r->lock);
	if (running) pthread_join(r->thread, NULL);
}

void dpi_rejoin_close(struct dpi_context *ctx)
{
	struct dpi_rejoin *r = ctx->control->rejoin;
	if (!r) return;
	dpi_rejoin_stop(ctx);
	dpi_names_free(&r->held);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r);
	ctx->control->rejoin = NULL;
}
