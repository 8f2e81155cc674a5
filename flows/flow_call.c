/* SPDX-License-Identifier: Apache-2.0
 * flow_call.c: what a process asks of a flow's coordinator. */
#include <stdio.h>
#include <stdlib.h>

#include "cluster.h"
#include "layer.h"
#include "registry.h"

static struct dpi_pack about(uint64_t id)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, id);
	return p;
}

static void tell_of(struct dpi_context *ctx, uint16_t type, uint64_t id)
{
	struct dpi_pack p = about(id);
	dpi_flow_tell(ctx, type, &p);
}

static int ask(struct dpi_context *ctx, uint16_t type, struct dpi_pack *p, int64_t deadline, struct dpi_reply *reply)
{
	int error = dpi_call(ctx, DPI_REGISTRY_NODE, type, p, deadline, reply);
	if (error == DPI_ERR_PEER && !dpi_peer_find(ctx, DPI_REGISTRY_NODE))
		return dpi_registry_gone(ctx, "the flow's coordinator");
	return error;
}

/* The same about a copy's flow: if that has failed, its own failure. */
static int ask_of(struct dpi_flow *f, uint16_t type, struct dpi_pack *p, int64_t deadline, struct dpi_reply *reply)
{
	int error = ask(f->ctx, type, p, deadline, reply);
	if (!error || error == DPI_ERR_TIMEOUT || error == DPI_ERR_REGISTRY) return error;
	int own = dpi_flow_check(f);
	return own ? own : error;
}

static int nonsense(const char *name)
{
	return dpi_fail(DPI_ERR_CORRUPT, "the registry's node answered with nonsense about flow '%s'", name);
}

static int open_call(struct dpi_flow *f, int64_t deadline)
{
	struct dpi_reply reply;
	struct dpi_pack p = about(f->id);
	struct dpi_definition *d;
	dpi_pack_u64(&p, f->copy);
	int error = ask(f->ctx, DPI_FLOW_OPEN, &p, deadline, &reply);
	if (error) return error;
	uint32_t size;
	const void *bytes = dpi_unpack_bytes(&reply.body, &size);
	error = reply.body.bad ? nonsense(f->name) : dpi_definition_parse(bytes, size, &d);
	dpi_reply_free(&reply);
	if (error) return error;
	pthread_mutex_lock(&f->ctx->flows->lock);
	pthread_mutex_lock(&f->lock);
	if (f->target_room == d->targets) f->definition = d;
	f->named = true;
	pthread_mutex_unlock(&f->lock);
	pthread_mutex_unlock(&f->ctx->flows->lock);
	if (f->definition) return DPI_SUCCESS;
	dpi_definition_unref(d);
	return nonsense(f->name);
}

static int open_entry(struct dpi_context *ctx, const char *name, const struct dpi_name *entry, int64_t deadline,
		      struct dpi_flow **out)
{
	if (entry->node != DPI_REGISTRY_NODE) return nonsense(name);
	pthread_mutex_lock(&ctx->flows->lock);
	struct dpi_flow *f = *dpi_flow_place(ctx->flows, entry->id, 0);
	/* one that failed may be destroyed by now, which only the coordinator knows */
	if (f && !atomic_load_explicit(&f->failed, memory_order_acquire)) f->references++;
	else f = NULL;
	pthread_mutex_unlock(&ctx->flows->lock);
	*out = f;
	if (f) return DPI_SUCCESS;
	f = dpi_flow_new(ctx, name);
	if (!f) return DPI_ERR_MEMORY;
	f->id = entry->id;
	dpi_flow_enlist(f); /* from here on news find it */
	int error = open_call(f, deadline);
	if (!error) {
		*out = f;
		return DPI_SUCCESS;
	}
	char sentence[DPI_DETAIL_MAX];
	snprintf(sentence, sizeof sentence, "%s", dpi_detail());
	dpi_flow_unref(f);
	return dpi_fail(error, "%s", sentence);
}

/* Open what a name stands for. A name whose flow is no more (its destroyer or creator died between two steps) is removed:
 * DPI_ERR_AGAIN. */
