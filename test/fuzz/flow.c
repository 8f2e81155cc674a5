/* SPDX-License-Identifier: Apache-2.0
 * flow.c: libFuzzer target: messages about flows, to the coordinator and to a copy. The input is a sequence of messages: a
 * byte of type (bit 7: from the other node), two of size, the body. There is one flow at first, id 1, with copy 1 here. Where bit 5
 * of the first byte is set the coordinator comes back, and is back at the end. */

#include "flows/coordinator.h"
#include "registry_state.h"
#include "fuzz.h"

static struct dpi_context ctx;
static struct dpi_peer other;
static uint8_t *definition;
static size_t definition_size;

static void start(void)
{
	static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 } };
	static const char *const key[] = { "key" };
	struct dpi_definition *d = NULL;
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	a.key = key;
	a.key_count = 1;
	a.targets = 4;
	a.on_death = DPI_DEATH_GOES_ON;
	unsetenv("DPI_CLUSTER");
	need(!DPI_Create_Schema(columns, 1, &a.schema) && !dpi_definition_from(&a, &d), "a definition");
	need(!dpi_definition_write(d, &definition, &definition_size), "its bytes");
	dpi_definition_unref(d);
	DPI_Free_Schema(a.schema);
	need(!dpi_settings_read(&ctx.settings, NULL, 0) && !dpi_bells_create(&ctx.bells, 1) && !dpi_loop_open(&ctx) &&
		     !dpi_control_open(&ctx) && !dpi_control_make_self(&ctx),
	     "a node");
	dpi_log_set(-1, -1);
	other.node = 1;
	snprintf(other.sentence, sizeof other.sentence, "node 1 died");
}

static void message(struct dpi_peer *from, uint16_t type, const void *bytes, size_t size)
{
	struct dpi_request_in in = { .from = from,
				     .type = type,
				     .body = { .at = bytes, .end = (const uint8_t *)bytes + size } };
	if (ctx.control->handler[type]) ctx.control->handler[type](&ctx, &in);
	else need(0, "a message without a handler");
}

static void check(const struct dpi_flow *f)
{
	uint32_t over = 0;
	for (uint32_t i = 0; i < f->opened; i++) {
		need(f->source[i] >= DPI_SOURCE_OPEN && f->source[i] <= DPI_SOURCE_LOST, "a source's state");
		over += f->source[i] == DPI_SOURCE_CLOSED || f->source[i] == DPI_SOURCE_DEAD;
	}
	need(f->failed || over == f->over, "how many sources are over");
	need(f->opened <= DPI_SOURCES_MAX && f->target_room <= DPI_TARGETS_MAX, "sizes");
	for (uint32_t i = 0; i < f->target_room; i++) need(f->target[i].state <= DPI_TARGET_DETACHED, "a target's state");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dpi_pack p = { 0 };
	if (!definition) start();
	memset(ctx.control->handler + DPI_MESSAGE_FLOW, 0,
	       (DPI_MESSAGE_TYPES - DPI_MESSAGE_FLOW) * sizeof *ctx.control->handler);
	ctx.control->downs = ctx.control->reporters = ctx.control->backs = 0;
	dpi_loop_close(&ctx); /* with the services of the layer before */
	need(!dpi_loop_open(&ctx) && !dpi_flows_open(&ctx), "the layer");
	dpi_pack_u64(&p, 1);
	dpi_pack_text(&p, "f");
	dpi_pack_bytes(&p, definition, (uint32_t)definition_size);
	message(ctx.control->self, DPI_FLOW_CREATE, p.data, p.size);
	dpi_pack_free(&p);
	struct dpi_flow *f = calloc(1, sizeof *f);
	f->ctx = &ctx;
	f->id = f->copy = 1;
	f->references = 1;
	pthread_mutex_init(&f->lock, NULL);
	ctx.flows->copy[1] = f;
	if (size && data[0] & 64) { /* whole already */
		need(!dpi_definition_parse(definition, definition_size, &f->definition), "a definition");
		f->target_room = f->definition->targets;
		f->target = calloc(f->target_room, sizeof *f->target);
	}
	bool returns = size && data[0] & 32;
	ctx.flows->coordinator->returning = returns;
	while (size >= 3) {
		size_t n = data[1] | (size_t)data[2] << 8;
		if (n > size - 3) n = size - 3;
		uint16_t type = (uint16_t)(DPI_MESSAGE_FLOW + (data[0] & 63) % (DPI_FLOW_MESSAGES_END - DPI_MESSAGE_FLOW));
		uint8_t *exact = malloc(n + !n); /* so that a read beyond it is seen */
		memcpy(exact, data + 3, n);
		message(data[0] & 128 ? &other : ctx.control->self, type, exact, n);
		free(exact);
		check(f);
		data += 3 + n;
		size -= 3 + n;
	}
	if (returns) ctx.control->back[0](&ctx);
	need(!returns || !ctx.flows->coordinator->returning, "it is back");
	for (int i = 0; i < ctx.control->downs; i++) ctx.control->down[i](&ctx, &other);
	check(f);
	dpi_flows_close(&ctx);
	dpi_names_free(&ctx.registry->names);
	while (ctx.control->peer_count > 1) free(ctx.control->peers[--ctx.control->peer_count]); /* who stood for nodes that are not there */
	return 0;
}
