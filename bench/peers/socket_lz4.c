/* SPDX-License-Identifier: Apache-2.0 */
/* What a program does by itself that compresses what it sends: rows of one source for one target are gathered into a buffer of --publish
 * bytes, which LZ4_compress_default packs into a message for a socket over TCP loopback; LZ4_decompress_safe undoes it. No frame, no
 * checksum. liblz4 is loaded, not linked: its headers are rarely installed. */
#include "../shuffle.h"

#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
	int (*bound)(int size);
	int (*compress)(const void *from, void *to, int size, int room);
	int (*decompress)(const void *from, void *to, int size, int room);
} lz4;

static int listening;
static struct sockaddr_in address;
static size_t room; /* bytes of rows in a message */

static void need(bool true_if_well, const char *what)
{
	if (!true_if_well)
		die(1, "%s failed: %s", what, strerror(errno));
}

static void lz4_load(void)
{
	void *library = dlopen("liblz4.so.1", RTLD_NOW);

	if (!library)
		die(EXIT_SKIPPED, "%s (package liblz4-1)", dlerror());
	*(void **)&lz4.bound = dlsym(library, "LZ4_compressBound");
	*(void **)&lz4.compress = dlsym(library, "LZ4_compress_default");
	*(void **)&lz4.decompress = dlsym(library, "LZ4_decompress_safe");
	if (!lz4.bound || !lz4.compress || !lz4.decompress)
		die(EXIT_SKIPPED, "liblz4.so.1 lacks LZ4_compressBound, LZ4_compress_default or LZ4_decompress_safe");
}

static void send_all(int fd, const unsigned char *from, size_t size)
{
	for (ssize_t n; size; from += n, size -= (size_t)n)
		need((n = send(fd, from, size, MSG_NOSIGNAL)) > 0, "send");
}

/* A message: the size of what follows. */
static uint64_t send_packed(int fd, const unsigned char *rows, size_t size, unsigned char *packed)
{
	int32_t n = lz4.compress(rows, packed + sizeof n, (int)size, lz4.bound((int)room));

	memcpy(packed, &n, sizeof n);
	send_all(fd, packed, (size_t)n + sizeof n);
	return (uint64_t)n + sizeof n;
}

static always_inline void fill(size_t size, unsigned char *to, const unsigned char *row, size_t count)
{
	for (; count--; row += size, to += size)
		memcpy(to, row, size);
}

static void push_until_end(int fd, struct outcome *mine)
{
	struct rows rows = rows_new(0);
	size_t size = shuffle.o.size, most = room / size, at = 0, filled;
	unsigned char *buffer = record_new(room), *packed = record_new(sizeof(int32_t) + (size_t)lz4.bound((int)room));
	uint64_t pushed = 0;

	shuffle_begin(mine);
	for (; !time_is_up; pushed += filled) {
		filled = rows.count - at < most ? rows.count - at : most;
		WITH_SIZE(size, fill, buffer, rows.data + at * size, filled);
		at = at + filled == rows.count ? 0 : at + filled;
		mine->bytes += send_packed(fd, buffer, filled * size, packed);
	}
	close(fd);
	outcome_sent(mine, &rows, pushed);
}

static void take_until_end(int fd, struct outcome *mine)
{
	int32_t n, most = lz4.bound((int)room);
	unsigned char *packed = record_new((size_t)most), *rows = record_new(room);

	shuffle_begin(mine);
	while (recv(fd, &n, sizeof n, MSG_WAITALL) == sizeof n) {
		need(n > 0 && n <= most && recv(fd, packed, (size_t)n, MSG_WAITALL) == n, "recv");
		n = lz4.decompress(packed, rows, n, (int)room);
		if (n < 0)
			die(1, "a message is no LZ4");
		take_rows(&mine->got, rows, (size_t)n / shuffle.o.size, shuffle.o.size);
	}
	mine->end = now_ns();
}

static void body(unsigned process, struct outcome *mine)
{
	int fd;

	if (source_of(process) >= 0) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		need(fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof address) &&
			     !setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)), "connecting over 127.0.0.1");
		push_until_end(fd, mine);
	} else {
		need((fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC)) >= 0, "accept");
		take_until_end(fd, mine);
	}
}

int main(int argc, char **argv)
{
	socklen_t length = sizeof address;

	shuffle_options("publish", argc, argv);
	if (shuffle.processes != 2)
		die(2, "there are one source and one target here");
	lz4_load();
	room = (shuffle.o.publish / shuffle.o.size ? shuffle.o.publish / shuffle.o.size : 1) * shuffle.o.size;
	listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	need(listening >= 0 && !bind(listening, (struct sockaddr *)&address, sizeof address) && !listen(listening, 1) &&
		     !getsockname(listening, (struct sockaddr *)&address, &length), "listening on 127.0.0.1");
	shuffle_run("socket_lz4", body);
	return 0;
}
