/* SPDX-License-Identifier: Apache-2.0
 * wire.h: what goes over a connection: a hello and its answer, then frames. Everything is little endian.
 *
 * A frame is a header of 1 … 6 words of 8 bytes, then its payload:
 *   word 0   length (32 bits), op (8), slot of a window or status of a reply (24)
 *   window   word 1: offset (48), generation (16)   word 2: secret of the key
 *   PUT          window                                        length bytes follow
 *   PUT_NOTIFY   window, notify offset, value, bell            length bytes follow
 *   GET          window, sequence                              length bytes wanted
 *   ADD          window, sequence, operand
 *   SWAP         window, sequence, expected, desired
 *   FLUSH        sequence
 *   GOT          sequence                                      length bytes follow; answers GET
 *   WORD         sequence, word before                         answers ADD and SWAP
 *   FLUSHED      sequence
 *   SEND                                                       length bytes follow
 *   BYE
 *   KEEP                                                       of two connections this one stays (cross.c)
 *   ERROR                                                      length bytes of text follow; the sender closes
 * Requests (GET, ADD, SWAP, FLUSH) are numbered from 0 on each side and answered in order. */
#ifndef DPI_TCP_WIRE_H
#define DPI_TCP_WIRE_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
	WIRE_VERSION = 2,
	WIRE_TOKEN = 16,	/* bytes */
	WIRE_HELLO = 48,	/* bytes */
	WIRE_ACK = 24,		/* bytes */
	WIRE_WORDS = 6,		/* of the longest header */
	WIRE_MAX_PUT = 1 << 30, /* bytes of a put or get */
	WIRE_MAX_SEND = 8192,	/* bytes of a message */
	WIRE_MAX_ERROR = 240,	/* bytes of a sentence */
	WIRE_SLOTS = 1 << 24
};
#define WIRE_MAX_OFFSET ((UINT64_C(1) << 48) - 1)

enum wire_op {
	WIRE_PUT = 1,
	WIRE_PUT_NOTIFY,
	WIRE_GET,
	WIRE_ADD,
	WIRE_SWAP,
	WIRE_FLUSH,
	WIRE_GOT,
	WIRE_WORD,
	WIRE_FLUSHED,
	WIRE_SEND,
	WIRE_BYE,
	WIRE_ERROR,
	WIRE_KEEP,
	WIRE_OPS
};

struct wire_frame {
	uint32_t op, length;
	uint32_t slot;		   /* or status */
	uint64_t word[WIRE_WORDS]; /* host order; 0 is not filled */
};

static inline uint64_t wire_offset(const struct wire_frame *f)
{
	return f->word[1] & WIRE_MAX_OFFSET;
}
static inline uint32_t wire_generation(const struct wire_frame *f)
{
	return (uint32_t)(f->word[1] >> 48);
}

static inline uint64_t wire_load(const uint8_t *from)
{
	uint64_t v;
	memcpy(&v, from, sizeof v);
	return le64toh(v);
}

static inline void wire_store(uint8_t *to, uint64_t v)
{
	v = htole64(v);
	memcpy(to, &v, sizeof v);
}

/* Of each op: words of its header, 0: there is no such op; whether slot may be other than 0; the most that length says. */
struct wire_shape {
	uint8_t words, slot;
	uint32_t max;
};
extern const struct wire_shape dpi_tcp_shape[256];

/* Read a header out of size bytes: its bytes; 0: more are needed; -1: no correct peer sends this. Every length is
 * bounded and every reserved bit looked at; what a length means for a window is not this function's business. */
static inline int wire_parse(const uint8_t *bytes, size_t size, struct wire_frame *f)
{
	if (size < 8) return 0;
	uint64_t first = wire_load(bytes);
	f->length = (uint32_t)first;
	f->op = (uint32_t)(first >> 32) & 0xff;
	f->slot = (uint32_t)(first >> 40);
	const struct wire_shape *s = &dpi_tcp_shape[f->op];
	if (!s->words || f->length > s->max || (f->slot && !s->slot)) return -1;
	if (size < s->words * 8u) return 0;
	f->word[1] = s->words > 1 ? wire_load(bytes + 8) : 0;
	f->word[2] = s->words > 2 ? wire_load(bytes + 16) : 0;
	for (unsigned i = 3; i < s->words; i++) f->word[i] = wire_load(bytes + i * 8);
	if (f->op == WIRE_PUT_NOTIFY && f->word[5] >> 32) return -1;
	return s->words * 8;
}

/* Write a header of so many words, f->word[1] … included, to bytes, of which there must be enough. Returns its bytes. */
static inline size_t wire_write(uint8_t *bytes, const struct wire_frame *f, unsigned words)
{
	wire_store(bytes, (uint64_t)f->length | (uint64_t)f->op << 32 | (uint64_t)f->slot << 40);
	for (unsigned i = 1; i < words; i++) wire_store(bytes + i * 8, f->word[i]);
	return words * 8u;
}

/* What the connecting side says first. */
struct wire_hello {
	uint16_t version;
	uint8_t token[WIRE_TOKEN]; /* of the target's address */
	uint32_t node, serial;	   /* of the hello among the sender's */
	uint64_t incarnation, target_incarnation;
};
void dpi_tcp_wire_hello(uint8_t bytes[WIRE_HELLO], const struct wire_hello *h);
/* 0; -1: not a hello. With another version only version is filled. */
int dpi_tcp_wire_parse_hello(const uint8_t bytes[WIRE_HELLO], struct wire_hello *h);

/* And the answer. CROSSED is a welcome too. */
enum wire_status { WIRE_WELCOME, WIRE_OTHER_VERSION, WIRE_OTHER_TOKEN, WIRE_OTHER_INCARNATION, WIRE_NO_MEMORY, WIRE_CROSSED };
struct wire_ack {
	uint16_t version, status;
	uint32_t node, serial; /* of the sender's last hello to anybody */
	uint64_t incarnation;
};
void dpi_tcp_wire_ack(uint8_t bytes[WIRE_ACK], const struct wire_ack *a);
int dpi_tcp_wire_parse_ack(const uint8_t bytes[WIRE_ACK], struct wire_ack *a);

#endif
