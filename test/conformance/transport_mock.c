/* SPDX-License-Identifier: Apache-2.0
 * transport_mock.c: hook over a transport that promises as little as the interface lets it: everything is pending, puts
 * arrive in the wrong order, few are accepted at once. Its windows lie in its own process; one is attached at a time. */
#include <stdlib.h>
#include <sys/queue.h>

#include "transport_kit.h"

#define ACCEPTED 6

struct DPI_Tp {
	const DPI_Tp_Core *core;
};
struct DPI_Tp_Endpoint {
	int unused;
};
struct DPI_Tp_Window {
	int unused;
};
struct DPI_Tp_Remote {
	uint8_t *memory;
};

struct mock_op {
	TAILQ_ENTRY(mock_op) link;
	DPI_Tp_Remote *remote; /* NULL: a flush */
	struct iovec iov[8];
	int count;
	uint64_t offset;
	bool put, notifies;
	DPI_Tp_Notify notify;
	void *cookie;
};

static TAILQ_HEAD(, mock_op) queue = TAILQ_HEAD_INITIALIZER(queue);
static int queued, cancels;
static struct DPI_Tp the_tp;
static struct DPI_Tp_Endpoint the_endpoint;
static struct DPI_Tp_Window the_window;
static struct DPI_Tp_Remote the_remote;

static int mock_open(const DPI_Tp_Core *core, const DPI_Transport *lower, DPI_Tp **tp)
{
	(void)lower;
	the_tp.core = core;
	*tp = &the_tp;
	return DPI_SUCCESS;
}

static void mock_close(DPI_Tp *tp)
{
	(void)tp;
	CHECK(TAILQ_EMPTY(&queue));
}

static int mock_query(DPI_Tp *tp, DPI_Tp_Attr *attr)
{
	(void)tp;
	*attr = (DPI_Tp_Attr){.size = sizeof *attr, .lanes = 1, .max_iov = 8};
	return DPI_SUCCESS;
}

static int mock_connect(DPI_Tp *tp, uint32_t lane, const DPI_Tp_Peer *peer, int64_t timeout_us, DPI_Tp_Endpoint **endpoint)
{
	(void)tp, (void)lane, (void)peer, (void)timeout_us;
	*endpoint = &the_endpoint;
	return DPI_SUCCESS;
}

static void finish(struct mock_op *op, int error)
{
	void *cookie = op->cookie;
	TAILQ_REMOVE(&queue, op, link);
	queued--;
	free(op);
	the_tp.core->complete(the_tp.core->self, cookie, error, 0);
}

static void mock_disconnect(DPI_Tp_Endpoint *endpoint)
{
	(void)endpoint;
	while (!TAILQ_EMPTY(&queue)) finish(TAILQ_FIRST(&queue), DPI_ERR_PEER);
}

static int mock_expose(DPI_Tp *tp, const DPI_Tp_Memory *memory, DPI_Tp_Window **window, DPI_Tp_Key *key)
{
	(void)tp;
	*key = (DPI_Tp_Key){.size = sizeof memory->address, .fd = -1};
	memcpy(key->bytes, &memory->address, sizeof memory->address);
	*window = &the_window;
	return DPI_SUCCESS;
}

static int mock_withdraw(DPI_Tp_Window *window)
{
	(void)window;
	return DPI_SUCCESS;
}

static int mock_attach(DPI_Tp_Endpoint *endpoint, const DPI_Tp_Key *key, uint64_t length, DPI_Tp_Remote **remote,
		       void **direct)
{
	(void)endpoint, (void)length;
	memcpy(&the_remote.memory, key->bytes, sizeof the_remote.memory);
	*remote = &the_remote;
	*direct = NULL;
	return DPI_SUCCESS;
}

static int mock_detach(DPI_Tp_Remote *remote)
{
	(void)remote;
	return DPI_SUCCESS;
}

static int enqueue(const struct mock_op *what)
{
	if (queued == ACCEPTED) return DPI_ERR_AGAIN;
	struct mock_op *op = malloc(sizeof *op);
	*op = *what;
	TAILQ_INSERT_TAIL(&queue, op, link);
	queued++;
	return DPI_TP_PENDING;
}

static int mock_put(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify,
		    uint32_t flags, void *cookie)
{
	struct mock_op op = {.remote = remote, .count = count, .offset = offset, .put = true, .cookie = cookie};
	(void)flags;
	op.notifies = notify;
	if (count) memcpy(op.iov, iov, (size_t)count * sizeof *iov);
	if (notify) op.notify = *notify;
	return enqueue(&op);
}

