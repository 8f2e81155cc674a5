/* SPDX-License-Identifier: Apache-2.0
 * tcp_cross_test.c: transports/tcp/cross.c: two nodes connect to each other at once. The one is a real transport, the other is
 * played by sockets, so that everything comes in an order that the case chooses. */
#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "transports/tcp/tcp.h"

extern const DPI_Transport dpi_tcp;

enum { LOWER = 1, MIDDLE = 2, HIGHER = 3, INCARNATION = 70, SERIAL = 900, LONG_US = 40000000, SHORT_US = 300000 };

#define PROGRESS_UNTIL(condition)                                                                      \
	do {                                                                                           \
		while (!(condition)) progress();                                                       \
	} while (0)

/* The real one, MIDDLE. The thread that connects fills the last two. */
static struct side {
	DPI_Tp *tp;
	DPI_Tp_Core core;
	struct {
		uint8_t bytes[DPI_TP_ADDRESS_MAX];
		uint32_t size;
	} mine, theirs;
	int played; /* node */
	int64_t timeout_us;
	int lost, delivered, error;
	char sentence[400], text[64];
	DPI_Tp_Endpoint *to;
} side;

/* The played one: it listens; asked is a connection that it made, got one that it accepted. */
static struct played {
	int listener, asked, got;
	struct wire_hello hello; /* that came over got */
	pthread_t connecting;
} played;

static void core_complete(void *self, void *cookie, int error, uint64_t result)
{
	(void)self, (void)cookie, (void)error, (void)result;
}

static void core_ring(void *self, int node, uint32_t bell)
{
	(void)self, (void)node, (void)bell;
}

static void core_deliver(void *self, int node, const void *bytes, size_t size)
{
	(void)self;
	CHECK_INT(node, ==, side.played);
	snprintf(side.text, sizeof side.text, "%.*s", (int)size, (const char *)bytes);
	side.delivered++;
}

static void core_lost(void *self, int node, uint64_t incarnation, const char *sentence)
{
	(void)self;
	CHECK_INT(node, ==, side.played);
	CHECK(incarnation == INCARNATION);
	snprintf(side.sentence, sizeof side.sentence, "%s", sentence);
	side.lost++;
}

static int core_fail(void *self, int error, const char *format, ...)
{
	va_list args;
	(void)self;
	va_start(args, format);
	vsnprintf(side.sentence, sizeof side.sentence, format, args);
	va_end(args);
	return error;
}

static const char *core_setting(void *self, const char *name)
{
	(void)self, (void)name;
	return "";
}

static void core_log(void *self, int level, const char *format, ...)
{
	(void)self, (void)level, (void)format;
}

static void *connecting(void *arg)
{
	DPI_Tp_Peer peer = { side.played, INCARNATION, 1, side.theirs.bytes, side.theirs.size };
	(void)arg;
	side.error = dpi_tcp.connect(side.tp, 0, &peer, side.timeout_us, &side.to);
	return NULL;
}

static int listen_anywhere(uint16_t *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t size = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)&at, sizeof at) && !listen(fd, 16));
	CHECK(!getsockname(fd, (struct sockaddr *)&at, &size));
	*port = ntohs(at.sin_port);
	return fd;
}

/* The transport, opened, and the other's address, as if that were one, too. */
static void open_side(int node)
{
	struct DPI_Tp other = { .core = &side.core };
	memset(&side, 0, sizeof side);
	side.core = (DPI_Tp_Core){ DPI_TP_ABI,	 sizeof side.core, NULL,     core_complete, core_ring, core_deliver, core_lost,
				   core_fail,	 core_setting,	   core_log, MIDDLE,	    INCARNATION, 0, NULL };
	side.played = node;
	side.timeout_us = LONG_US;
	CHECK_INT(dpi_tcp.open(&side.core, NULL, &side.tp), ==, 0);
	side.mine.size = side.theirs.size = DPI_TP_ADDRESS_MAX;
	CHECK_INT(dpi_tcp.address(side.tp, side.mine.bytes, &side.mine.size), ==, 0);
	played.asked = played.got = -1;
	played.listener = listen_anywhere(&other.self.port);
	other.self.incarnation = INCARNATION;
	other.self.hosts = 1;
	other.self.host[0] = (struct tcp_host){ 4, { 127, 0, 0, 1 } };
	CHECK_INT(dpi_tcp_address(&other, side.theirs.bytes, &side.theirs.size), ==, 0);
}

