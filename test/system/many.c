/* SPDX-License-Identifier: Apache-2.0
 * many.c: a thousand connections of one device, and registrations until it, or the system, refuses: a sentence says which limit it was,
 * and everything else goes on. */
#include <dlfcn.h>
#include <dpi_transport.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kit.h"

ENROL_IF(verbs, "DPI_TRANSPORT=verbs", modules, rdma);

/* ------------------------------------------------------------------------------------------ a core that is none */

static char sentence[1200];
static _Atomic int completed, failed;

static void complete(void *self, void *cookie, int error, uint64_t result)
{
	(void)self, (void)cookie, (void)result;
	completed++;
	failed += error != DPI_SUCCESS;
}
static void ring(void *self, int node, uint32_t bell) { (void)self, (void)node, (void)bell; }
static void deliver(void *self, int node, const void *bytes, size_t size) { (void)self, (void)node, (void)bytes, (void)size; }
static void lost(void *self, int node, uint64_t incarnation, const char *why) { (void)self, (void)node, (void)incarnation, (void)why; }
static const char *setting(void *self, const char *name) { return (void)self, !strcmp(name, "LISTEN") ? "127.0.0.1" : NULL; }
static void note(void *self, int level, const char *format, ...) { (void)self, (void)level, (void)format; }
static int fail_text(void *self, int error, const char *format, ...)
{
	va_list args;
	(void)self;
	va_start(args, format);
	vsnprintf(sentence, sizeof sentence, format, args);
	va_end(args);
	return error;
}

static DPI_Tp_Core core = { .abi = DPI_TP_ABI, .size = sizeof core, .complete = complete, .ring = ring, .deliver = deliver, .lost = lost,
			    .fail_text = fail_text, .setting = setting, .log = note };

#define CHECK_TP(call)                                                                    \
	do {                                                                              \
		int error_ = (call);                                                      \
		if (error_) FAIL("%s: error %d: %s", #call, error_, sentence);            \
	} while (0)
/* Post until it is accepted, and wait until it is done. */
#define FINISH(tp, call)                                                                  \
	do {                                                                              \
		int before_ = completed, posted_;                                         \
		while ((posted_ = (call)) == DPI_ERR_AGAIN) table->progress(tp, 0, NULL); \
		if (posted_ > 0) FAIL("%s: error %d: %s", #call, posted_, sentence);      \
		while (posted_ == DPI_TP_PENDING && completed == before_) table->progress(tp, 0, NULL); \
		CHECK_INT(failed, ==, 0);                                                 \
	} while (0)

static const DPI_Transport *transport(void)
{
	char path[4300];
	DPI_Tp_Entry entry;
	snprintf(path, sizeof path, "%.4000s/dpi/libdpi-verbs.so", harness_build());
	void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!module) FAIL("%s", dlerror());
	*(void **)&entry = dlsym(module, "dpi_transport_1");
	CHECK(entry);
	return entry();
}

/* ------------------------------------------------------------------------------------------------------ connections */

enum { MANY = 1000, SERVER = 77 };

struct meeting {
	_Atomic int open, over;
	uint32_t address_size;
	uint8_t address[DPI_TP_ADDRESS_MAX];
	DPI_Tp_Key key;
};

static void serve(struct meeting *m, const DPI_Transport *table)
{
	static uint64_t words[MANY] __attribute__((aligned(4096)));
	DPI_Tp *tp;
	DPI_Tp_Window *window;
	DPI_Tp_Memory memory = { .address = words, .length = sizeof words, .fd = -1, .access = DPI_TP_READ | DPI_TP_WRITE };
	core.incarnation = SERVER;
	CHECK_TP(table->open(&core, NULL, &tp));
	CHECK_TP(table->expose(tp, &memory, &window, &m->key));
	m->address_size = sizeof m->address;
	CHECK_TP(table->address(tp, m->address, &m->address_size));
	m->open = 1;
	while (!m->over) table->progress(tp, 0, NULL);
	for (int i = 0; i < MANY; i++) CHECK_INT(words[i], ==, 5 * i + 1);
	table->close(tp);
}

/* One process stands for as many nodes: towards each of its connections it is another. */
static DPI_Tp_Endpoint *connect_as(int node, struct meeting *m, const DPI_Transport *table, DPI_Tp *tp)
{
	DPI_Tp_Endpoint *to = NULL;
	DPI_Tp_Peer peer = { .incarnation = SERVER, .same_host = 1, .address = m->address, .address_size = m->address_size };
	core.node = node;
	core.incarnation = 1000 + (uint64_t)node;
	CHECK_TP(table->connect(tp, 0, &peer, 60000000 * (int64_t)harness_slow(), &to));
	return to;
}

TEST(a_thousand_connections, "", 2, .deadline_s = 180)
{
	static DPI_Tp_Endpoint *to[MANY];
	static DPI_Tp_Remote *remote[MANY];
	struct meeting *m = harness_shared();
	if (!rdma()) SKIP("no RDMA device");
	const DPI_Transport *table = transport();
	int many = MANY;
	DPI_Tp *tp;
	void *direct;
	if (rank == 0) {
		serve(m, table);
		return;
	}
	AWAIT(m->open);
	core.incarnation = 1;
	CHECK_TP(table->open(&core, NULL, &tp));
	for (int round = 0; round < 2; round++) { /* the second time there is room for as many */
		for (int i = 0; i < many; i++) {
			to[i] = connect_as(1 + i, m, table, tp);
			CHECK_TP(table->attach(to[i], &m->key, sizeof(uint64_t) * MANY, &remote[i], &direct));
		}
		for (int i = 0; i < many; i++) {
			uint64_t word = 5 * (uint64_t)i + (uint64_t)round;
			struct iovec v = { &word, sizeof word };
			FINISH(tp, table->put(remote[i], &v, 1, 8 * (uint64_t)i, NULL, 0, &v));
		}
		for (int i = 0; i < many; i++) {
			uint64_t word = 0;
			struct iovec v = { &word, sizeof word };
			FINISH(tp, table->flush(to[i], &v));
			FINISH(tp, table->get(remote[i], &v, 1, 8 * (uint64_t)i, &v));
			CHECK_INT(word, ==, 5 * i + round);
		}
		for (int i = 0; i < many; i++) table->disconnect(to[i]);
	}
	m->over = 1;
	table->close(tp);
}

/* ---------------------------------------------------------------------------------------------------- registrations */

/* Root may lock as much as it likes; this process may not. A device's file knows with which rights it was opened: before DPI_Init. */
static void drop_right_to_lock(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];
	CHECK(!syscall(SYS_capget, &header, data));
	data[0].effective &= ~(1u << CAP_IPC_LOCK);
	CHECK(!syscall(SYS_capset, &header, data));
}

