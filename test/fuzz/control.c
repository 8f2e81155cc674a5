/* SPDX-License-Identifier: Apache-2.0
 * control.c: libFuzzer target: every parser of the control plane that sees bytes of others. The first byte chooses the
 * parser, the rest is what it is given. */
#include <sys/socket.h>
#include <unistd.h>

#include "control_state.h"
#include "fuzz.h"
#include "launcher.h"

/* Frame by frame, as one piece. */
static void frames(const uint8_t *data, size_t size)
{
	struct dpi_frame f;
	for (size_t at = 0; at < size;) {
		long n = dpi_frame_parse(data + at, size - at, DPI_MESSAGE_MAX, &f);
		if (n <= 0) return;
		need((size_t)n <= size - at && n == (long)(DPI_FRAME_HEADER + f.size) &&
			     f.payload == data + at + DPI_FRAME_HEADER,
		     "the bounds of a frame");
		at += (size_t)n;
	}
}

/* Through a socket, in pieces. */
static void channel(const uint8_t *data, size_t size)
{
	int pair[2];
	struct dpi_frame f;
	struct dpi_unpack u;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair)) return;
	struct dpi_channel *c = dpi_channel_new(pair[0]);
	size_t piece = size ? 1 + data[0] : 1, frames = 0;
	bool good = c;
	for (size_t at = 0; good && at < size; at += piece) {
		size_t n = size - at < piece ? size - at : piece;
		if (send(pair[1], data + at, n, MSG_NOSIGNAL) != (ssize_t)n) break;
		good = dpi_channel_receive(c, DPI_GREETING_MAX) == DPI_RECEIVED;
		int r = 0;
		while (good && (r = dpi_channel_next(c, DPI_GREETING_MAX, &f, &u)) > 0) {
			need(u.end - u.at == (long)f.size && f.size <= DPI_GREETING_MAX, "the bounds of a message");
			for (int i = 0; i < 4; i++) need(dpi_unpack_fd(&u) == -1, "a descriptor out of nothing");
			dpi_unpack_close(&u);
			frames++;
		}
		if (r < 0) good = false;
	}
	need(frames * DPI_FRAME_HEADER <= size, "more frames than bytes");
	dpi_channel_free(c);
	close(pair[1]);
}

/* What was understood is said back the same. */
static void hello(struct dpi_unpack *u)
{
	struct dpi_hello h, again;
	struct dpi_pack p = { 0 };
	if (dpi_hello_unpack(u, &h) != DPI_GREETING_OK || h.wire != DPI_WIRE_VERSION) return;
	dpi_hello_pack(&p, &h);
	struct dpi_unpack v = { .at = p.data, .end = p.data + p.size };
	need(!p.failed && dpi_hello_unpack(&v, &again) == DPI_GREETING_OK && !memcmp(&h, &again, sizeof h), "a hello "
													    "changes by "
													    "being sent on");
	dpi_pack_free(&p);
}

static void introduction(struct dpi_unpack *u)
{
	struct dpi_introduction i;
	if (dpi_introduction_unpack(u, &i) != DPI_GREETING_OK) return;
	need(i.addresses <= DPI_NODE_ADDRESSES && i.carriers <= DPI_TRANSPORTS_MAX && i.page_fd == -1, "the bounds of an "
												       "introduction");
	for (int c = 0; c < i.carriers; c++) need(i.carrier[c].size <= DPI_TP_ADDRESS_MAX, "the size of an address");
	dpi_introduction_close(&i);
}

static void registry(struct dpi_unpack *u)
{
	struct dpi_registry_request r;
	uint16_t type = (uint16_t)(DPI_REGISTRY_PUBLISH + dpi_unpack_u8(u) % 4);
	if (!dpi_registry_unpack(type, u, &r)) return;
	need(*r.name && strlen(r.name) < DPI_NAME_MAX && r.node >= 0 && r.node < DPI_NODES_MAX, "the bounds of a request");
}