static void close_socket(int *fd)
{
	if (*fd >= 0) close(*fd);
	*fd = -1;
}

static void close_side(void)
{
	close_socket(&played.asked), close_socket(&played.got), close_socket(&played.listener);
	dpi_tcp.close(side.tp);
}

static void receive(int fd, void *bytes, size_t size)
{
	if (size) CHECK_INT(recv(fd, bytes, size, MSG_WAITALL), ==, size);
}

static bool ends(int fd)
{
	uint8_t byte;
	ssize_t n = recv(fd, &byte, 1, 0);
	return n == 0 || (n < 0 && errno == ECONNRESET);
}

/* The real one begins, and has said hello to the played one. */
static void begin(void)
{
	uint8_t bytes[WIRE_HELLO];
	played.connecting = start_thread(connecting, NULL);
	played.got = accept(played.listener, NULL, NULL);
	receive(played.got, bytes, sizeof bytes);
	CHECK_INT(dpi_tcp_wire_parse_hello(bytes, &played.hello), ==, 0);
	CHECK_INT(played.hello.node, ==, MIDDLE);
}

static int end(void)
{
	end_thread(played.connecting);
	return side.error;
}

/* The other end of a socket of this process. */
static int other_end(int fd)
{
	struct sockaddr_in mine, theirs;
	socklen_t size = sizeof mine;
	CHECK(!getsockname(fd, (struct sockaddr *)&mine, &size));
	for (int i = 3; i < 200; i++) {
		size = sizeof theirs;
		if (!getpeername(i, (struct sockaddr *)&theirs, &size) && theirs.sin_family == AF_INET && theirs.sin_port == mine.sin_port)
			return i;
	}
	return -1;
}

/* The played one says hello; when this returns, the real one has read it. */
static int ask(uint32_t serial, bool read)
{
	struct tcp_address to;
	struct sockaddr_storage at;
	uint8_t bytes[WIRE_HELLO];
	CHECK_INT(dpi_tcp_address_parse(side.mine.bytes, side.mine.size, &to), ==, 0);
	struct wire_hello h = { WIRE_VERSION, { 0 }, (uint32_t)side.played, serial, INCARNATION, INCARNATION };
	memcpy(h.token, to.token, WIRE_TOKEN);
	dpi_tcp_wire_hello(bytes, &h);
	socklen_t size = dpi_tcp_host_socket(&to.host[0], to.port, &at);
	int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && !connect(fd, (struct sockaddr *)&at, size));
	CHECK_INT(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL), ==, sizeof bytes);
	for (int waiting = 1, n = 1; read && (n < 0 || waiting);) {
		n = other_end(fd); /* once it is accepted */
		if (n >= 0) CHECK(!ioctl(n, FIONREAD, &waiting));
		harness_pause();
	}
	return fd;
}

static void answer(enum wire_status status, uint32_t serial)
{
	uint8_t bytes[WIRE_ACK];
	struct wire_ack a = { WIRE_VERSION, (uint16_t)status, (uint32_t)side.played, serial, INCARNATION };
	dpi_tcp_wire_ack(bytes, &a);
	CHECK_INT(send(played.got, bytes, sizeof bytes, MSG_NOSIGNAL), ==, sizeof bytes);
}

static void check_answer(int fd, enum wire_status status)
{
	uint8_t bytes[WIRE_ACK];
	struct wire_ack a;
	receive(fd, bytes, sizeof bytes);
	CHECK_INT(dpi_tcp_wire_parse_ack(bytes, &a), ==, 0);
	CHECK_INT(a.status, ==, status);
	CHECK_INT(a.node, ==, MIDDLE);
	CHECK(a.serial == played.hello.serial);
}

