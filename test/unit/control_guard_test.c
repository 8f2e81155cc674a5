/* SPDX-License-Identifier: Apache-2.0
 * control_guard_test.c: who may come in to the control plane: settings, cluster files, keys, versions, users; limits; and
 * garbage on the listeners. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "control_kit.h"

/* ------------------------------------------------------------------------------------------------- who may come in */

TEST(two_cannot_be_one_node, "", 2, .env = "DPI_TIMEOUT=5s")
{
	setenv("DPI_NODE", rank ? "1" : "0", 1);
	setenv("DPI_NODES", "3", 1);
	struct dpi_context *ctx = must_open();
	CHECK_DPI(dpi_barrier(ctx, "in", 2, in_time()));
	if (rank == 1) must_fail(DPI_ERR_CONFIG, "node 1 has joined already");
	if (rank == 1) {
		setenv("DPI_NODE", "0", 1);
		must_fail(DPI_ERR_CONFIG, "something listens at");
		setenv("DPI_NODE", "3", 1);
		must_fail(DPI_ERR_CONFIG, "numbers go from 0 to 2");
		setenv("DPI_NODE", "2", 1);
		setenv("DPI_NODES", "4", 1);
		must_fail(DPI_ERR_CONFIG, "node 0 that it has 3");
		setenv("DPI_JOB", "another", 1);
		must_fail(DPI_ERR_CONFIG, "job 'another'");
	}
	harness_barrier();
	close_context(ctx, true);
}

TEST(who_has_no_number_gets_one, "", 3, .nodes = 1)
{
	if (rank) {
		unsetenv("DPI_NODE");
		unsetenv("DPI_JOB");
		unsetenv("DPI_NODES");
	}
	struct dpi_context *ctx = must_open();
	if (rank) CHECK_INT(ctx->node, >=, 1);
	CHECK_DPI(dpi_barrier(ctx, "in", 3, in_time()));
	for (int i = 0; i < 3; i++) CHECK_DPI(echo_to(ctx, i, "x", 1));
	CHECK_DPI(dpi_barrier(ctx, "end", 3, in_time()));
	close_context(ctx, true);
}

TEST(without_a_registry_the_sentence_helps, "", 0)
{
	setenv("DPI_CLUSTER", "unix:dpi-test-nobody-is-here", 1);
	setenv("DPI_NODE", "1", 1);
	setenv("DPI_TIMEOUT", "50ms", 1);
	must_fail(DPI_ERR_REGISTRY, "check that node 0 runs");
	setenv("DPI_CLUSTER", "127.0.0.1:1", 1);
	must_fail(DPI_ERR_REGISTRY, "127.0.0.1:1");
	setenv("DPI_CLUSTER", "192.0.2.1:7000", 1);
	must_fail(DPI_ERR_CONFIG, "needs a cluster key");
	setenv("DPI_NODE", "0", 1);
	must_fail(DPI_ERR_CONFIG, "needs a cluster key");
	setenv("DPI_CLUSTER", "/nonexistent/cluster", 1);
	must_fail(DPI_ERR_CONFIG, "cannot be read as a cluster file");
	setenv("DPI_NODE", "one", 1);
	must_fail(DPI_ERR_CONFIG, "DPI_NODE is 'one'");
	unsetenv("DPI_CLUSTER");
	setenv("DPI_NODE", "1", 1);
	must_fail(DPI_ERR_CONFIG, "DPI_CLUSTER is not");
}

static const char *write_file(const char *name, const char *text, mode_t mode)
{
	static char path[4][256];
	static int at;
	char *p = path[at++ % 4];
	snprintf(p, sizeof path[0], "%s/%s", getenv("TMPDIR"), name);
	unlink(p);
	int fd = open(p, O_CREAT | O_WRONLY | O_TRUNC, mode);
	CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && !fchmod(fd, mode));
	close(fd);
	return p;
}

