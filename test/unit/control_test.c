/* SPDX-License-Identifier: Apache-2.0
 * control_test.c: the control plane: messages, joining, calls, names, barriers, death. */
#include <signal.h>

#include "control_kit.h"

/* ----------------------------------------------------------------------------------------------------- pure parts */

TEST(messages_pack_and_unpack, "", 0)
{
	struct dpi_pack p = { 0 };
	char text[8];
	uint32_t size;
	dpi_pack_u8(&p, 200);
	dpi_pack_u32(&p, 0xdeadbeef);
	dpi_pack_u64(&p, 0x0123456789abcdefull);
	dpi_pack_text(&p, "hello");
	dpi_pack_bytes(&p, "abc", 3);
	dpi_pack_fd(&p, -1);
	struct dpi_unpack u = { .at = p.data, .end = p.data + p.size };
	CHECK_INT(dpi_unpack_u8(&u), ==, 200);
	CHECK_INT(dpi_unpack_u32(&u), ==, 0xdeadbeef);
	CHECK(dpi_unpack_u64(&u) == 0x0123456789abcdefull);
	dpi_unpack_text(&u, text, sizeof text);
	CHECK_STR(text, "hello");
	CHECK(!memcmp(dpi_unpack_bytes(&u, &size), "abc", 3));
	CHECK_INT(dpi_unpack_fd(&u), ==, -1);
	CHECK(!u.bad && u.at == u.end);
	CHECK_INT(dpi_unpack_u64(&u), ==, 0);
	CHECK(u.bad);
	/* every shorter message is bad at the end, and nothing is read outside (the copy is exact, for the sanitizers) */
	for (size_t n = 0; n < p.size; n++) {
		uint8_t *copy = malloc(n ? n : 1);
		memcpy(copy, p.data, n);
		u = (struct dpi_unpack){ .at = copy, .end = copy + n };
		dpi_unpack_u8(&u), dpi_unpack_u32(&u), dpi_unpack_u64(&u);
		dpi_unpack_text(&u, text, sizeof text);
		dpi_unpack_bytes(&u, &size);
		dpi_unpack_fd(&u);
		CHECK(u.bad);
		free(copy);
	}
	u = (struct dpi_unpack){ .at = p.data + 13, .end = p.data + p.size };
	dpi_unpack_text(&u, text, 5); /* no room for the terminating zero */
	CHECK(u.bad && !*text);
	dpi_pack_free(&p);
	static uint8_t large[DPI_MESSAGE_MAX];
	dpi_pack_bytes(&p, large, sizeof large);
	CHECK(p.failed);
	dpi_pack_free(&p);
}

TEST(frames_parse, "", 0)
{
	uint8_t h[DPI_FRAME_HEADER + 4] = { 4, 0, 0, 0, 0x34, 0x12, 1, 2, 9 };
	struct dpi_frame f;
	for (size_t n = 0; n < sizeof h; n++) CHECK_INT(dpi_frame_parse(h, n, 4, &f), ==, 0);
	CHECK_INT(dpi_frame_parse(h, sizeof h, 4, &f), ==, sizeof h);
	CHECK(f.size == 4 && f.type == 0x1234 && f.flags == 0x0201 && f.id == 9 && f.payload == h + DPI_FRAME_HEADER);
	CHECK_INT(dpi_frame_parse(h, sizeof h, 3, &f), ==, -1); /* too large */
	h[8] = 0;
	CHECK_INT(dpi_frame_parse(h, sizeof h, 4, &f), ==, -1); /* a reply to nothing */
	h[6] = 0, h[7] = 5;
	CHECK_INT(dpi_frame_parse(h, sizeof h, 4, &f), ==, -1); /* five descriptors */
	h[6] = 2, h[7] = 0;
	CHECK_INT(dpi_frame_parse(h, sizeof h, 4, &f), ==, -1); /* an unknown flag */
}