static void say_frame(int fd, enum wire_op op, const char *text)
{
	uint8_t bytes[8 + 64];
	size_t size = strlen(text);
	wire_write(bytes, &(struct wire_frame){ .op = op, .length = (uint32_t)size }, 1);
	memcpy(bytes + 8, text, size);
	CHECK_INT(send(fd, bytes, 8 + size, MSG_NOSIGNAL), ==, 8 + size);
}

static void check_frame(int fd, enum wire_op op, const char *text)
{
	uint8_t bytes[WIRE_WORDS * 8];
	char got[64] = "";
	struct wire_frame f = { 0 };
	receive(fd, bytes, 8);
	CHECK_INT(wire_parse(bytes, 8, &f), ==, 8);
	CHECK_INT(f.op, ==, op);
	CHECK_INT(f.length, ==, strlen(text));
	receive(fd, got, f.length);
	CHECK_STR(got, text);
}

static void progress(void)
{
	CHECK_INT(dpi_tcp.progress(side.tp, 0, NULL), ==, 0);
	harness_pause();
}

static int connections(void)
{
	int n = 0;
	progress();
	for (DPI_Tp_Endpoint *c = side.tp->connections; c; c = c->next) n++;
	return n;
}

/* connect has succeeded; what goes to and fro goes over fd, and nothing else is there. */
static void check_talk(int fd)
{
	CHECK_INT(dpi_tcp.send(side.to, "there", 5, 0), ==, 0);
	check_frame(fd, WIRE_SEND, "there");
	say_frame(fd, WIRE_SEND, "back");
	int delivered = side.delivered;
	PROGRESS_UNTIL(side.delivered > delivered);
	CHECK_STR(side.text, "back");
	CHECK_INT(side.lost, ==, 0);
	PROGRESS_UNTIL(connections() == 1);
}

/* And its end is one. */
static void check_death(int *fd)
{
	close_socket(fd);
	PROGRESS_UNTIL(side.lost);
	CHECK_INT(side.lost, ==, 1);
	CHECK_INT(dpi_tcp.send(side.to, "there", 5, 0), ==, DPI_ERR_PEER);
	dpi_tcp.disconnect(side.to);
	CHECK_INT(connections(), ==, 0);
	close_side();
}

/* -------------------------------------------------------------------------------------------- the lower one decides */

TEST(lower_keeps_its_own, "T-59", 0)
{
	for (int early = 0; early < 2; early++) { /* the other's hello comes before its answer, or after */
		open_side(HIGHER);
		begin();
		if (early) played.asked = ask(SERIAL, true);
		answer(WIRE_CROSSED, SERIAL);
		if (early) CHECK(ends(played.asked));
		CHECK_INT(end(), ==, 0);
		if (!early) {
			played.asked = ask(SERIAL, false);
			PROGRESS_UNTIL(connections() == 1 && recv(played.asked, &(char){ 0 }, 1, MSG_DONTWAIT) == 0);
		}
		check_frame(played.got, WIRE_KEEP, "");
		check_talk(played.got);
		check_death(&played.got);
	}
}

/* Its hello was another process's, or had no answer in time. */
TEST(lower_takes_what_it_held, "T-59 T-9", 0)
{
	for (int late = 0; late < 2; late++) {
		open_side(HIGHER);
		if (late) side.timeout_us = SHORT_US;
		begin();
		played.asked = ask(SERIAL, true);
		if (!late) answer(WIRE_OTHER_TOKEN, SERIAL);
		check_answer(played.asked, WIRE_WELCOME);
		CHECK(ends(played.got));
		CHECK_INT(end(), ==, 0);
		check_talk(played.asked);
		check_death(&played.asked);
	}
}

