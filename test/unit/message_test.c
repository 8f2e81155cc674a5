/* SPDX-License-Identifier: Apache-2.0
 * message_test.c: src/core/message.h: what was packed comes out again; what is cut short, or made up, is bad, and nothing
 * is read beyond it. */
#include "unit.h"

#include "message.h"

enum kind { U8, U32, U64, BYTES, TEXT, FD, KINDS };
#define MOST 40 /* items of a message */
#define ROOM 64 /* for a text */

struct item {
	enum kind kind;
	uint64_t value; /* number, key of the bytes, descriptor */
	uint32_t size;
};

/* A text of its own for each key, without a zero byte. */
static void text_of(char *text, uint64_t key, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++) text[i] = (char)(byte_of(key, i) | 1);
	text[size] = 0;
}

static void pack(struct dpi_pack *p, const struct item *item, int count)
{
	uint8_t bytes[600];
	char text[ROOM];
	for (; count--; item++) switch (item->kind) {
		case U8: dpi_pack_u8(p, (uint8_t)item->value); break;
		case U32: dpi_pack_u32(p, (uint32_t)item->value); break;
		case U64: dpi_pack_u64(p, item->value); break;
		case BYTES:
			fill(bytes, item->size, item->value);
			dpi_pack_bytes(p, bytes, item->size);
			break;
		case TEXT:
			text_of(text, item->value, item->size);
			dpi_pack_text(p, text);
			break;
		default: dpi_pack_fd(p, (int)(int64_t)item->value);
		}
}

/* Takes the items; each must be what was packed, up to where the message turned bad. Returns how many were right. */
static int unpack(struct dpi_unpack *u, const struct item *item, int count)
{
	char text[ROOM], expected[ROOM];
	int right = 0;
	for (int i = 0; i < count; i++, item++) {
		uint64_t value = item->value;
		bool same = false;
		uint32_t size = 77;
		const void *bytes;
		switch (item->kind) {
		case U8: same = (value = dpi_unpack_u8(u)) == (uint8_t)item->value; break;
		case U32: same = (value = dpi_unpack_u32(u)) == (uint32_t)item->value; break;
		case U64: same = (value = dpi_unpack_u64(u)) == item->value; break;
		case BYTES:
			bytes = dpi_unpack_bytes(u, &size);
			CHECK(bytes);
			same = size == item->size && filled(bytes, size, item->value);
			value = size;
			break;
		case TEXT:
			memset(text, 'x', sizeof text);
			dpi_unpack_text(u, text, sizeof text);
			text_of(expected, item->value, item->size);
			CHECK(memchr(text, 0, sizeof text));
			same = !strcmp(text, expected);
			value = strlen(text);
			break;
		default:
			value = (uint64_t)(int64_t)dpi_unpack_fd(u);
			same = value == item->value;
			if (!u->bad) break;
			CHECK_INT(value, ==, -1);
			value = 0;
		}
		if (u->bad) CHECK_INT(value, ==, 0); /* nothing but nothing comes of a bad message */
		else CHECK(same);
		right += !u->bad;
	}
	return right;
}

static int draw_items(struct draws *d, struct item *items)
{
	int count = 1 + (int)draw_below(d, MOST), fds = 0;
	for (int i = 0; i < count; i++) {
		items[i] = (struct item){ (enum kind)draw_below(d, KINDS), draw(d), 0 };
		if (items[i].kind == BYTES) items[i].size = (uint32_t)draw_below(d, 600);
		if (items[i].kind == TEXT) items[i].size = (uint32_t)draw_below(d, ROOM);
		if (items[i].kind == FD) items[i].value = fds < DPI_MESSAGE_FDS && draw_below(d, 2) ? (uint64_t)(100 + fds++) : UINT64_MAX;
	}
	return count;
}

/* As if size bytes of it had arrived, with nothing behind them. */
static struct dpi_unpack arrived(const struct dpi_pack *p, size_t size, void **memory)
{
	struct dpi_unpack u = { .fd_count = p->fd_count };
	uint8_t *copy = guarded(size);
	if (size) memcpy(copy, p->data, size);
	memcpy(u.fds, p->fds, sizeof u.fds);
	u.at = copy;
	u.end = copy + size;
	*memory = copy;
	return u;
}

