/* SPDX-License-Identifier: Apache-2.0
 * frame.c: frames to and from a helper. */
#include "frame.h"

#include <string.h>

#define HEAD 12

static void put_u32(unsigned char *at, uint32_t v)
{
	for (int i = 0; i < 4; i++) at[i] = (unsigned char)(v >> 8 * i);
}

static uint32_t get_u32(const char *at)
{
	uint32_t v = 0;
	for (int i = 0; i < 4; i++) v |= (uint32_t)(unsigned char)at[i] << 8 * i;
	return v;
}

void frame_put(struct sink *s, enum frame_type type, uint32_t node, const void *data, size_t size)
{
	unsigned char head[HEAD] = { 'd', 'p', 'i', (unsigned char)type };
	put_u32(head + 4, node);
	put_u32(head + 8, (uint32_t)size);
	sink_put(s, head, HEAD);
	sink_put(s, data, size);
}

void frame_feed(struct frame_reader *r, const void *data, size_t size)
{
	if (r->zero) r->bytes.data[r->zero] = r->kept;
	r->zero = 0;
	if (r->head) bytes_cut(&r->bytes, r->head);
	r->head = 0;
	bytes_add(&r->bytes, data, size);
	bytes_add(&r->bytes, "", 1); /* room for the last frame's zero byte */
	r->bytes.size--;
}

int frame_next(struct frame_reader *r, struct frame *f)
{
	if (r->zero) r->bytes.data[r->zero] = r->kept;
	r->zero = 0;
	size_t left = r->bytes.size - r->head;
	const char *at = left ? r->bytes.data + r->head : NULL;
	if (left && memcmp(at, "dpi", left < 3 ? left : 3)) return -1;
	if (left < HEAD) return 0;
	size_t size = get_u32(at + 8);
	if (size > FRAME_MAX) return -1;
	if (left < HEAD + size) return 0;
	*f = (struct frame){ .type = (enum frame_type)(unsigned char)at[3],
			     .node = get_u32(at + 4),
			     .data = at + HEAD,
			     .size = size };
	r->head += HEAD + size;
	r->zero = r->head;
	r->kept = r->bytes.data[r->zero];
	r->bytes.data[r->zero] = 0;
	return 1;
}
