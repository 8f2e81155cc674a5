/* SPDX-License-Identifier: Apache-2.0
 * control_kit.h: a context with the control plane alone, without transports, and handlers to call. */
#ifndef CONTROL_KIT_H
#define CONTROL_KIT_H

#include "harness.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "control_state.h"
#include "registry.h"

#define MS 1000000

enum { ECHO = DPI_MESSAGE_MEMORY, LATER, PASS_FD, FAIL_IT, TOLD };

struct shared {
	_Atomic int step, downs, told;
};

static struct dpi_request_in kept[64];
static int kept_count;

static inline void echo(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct dpi_pack p = { 0 };
	uint32_t size;
	const void *bytes = dpi_unpack_bytes(&in->body, &size);
	dpi_pack_bytes(&p, bytes, size);
	dpi_answer(ctx, in->from, in->id, in->body.bad ? dpi_fail(DPI_ERR_CORRUPT, "malformed") : 0, &p);
}

static inline void later(struct dpi_context *ctx, struct dpi_request_in *in)
{
	(void)ctx;
	if (kept_count < 64) kept[kept_count++] = *in;
	((struct shared *)harness_shared())->step++;
}

static inline void pass_fd(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct dpi_pack p = { 0 };
	int fd = dpi_unpack_fd(&in->body);
	dpi_pack_fd(&p, fd);
	dpi_answer(ctx, in->from, in->id, 0, &p);
	if (fd >= 0) close(fd);
}

static inline void fail_it(struct dpi_context *ctx, struct dpi_request_in *in)
{
	dpi_answer(ctx, in->from, in->id, dpi_fail(DPI_ERR_FULL, "the cup is full: drink"), NULL);
}

static inline void told(struct dpi_context *ctx, struct dpi_request_in *in)
{
	(void)ctx;
	((struct shared *)harness_shared())->told += (int)dpi_unpack_u32(&in->body);
}

static inline void down(struct dpi_context *ctx, struct dpi_peer *peer)
{
	(void)ctx, (void)peer;
	((struct shared *)harness_shared())->downs++;
}

static bool elsewhere; /* behave as if every other node were on another host */

/* Tell nobody of the Unix listener. */
static inline void hide(struct dpi_control *k)
{
	int left = 0;
	k->local_address[0] = 0;
	for (int i = 0; i < k->addresses; i++)
		if (strncmp(k->address[i], "unix:", 5)) memmove(k->address[left++], k->address[i], sizeof k->address[0]);
	k->addresses = left;
}

static inline int open_context(struct dpi_context **out)
{
	struct dpi_context *ctx = calloc(1, sizeof *ctx);
	ctx->node = -1;
	if (getrandom(&ctx->incarnation, sizeof ctx->incarnation, 0) < 0) FAIL("getrandom");
	int error = dpi_settings_read(&ctx->settings, NULL, 0);
	ctx->timeout_us = ctx->settings.number[DPI_SETTING_TIMEOUT];
	ctx->spin_ns = ctx->settings.number[DPI_SETTING_SPIN] * 1000;
	if (!strcmp(ctx->settings.value[DPI_SETTING_LOG], "debug")) dpi_log_set(DPI_LOG_DEBUG, -1);
	if (!error) error = dpi_bells_create(&ctx->bells, ctx->incarnation);
	if (!error) error = dpi_loop_open(ctx);
	if (!error) error = dpi_control_open(ctx);
	if (!error && elsewhere) hide(ctx->control);
	if (!error) error = dpi_handle_messages(ctx, ECHO, echo);
	if (!error) error = dpi_handle_messages(ctx, LATER, later);
	if (!error) error = dpi_handle_messages(ctx, PASS_FD, pass_fd);
	if (!error) error = dpi_handle_messages(ctx, FAIL_IT, fail_it);
	if (!error) error = dpi_handle_messages(ctx, TOLD, told);
	if (!error) error = dpi_on_peer_down(ctx, down);
	if (!error) error = dpi_loop_start(ctx);
	if (!error) error = dpi_control_start(ctx);
	*out = ctx;
	return error;
}

static inline void close_context(struct dpi_context *ctx, bool goodbye)
{
	if (goodbye) dpi_control_stop(ctx);
	dpi_loop_stop(ctx);
	dpi_control_close(ctx);
	dpi_loop_close(ctx);
	dpi_bells_close(&ctx->bells);
	dpi_settings_free(&ctx->settings);
	free(ctx);
}

static inline struct dpi_context *must_open(void)
{
	struct dpi_context *ctx;
	CHECK_DPI(open_context(&ctx));
	return ctx;
}

static inline void must_fail(int class, const char *part)
{
	struct dpi_context *ctx;
	CHECK_ERROR(open_context(&ctx), class, part);
	close_context(ctx, false);
}

/* For what must come, however slow the machine. */
static inline int64_t in_time(void)
{
	return dpi_now() + (int64_t)50000 * MS * harness_slow();
}

/* For what must not. */
static inline int64_t soon(int ms)
{
	return dpi_now() + (int64_t)ms * MS * harness_slow();
}

static inline int echo_to(struct dpi_context *ctx, int node, const void *bytes, uint32_t size)
{
	struct dpi_pack p = { 0 };
	struct dpi_reply r;
	uint32_t n;
	dpi_pack_bytes(&p, bytes, size);
	int error = dpi_call(ctx, node, ECHO, &p, in_time(), &r);
	if (error) return error;
	const void *back = dpi_unpack_bytes(&r.body, &n);
	CHECK(!r.body.bad && n == size && !memcmp(back, bytes, n));
	dpi_reply_free(&r);
	return 0;
}

static inline void *chatter(void *arg)
{
	struct dpi_context *ctx = arg;
	uint8_t *bytes = calloc(1, 60000);
	for (int i = 0; i < 100; i++) {
		uint32_t size = i % 10 ? (uint32_t)i : 60000;
		memset(bytes, i, size);
		CHECK_DPI(echo_to(ctx, i % 4, bytes, size));
	}
	free(bytes);
	return NULL;
}

static inline void all_talk(struct dpi_context *ctx)
{
	pthread_t t[4];
	for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, chatter, ctx);
	for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
	CHECK_DPI(dpi_barrier(ctx, "talked", 4, in_time()));
	for (int i = 0; i < ctx->control->peer_count; i++)
		for (int j = 0; j < i; j++)
			CHECK(ctx->control->peers[i]->node != ctx->control->peers[j]->node); /* one channel a pair */
}

#endif