static int mock_get(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, void *cookie)
{
	struct mock_op op = {.remote = remote, .count = count, .offset = offset, .cookie = cookie};
	memcpy(op.iov, iov, (size_t)count * sizeof *iov);
	return enqueue(&op);
}

static int mock_flush(DPI_Tp_Endpoint *endpoint, void *cookie)
{
	(void)endpoint;
	return enqueue(&(struct mock_op){.cookie = cookie});
}

static int mock_cancel(DPI_Tp_Endpoint *endpoint, void *cookie)
{
	struct mock_op *op;
	(void)endpoint;
	TAILQ_FOREACH(op, &queue, link) {
		if (op->cookie != cookie) continue;
		TAILQ_REMOVE(&queue, op, link);
		queued--;
		cancels++;
		free(op);
		return DPI_SUCCESS;
	}
	FAIL("an operation is cancelled that is not pending");
}

static void carry_out(struct mock_op *op)
{
	uint8_t *at = op->remote ? op->remote->memory + op->offset : NULL;
	for (int i = 0; i < op->count; at += op->iov[i++].iov_len) {
		if (op->put) memcpy(at, op->iov[i].iov_base, op->iov[i].iov_len);
		else memcpy(op->iov[i].iov_base, at, op->iov[i].iov_len);
	}
	if (op->notifies) memcpy(op->remote->memory + op->notify.offset, &op->notify.value, 8);
}

/* One at a time, at every third call, the newest first; but a flush waits for puts before it, and notifications for each
 * other. */
static int mock_progress(DPI_Tp *tp, uint32_t lane, int *events)
{
	struct mock_op *op, *chosen = NULL;
	bool notification = false, put = false;
	static int calls;
	(void)tp, (void)lane;
	if (events) *events = 0;
	if (calls++ % 3) return DPI_SUCCESS;
	TAILQ_FOREACH(op, &queue, link) {
		if (op->remote ? !op->notifies || !notification : !put) chosen = op;
		notification |= op->notifies;
		put |= op->put;
	}
	if (events) *events = chosen != NULL;
	if (!chosen) return DPI_SUCCESS;
	carry_out(chosen);
	finish(chosen, DPI_SUCCESS);
	return DPI_SUCCESS;
}

static const DPI_Transport mock = {
	.abi = DPI_TP_ABI, .size = sizeof mock, .name = "mock", .open = mock_open, .close = mock_close, .query = mock_query,
	.connect = mock_connect, .disconnect = mock_disconnect, .expose = mock_expose, .withdraw = mock_withdraw,
	.attach = mock_attach, .detach = mock_detach, .put = mock_put, .get = mock_get, .flush = mock_flush,
	.cancel = mock_cancel, .progress = mock_progress,
};

/* ---------------------------------------------------------------------------------------------------------- cases */

enum { SIZE = 4096, WORD = SIZE };
static DPI_Transport filled_mock;

/* Open hook over mock, with a window of this rank attached by itself. */
static void start(int rank, struct kit_window *w, struct kit_remote *r)
{
	kit_open(rank);
	kit.table->close(kit.tp);
	kit_fill_table(&filled_mock, &mock);
	CHECK_KIT(kit.table->open(&kit.core, &filled_mock, &kit.tp));
	CHECK_KIT(kit.table->query(kit.tp, &kit.attr));
	CHECK_KIT(kit_connect());
	kit_memory(w, SIZE + 8, true);
	CHECK_KIT(kit_expose(w, KIT_ALL));
	CHECK_KIT(kit_attach(&w->key, SIZE + 8, r));
}

static void end(struct kit_window *w)
{
	kit_end();
	w->window = NULL;
	kit_free(w);
}

/* A cut put's notification comes after all its pieces, though the transport below keeps no order. */
HOOK_TEST(tp_hook_cut_notify, "T-39 T-42 T-57", "short=1,seed=5")
{
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[SIZE], back[SIZE];
	start(rank, &w, &r);
	CHECK(!kit_has(DPI_TP_PUT_ORDER));
	for (uint64_t i = 1; i <= 100; i++) {
		DPI_Tp_Notify n = {.offset = WORD, .value = i, .bell = DPI_TP_NO_BELL};
		struct kit_op op;
		struct iovec iov[2] = {{data, 100}, {data + 100, SIZE - 100}};
		kit_fill(data, i, 0, SIZE);
		KIT_POST(&op, kit.table->put(r.remote, iov, 2, 0, &n, 0, &op));
		while (kit_word(&w, WORD) != i) kit_progress();
		CHECK(kit_filled(w.memory, i, 0, SIZE));
		CHECK_KIT(kit_finish(&op));
		CHECK_KIT(kit_get(&r, back, SIZE, 0));
		CHECK(kit_filled(back, i, 0, SIZE));
	}
	end(&w);
}

