/* SPDX-License-Identifier: Apache-2.0
 * message.c: packing and unpacking of control messages. */
#include "message.h"

#include <stdlib.h>
#include <string.h>

/* Room for size more bytes, or NULL with failed set. */
static uint8_t *grow(struct dpi_pack *p, size_t size)
{
	if (p->failed || size > DPI_MESSAGE_MAX - p->size) {
		p->failed = true;
		return NULL;
	}
	if (p->size + size > p->room) {
		size_t room = p->room ? p->room : 128;
		while (room < p->size + size) room *= 2;
		uint8_t *data = realloc(p->data, room);
		if (!data) {
			p->failed = true;
			return NULL;
		}
		p->data = data;
		p->room = room;
	}
	p->size += size;
	return p->data + p->size - size;
}

static void pack_number(struct dpi_pack *p, uint64_t v, size_t size)
{
	uint8_t *at = grow(p, size);
	for (size_t i = 0; at && i < size; i++) at[i] = (uint8_t)(v >> 8 * i);
}

void dpi_pack_u8(struct dpi_pack *p, uint8_t v)
{
	pack_number(p, v, 1);
}

void dpi_pack_u32(struct dpi_pack *p, uint32_t v)
{
	pack_number(p, v, 4);
}

void dpi_pack_u64(struct dpi_pack *p, uint64_t v)
{
	pack_number(p, v, 8);
}

void dpi_pack_bytes(struct dpi_pack *p, const void *data, uint32_t size)
{
	dpi_pack_u32(p, size);
	uint8_t *at = grow(p, size);
	if (at && size) memcpy(at, data, size);
}

void *dpi_pack_room(struct dpi_pack *p, uint32_t size)
{
	dpi_pack_u32(p, size);
	return grow(p, size);
}

void dpi_pack_text(struct dpi_pack *p, const char *text)
{
	size_t n = strlen(text);
	if (n > DPI_MESSAGE_MAX) p->failed = true;
	else dpi_pack_bytes(p, text, (uint32_t)n);
}

void dpi_pack_fd(struct dpi_pack *p, int fd)
{
	if (fd >= 0 && p->fd_count == DPI_MESSAGE_FDS) p->failed = true;
	dpi_pack_u8(p, fd >= 0);
	if (fd >= 0 && !p->failed) p->fds[p->fd_count++] = fd;
}

void dpi_pack_free(struct dpi_pack *p)
{
	free(p->data);
	memset(p, 0, sizeof *p);
}

/* The next size bytes, or NULL with bad set. */
static const uint8_t *take(struct dpi_unpack *u, size_t size)
{
	if (u->bad || size > (size_t)(u->end - u->at)) {
		u->bad = true;
		return NULL;
	}
	u->at += size;
	return u->at - size;
}

static uint64_t unpack_number(struct dpi_unpack *u, size_t size)
{
	const uint8_t *at = take(u, size);
	uint64_t v = 0;
	for (size_t i = 0; at && i < size; i++) v |= (uint64_t)at[i] << 8 * i;
	return v;
}

uint8_t dpi_unpack_u8(struct dpi_unpack *u)
{
	return (uint8_t)unpack_number(u, 1);
}

uint32_t dpi_unpack_u32(struct dpi_unpack *u)
{
	return (uint32_t)unpack_number(u, 4);
}

uint64_t dpi_unpack_u64(struct dpi_unpack *u)
{
	return unpack_number(u, 8);
}

const void *dpi_unpack_bytes(struct dpi_unpack *u, uint32_t *size)
{
	uint32_t n = dpi_unpack_u32(u);
	const void *at = take(u, n);
	*size = at ? n : 0;
	return at ? at : "";
}

void dpi_unpack_text(struct dpi_unpack *u, char *text, size_t room)
{
	uint32_t n;
	const char *at = dpi_unpack_bytes(u, &n);
	if (n >= room || memchr(at, 0, n)) {
		u->bad = true;
		n = 0;
	}
	memcpy(text, at, n);
	text[n] = 0;
}

int dpi_unpack_fd(struct dpi_unpack *u)
{
	uint8_t present = dpi_unpack_u8(u);
	if (present > 1) u->bad = true;
	if (u->bad || !present || u->fd_next >= u->fd_count) return -1;
	int fd = u->fds[u->fd_next];
	u->fds[u->fd_next++] = -1;
	return fd;
}
