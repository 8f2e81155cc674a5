/* SPDX-License-Identifier: Apache-2.0
 * message.h: packing and unpacking of control messages. Little endian. Unpacking never reads outside: a short or bad message sets
 * bad, and every later value is zero or empty, so a handler checks once at the end. */
#ifndef DPI_CORE_MESSAGE_H
#define DPI_CORE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DPI_MESSAGE_FDS 4
#define DPI_MESSAGE_MAX (64 * 1024) /* bytes of one message's payload */

struct dpi_pack {
	uint8_t *data; /* malloc'ed */
	size_t size, room;
	int fds[DPI_MESSAGE_FDS]; /* borrowed */
	int fd_count;
	bool failed; /* no memory, too large, too many descriptors */
};
void dpi_pack_u8(struct dpi_pack *p, uint8_t v);
void dpi_pack_u32(struct dpi_pack *p, uint32_t v);
void dpi_pack_u64(struct dpi_pack *p, uint64_t v);
void dpi_pack_bytes(struct dpi_pack *p, const void *data, uint32_t size); /* u32 length, bytes */
void *dpi_pack_room(struct dpi_pack *p, uint32_t size); /* the same, for the caller to write the bytes; NULL: failed */
void dpi_pack_text(struct dpi_pack *p, const char *text);
void dpi_pack_fd(struct dpi_pack *p, int fd); /* u8: present or not (-1); travels only between processes of one host */
void dpi_pack_free(struct dpi_pack *p);

struct dpi_unpack {
	const uint8_t *at, *end;
	int fds[DPI_MESSAGE_FDS]; /* owned by the message until taken; -1 */
	int fd_count, fd_next;
	bool bad;
};
uint8_t dpi_unpack_u8(struct dpi_unpack *u);
uint32_t dpi_unpack_u32(struct dpi_unpack *u);
uint64_t dpi_unpack_u64(struct dpi_unpack *u);
const void *dpi_unpack_bytes(struct dpi_unpack *u, uint32_t *size); /* points into the message */
void dpi_unpack_text(struct dpi_unpack *u, char *text, size_t room); /* always terminated; too long, or a zero byte inside: bad */
int dpi_unpack_fd(struct dpi_unpack *u); /* the caller's from now on; -1 where none came */

#endif