static void file_fails(const char *text, const char *part)
{
	struct dpi_cluster_file f;
	CHECK_ERROR(dpi_cluster_file_parse("c.txt", text, strlen(text), &f), DPI_ERR_CONFIG, part);
}

TEST(cluster_files_parse, "", 0)
{
	struct dpi_cluster_file f;
	const char *good = "# two\nnodes 3\nkey k.bin # secret\njob weather\r\n\n0 localhost:7000\n 2\t[::1]:7002\n1 "
			   "unix:one";
	CHECK_DPI(dpi_cluster_file_parse("c.txt", good, strlen(good), &f));
	CHECK(f.nodes == 3 && f.count == 3 && f.node[1].node == 2 && f.node[1].line == 7);
	CHECK_STR(f.key, "k.bin");
	CHECK_STR(f.job, "weather");
	CHECK_STR(f.node[1].address, "[::1]:7002");
	dpi_cluster_file_free(&f);
	file_fails("", "c.txt:0: there is no line for node 0");
	file_fails("0 a:1\n0 b:2\n", "c.txt:2: node 0 has a line already, line 1");
	file_fails("0 a:1\n1 a:1\n", "c.txt:2: a:1 is the address of node 0 already, line 1");
	file_fails("0 a:1\nzero b:2\n", "c.txt:2: 'zero' is neither a node number");
	file_fails("0 a:99999\n", "c.txt:1: 'a:99999' is not an address");
	file_fails("0 a\n", "c.txt:1: 'a' is not an address");
	file_fails("0 unix:\n", "c.txt:1: 'unix:'");
	file_fails("0 a:1 b\n", "c.txt:1: 'b' is one word too many");
	file_fails("0\n", "c.txt:1: '0' stands alone");
	file_fails("nodes 2\n0 a:1\n2 b:1\n", "c.txt:3: node 2 is outside the cluster: line 1 says 'nodes 2'");
	file_fails("nodes 0\n0 a:1\n", "c.txt:1: '0' is not a number of nodes");
	file_fails("job a\njob b\n0 a:1\n", "c.txt:2: there is a line 'job' already");
	CHECK_ERROR(dpi_cluster_file_parse("c.txt", "0 a:1\n1 \0:2\n", 12, &f), DPI_ERR_CONFIG,
		    "c.txt:2: the line has a zero byte");
}

/* ------------------------------------------------------------------------------------------------ joining, calling */

TEST(a_process_alone_is_a_cluster, "", 0)
{
	struct dpi_context *ctx = must_open();
	struct dpi_name n = { DPI_NAME_BUFFER, 0, ctx->incarnation, 7 };
	CHECK_INT(ctx->node, ==, 0);
	CHECK_DPI(dpi_name_publish(ctx, "x", &n, in_time()));
	CHECK_ERROR(dpi_name_publish(ctx, "x", &n, in_time()), DPI_ERR_EXISTS, "'x' is taken: node 0");
	CHECK_ERROR(dpi_name_find(ctx, "x", DPI_NAME_FLOW, in_time(), &n), DPI_ERR_NAME, "'x' is a buffer, not a flow");
	CHECK_ERROR(dpi_name_find(ctx, "y", DPI_NAME_BUFFER, 0, &n), DPI_ERR_NAME, "no buffer 'y'");
	CHECK_DPI(dpi_barrier(ctx, "b", 1, in_time()));
	CHECK_ERROR(dpi_barrier(ctx, "b", 2, soon(20)), DPI_ERR_TIMEOUT, "only 1 of 2 came to barrier 'b'");
	CHECK_ERROR(dpi_barrier(ctx, "b", 2, 0), DPI_ERR_TIMEOUT, "only 1 of 2");
	CHECK_DPI(echo_to(ctx, 0, "self", 4));
	CHECK_ERROR(echo_to(ctx, 1, "no", 2), DPI_ERR_NODE, "there is no node 1");
	CHECK_DPI(dpi_name_remove(ctx, "x", 7, in_time()));
	CHECK_ERROR(dpi_name_remove(ctx, "x", 7, in_time()), DPI_ERR_NAME, "'x'");
	close_context(ctx, true);
}