static int open_named(struct dpi_context *ctx, const char *name, const struct dpi_name *entry, int64_t deadline,
		      struct dpi_flow **f)
{
	int error = open_entry(ctx, name, entry, deadline, f);
	if (error != DPI_ERR_DESTROYED) return error;
	error = dpi_name_remove(ctx, name, entry->id, deadline);
	return error && error != DPI_ERR_NAME ? error : DPI_ERR_AGAIN;
}

int dpi_flow_open(struct dpi_context *ctx, const char *name, int64_t appear, int64_t deadline, struct dpi_flow **f)
{
	int error;
	struct dpi_name entry;
	do {
		error = dpi_name_find(ctx, name, DPI_NAME_FLOW, appear, &entry);
		if (!error) error = open_named(ctx, name, &entry, deadline, f);
	} while (error == DPI_ERR_AGAIN);
	return error;
}

/* A create found the name taken. AGAIN: it is free now. */
static int open_existing(struct dpi_context *ctx, const char *name, int create, const struct dpi_definition *d,
			 const struct dpi_name *entry, int64_t deadline, struct dpi_flow **f)
{
	char difference[DPI_DETAIL_MAX / 2];
	if (entry->kind != DPI_NAME_FLOW)
		return dpi_fail(DPI_ERR_EXISTS, "the name '%s' is taken by something that is no flow: choose another",
				name);
	if (create != DPI_CREATE_OR_OPEN)
		return dpi_fail(DPI_ERR_EXISTS,
				"the name '%s' is taken by a flow: choose another, open it, or create with "
				"DPI_CREATE_OR_OPEN",
				name);
	int error = open_named(ctx, name, entry, deadline, f);
	if (error || dpi_definition_equal((*f)->definition, d, difference, sizeof difference)) return error;
	dpi_flow_unref(*f);
	*f = NULL;
	return dpi_fail(DPI_ERR_EXISTS, "flow '%s' is there with another definition: %s", name, difference);
}

static int create_call(struct dpi_flow *f, int64_t deadline)
{
	uint8_t *bytes;
	size_t size;
	struct dpi_reply reply;
	struct dpi_pack p = { 0 };
	int error = dpi_definition_write(f->definition, &bytes, &size);
	if (error) return error;
	dpi_pack_u64(&p, f->copy);
	dpi_pack_text(&p, f->name);
	dpi_pack_bytes(&p, bytes, (uint32_t)size);
	free(bytes);
	error = ask(f->ctx, DPI_FLOW_CREATE, &p, deadline, &reply);
	if (error) return error;
	f->id = dpi_unpack_u64(&reply.body);
	bool bad = reply.body.bad;
	dpi_reply_free(&reply);
	return bad ? nonsense(f->name) : DPI_SUCCESS;
}

/* One try. d's reference stays the caller's. AGAIN: the name was that of a flow that is no more. */
static int create(struct dpi_context *ctx, const char *name, int how, struct dpi_definition *d, int64_t deadline,
		  struct dpi_flow **out)
{
	struct dpi_name entry;
	struct dpi_peer *home;
	if (how == DPI_CREATE_OR_OPEN && !dpi_name_find(ctx, name, DPI_NAME_FLOW, dpi_now(), &entry))
		return open_existing(ctx, name, how, d, &entry, deadline, out);
	int error = dpi_peer_get(ctx, DPI_REGISTRY_NODE, deadline, &home);
	if (error == DPI_ERR_PEER)
		return dpi_registry_gone(ctx, "the registry");
	if (error) return error;
	struct dpi_flow *f = dpi_flow_new(ctx, name);
	if (!f) return DPI_ERR_MEMORY;
	f->definition = dpi_definition_ref(d);
	f->target_room = d->targets;
	f->target = calloc(d->targets, sizeof *f->target);
	error = f->target ? create_call(f, deadline) : dpi_fail(DPI_ERR_MEMORY, "no memory for a flow");
	if (error) {
		dpi_flow_free(f);
		return error;
	}
	dpi_flow_enlist(f); /* before anybody can find the flow, and so change it */
	entry = (struct dpi_name){ DPI_NAME_FLOW, DPI_REGISTRY_NODE, home->incarnation, f->id };
	error = dpi_name_publish(ctx, name, &entry, deadline);
	if (!error) {
		pthread_mutex_lock(&f->lock);
		f->named = true;
		pthread_mutex_unlock(&f->lock);
		tell_of(ctx, DPI_FLOW_NAMED, f->id);
		*out = f;
		return DPI_SUCCESS;
	}
	char sentence[DPI_DETAIL_MAX];
	snprintf(sentence, sizeof sentence, "%s", dpi_detail());
	tell_of(ctx, DPI_FLOW_DROP, f->id);
	dpi_flow_unref(f);
	return error == DPI_ERR_EXISTS ? open_existing(ctx, name, how, d, &entry, deadline, out)
				       : dpi_fail(error, "%s", sentence);
}