TEST(lower_holds_one, "T-59 T-60", 0)
{
	int older[20];
	open_side(HIGHER);
	begin();
	for (int i = 0; i < 20; i++) older[i] = ask(SERIAL + (uint32_t)i, true);
	played.asked = ask(SERIAL + 20, true);
	for (int i = 0; i < 20; i++) {
		CHECK(ends(older[i]));
		close(older[i]);
	}
	answer(WIRE_NO_MEMORY, SERIAL);
	check_answer(played.asked, WIRE_WELCOME);
	CHECK_INT(end(), ==, 0);
	check_talk(played.asked);
	check_death(&played.asked);
}

/* It sends as if it had been welcomed. */
TEST(lower_answers_no_talker, "T-60", 0)
{
	open_side(HIGHER);
	begin();
	played.asked = ask(SERIAL, true);
	say_frame(played.asked, WIRE_SEND, "too early");
	CHECK(ends(played.asked));
	answer(WIRE_WELCOME, SERIAL);
	CHECK_INT(end(), ==, 0);
	check_talk(played.got);
	CHECK_INT(side.delivered, ==, 1);
	check_death(&played.got);
}

TEST(lower_sees_the_death, "T-59 T-15", 0)
{
	for (int way = 0; way < 3; way++) { /* before, while and after it holds */
		open_side(HIGHER);
		begin();
		if (way) played.asked = ask(SERIAL, true);
		if (way == 2) answer(WIRE_CROSSED, SERIAL);
		close_socket(&played.listener), close_socket(&played.asked), close_socket(&played.got);
		if (end()) {
			CHECK_INT(side.error, ==, DPI_ERR_PEER);
			CHECK_INT(side.lost, ==, 0);
		} else {
			PROGRESS_UNTIL(side.lost);
			dpi_tcp.disconnect(side.to);
		}
		CHECK_INT(connections(), ==, 0);
		close_side();
	}
}

/* ---------------------------------------------------------------------------------------------- the higher one waits */

TEST(higher_gives_way, "T-59", 0)
{
	for (int first = 0; first < 2; first++) { /* which end it sees first */
		open_side(LOWER);
		begin();
		played.asked = ask(SERIAL, true);
		check_answer(played.asked, WIRE_CROSSED);
		if (first) close_socket(&played.got);
		say_frame(played.asked, WIRE_KEEP, "");
		CHECK_INT(end(), ==, 0);
		if (!first) CHECK(ends(played.got));
		check_talk(played.asked);
		check_death(&played.asked);
	}
}

TEST(higher_keeps_what_is_left, "T-59 T-9", 0)
{
	open_side(LOWER);
	begin();
	played.asked = ask(SERIAL, true);
	check_answer(played.asked, WIRE_CROSSED);
	close_socket(&played.asked); /* it has had no time to wait */
	answer(WIRE_WELCOME, SERIAL);
	CHECK_INT(end(), ==, 0);
	check_talk(played.got);
	check_death(&played.got);
}

/* The other decides nothing, whatever it says instead. */
TEST(higher_waits_in_time, "T-60 T-10", 0)
{
	for (int way = 0; way < 3; way++) {
		open_side(LOWER);
		side.timeout_us = SHORT_US;
		begin();
		played.asked = ask(SERIAL, true);
		check_answer(played.asked, WIRE_CROSSED);
		if (way == 1) close_socket(&played.got);
		if (way == 2) say_frame(played.asked, WIRE_SEND, "too early");
		int error = end();
		CHECK(error == DPI_ERR_TIMEOUT || (way == 1 && error == DPI_ERR_PEER));
		CHECK(*side.sentence);
		CHECK_INT(side.delivered + side.lost, ==, 0);
		if (way == 2) CHECK(ends(played.asked));
		else {
			CHECK_INT(connections(), ==, 1);
			say_frame(played.asked, WIRE_KEEP, ""); /* at last */
			say_frame(played.asked, WIRE_SEND, "late");
			PROGRESS_UNTIL(side.delivered);
			close_socket(&played.asked);
		}
		PROGRESS_UNTIL(!connections());
		CHECK_INT(side.lost, ==, 0); /* nobody had it */
		close_side();
	}
}