/* Below those that the system gives out by itself. */
static int free_port(void)
{
	for (int port = 20000 + (int)(getpid() % 12000);; port = 20000 + (port - 19999) % 12000) {
		struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), error = bind(fd, (struct sockaddr *)&a, sizeof a);
		CHECK(fd >= 0);
		close(fd);
		if (!error) return port;
	}
}

TEST(a_cluster_file_makes_a_cluster, "", 3, .leaves_files = true)
{
	struct shared *s = harness_shared();
	if (rank == 0) s->step = free_port();
	AWAIT(s->step);
	char text[256];
	unsetenv("DPI_LISTEN_FD");
	unsetenv("DPI_NODES");
	unsetenv("DPI_JOB");
	snprintf(text, sizeof text, "job filed\n0 unix:dpi-test-file-%lld\n1 127.0.0.1:%d\n2 unix:dpi-test-file2-%lld\n",
		 (long long)harness_pid(0), s->step, (long long)harness_pid(0));
	char name[16];
	snprintf(name, sizeof name, "cluster%d", rank);
	setenv("DPI_CLUSTER", write_file(name, text, 0600), 1);
	struct dpi_context *ctx = must_open();
	CHECK_INT(dpi_cluster_count(ctx), ==, 3);
	CHECK_STR(ctx->settings.value[DPI_SETTING_JOB], "filed");
	CHECK_DPI(dpi_barrier(ctx, "in", 3, in_time()));
	for (int i = 0; i < 3; i++) CHECK_DPI(echo_to(ctx, i, "x", 1));
	CHECK_DPI(dpi_barrier(ctx, "end", 3, in_time()));
	close_context(ctx, true);
	unsetenv("DPI_NODE");
	must_fail(DPI_ERR_CONFIG, "set DPI_NODE");
	setenv("DPI_NODE", "5", 1);
	must_fail(DPI_ERR_CONFIG, "has no line for node 5");
	setenv("DPI_CLUSTER", write_file(name, "0 a:b\n", 0600), 1);
	must_fail(DPI_ERR_CONFIG, ":1: 'a:b' is not an address");
}

TEST(a_key_lets_in_who_has_it, "", 4, .leaves_files = true, .expect_stderr = true)
{
	char name[16];
	snprintf(name, sizeof name, "key%d", rank);
	setenv("DPI_KEY_FILE", write_file(name, "0123456789abcdef0123456789abcdef", 0600), 1);
	struct dpi_context *ctx = must_open();
	CHECK(ctx->secure);
	CHECK_DPI(dpi_barrier(ctx, "in", 4, in_time()));
	all_talk(ctx);
	if (rank == 1) {
		setenv("DPI_NODE", "7", 1);
		unsetenv("DPI_NODES");
		setenv("DPI_KEY_FILE", write_file(name, "another key, as long as need be", 0600), 1);
		must_fail(DPI_ERR_AUTH, "does not hold the cluster key of node 0");
		unsetenv("DPI_KEY_FILE");
		must_fail(DPI_ERR_AUTH, "node 0 has a cluster key, node 7 has none");
		setenv("DPI_KEY_FILE", write_file(name, "short", 0600), 1);
		must_fail(DPI_ERR_CONFIG, "has 5 bytes: a key has 16 to 4096");
		setenv("DPI_KEY_FILE", write_file(name, "0123456789abcdef0123456789abcdef", 0640), 1);
		must_fail(DPI_ERR_CONFIG, "chmod 600 ");
		setenv("DPI_KEY_FILE", "/nonexistent/key", 1);
		must_fail(DPI_ERR_CONFIG, "cannot be read: No such file");
	}
	CHECK_DPI(dpi_barrier(ctx, "end", 4, in_time()));
	close_context(ctx, true);
}

