/* SPDX-License-Identifier: Apache-2.0
 * tcp.c: libFuzzer target: what an accepted tcp connection receives, through the transport's own receive path.
 *
 *	clang -std=c11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude test/fuzz/tcp.c transports/tcp/?*.c
 *	mkdir found && ./a.out found test/fuzz/corpus/tcp
 *
 * With -DFUZZ_REPLAY and without -fsanitize=fuzzer it runs the files of its command line once.
 *
 * The first byte says what the rest is:
 *   bit 0      the harness says hello properly; else the input is the hello
 *   bit 1      this node uses the connection too and has requests pending; without bit 0: it is asking the peer at that moment
 *   bit 2      the input is an address blob
 *   bit 3      the windows are withdrawn half-way; whom it asks is the lower one of the two
 *   bit 4      a request is cancelled half-way; what it asked is answered
 *   bits 5-7   bytes that arrive at once: 1, 4, 16 … 16 Ki
 * Two windows lie over the same memory: slot 0 is exposed for everything, slot 1 for puts and gets only, so that large
 * ones go straight into it.
 * Tokens and keys are fixed, so that seeds can hold them. */
#include <sys/socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../transports/tcp/tcp.h"

extern const DPI_Transport dpi_tcp;
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WINDOW = 64 << 10, GUARD = 4096, PEER = 1, INCARNATION = 7 };

static DPI_Tp *tp;
static uint8_t *memory; /* the window, between two guards */
static uint8_t local[32 << 10];
static unsigned pending, completed;

static void need(int good, const char *what)
{
	if (good) return;
	fprintf(stderr, "broken: %s\n", what);
	__builtin_trap();
}

static void core_complete(void *self, void *cookie, int error, uint64_t result)
{
	(void)self, (void)cookie, (void)error, (void)result;
	completed++;
	need(completed <= pending, "an operation completed twice");
}

static void core_ring(void *self, int node, uint32_t bell)
{
	(void)self, (void)node, (void)bell;
}

static void core_deliver(void *self, int node, const void *bytes, size_t size)
{
	const uint8_t *b = bytes;
	unsigned sum = 0;
	(void)self, (void)node;
	for (size_t i = 0; i < size; i++) sum += b[i]; /* every byte can be read */
	local[0] = (uint8_t)sum;
}

static void core_lost(void *self, int node, uint64_t incarnation __attribute__((unused)), const char *sentence)
{
	(void)self;
	need((node == PEER || node == 0) && *sentence, "lost says who and why");
}

static int core_fail(void *self, int error, const char *format, ...)
{
	(void)self, (void)format;
	return error;
}

static const char *core_setting(void *self, const char *name)
{
	(void)self, (void)name;
	return NULL;
}

static void core_log(void *self, int level, const char *format, ...)
{
	(void)self, (void)level, (void)format;
}

static const DPI_Tp_Core core = { DPI_TP_ABI, sizeof core, NULL,	 core_complete, core_ring, core_deliver,
				  core_lost,  core_fail,   core_setting, core_log,	0,	   INCARNATION,
				  0,	      NULL };

static DPI_Tp_Window *expose(uint32_t access)
{
	DPI_Tp_Memory m = { memory + GUARD, WINDOW, -1, 0, access };
	DPI_Tp_Window *window;
	DPI_Tp_Key key;
	need(!dpi_tcp.expose(tp, &m, &window, &key), "expose");
	return window;
}

static void open_once(void)
{
	if (tp) return;
	need(!dpi_tcp.open(&core, NULL, &tp), "open");
	memset(tp->self.token, 0, sizeof tp->self.token);
	memset(tp->window_key, 0, sizeof tp->window_key);
	memory = malloc(WINDOW + 2 * GUARD);
	need(memory != NULL, "memory");
	memset(memory, 0xa5, WINDOW + 2 * GUARD);
}

static void progress(int peer)
{
	static uint8_t drop[1 << 16];
	for (int i = 0; i < 3; i++) {
		dpi_tcp.progress(tp, 0, NULL);
		while (recv(peer, drop, sizeof drop, MSG_DONTWAIT) > 0) continue;
	}
}

