/* SPDX-License-Identifier: Apache-2.0
 * transport_kit.c: the core that is none: the table, the callbacks, the other rank. */
#include "transport_kit.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "context.h" /* the list of built-in tables, and the stubs of empty slots; nothing else */

struct kit kit;
static DPI_Transport filled, filled_lower;
static _Thread_local char sentence[1024];
static _Thread_local bool inside_post;

/* In harness_shared(). */
struct shared {
	_Atomic uint64_t rung[2][KIT_BELLS];
	_Atomic uint32_t name_size;
	struct sockaddr_un name; /* of rank 0's socket */
};
static struct shared *shared(void)
{
	return harness_shared();
}

/* ------------------------------------------------------------------------------------------------- the callbacks */

static void core_complete(void *self, void *cookie, int error, uint64_t result)
{
	struct kit_op *op = cookie;
	(void)self;
	if (inside_post) FAIL("complete was called from inside a post");
	if (op->posted != DPI_TP_PENDING) FAIL("complete for a post that returned %d", op->posted);
	op->error = error;
	op->result = result;
	if (atomic_fetch_add(&op->completions, 1)) FAIL("complete was called twice for one operation");
}

static void core_ring(void *self, int node, uint32_t bell)
{
	uint64_t one = 1;
	(void)self;
	if (node > 1) FAIL("bell %u of node %d: there is no such node", bell, node);
	if (node < 0) node = kit.rank;
	if (bell >= KIT_BELLS) FAIL("bell %u was rung, there are %d", bell, KIT_BELLS);
	atomic_fetch_add(&shared()->rung[node][bell], 1);
	if (write(kit.bell_fd[node], &one, sizeof one) != sizeof one) FAIL("eventfd: %s", strerror(errno));
}

static void core_deliver(void *self, int node, const void *bytes, size_t size)
{
	(void)self;
	if (inside_post) FAIL("deliver was called from inside a post");
	if (kit.messages < KIT_INBOX) {
		kit.inbox[kit.messages].node = node;
		kit.inbox[kit.messages].size = size;
		memcpy(kit.inbox[kit.messages].bytes, bytes, size < 256 ? size : 256);
	}
	kit.messages++;
}

static void core_lost(void *self, int node, uint64_t incarnation, const char *text)
{
	(void)self;
	if (inside_post) FAIL("lost was called from inside a post");
	if (node == kit.other) CHECK(incarnation == kit.theirs.incarnation);
	kit.lost_node = node;
	snprintf(kit.lost_sentence, sizeof kit.lost_sentence, "%s", text);
	kit.lost++;
}

static int core_fail_text(void *self, int error, const char *format, ...)
{
	va_list args;
	(void)self;
	va_start(args, format);
	vsnprintf(sentence, sizeof sentence, format, args);
	va_end(args);
	return error;
}

static const char *core_setting(void *self, const char *name)
{
	char variable[64];
	const char *value = kit.setting ? kit.setting(name) : NULL;
	(void)self;
	snprintf(variable, sizeof variable, "DPI_%s", name);
	if (!value) value = getenv(variable);
	return value ? value : "";
}

static void core_log(void *self, int level, const char *format, ...)
{
	char line[1024];
	size_t used = strlen(kit.log);
	va_list args;
	(void)self;
	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	printf("log %d: %s\n", level, line);
	snprintf(kit.log + used, sizeof kit.log - used, "%s\n", line);
}

/* The stubs of empty slots say theirs to the library. */
const char *kit_sentence(void)
{
	return *sentence ? sentence : dpi_detail();
}

void kit_forget_sentence(void)
{
	sentence[0] = 0;
}

/* ------------------------------------------------------------------------------------------------------ the table */

static const DPI_Transport *find(const char *name)
{
	const DPI_Transport *table;
	const char *folders = getenv("DPI_MODULES");
	void *module; /* stays: tables of transports are looked at until the end */
	if (dpi_transport_find(folders ? folders : "", name, &module, &table)) FAIL("%s", dpi_detail());
	return table;
}

static void choose(void)
{
	char name[64];
	const char *wanted = getenv("DPI_TRANSPORT");
	if (!wanted || !*wanted) SKIP("no transport is enrolled");
	snprintf(name, sizeof name, "%s", wanted);
	char *colon = strchr(name, ':');
	if (colon) {
		*colon = 0;
		dpi_transport_fill(&filled_lower, find(colon + 1));
		kit.lower = &filled_lower;
	}
	kit.own = find(name);
	dpi_transport_fill(&filled, kit.own);
	kit.table = &filled;
}

void kit_fill_table(DPI_Transport *to, const DPI_Transport *table)
{
	dpi_transport_fill(to, table);
}

int kit_open_table(DPI_Tp **tp)
{
	return kit.table->open(&kit.core, kit.lower, tp);
}

bool kit_has(uint32_t capability)
{
	return kit.attr.capabilities & capability;
}

/* -------------------------------------------------------------------------------------------------- the other rank */

static void send_to_other(const void *bytes, size_t size, int fd)
{
	char control[CMSG_SPACE(sizeof fd)] = {0};
	struct iovec iov = {(void *)(uintptr_t)bytes, size};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	if (fd >= 0) {
		m.msg_control = control;
		m.msg_controllen = sizeof control;
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
	}
	if (sendmsg(kit.socket, &m, MSG_NOSIGNAL) != (ssize_t)size) FAIL("to the other rank: %s", strerror(errno));
}