static void lock_no_more_than(uint64_t more)
{
	unsigned long long pinned = 0;
	char line[128];
	FILE *f = fopen("/proc/self/status", "re");
	CHECK(f);
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "VmPin: %llu", &pinned) == 1) break;
	fclose(f);
	struct rlimit limit = { pinned * 1024 + more, pinned * 1024 + more };
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
}

static void append(DPI_Buffer q)
{
	char record[3000] = "still here";
	for (int i = 0; i < 20; i++) CHECK_DPI(DPI_Append(record, sizeof record, q));
	CHECK_DPI(DPI_Flush_Buffer(q));
}

TEST(registrations_until_refusal, "", 2, .deadline_s = 180)
{
	enum { PIECE = 64 << 10, PIECES = 400, LIMIT = 8 << 20 };
	DPI_Memory memory[PIECES];
	DPI_Context ctx;
	DPI_Buffer q;
	DPI_Record r;
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
	attr.create = DPI_CREATE_OR_OPEN;
	if (!rdma()) SKIP("no RDMA device");
	drop_right_to_lock();
	CHECK_DPI(DPI_Init(&ctx));
	CHECK_DPI(DPI_Create_Buffer("queue", 0, &attr, ctx, &q));
	if (rank == 0) {
		for (int i = 0; i < 4 * 20; i++) CHECK_DPI(DPI_Next_Record(q, &r));
	} else {
		uint8_t *own = aligned_alloc(PIECE, (size_t)PIECE * PIECES);
		int before = 0;
		CHECK(own);
		append(q); /* what the transport itself registers */
		lock_no_more_than(LIMIT);
		for (int round = 0; round < 3; round++) {
			int count = 0, error = DPI_SUCCESS;
			while (count < PIECES && !error)
				if (!(error = DPI_Register_Memory(own + (size_t)count * PIECE, PIECE, ctx, &memory[count]))) count++;
			const char *why;
			DPI_Get_Error_Detail(&why);
			if (error != DPI_ERR_LIMIT) FAIL("after %d: error %d: %s", count, error, why);
			CHECK_HAS(why, "64 KiB of locked memory, ");
			CHECK_HAS(why, " KiB are locked already, and the limit of all together is ");
			CHECK(!strstr(why, " 0 KiB are locked already"));
			CHECK_HAS(why, "ulimit -l unlimited");
			CHECK_INT(count, >, LIMIT / PIECE / 2);
			if (round) CHECK_INT(count, ==, before); /* nothing is left locked */
			before = count;
			append(q);
			while (count) CHECK_DPI(DPI_Deregister_Memory(memory[--count]));
		}
		free(own);
	}
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}