TEST(nodes_join_and_call_each_other, "", 4)
{
	struct dpi_context *ctx = must_open();
	struct dpi_node n;
	CHECK_INT(ctx->node, ==, rank);
	CHECK_INT(dpi_cluster_count(ctx), ==, 4);
	CHECK_DPI(dpi_barrier(ctx, "all", 4, in_time()));
	for (int i = 0; i < 4; i++) {
		CHECK_DPI(dpi_node_await(ctx, i, in_time()));
		CHECK_DPI(dpi_cluster_node(ctx, i, 0, &n));
		CHECK(n.alive && n.pid == harness_pid(i));
	}
	CHECK_ERROR(dpi_node_await(ctx, 4, in_time()), DPI_ERR_NODE, "there is no node 4");
	all_talk(ctx);
	for (int i = 0; i < 4; i++) CHECK(dpi_peer_find(ctx, i)->same_host && dpi_peer_find(ctx, i)->bells.page);
	harness_barrier();
	close_context(ctx, true);
	CHECK_INT(((struct shared *)harness_shared())->step, ==, 0);
}

TEST(nodes_join_over_tcp_and_find_they_share_a_host, "", 4, .inet = true)
{
	struct dpi_context *ctx = must_open();
	all_talk(ctx);
	for (int i = 0; i < 4; i++) CHECK(dpi_peer_find(ctx, i)->same_host);
	harness_barrier();
	close_context(ctx, true);
}

TEST(calls_pass_descriptors_errors_and_one_way_messages, "", 2)
{
	struct shared *s = harness_shared();
	struct dpi_context *ctx = must_open();
	struct dpi_pack p = { 0 };
	struct dpi_reply r;
	int fds[2];
	char c = 0;
	for (int to = 0; to < 2 && rank == 1; to++) {
		CHECK(!pipe(fds));
		dpi_pack_fd(&p, fds[1]);
		CHECK_DPI(dpi_call(ctx, to, PASS_FD, &p, in_time(), &r));
		close(fds[1]);
		fds[1] = dpi_unpack_fd(&r.body);
		CHECK(fds[1] >= 0 && write(fds[1], "x", 1) == 1 && read(fds[0], &c, 1) == 1 && c == 'x');
		dpi_reply_free(&r);
		close(fds[0]);
		close(fds[1]);
		CHECK_ERROR(dpi_call(ctx, to, FAIL_IT, NULL, in_time(), NULL), DPI_ERR_FULL,
			    to ? "the cup is full: drink" : "node 0: the cup is full: drink");
		CHECK_ERROR(dpi_call(ctx, to, 0x3ff, NULL, in_time(), NULL), DPI_ERR_UNSUPPORTED, "0x03ff");
		dpi_pack_u32(&p, 1);
		CHECK_DPI(dpi_tell(ctx, dpi_peer_find(ctx, to), TOLD, &p));
	}
	AWAIT(s->told == 2);
	if (rank == 1) {
		/* nobody answers; the late answer is dropped */
		CHECK_ERROR(dpi_call(ctx, 0, LATER, NULL, soon(20), NULL), DPI_ERR_TIMEOUT,
			    "node 0 has not answered within");
		s->step++;
	} else {
		AWAIT(s->step == 2);
		dpi_answer(ctx, kept[0].from, kept[0].id, 0, NULL);
	}
	CHECK_DPI(dpi_barrier(ctx, "end", 2, in_time()));
	close_context(ctx, true);
}

static void *publish_later(void *arg)
{
	struct dpi_context *ctx = arg;
	struct dpi_name n = { DPI_NAME_BUFFER, 2, dpi_peer_find(ctx, 0)->incarnation, 42 };
	usleep(30000);
	CHECK_ERROR(dpi_name_publish(ctx, "late", &n, in_time()), DPI_ERR_PEER, "another process");
	struct dpi_node two;
	CHECK_DPI(dpi_cluster_node(ctx, 2, 0, &two));
	n.incarnation = two.incarnation;
	CHECK_DPI(dpi_name_publish(ctx, "late", &n, in_time()));
	return NULL;
}