static size_t frame(uint8_t *out, uint16_t type, const struct dpi_pack *p)
{
	memset(out, 0, DPI_FRAME_HEADER);
	for (int i = 0; i < 4; i++) out[i] = (uint8_t)(p->size >> 8 * i);
	out[4] = (uint8_t)type;
	out[5] = (uint8_t)(type >> 8);
	memcpy(out + DPI_FRAME_HEADER, p->data, p->size);
	return DPI_FRAME_HEADER + p->size;
}

/* An acceptor of another wire version. */
static void *other_version(void *arg)
{
	int listener = *(int *)arg, fd = -1;
	uint8_t out[512];
	struct dpi_hello h = { .wire = 77, .library = 9 << 16 };
	struct dpi_pack p = { 0 };
	dpi_hello_pack(&p, &h);
	struct pollfd w = { .fd = listener, .events = POLLIN };
	CHECK_INT(poll(&w, 1, 50000 * harness_slow()), ==, 1);
	CHECK((fd = accept(listener, NULL, NULL)) >= 0);
	size_t size = frame(out, DPI_MESSAGE_HELLO, &p);
	CHECK(send(fd, out, size, 0) == (ssize_t)size);
	CHECK(recv(fd, out, sizeof out, 0) > 0);
	dpi_pack_free(&p);
	while (recv(fd, out, sizeof out, 0) > 0) continue;
	close(fd);
	return NULL;
}

TEST(versions_that_do_not_fit, "E-46", 0)
{
	struct dpi_address a;
	pthread_t t;
	int fd;
	char name[64];
	snprintf(name, sizeof name, "unix:dpi-test-version-%d", (int)getpid());
	CHECK_DPI(dpi_address_find(name, &a));
	CHECK_DPI(dpi_address_listen(&a, &fd));
	pthread_create(&t, NULL, other_version, &fd);
	setenv("DPI_CLUSTER", name, 1);
	setenv("DPI_NODE", "1", 1);
	snprintf(name, sizeof name, "speaks wire version %u (libdpi", DPI_WIRE_VERSION);
	must_fail(DPI_ERR_VERSION, name);
	CHECK_HAS(dpi_detail(), "the process that listens speaks 77 (libdpi 9.0.0)");
	CHECK_HAS(dpi_detail(), dpi_library_path());
	pthread_join(t, NULL);
	close(fd);
}

TEST(another_user_is_refused, "", 2, .expect_stderr = true)
{
	if (geteuid()) SKIP("needs root, to be two users");
	elsewhere = true;
	struct dpi_context *ctx = must_open();
	if (rank == 1) {
		setenv("DPI_NODE", "2", 1);
		unsetenv("DPI_NODES");
		for (int inet = 0; inet < 2; inet++) {
			struct dpi_node n;
			CHECK_DPI(dpi_cluster_node(ctx, 0, 0, &n));
			if (inet) setenv("DPI_CLUSTER", n.address[n.addresses - 1], 1);
			CHECK(strncmp(n.address[n.addresses - 1], "unix:", 5));
			CHECK(!seteuid(65534));
			must_fail(DPI_ERR_AUTH, "a cluster of several users needs a cluster key");
			CHECK(!seteuid(0));
		}
	}
	CHECK_DPI(dpi_barrier(ctx, "end", 2, in_time()));
	close_context(ctx, true);
}

/* --------------------------------------------------------------------------------------------------------- limits */

static int dial(const char *where)
{
	struct dpi_address a;
	int fd;
	CHECK_DPI(dpi_address_find(where, &a));
	int error;
	while ((error = dpi_address_connect(&a, in_time(), &fd)) == EAGAIN) harness_pause(); /* the backlog is full */
	CHECK_INT(error, ==, 0);
	return fd;
}