/* Requests that the input may answer: numbers 0, 1, 2 and 3, of 100 bytes, 20000 bytes in three pieces, a word, a flush. */
static DPI_Tp_Endpoint *use(DPI_Tp_Endpoint *c)
{
	DPI_Tp_Key key = { .size = 40, .fd = -1 };
	DPI_Tp_Remote *remote;
	void *direct;
	struct iovec small = { local, 100 },
		     large[3] = { { local + 100, 10 }, { local + 200, 9990 }, { local + 12000, 10000 } };
	uint64_t word;
	c->claimed = true;
	wire_store(key.bytes, UINT64_C(0x8701) | UINT64_C(1) << 16);
	wire_store(key.bytes + 16, 1 << 20);
	wire_store(key.bytes + 24, c->incarnation);
	wire_store(key.bytes + 32, PEER);
	need(!dpi_tcp.attach(c, &key, 1 << 20, &remote, &direct), "attach");
	pending += dpi_tcp.get(remote, &small, 1, 0, local) == DPI_TP_PENDING;
	pending += dpi_tcp.get(remote, large, 3, 0, local + 1) == DPI_TP_PENDING;
	pending += dpi_tcp.fetch_add(remote, 8, 1, &word, local + 2) == DPI_TP_PENDING;
	dpi_tcp.put(remote, &small, 1, 0, NULL, 0, NULL);
	pending += dpi_tcp.flush(c, local + 3) == DPI_TP_PENDING;
	need(pending == 4, "four requests are pending");
	return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int pair[2];
	if (!size) return 0;
	open_once();
	unsigned how = *data++;
	size--;
	if (how & 4) {
		struct tcp_address a;
		dpi_tcp_address_parse(data, size, &a);
		return 0;
	}
	pending = completed = 0;
	need(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), "socketpair");
	tp->slots = 0; /* the windows are always of slots 0 and 1, generation 1 */
	tp->free_slot = WIRE_SLOTS;
	DPI_Tp_Window *window[2] = { expose(DPI_TP_READ | DPI_TP_WRITE | DPI_TP_ATOMIC),
				     expose(DPI_TP_READ | DPI_TP_WRITE) };
	if (how & 1) {
		struct wire_hello hello = { WIRE_VERSION, { 0 }, PEER, 1, 2, INCARNATION };
		uint8_t bytes[WIRE_HELLO];
		dpi_tcp_wire_hello(bytes, &hello);
		need(write(pair[1], bytes, sizeof bytes) == sizeof bytes, "hello");
	}
	if ((how & 3) == 2) {
		tp->asking.node = how & 8 ? 0 : PEER;
		tp->asking.incarnation = 2;
		tp->asking.said = true;
	}
	DPI_Tp_Endpoint *c = dpi_tcp_adopt(tp, pair[0], "fuzz"), *used = NULL;
	need(c != NULL, "adopt");
	if ((how & 3) == 3) used = use(c);
	size_t step = (size_t)1 << (how >> 5) * 2, half = size / 2;
	for (size_t at = 0; at < size;) {
		size_t n = size - at < step ? size - at : step;
		ssize_t sent = send(pair[1], data + at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		progress(pair[1]);
		if (sent <= 0) break;
		at += (size_t)sent;
		if (at < half) continue;
		half = SIZE_MAX;
		for (int i = 0; i < 2; i++)
			if (how & 8 && !dpi_tcp.withdraw(window[i])) window[i] = NULL;
		if (how & 16 && used) {
			need(!dpi_tcp.cancel(used, local + 1), "cancel");
			memset(local + 100, 0, sizeof local - 100);
		}
	}
	if (tp->asking.said && how & 16)
		dpi_tcp_answered(tp, -1, &(struct wire_ack){ .status = WIRE_WELCOME, .serial = 5 });
	else
		dpi_tcp_unanswered(tp);
	progress(pair[1]);
	close(pair[1]);
	progress(-1);
	if (used) dpi_tcp.disconnect(used);
	progress(-1);
	need(!tp->connections && !tp->strangers && !tp->blocked && !tp->held && !tp->remotes && !tp->kept, "nothing is left of the "
											      "connection");
	need(!used || completed + !!(how & 16) >= pending, "every operation completed");
	for (int i = 0; i < 2; i++)
		if (window[i]) need(!dpi_tcp.withdraw(window[i]), "withdraw");
	for (int i = 0; i < GUARD; i++)
		need(memory[i] == 0xa5 && memory[GUARD + WINDOW + i] == 0xa5, "the window's bounds are kept");
	return 0;
}

#ifdef FUZZ_REPLAY
int main(int argc, char **argv)
{
	static uint8_t data[1 << 20];
	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "rb");
		if (!f) {
			perror(argv[i]);
			return 1;
		}
		size_t n = fread(data, 1, sizeof data, f);
		fclose(f);
		LLVMFuzzerTestOneInput(data, n);
	}
	printf("%d inputs\n", argc - 1);
	return 0;
}
#endif