/* It keeps both. One is used; the end of the other is nothing. */
TEST(higher_uses_one, "T-60", 0)
{
	open_side(LOWER);
	begin();
	played.asked = ask(SERIAL, true);
	check_answer(played.asked, WIRE_CROSSED);
	say_frame(played.asked, WIRE_KEEP, "");
	uint8_t bytes[WIRE_ACK];
	dpi_tcp_wire_ack(bytes, &(struct wire_ack){ WIRE_VERSION, WIRE_WELCOME, LOWER, SERIAL, INCARNATION });
	ssize_t sent = send(played.got, bytes, sizeof bytes, MSG_NOSIGNAL);
	CHECK(sent < 0 || sent == sizeof bytes); /* it may be closed already */
	CHECK_INT(end(), ==, 0);
	CHECK_INT(dpi_tcp.send(side.to, "there", 5, 0), ==, 0);
	struct pollfd p[2] = { { .fd = played.asked, .events = POLLIN }, { .fd = played.got, .events = POLLIN } };
	CHECK_INT(poll(p, 2, 40000 * harness_slow()), >=, 1);
	bool own = side.to->fd == other_end(played.got);
	if (own) check_frame(played.got, WIRE_SEND, "there");
	else check_frame(played.asked, WIRE_SEND, "there");
	close_socket(own ? &played.asked : &played.got);
	check_talk(own ? played.got : played.asked);
	check_death(own ? &played.got : &played.asked);
}

TEST(higher_sees_the_death, "T-59 T-15", 0)
{
	for (int way = 0; way < 2; way++) { /* before and after it is told which one stays */
		open_side(LOWER);
		begin();
		played.asked = ask(SERIAL, true);
		check_answer(played.asked, WIRE_CROSSED);
		if (way) say_frame(played.asked, WIRE_KEEP, "");
		close_socket(&played.listener), close_socket(&played.got), close_socket(&played.asked);
		if (end()) {
			CHECK_INT(side.error, ==, DPI_ERR_PEER);
		} else {
			PROGRESS_UNTIL(side.lost);
			dpi_tcp.disconnect(side.to);
		}
		PROGRESS_UNTIL(!connections());
		close_side();
	}
}

/* ------------------------------------------------------------------------------------------------------------- later */

/* A hello of before the connection is closed; one of after it is of a peer that has given it up, or says so. Neither ends it. */
TEST(connection_outlives_hellos, "T-59 T-60", 0)
{
	for (int node = LOWER; node <= HIGHER; node += 2) {
		open_side(node);
		begin();
		answer(WIRE_WELCOME, SERIAL);
		CHECK_INT(end(), ==, 0);
		for (int i = 0; i < 4; i++) {
			bool anew = i % 2;
			played.asked = ask(anew ? SERIAL + (uint32_t)i : SERIAL - (uint32_t)i, false);
			PROGRESS_UNTIL(poll(&(struct pollfd){ .fd = played.asked, .events = POLLIN }, 1, 0));
			if (anew) check_answer(played.asked, WIRE_WELCOME);
			else CHECK(ends(played.asked));
			close_socket(&played.asked);
			PROGRESS_UNTIL(connections() == 1);
			check_talk(played.got);
		}
		check_death(&played.got);
	}
}

TEST(keep_unasked, "T-60", 0)
{
	open_side(LOWER);
	begin();
	answer(WIRE_WELCOME, SERIAL);
	CHECK_INT(end(), ==, 0);
	say_frame(played.got, WIRE_KEEP, "");
	PROGRESS_UNTIL(side.lost);
	CHECK_HAS(side.sentence, "keeps a connection");
	check_frame(played.got, WIRE_ERROR, "it keeps a connection that it was not asked about");
	CHECK(ends(played.got));
	dpi_tcp.disconnect(side.to);
	close_side();
}