TEST(a_full_table_of_descriptors_breaks_no_channel, "", 2, .expect_stderr = true)
{
	struct shared *s = harness_shared();
	struct dpi_context *ctx = must_open();
	CHECK_DPI(dpi_barrier(ctx, "in", 2, in_time()));
	if (rank == 0) {
		struct rlimit limit;
		CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
		rlim_t old = limit.rlim_cur;
		limit.rlim_cur = 3;
		CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
		s->step = 1;
		AWAIT(s->step == 2);
		limit.rlim_cur = old;
		CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
		s->step = 3;
	} else {
		struct dpi_pack p = { 0 };
		struct dpi_reply r;
		AWAIT(s->step == 1);
		dpi_pack_fd(&p, 1);
		CHECK_DPI(dpi_call(ctx, 0, PASS_FD, &p, in_time(), &r));
		CHECK_INT(dpi_unpack_fd(&r.body), ==, -1); /* it could not take it */
		CHECK(!r.body.bad);
		dpi_reply_free(&r);
		int fd = dial(ctx->cluster->registry[0]); /* waits in the backlog, and costs no processor time */
		usleep(150000);
		s->step = 2;
		AWAIT(s->step == 3);
		struct pollfd w = { .fd = fd, .events = POLLIN };
		CHECK_INT(poll(&w, 1, 50000 * harness_slow()), ==, 1); /* taken in now, and dropped after 2 s of silence */
		close(fd);
	}
	CHECK_DPI(dpi_barrier(ctx, "end", 2, in_time()));
	close_context(ctx, true);
}

TEST(who_does_not_read_is_given_up, "", 2)
{
	struct dpi_context *ctx = must_open();
	CHECK_DPI(dpi_barrier(ctx, "in", 2, in_time()));
	if (rank == 1) AWAIT(false);
	static uint8_t bytes[60000];
	struct dpi_peer *peer = dpi_peer_find(ctx, 1);
	int error = 0, sent = 0;
	harness_kill(1, SIGSTOP);
	for (; !error && sent < 1000; sent++) {
		struct dpi_pack p = { 0 };
		dpi_pack_bytes(&p, bytes, sizeof bytes);
		error = dpi_tell(ctx, peer, TOLD, &p);
	}
	CHECK_INT(error, ==, DPI_ERR_PEER);
	CHECK_INT(sent, >, 100);
	while (!atomic_load(&peer->dead)) harness_pause();
	CHECK_ERROR(dpi_peer_dead(peer), DPI_ERR_PEER, "8 MiB wait (is it stopped?)");
	harness_kill(1, SIGKILL);
	close_context(ctx, true);
}

/* -------------------------------------------------------------------------------------------- hostile connections */

/* Send bytes and see that the other side closes. */
static void shut_out(const char *where, const void *bytes, size_t size, const int *fds, int fd_count)
{
	struct dpi_channel *c = dpi_channel_new(dial(where));
	struct pollfd p = { .fd = c->watch.fd, .events = POLLIN };
	if (fd_count) {
		struct dpi_pack body = { .data = (uint8_t *)(uintptr_t)bytes, .size = size, .fd_count = fd_count };
		memcpy(body.fds, fds, sizeof *fds * (size_t)fd_count);
		dpi_channel_send(c, DPI_MESSAGE_HELLO, 0, 0, &body);
	} else if (send(c->watch.fd, bytes, size, MSG_NOSIGNAL) < 0) CHECK(errno == EPIPE || errno == ECONNRESET);
	int r = DPI_RECEIVED;
	while (r != DPI_RECEIVED_END) {
		CHECK_INT(poll(&p, 1, 50000 * harness_slow()), ==, 1);
		c->in_size = c->in_at = 0;
		r = dpi_channel_receive(c, DPI_MESSAGE_MAX);
	}
	dpi_channel_free(c);
}