TEST(names_are_waited_for, "", 3)
{
	struct dpi_context *ctx = must_open();
	struct dpi_name n;
	pthread_t t;
	CHECK_DPI(dpi_barrier(ctx, "in", 3, in_time()));
	if (rank == 1) pthread_create(&t, NULL, publish_later, ctx);
	CHECK_DPI(dpi_name_find(ctx, "late", DPI_NAME_BUFFER, in_time(), &n));
	CHECK(n.node == 2 && n.id == 42);
	int64_t start = dpi_now();
	CHECK_ERROR(dpi_name_find(ctx, "never", DPI_NAME_BUFFER, dpi_now() + 30 * MS, &n), DPI_ERR_NAME,
		    "no buffer 'never'");
	CHECK_INT(dpi_now() - start, >=, 30 * MS);
	CHECK_INT(dpi_now() - start, <, 10000ll * MS * harness_slow());
	if (rank == 1) pthread_join(t, NULL);
	if (rank) CHECK_ERROR(dpi_barrier(ctx, "b", 3, soon(60)), DPI_ERR_TIMEOUT, "of 3 came to barrier 'b' in time");
	harness_barrier();
	close_context(ctx, true);
}

/* ----------------------------------------------------------------------------------------------------------- death */

/* Returns when the registry has the call that another thread makes. */
static void await_call(struct dpi_context *ctx)
{
	for (bool sent = false; !sent; harness_pause()) {
		pthread_mutex_lock(&ctx->control->lock);
		sent = ctx->control->calls;
		pthread_mutex_unlock(&ctx->control->lock);
	}
	CHECK_DPI(echo_to(ctx, 0, "behind it", 9)); /* on the same channel */
}

static void *enter_never(void *ctx)
{
	CHECK_ERROR(dpi_barrier(ctx, "never", 3, in_time()), DPI_ERR_PEER, "barrier 'never' cannot be completed: node 3");
	return NULL;
}

TEST(a_killed_node_is_dead_everywhere, "", 4)
{
	pthread_t t;
	struct shared *s = harness_shared();
	struct dpi_context *ctx = must_open();
	struct dpi_name n = { DPI_NAME_BUFFER, rank, ctx->incarnation, 1 };
	struct dpi_peer *peer = NULL;
	if (rank == 3) CHECK_DPI(dpi_name_publish(ctx, "of 3", &n, in_time()));
	CHECK_DPI(dpi_barrier(ctx, "in", 4, in_time()));
	CHECK_DPI(dpi_name_find(ctx, "of 3", DPI_NAME_BUFFER, in_time(), &n));
	if (rank == 2) CHECK_DPI(dpi_peer_get(ctx, 3, in_time(), &peer));
	harness_barrier();
	if (rank == 1 || rank == 3) {
		CHECK(!pthread_create(&t, NULL, enter_never, ctx));
		await_call(ctx);
		s->told++;
	}
	if (rank == 3) {
		pthread_join(t, NULL);
		FAIL("the barrier ended");
	}
	if (rank == 0) {
		AWAIT(s->told == 2);
		CHECK_ERROR(dpi_barrier(ctx, "never", 2, in_time()), DPI_ERR_EXISTS, "with count 3, this call says 2");
		harness_kill(3, SIGKILL);
	}
	if (rank == 1) pthread_join(t, NULL);
	if (rank == 2) {
		/* in a call to it as it dies */
		CHECK_ERROR(dpi_call(ctx, 3, LATER, NULL, in_time(), NULL), DPI_ERR_PEER, "node 3");
		CHECK_HAS(dpi_detail(), "died");
		CHECK_ERROR(dpi_peer_dead(peer), DPI_ERR_PEER, "died");
		CHECK_ERROR(echo_to(ctx, 3, "x", 1), DPI_ERR_PEER, "node 3");
	}
	int64_t until = in_time();
	while (dpi_node_await(ctx, 3, soon(100)) == DPI_SUCCESS && dpi_now() < until) harness_pause();
	CHECK_ERROR(dpi_node_await(ctx, 3, in_time()), DPI_ERR_NODE, "died");
	CHECK_ERROR(dpi_peer_get(ctx, 3, in_time(), &peer), DPI_ERR_PEER, "died");
	CHECK_ERROR(dpi_name_find(ctx, "of 3", DPI_NAME_BUFFER, 0, &n), DPI_ERR_NAME, "of 3");
	CHECK_DPI(dpi_barrier(ctx, "end", 3, in_time()));
	CHECK_INT(s->downs, >=, 2); /* the hooks ran, at 0 and 2 at least */
	close_context(ctx, true);
}