TEST(message_comes_out_as_it_went_in, "", 0)
{
	struct draws d = draws_from(rank);
	for (int n = rounds(2000); n; n--) {
		struct item items[MOST];
		struct dpi_pack p = { 0 };
		void *memory;
		int count = draw_items(&d, items);
		pack(&p, items, count);
		CHECK(!p.failed);
		struct dpi_unpack u = arrived(&p, p.size, &memory);
		CHECK_INT(unpack(&u, items, count), ==, count);
		CHECK(u.at == u.end);
		guarded_free(memory, p.size);
		dpi_pack_free(&p);
		CHECK(!p.data && !p.size && !p.failed);
	}
}

TEST(message_cut_short_is_bad, "", 0)
{
	struct draws d = draws_from(rank);
	for (int n = rounds(15); n; n--) {
		struct item items[MOST];
		struct dpi_pack p = { 0 };
		int count = draw_items(&d, items), before = 0;
		pack(&p, items, count);
		for (size_t size = 0; size < p.size; size++) { /* at every byte */
			void *memory;
			struct dpi_unpack u = arrived(&p, size, &memory);
			int right = unpack(&u, items, count);
			CHECK(u.bad);
			CHECK(right >= before && right < count);
			before = right;
			for (int i = 0; i < 3; i++) { /* and stays so */
				uint32_t none;
				CHECK(!dpi_unpack_u8(&u) && !dpi_unpack_u64(&u) && dpi_unpack_bytes(&u, &none) && !none);
				CHECK_INT(dpi_unpack_fd(&u), ==, -1);
			}
			guarded_free(memory, size);
		}
		dpi_pack_free(&p);
	}
}

TEST(message_of_any_bytes_is_read_within, "", 0)
{
	struct draws d = draws_from(rank);
	uint8_t *bytes = guarded(300);
	for (int n = rounds(20000); n; n--) {
		size_t size = draw_below(&d, 301);
		struct dpi_unpack u = { .at = bytes + 300 - size, .end = bytes + 300, .fds = { 7, 8, 9, 10 } };
		u.fd_count = (int)draw_below(&d, 5);
		const uint8_t *start = u.at;
		for (size_t i = 300 - size; i < 300; i++) bytes[i] = draw_below(&d, 3) ? (uint8_t)draw_below(&d, 4) : (uint8_t)draw(&d);
		for (int i = 0; i < 30; i++) {
			const uint8_t *before = u.at;
			char text[ROOM];
			uint32_t length;
			const uint8_t *at;
			uint64_t room = 1 + draw_below(&d, ROOM);
			int fd;
			switch (draw_below(&d, 6)) {
			case 0: dpi_unpack_u8(&u); break;
			case 1: dpi_unpack_u32(&u); break;
			case 2: dpi_unpack_u64(&u); break;
			case 3:
				at = dpi_unpack_bytes(&u, &length);
				CHECK(u.bad ? !length : at >= start && length <= (size_t)(u.end - at));
				break;
			case 4:
				dpi_unpack_text(&u, text, room);
				CHECK(strnlen(text, room) < room);
				CHECK(!u.bad || !*text);
				break;
			default:
				fd = dpi_unpack_fd(&u);
				CHECK(fd == -1 || (fd >= 7 && fd < 7 + u.fd_count));
				for (int k = 0; k < u.fd_next; k++) CHECK_INT(u.fds[k], ==, -1); /* given once */
			}
			CHECK(u.at >= before && u.at <= u.end);
		}
	}
	guarded_free(bytes, 300);
}

