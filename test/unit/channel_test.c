/* SPDX-License-Identifier: Apache-2.0
 * channel_test.c: frames with descriptors over a Unix socket, read in pieces of any size: each frame gets its own. */
#include "unit.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "channel.h"
#include "dpi.h"
#include "message.h"

enum { TYPE = 7, LIMIT = 64 << 10 };

static void ends(struct dpi_channel *c[2])
{
	int fd[2];
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd));
	for (int i = 0; i < 2; i++) {
		c[i] = dpi_channel_new(fd[i]);
		CHECK(c[i] && c[i]->local);
	}
}

/* A descriptor by which it is told which it is. */
static int tagged(uint64_t tag)
{
	int fd = memfd_create("tag", MFD_CLOEXEC);
	CHECK(fd >= 0 && write(fd, &tag, sizeof tag) == sizeof tag);
	return fd;
}

static uint64_t tag_of(int fd)
{
	uint64_t tag = 0;
	CHECK(pread(fd, &tag, sizeof tag, 0) == sizeof tag);
	return tag;
}

static void send_frame(struct dpi_channel *c, uint64_t id, size_t size, int fds)
{
	struct dpi_pack p = { .data = calloc(1, size + 1), .size = size, .room = size + 1 };
	CHECK(p.data);
	for (; p.fd_count < fds; p.fd_count++) p.fds[p.fd_count] = tagged(id * 10 + (uint64_t)p.fd_count);
	CHECK_DPI(dpi_channel_send(c, TYPE, 0, id, &p));
	for (int i = 0; i < fds; i++) close(p.fds[i]);
	free(p.data);
}

/* Take whole frames; each has as many descriptors as its id says (id % 5), its own. Returns how many. */
static uint64_t take_frames(struct dpi_channel *c, uint64_t expected)
{
	struct dpi_frame f;
	struct dpi_unpack u;
	uint64_t taken = 0;
	int n;
	while ((n = dpi_channel_next(c, LIMIT, &f, &u)) > 0) {
		CHECK_INT(f.id, ==, expected + taken);
		CHECK_INT(u.fd_count, ==, (int)(f.id % 5));
		for (int i = 0; i < u.fd_count; i++) CHECK_INT(tag_of(u.fds[i]), ==, f.id * 10 + (uint64_t)i);
		dpi_unpack_close(&u);
		taken++;
	}
	CHECK_INT(n, ==, 0);
	return taken;
}

static int open_descriptors(void)
{
	int n = 0;
	for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Frames of all sizes pile up in the socket and in the sender's queue; reads end anywhere in them. */
TEST(descriptors_stay_with_their_frames, "", 0)
{
	struct draws d = draws_from(rank);
	struct dpi_channel *c[2];
	ends(c);
	int before = open_descriptors();
	uint64_t sent = 1, taken = 1;
	for (int n = rounds(300); n; n--) {
		for (uint64_t k = 1 + draw_below(&d, 40); k; k--, sent++) send_frame(c[0], sent, draw_below(&d, draw_below(&d, 8) ? 600 : 6000), (int)(sent % 5));
		while (taken < sent) {
			dpi_channel_flush(c[0]);
			int got = dpi_channel_receive(c[1], LIMIT);
			CHECK(got == DPI_RECEIVED || got == DPI_RECEIVED_NOTHING);
			taken += take_frames(c[1], taken);
		}
		CHECK_INT(open_descriptors(), ==, before);
	}
	for (int i = 0; i < 2; i++) dpi_channel_free(c[i]);
}

/* The receiver has no room for a frame's descriptors, and then has: the next frame's are not taken for them. */
TEST(descriptors_that_were_cut, "", 0)
{
	struct dpi_channel *c[2];
	struct rlimit all, few;
	struct dpi_frame f;
	struct dpi_unpack u;
	ends(c);
	send_frame(c[0], 1, 3900, 0);
	send_frame(c[0], 2, 600, 2); /* begins in the first read, ends in the second */
	send_frame(c[0], 3, 600, 3);
	getrlimit(RLIMIT_NOFILE, &all);
	few = all;
	int last = dup(0);
	few.rlim_cur = (rlim_t)last + 1; /* room for one */
	close(last);
	CHECK(!setrlimit(RLIMIT_NOFILE, &few));
	CHECK_INT(dpi_channel_receive(c[1], LIMIT), ==, DPI_RECEIVED);
	CHECK(!setrlimit(RLIMIT_NOFILE, &all));
	CHECK_INT(dpi_channel_next(c[1], LIMIT, &f, &u), ==, 1);
	CHECK_INT(dpi_channel_next(c[1], LIMIT, &f, &u), ==, 0);
	CHECK_INT(dpi_channel_receive(c[1], LIMIT), ==, DPI_RECEIVED);
	for (uint64_t id = 2; id <= 3; id++) {
		CHECK_INT(dpi_channel_next(c[1], LIMIT, &f, &u), ==, 1);
		CHECK_INT(f.id, ==, id);
		CHECK_INT(u.fd_count, ==, (int)id);
		for (int i = 0; i < u.fd_count; i++) {
			if (id == 2 && i == 1) CHECK_INT(u.fds[i], ==, -1);
			else CHECK_INT(tag_of(u.fds[i]), ==, id * 10 + (uint64_t)i);
		}
		dpi_unpack_close(&u);
	}
	for (int i = 0; i < 2; i++) dpi_channel_free(c[i]);
}

/* Descriptors that no frame says it has, or other ones than it says: no correct peer sends that, and none stays open. */
TEST(descriptors_that_lie, "", 0)
{
	for (int lie = 0; lie < 4; lie++) {
		struct dpi_channel *c[2];
		struct dpi_frame f;
		struct dpi_unpack u;
		int before = open_descriptors(), n = 1;
		ends(c);
		/* says: 0 1 2 2, brings: 1 0 1 3 */
		static const int says[] = { 0, 1, 2, 2 }, brings[] = { 1, 0, 1, 3 };
		uint8_t frame[DPI_FRAME_HEADER] = { 0 };
		frame[4] = TYPE;
		frame[6] = (uint8_t)((unsigned)says[lie] << DPI_FRAME_FDS_SHIFT), frame[7] = (uint8_t)((unsigned)says[lie] << DPI_FRAME_FDS_SHIFT >> 8);
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(sizeof(int) * 4)];
		} control = { .bytes = { 0 } };
		struct iovec v = { frame, sizeof frame };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
		int fd[4];
		for (int i = 0; i < brings[lie]; i++) fd[i] = tagged(1);
		if (brings[lie]) {
			m.msg_control = &control;
			m.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)brings[lie]);
			struct cmsghdr *h = CMSG_FIRSTHDR(&m);
			h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)brings[lie]);
			memcpy(CMSG_DATA(h), fd, sizeof(int) * (size_t)brings[lie]);
		}
		CHECK_INT(sendmsg(c[0]->watch.fd, &m, MSG_NOSIGNAL), ==, (ssize_t)sizeof frame);
		for (int i = 0; i < brings[lie]; i++) close(fd[i]);
		CHECK_INT(dpi_channel_receive(c[1], LIMIT), ==, DPI_RECEIVED);
		while (n > 0) n = dpi_channel_next(c[1], LIMIT, &f, &u);
		CHECK_INT(n, ==, -1);
		for (int i = 0; i < 2; i++) dpi_channel_free(c[i]);
		CHECK_INT(open_descriptors(), ==, before);
	}
}