int dpi_flow_create(struct dpi_context *ctx, const char *name, const DPI_Flow_Attr *attr, int64_t deadline,
		    struct dpi_flow **f)
{
	struct dpi_definition *d;
	int error = dpi_definition_from(attr, &d);
	if (error) return error;
	do error = create(ctx, name, attr->create, d, deadline, f);
	while (error == DPI_ERR_AGAIN);
	dpi_definition_unref(d);
	return error;
}

int dpi_flow_destroy(struct dpi_context *ctx, const char *name, int64_t deadline)
{
	struct dpi_name entry;
	int error = dpi_name_find(ctx, name, DPI_NAME_FLOW, dpi_now(), &entry);
	if (error) return error;
	struct dpi_pack p = about(entry.id);
	error = ask(ctx, DPI_FLOW_DESTROY, &p, deadline, NULL);
	if (error && error != DPI_ERR_DESTROYED) return error;
	int removed = dpi_name_remove(ctx, name, entry.id, deadline);
	if (error) return dpi_fail(DPI_ERR_NAME, "flow '%s' is being destroyed by another caller", name);
	return removed == DPI_ERR_NAME ? DPI_SUCCESS : removed; /* somebody who could not open it did that */
}

static int resume_call(struct dpi_flow *f, struct dpi_flow_joining *j, int64_t deadline)
{
	struct dpi_reply reply;
	struct dpi_pack p = about(f->id);
	uint64_t token = atomic_fetch_add_explicit(&f->ctx->flows->next_token, 1, memory_order_relaxed);
	dpi_pack_u64(&p, token);
	dpi_pack_u64(&p, j->id);
	dpi_pack_u32(&p, (j->goes_on ? DPI_JOIN_GOES_ON : 0) | (j->takes_over ? DPI_JOIN_TAKES_OVER : 0));
	int error = ask_of(f, DPI_FLOW_JOIN, &p, deadline, &reply);
	if (error == DPI_ERR_TIMEOUT) {
		p = about(f->id);
		dpi_pack_u64(&p, token);
		dpi_flow_tell(f->ctx, DPI_FLOW_ABANDON, &p);
	}
	if (error) return error;
	j->number = dpi_unpack_u32(&reply.body);
	j->epoch = dpi_unpack_u32(&reply.body);
	bool bad = reply.body.bad || j->number >= DPI_SOURCES_MAX;
	dpi_reply_free(&reply);
	return bad ? nonsense(f->name) : DPI_SUCCESS;
}

/* A call that makes an endpoint this process's: call(f, arg, own, deadline), which fills in own. */
static int own(struct dpi_flow *f, int (*call)(struct dpi_flow *, void *, struct dpi_flow_own *, int64_t), void *arg, int64_t deadline)
{
	struct dpi_flow_layer *l = f->ctx->flows;
	struct dpi_flow_own *o = calloc(1, sizeof *o);
	if (!o) return dpi_fail(DPI_ERR_MEMORY, "no memory for an endpoint");
	o->flow = f->id;
	atomic_fetch_add(&l->joining, 1);
	int error = call(f, arg, o, deadline);
	if (error) free(o);
	else dpi_flow_owned(l, o);
	atomic_fetch_sub(&l->joining, 1);
	return error;
}

static int resume_own(struct dpi_flow *f, void *arg, struct dpi_flow_own *o, int64_t deadline)
{
	struct dpi_flow_joining *j = arg;
	int error = resume_call(f, j, deadline);
	o->number = j->number;
	o->epoch = j->epoch;
	return error;
}

int dpi_flow_resume(struct dpi_flow *f, struct dpi_flow_joining *j, int64_t deadline)
{
	return own(f, resume_own, j, deadline);
}