TEST(the_registrys_death_leaves_channels, "", 3)
{
	struct dpi_context *ctx = must_open();
	struct dpi_name n;
	CHECK_DPI(dpi_barrier(ctx, "in", 3, in_time()));
	if (rank) CHECK_DPI(echo_to(ctx, 3 - rank, "x", 1));
	harness_barrier();
	if (!rank) harness_kill(0, SIGKILL);
	CHECK_ERROR(dpi_name_find(ctx, "x", DPI_NAME_BUFFER, in_time(), &n), DPI_ERR_REGISTRY, "node 0");
	CHECK_ERROR(dpi_barrier(ctx, "x", 2, in_time()), DPI_ERR_REGISTRY, "died");
	CHECK_DPI(echo_to(ctx, 3 - rank, "still", 5));
	((struct shared *)harness_shared())->step++;
	AWAIT(((struct shared *)harness_shared())->step == 2);
	close_context(ctx, true);
}

TEST(a_goodbye_is_no_death, "", 3)
{
	struct dpi_context *ctx = must_open();
	struct dpi_peer *peer;
	CHECK_DPI(dpi_peer_get(ctx, 2, in_time(), &peer));
	CHECK_DPI(dpi_barrier(ctx, "in", 3, in_time()));
	if (rank < 2) {
		while (!atomic_load(&peer->dead)) harness_pause();
		CHECK_ERROR(dpi_peer_dead(peer), DPI_ERR_PEER, "has left the cluster");
		CHECK_DPI(dpi_barrier(ctx, "end", 2, in_time()));
	}
	close_context(ctx, true);
}

/* It closes the channel, and that is no death either. */
TEST(who_hears_a_goodbye_says_none, "", 2)
{
	struct dpi_context *ctx = must_open();
	struct dpi_peer *peer;
	CHECK_DPI(dpi_peer_get(ctx, 1 - rank, in_time(), &peer));
	CHECK_DPI(dpi_barrier(ctx, "in", 2, in_time()));
	if (rank == 1) dpi_control_stop(ctx);
	while (!atomic_load(&peer->dead)) harness_pause();
	CHECK_ERROR(dpi_peer_dead(peer), DPI_ERR_PEER, rank ? "which leaves the cluster" : "has left the cluster");
	close_context(ctx, !rank);
}

TEST(a_number_can_be_taken_again_after_death, "", 2)
{
	struct shared *s = harness_shared();
	struct dpi_context *ctx = must_open();
	if (rank == 1 && harness_spawns(1) == 1) {
		s->step = 1;
		AWAIT(false);
	}
	if (rank == 0) {
		AWAIT(s->step == 1);
		CHECK_DPI(echo_to(ctx, 1, "one", 3));
		harness_kill(1, SIGKILL);
		AWAIT(!harness_alive(1));
		while (dpi_node_await(ctx, 1, 0) == DPI_SUCCESS) harness_pause();
		harness_spawn_rank(1);
	}
	CHECK_DPI(dpi_barrier(ctx, "end", 2, in_time()));
	CHECK_DPI(echo_to(ctx, 1 - rank, "again", 5));
	harness_shared();
	CHECK_DPI(dpi_barrier(ctx, "end", 2, in_time()));
	close_context(ctx, true);
}