static void attack(struct dpi_context *ctx, const char *where)
{
	static uint8_t bytes[DPI_FRAME_HEADER + DPI_MESSAGE_MAX];
	struct dpi_hello h;
	struct dpi_pack p = { 0 };
	shut_out(where, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, NULL, 0);
	memset(bytes, 0xff, sizeof bytes);
	shut_out(where, bytes, sizeof bytes, NULL, 0);
	memset(bytes, 0, sizeof bytes);
	shut_out(where, bytes, DPI_FRAME_HEADER, NULL, 0);
	CHECK_DPI(dpi_hello_fill(ctx, &h, 0));
	h.wire = 99;
	h.library = 99 << 16;
	dpi_hello_pack(&p, &h);
	size_t size = frame(bytes, DPI_MESSAGE_HELLO, &p);
	shut_out(where, bytes, size, NULL, 0);
	for (size_t i = DPI_FRAME_HEADER; i < size;
	     i++) { /* each byte of a hello flipped: no crash, and an end within 2 s */
		bytes[i] ^= 0xff;
		int fd = dial(where);
		CHECK(send(fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size);
		close(fd);
		bytes[i] ^= 0xff;
	}
	dpi_pack_free(&p);
	h.wire = DPI_WIRE_VERSION;
	dpi_hello_pack(&p, &h);
	size = frame(bytes, DPI_MESSAGE_HELLO, &p);
	for (size_t i = 0; i < size; i++) { /* a hello cut short */
		int fd = dial(where);
		CHECK(send(fd, bytes, i, MSG_NOSIGNAL) == (ssize_t)i);
		close(fd);
	}
	memcpy(bytes + size, bytes, size); /* two hellos */
	shut_out(where, bytes, 2 * size, NULL, 0);
	/* half a hello, and silence */
	shut_out(where, bytes, size / 2, NULL, 0);
	if (!strncmp(where, "unix:", 5)) {
		int fds[4] = { 0, 1, 2, 0 };
		shut_out(where, p.data, p.size, fds, 4);
	}
	dpi_pack_free(&p);
}

static int count_fds(void)
{
	int n = 0;
	for (int i = 0; i < 1024; i++) n += fcntl(i, F_GETFD) >= 0;
	return n;
}

TEST(garbage_on_the_listeners_hurts_nobody, "", 2, .deadline_s = 180)
{
	struct dpi_context *ctx = must_open();
	struct dpi_node n;
	CHECK_DPI(dpi_barrier(ctx, "in", 2, in_time()));
	int before = count_fds();
	if (rank == 1) {
		CHECK_DPI(dpi_cluster_node(ctx, 0, 0, &n));
		CHECK_INT(n.addresses, >=, 2);
		for (int i = 0; i < n.addresses; i++) attack(ctx, n.address[i]);
		int open[300]; /* more strangers than are let in */
		for (int i = 0; i < 300; i++) open[i] = dial(n.address[0]);
		CHECK_DPI(echo_to(ctx, 0, "alive", 5));
		for (int i = 0; i < 300; i++) close(open[i]);
	}
	CHECK_DPI(dpi_barrier(ctx, "end", 2, in_time()));
	if (rank == 0) {
		int64_t until = in_time();
		while (count_fds() > before && dpi_now() < until) harness_pause();
		CHECK_INT(count_fds(), <=, before);
	}
	CHECK_DPI(dpi_barrier(ctx, "end", 2, in_time()));
	close_context(ctx, true);
}

/* An established peer that turns hostile: its channel is closed, it counts as dead. */
TEST(a_peer_that_sends_garbage_is_dropped, "", 2, .expect_stderr = true)
{
	struct dpi_context *ctx = must_open();
	struct dpi_peer *peer;
	CHECK_DPI(dpi_barrier(ctx, "in", 2, in_time()));
	CHECK_DPI(dpi_peer_get(ctx, 1 - rank, in_time(), &peer));
	harness_barrier();
	if (rank == 1) {
		uint8_t bad[64];
		memset(bad, 0xff, sizeof bad);
		CHECK(send(peer->channel->watch.fd, bad, sizeof bad, MSG_NOSIGNAL) == sizeof bad);
	}
	while (!atomic_load(&peer->dead)) harness_pause();
	if (rank == 0) CHECK_ERROR(dpi_peer_dead(peer), DPI_ERR_PEER, "no correct peer sends");
	close_context(ctx, true);
}