static void held(struct dpi_unpack *u)
{
	char name[DPI_NAME_MAX], again[DPI_NAME_MAX];
	struct dpi_name n, m;
	struct dpi_pack p = { 0 };
	if (!dpi_held_unpack(u, name, &n)) return;
	need(*name && n.kind >= DPI_NAME_BUFFER && n.kind <= DPI_NAME_BLOOM, "the bounds of a name");
	dpi_held_pack(&p, name, &n);
	struct dpi_unpack v = { .at = p.data, .end = p.data + p.size };
	need(!p.failed && dpi_held_unpack(&v, again, &m) && !strcmp(name, again) && n.kind == m.kind && n.id == m.id,
	     "a name changes by being sent on");
	dpi_pack_free(&p);
}

static void news(struct dpi_unpack *u)
{
	struct dpi_node n, again;
	struct dpi_pack p = { 0 };
	if (!dpi_node_unpack(u, &n)) return;
	need(n.node >= 0 && n.node < DPI_NODES_MAX && n.addresses <= DPI_NODE_ADDRESSES, "the bounds of news");
	dpi_node_pack(&p, &n);
	struct dpi_unpack v = { .at = p.data, .end = p.data + p.size };
	need(!p.failed && dpi_node_unpack(&v, &again) && !memcmp(&n, &again, sizeof n), "news change by being sent on");
	dpi_pack_free(&p);
}

static void cluster_file(const uint8_t *data, size_t size)
{
	struct dpi_cluster_file f;
	if (dpi_cluster_file_parse("fuzz", (const char *)data, size, &f)) {
		need(!strncmp(dpi_detail(), "fuzz:", 5) && !f.node, "an error without a line");
		return;
	}
	need(f.count > 0 && f.nodes > 0, "a cluster without nodes");
	for (int i = 0; i < f.count; i++)
		need(f.node[i].node < f.nodes && !dpi_address_check(f.node[i].address), "a line that was not checked");
	dpi_cluster_file_free(&f);
}

static void address(const uint8_t *data, size_t size)
{
	char text[2 * DPI_ADDRESS_TEXT], back[DPI_ADDRESS_TEXT];
	struct dpi_address a;
	if (size >= sizeof text || memchr(data, 0, size)) return;
	memcpy(text, data, size);
	text[size] = 0;
	dpi_address_likely(text);
	/* names would go to the resolver */
	if (dpi_address_check(text) || strncmp(text, "unix:", 5) || dpi_address_find(text, &a)) return;
	dpi_address_text(&a, back);
	need(!strcmp(text, back), "an address changes by being looked up");
}

/* What node 0 of an MPI job tells. */
static void word(const uint8_t *data, size_t size)
{
	struct dpi_launcher_word w, again;
	char text[DPI_LAUNCHER_TEXT], *copy = malloc(size + 1);
	need(copy != NULL, "memory");
	memcpy(copy, data, size);
	copy[size] = 0;
	if (!dpi_launcher_parse(copy, &w)) {
		need(w.addresses > 0 && w.addresses <= DPI_NODE_ADDRESSES && *w.job, "the bounds of what node 0 tells");
		dpi_launcher_print(&w, text);
		need(!dpi_launcher_parse(text, &again) && !memcmp(&w, &again, sizeof w), "it changes by being told on");
	}
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char sentence[DPI_DETAIL_MAX];
	if (!size) return 0;
	struct dpi_unpack u = { .at = data + 1, .end = data + size };
	switch (data[0] % 11) {
	case 0: frames(data + 1, size - 1); break;
	case 1: channel(data + 1, size - 1); break;
	case 2: hello(&u); break;
	case 3: introduction(&u); break;
	case 4: registry(&u); break;
	case 5: news(&u); break;
	case 6: cluster_file(data + 1, size - 1); break;
	case 7: address(data + 1, size - 1); break;
	case 9: word(data + 1, size - 1); break;
	case 10: held(&u); break;
	default: need(dpi_refusal_unpack(&u, sentence) > 0, "a refusal without an error");
	}
	return 0;
}