/* Notifications of several puts, each cut: in the order posted. */
HOOK_TEST(tp_hook_cut_order, "T-37 T-42", "short=0.5,reorder,delay=5,again=0.2,seed=6")
{
	enum { OPS = 200, PART = SIZE / 8 };
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[OPS][PART];
	static struct kit_op ops[OPS];
	uint64_t last = 0;
	start(rank, &w, &r);
	for (uint64_t i = 0; i < OPS; i++) {
		DPI_Tp_Notify n = {.offset = WORD, .value = i + 1, .bell = DPI_TP_NO_BELL};
		struct iovec iov = {data[i], PART};
		kit_fill(data[i], i, 0, PART);
		KIT_POST(&ops[i], kit.table->put(r.remote, &iov, 1, i % 8 * PART, &n, 0, &ops[i]));
		uint64_t now = kit_word(&w, WORD);
		CHECK_INT(now, >=, last);
		last = now;
		if (i % 8 != 7) continue;
		CHECK_KIT(kit_flush());
		CHECK_INT(kit_word(&w, WORD), ==, i + 1);
		for (uint64_t k = 0; k < 8; k++) CHECK(kit_filled(w.memory + k * PART, i - 7 + k, 0, PART));
	}
	for (int i = 0; i < OPS; i++) CHECK_KIT(kit_finish(&ops[i]));
	end(&w);
}

/* Held, flying in pieces, or done and not yet told: each can be taken back. */
HOOK_TEST(tp_hook_cancel, "T-58", "short=0.5,seed=7")
{
	enum { OPS = 60 };
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[OPS][256];
	static struct kit_op ops[OPS];
	int taken_back = 0;
	start(rank, &w, &r);
	for (int round = 0; round < 30; round++) {
		for (int i = 0; i < OPS; i++) {
			struct iovec iov = {data[i], 256};
			KIT_POST(&ops[i], kit.table->get(r.remote, &iov, 1, 0, &ops[i]));
		}
		for (int i = 0; i < round * 4; i++) kit_progress();
		for (int i = round % 3; i < OPS; i += 3) {
			if (kit_finished(&ops[i])) continue;
			CHECK_KIT(kit.table->cancel(kit.to, &ops[i]));
			ops[i].posted = DPI_ERR_CANCELLED; /* a completion now is one too many */
			memset(data[i], 0x5a, 256);
			taken_back++;
		}
		CHECK_KIT(kit_flush());
		for (int i = 0; i < OPS; i++) {
			int error = kit_finish(&ops[i]);
			if (error == DPI_ERR_CANCELLED) CHECK(kit_all(data[i], 0x5a, 256));
			else CHECK_KIT(error);
		}
	}
	CHECK_INT(taken_back, >, 100);
	CHECK_INT(cancels, >, 2); /* of flying ones */
	kit_detach(&r); /* nothing is pending on it */
	end(&w);
}

/* Given up with operations in every state. */
HOOK_TEST(tp_hook_disconnect, "T-14", "short=0.5,delay=300,reorder,seed=8")
{
	enum { OPS = 60 };
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[OPS][256];
	static struct kit_op ops[OPS];
	start(rank, &w, &r);
	for (int round = 0; round < 20; round++) {
		if (round) {
			CHECK_KIT(kit_connect());
			CHECK_KIT(kit_attach(&w.key, SIZE + 8, &r));
		}
		for (int i = 0; i < OPS; i++) {
			struct iovec iov = {data[i], 256};
			DPI_Tp_Notify n = {.offset = WORD, .value = 1, .bell = DPI_TP_NO_BELL};
			if (i % 2) KIT_POST(&ops[i], kit.table->get(r.remote, &iov, 1, 0, &ops[i]));
			else KIT_POST(&ops[i], kit.table->put(r.remote, &iov, 1, 0, &n, 0, &ops[i]));
		}
		for (int i = 0; i < round * 10; i++) kit_progress();
		kit.table->disconnect(kit.to);
		memset(data, 0x5a, sizeof data);
		for (int i = 0; i < OPS; i++)
			CHECK(kit_finished(&ops[i]) && (!ops[i].error || ops[i].error == DPI_ERR_PEER));
		for (int i = 0; i < 20; i++) kit_progress();
		CHECK(kit_all(data, 0x5a, sizeof data));
	}
	end(&w);
}