TEST(a_stopped_node_is_not_dead, "", 2)
{
	struct shared *s = harness_shared();
	struct dpi_context *ctx = must_open();
	CHECK_DPI(dpi_barrier(ctx, "in", 2, in_time()));
	if (rank == 1) {
		s->step = 1;
	} else {
		AWAIT(s->step == 1);
		harness_kill(1, SIGSTOP);
		CHECK_ERROR(dpi_call(ctx, 1, ECHO, NULL, dpi_now() + 100 * MS, NULL), DPI_ERR_TIMEOUT, "is it stopped");
		CHECK(!atomic_load(&dpi_peer_find(ctx, 1)->dead));
		harness_kill(1, SIGCONT);
		CHECK_DPI(echo_to(ctx, 1, "on", 2));
	}
	CHECK_DPI(dpi_barrier(ctx, "end", 2, in_time()));
	close_context(ctx, true);
}

/* ---------------------------------------------------------------------------------------------------- other hosts */

TEST(channels_between_hosts, "", 4, .inet = true)
{
	elsewhere = true;
	struct shared *s = harness_shared();
	struct dpi_context *ctx = must_open();
	struct dpi_peer *peer;
	all_talk(ctx);
	for (int i = 0; i < 4; i++) CHECK(dpi_peer_find(ctx, i)->same_host == (i == rank));
	CHECK_DPI(dpi_peer_get(ctx, 3, in_time(), &peer));
	CHECK_DPI(dpi_barrier(ctx, "in", 4, in_time()));
	if (rank == 3) {
		for (;;) { /* others hear the goodbye before it gives up waiting, unless the machine stands still: once more then */
			int64_t start = dpi_now();
			close_context(ctx, true);
			if (dpi_now() - start < (int64_t)900 * MS) break;
			ctx = must_open();
			for (int i = 0; i < 3; i++) CHECK_DPI(echo_to(ctx, i, "x", 1));
		}
		s->step = 1;
		return;
	}
	while (!atomic_load(&peer->dead)) harness_pause();
	CHECK_ERROR(dpi_peer_dead(peer), DPI_ERR_PEER, "has left the cluster");
	AWAIT(s->step);
	CHECK_DPI(dpi_barrier(ctx, "end", 3, in_time()));
	close_context(ctx, true);
}

TEST(silence_between_hosts_is_death, "", 3, .inet = true, .env = "DPI_PEER_TIMEOUT=2s")
{
	elsewhere = true;
	struct dpi_context *ctx = must_open();
	struct dpi_peer *peer;
	if (rank < 2) CHECK_DPI(dpi_peer_get(ctx, 2, in_time(), &peer));
	CHECK_DPI(dpi_barrier(ctx, "in", 3, in_time()));
	usleep(4200000); /* nobody says anything, but heartbeats go */
	CHECK_DPI(dpi_barrier(ctx, "quiet", 3, in_time()));
	if (rank == 0) harness_kill(2, SIGSTOP);
	if (rank < 2) {
		while (!atomic_load(&peer->dead)) harness_pause();
		CHECK_ERROR(dpi_peer_dead(peer), DPI_ERR_PEER, "nothing was heard of it for");
		CHECK_DPI(dpi_barrier(ctx, "end", 2, in_time()));
		if (rank == 0) {
			harness_kill(2, SIGCONT);
			AWAIT(((struct shared *)harness_shared())->step);
		}
	} else {
		/* it was given up meanwhile */
		struct dpi_name n;
		while (!dpi_name_find(ctx, "x", DPI_NAME_BUFFER, 0, &n) || dpi_peer_find(ctx, 0)) harness_pause();
		CHECK_ERROR(dpi_name_find(ctx, "x", DPI_NAME_BUFFER, 0, &n), DPI_ERR_REGISTRY, "node 0");
		((struct shared *)harness_shared())->step = 1;
	}
	close_context(ctx, true);
}