TEST(message_texts_that_are_none, "", 0)
{
	static const struct {
		const char *bytes;
		uint32_t size, room;
		bool bad;
	} texts[] = { { "", 0, 1, false },   { "abc", 3, 4, false }, { "abc", 3, 3, true },   { "abc", 3, 1, true },
		      { "a\0c", 3, 8, true }, { "\0", 1, 8, true },   { "abc\0", 4, 8, true }, { "\xff\x01", 2, 3, false } };
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct dpi_pack p = { 0 };
		char text[8];
		dpi_pack_bytes(&p, texts[i].bytes, texts[i].size);
		struct dpi_unpack u = { .at = p.data, .end = p.data + p.size };
		memset(text, 'x', sizeof text);
		dpi_unpack_text(&u, text, texts[i].room);
		CHECK_INT(u.bad, ==, texts[i].bad);
		CHECK_INT(strlen(text), ==, texts[i].bad ? 0 : texts[i].size);
		dpi_pack_free(&p);
	}
}

TEST(message_has_a_largest_size, "", 0)
{
	static char text[DPI_MESSAGE_MAX + 2];
	memset(text, 't', sizeof text - 1);
	for (uint32_t size = DPI_MESSAGE_MAX - 6; size <= DPI_MESSAGE_MAX + 1; size++) {
		struct dpi_pack p = { 0 }, q = { 0 };
		dpi_pack_bytes(&p, text, size);
		text[size] = 0;
		dpi_pack_text(&q, text);
		text[size] = 't';
		CHECK_INT(p.failed, ==, size + 4 > DPI_MESSAGE_MAX);
		CHECK_INT(q.failed, ==, size + 4 > DPI_MESSAGE_MAX);
		CHECK(p.size <= DPI_MESSAGE_MAX);
		size_t before = p.size;
		if (!p.failed) dpi_pack_u64(&p, 1);
		CHECK(p.failed && p.size == before);
		dpi_pack_u8(&p, 1); /* nothing goes in after that, though it would fit */
		CHECK(p.failed && p.size == before);
		dpi_pack_free(&p);
		dpi_pack_free(&q);
	}
}

TEST(message_has_so_many_descriptors, "", 0)
{
	struct dpi_pack p = { 0 };
	for (int i = 0; i < DPI_MESSAGE_FDS; i++) dpi_pack_fd(&p, 50 + i), dpi_pack_fd(&p, -1);
	CHECK(!p.failed && p.fd_count == DPI_MESSAGE_FDS);
	dpi_pack_fd(&p, -1);
	CHECK(!p.failed);
	dpi_pack_fd(&p, 60);
	CHECK(p.failed && p.fd_count == DPI_MESSAGE_FDS);
	/* fewer came than were sent */
	struct dpi_unpack u = { .at = p.data, .end = p.data + 2 * DPI_MESSAGE_FDS, .fds = { 50, 51 }, .fd_count = 2 };
	for (int i = 0; i < DPI_MESSAGE_FDS; i++) {
		CHECK_INT(dpi_unpack_fd(&u), ==, i < 2 ? 50 + i : -1);
		CHECK_INT(dpi_unpack_fd(&u), ==, -1);
	}
	CHECK(!u.bad);
	uint8_t two = 2; /* neither there nor not */
	u = (struct dpi_unpack){ .at = &two, .end = &two + 1, .fds = { 50 }, .fd_count = 1 };
	CHECK_INT(dpi_unpack_fd(&u), ==, -1);
	CHECK(u.bad);
	dpi_pack_free(&p);
}

TEST(message_is_little_endian, "", 0)
{
	static const uint8_t expected[] = { 0x12, 0x78, 0x56, 0x34, 0x12, 8, 7, 6, 5, 4, 3, 2, 1, 2, 0, 0, 0, 'h', 'i', 0 };
	struct dpi_pack p = { 0 };
	dpi_pack_u8(&p, 0x12);
	dpi_pack_u32(&p, 0x12345678);
	dpi_pack_u64(&p, 0x0102030405060708);
	dpi_pack_text(&p, "hi");
	dpi_pack_fd(&p, -1);
	CHECK_INT(p.size, ==, sizeof expected);
	CHECK(!memcmp(p.data, expected, sizeof expected));
	dpi_pack_free(&p);
}