/* Makes progress until something has come. The descriptor with it, or -1. */
static int receive_from_other(void *bytes, size_t size)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {bytes, size};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	ssize_t n;
	int fd = -1;
	while ((n = recvmsg(kit.socket, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)) < 0 && errno == EAGAIN) kit_pause();
	if (n != (ssize_t)size) FAIL("the other rank ended or said something else (%zd bytes, not %zu)", n, size);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(c), sizeof fd);
	return fd;
}

void kit_swap(const void *mine, void *theirs, size_t size)
{
	send_to_other(mine, size, -1);
	receive_from_other(theirs, size);
}

void kit_barrier(void)
{
	int a = 0x6b69, b;
	kit_swap(&a, &b, sizeof a);
	CHECK_INT(a, ==, b);
}

void kit_swap_keys(const DPI_Tp_Key *mine, DPI_Tp_Key *theirs)
{
	send_to_other(mine, sizeof *mine, mine->fd);
	theirs->fd = -1;
	int fd = receive_from_other(theirs, sizeof *theirs);
	theirs->fd = fd;
}

/* A socket between the two, without a file: its name goes through the shared page. */
static void meet(void)
{
	struct sockaddr_un u = {.sun_family = AF_UNIX};
	socklen_t size = sizeof u;
	int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (s < 0) FAIL("socket: %s", strerror(errno));
	if (kit.rank == 0) {
		if (bind(s, (struct sockaddr *)&u, sizeof(sa_family_t)) || listen(s, 1)) FAIL("bind: %s", strerror(errno));
		getsockname(s, (struct sockaddr *)&u, &size);
		shared()->name = u;
		atomic_store(&shared()->name_size, size);
		kit.socket = accept4(s, NULL, NULL, SOCK_CLOEXEC);
		atomic_store(&shared()->name_size, 0); /* another time, another socket */
		close(s);
	} else {
		AWAIT((size = atomic_load(&shared()->name_size)));
		u = shared()->name;
		kit.socket = connect(s, (struct sockaddr *)&u, size) ? -1 : s;
	}
	if (kit.socket < 0) FAIL("cannot meet the other rank: %s", strerror(errno));
	kit.bell_fd[kit.rank] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	send_to_other(&kit.rank, sizeof kit.rank, kit.bell_fd[kit.rank]);
	kit.bell_fd[kit.other] = receive_from_other(&kit.other, sizeof kit.other);
}

static void swap_addresses(void)
{
	kit.mine = (struct kit_address){.size = DPI_TP_ADDRESS_MAX, .node = kit.rank, .incarnation = kit.core.incarnation};
	CHECK_KIT(kit.table->address(kit.tp, kit.mine.bytes, &kit.mine.size));
	kit_swap(&kit.mine, &kit.theirs, sizeof kit.mine);
}

void kit_open(int rank)
{
	kit.rank = rank;
	kit.other = !rank;
	choose();
	kit.core = (DPI_Tp_Core){.abi = DPI_TP_ABI,
				 .size = sizeof kit.core,
				 .self = &kit,
				 .complete = core_complete,
				 .ring = core_ring,
				 .deliver = core_deliver,
				 .lost = core_lost,
				 .fail_text = core_fail_text,
				 .setting = core_setting,
				 .log = core_log,
				 .node = kit.rank,
				 .secure = getenv("DPI_KEY_FILE") != NULL,
				 .incarnation = (uint64_t)harness_pid(0) * 1000 + (uint64_t)kit.rank + 16}; /* of this run alone */
	CHECK_KIT(kit_open_table(&kit.tp));
	kit.attr.size = sizeof kit.attr;
	CHECK_KIT(kit.table->query(kit.tp, &kit.attr));
	meet();
	swap_addresses();
}

void kit_peer(DPI_Tp_Peer *peer)
{
	*peer = (DPI_Tp_Peer){.node = kit.theirs.node,
			      .incarnation = kit.theirs.incarnation,
			      .same_host = 1,
			      .address = kit.theirs.bytes,
			      .address_size = kit.theirs.size};
}

int kit_connect(void)
{
	DPI_Tp_Peer peer;
	kit_peer(&peer);
	return kit.table->connect(kit.tp, 0, &peer, 40000000, &kit.to);
}

/* One after the other, so that the second finds what the first has made; at the same time is a case of its own. */
void kit_start(int rank)
{
	kit_open(rank);
	if (kit.rank == 0) CHECK_KIT(kit_connect());
	kit_barrier();
	if (kit.rank == 1) CHECK_KIT(kit_connect());
	kit_barrier();
}

void kit_end(void)
{
	kit_barrier();
	kit.table->close(kit.tp);
	kit.tp = NULL;
	close(kit.socket), close(kit.bell_fd[0]), close(kit.bell_fd[1]);
}

int kit_progress(void)
{
	int events = -1;
	CHECK_KIT(kit.table->progress(kit.tp, 0, &events));
	CHECK_INT(events, >=, 0);
	return events;
}

void kit_pause(void)
{
	static int idle;
	if (kit.tp && kit_progress()) idle = 0;
	else if (idle < 20) idle++, sched_yield();
	else harness_pause();
}

/* A post under way: nothing may be called back. */
void kit_before(struct kit_op *op)
{
	op->completions = 0;
	op->error = -2;
	op->result = 0;
	op->posted = DPI_TP_PENDING;
	inside_post = true;
}

/* Again? */
bool kit_after(struct kit_op *op, int result)
{
	inside_post = false;
	op->posted = result;
	if (result == DPI_ERR_AGAIN) kit_pause();
	return result == DPI_ERR_AGAIN;
}

uint64_t kit_rung(uint32_t bell)
{
	return atomic_load(&shared()->rung[kit.rank][bell]);
}