int dpi_flow_join(struct dpi_flow *f, int64_t deadline, uint32_t *source)
{
	struct dpi_flow_joining j = { 0 };
	int error = dpi_flow_resume(f, &j, deadline);
	if (!error) *source = j.number;
	return error;
}

int dpi_flow_leave(struct dpi_flow *f, uint32_t source, uint32_t epoch, int state, int64_t deadline)
{
	struct dpi_pack p = about(f->id);
	dpi_pack_u32(&p, source);
	dpi_pack_u32(&p, epoch);
	dpi_pack_u32(&p, (uint32_t)state);
	struct dpi_flow_own which = { .flow = f->id, .number = source, .epoch = epoch };
	int error = ask_of(f, DPI_FLOW_LEAVE, &p, deadline, NULL);
	dpi_flow_disowned(f->ctx, &which, state, error);
	return error;
}

static struct dpi_pack unbinding(const struct dpi_flow *f, uint32_t target, uint64_t queue, int state)
{
	struct dpi_pack p = about(f->id);
	dpi_pack_u32(&p, target);
	dpi_pack_u64(&p, queue);
	dpi_pack_u32(&p, (uint32_t)state);
	return p;
}

static int bind_call(struct dpi_flow *f, uint32_t target, uint64_t queue, bool again, int64_t deadline, uint32_t *epoch)
{
	struct dpi_reply reply;
	struct dpi_pack p = about(f->id);
	dpi_pack_u32(&p, target);
	dpi_pack_u64(&p, queue);
	dpi_pack_u8(&p, again);
	int error = ask_of(f, DPI_FLOW_BIND, &p, deadline, &reply);
	if (!error) {
		*epoch = dpi_unpack_u32(&reply.body);
		bool bad = reply.body.bad;
		dpi_reply_free(&reply);
		return bad ? nonsense(f->name) : DPI_SUCCESS;
	}
	if (error != DPI_ERR_TIMEOUT) return error;
	p = unbinding(f, target, queue, DPI_TARGET_UNBOUND);
	dpi_flow_tell(f->ctx, DPI_FLOW_UNBIND, &p);
	return error;
}

struct binding {
	uint32_t target;
	uint64_t queue;
	bool again;
	uint32_t *epoch;
};

static int bind_own(struct dpi_flow *f, void *arg, struct dpi_flow_own *o, int64_t deadline)
{
	const struct binding *b = arg;
	int error = bind_call(f, b->target, b->queue, b->again, deadline, b->epoch);
	o->target = true;
	o->number = b->target;
	o->queue = b->queue;
	return error;
}

int dpi_flow_bind_again(struct dpi_flow *f, uint32_t target, uint64_t queue, bool again, int64_t deadline, uint32_t *epoch)
{
	struct binding b = { target, queue, again, epoch };
	return own(f, bind_own, &b, deadline);
}

int dpi_flow_unbind_queue(struct dpi_flow *f, uint32_t target, uint64_t queue, int state, int64_t deadline)
{
	struct dpi_pack p = unbinding(f, target, queue, state);
	struct dpi_flow_own which = { .flow = f->id, .number = target, .queue = queue, .target = true };
	int error = ask_of(f, DPI_FLOW_UNBIND, &p, deadline, NULL);
	dpi_flow_disowned(f->ctx, &which, state, error);
	return error;
}

int dpi_flow_unbind(struct dpi_flow *f, uint32_t target, int state, int64_t deadline)
{
	return dpi_flow_unbind_queue(f, target, dpi_flow_where(f, target).queue, state, deadline);
}

int dpi_flow_seal(struct dpi_flow *f, int64_t deadline)
{
	struct dpi_pack p = about(f->id);
	return ask_of(f, DPI_FLOW_SEAL, &p, deadline, NULL);
}

int dpi_flow_cancel(struct dpi_flow *f, const char *reason, int64_t deadline)
{
	char text[DPI_FLOW_SENTENCE];
	struct dpi_pack p = about(f->id);
	snprintf(text, sizeof text, "%s", reason ? reason : "");
	dpi_pack_text(&p, text);
	return ask_of(f, DPI_FLOW_CANCEL, &p, deadline, NULL);
}
