/* SPDX-License-Identifier: Apache-2.0
 * wire.h: the messages of a link. Everything is little endian. A message is one frame, or several, back to back; a frame is a header of
 * 2 … 8 words of 8 bytes, then its payload:
 *   word 0   bytes of the payload (24 bits), op (8), slot of a window or status (24), receive buffers given back (8)
 *   word 1   the tag that the receiver has told the sender (56), in a message's first frame its number (8)
 *   window   word 2: offset (48), generation (16)   word 3: secret of the key
 *   PUT          window                                    payload
 *   PUT_NOTIFY   window, notify offset, value, bell        payload
 *   GET          window, sequence, length
 *   ADD          window, sequence, operand
 *   SWAP         window, sequence, expected, desired
 *   FLUSH        sequence
 *   GOT          sequence, position in the answer          payload; answers GET
 *   WORD         sequence, word before                     answers ADD and SWAP
 *   FLUSHED      sequence
 *   SEND                                                   payload
 *   CREDIT                                                 gives buffers back, if there are any, no more; alone it takes no credit
 *   USE          window                                    asks for access by the provider's own reads and writes
 *   GRANT        window, key, address, 1: granted          answers USE
 *   REVOKE       window                                    the window goes
 *   REVOKED      window                                    no read or write of it is under way any more
 *   BYE
 *   ERROR                                                  text; the sender gives the link up
 *   HELLO        token (2 words), node, incarnation, the receiver's incarnation, tag to send to    the sender's address
 *   WELCOME      tag to send to, node, incarnation         the sender's address; answers HELLO
 * HELLO and WELCOME are alone in their messages. HELLO has a version where others have the tag. The token is handed out with the address, over authenticated channels only.
 * Messages are numbered from 0 on each side of a link, modulo 256, HELLO not counted: no provider of reliable datagrams completes receives
 * in the order in which it was sent to, so who receives puts them in order.
 * Requests (GET, ADD, SWAP, FLUSH) are numbered from 0 on each side and answered in order. */
#ifndef DPI_FABRIC_WIRE_H
#define DPI_FABRIC_WIRE_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
	WIRE_VERSION = 4,
	WIRE_WORDS = 8,		    /* of the longest header */
	WIRE_MESSAGE = (64 << 10) + 256, /* bytes of the largest message over connections: a header and 64 KiB with words around them, */
	WIRE_DATAGRAM = 16 << 10,   /* and over reliable datagrams, of which longer ones go in pieces */
	WIRE_HEADER = WIRE_WORDS * 8,
	WIRE_PAYLOAD = WIRE_MESSAGE - WIRE_HEADER,
	WIRE_SEND = 8192,	    /* bytes of a message of send */
	WIRE_PUT_MAX = 1 << 30,	    /* bytes of a put or get */
	WIRE_TEXT = 240,	    /* bytes of a sentence */
	WIRE_ADDRESS = 256,	    /* bytes of an endpoint's address */
	WIRE_SLOTS = 1 << 24
};
#define WIRE_CREDITS_AT 7 /* bytes of a header */
#define WIRE_NUMBER_AT 15
#define WIRE_TAG ((UINT64_C(1) << 56) - 1) /* of word 1 */
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
	WIRE_SEND_OP,
	WIRE_CREDIT,
	WIRE_USE,
	WIRE_GRANT,
	WIRE_REVOKE,
	WIRE_REVOKED,
	WIRE_BYE,
	WIRE_ERROR,
	WIRE_HELLO,
	WIRE_WELCOME,
	WIRE_OPS
};

enum wire_status { WIRE_ACCEPTED, WIRE_OTHER_VERSION, WIRE_OTHER_INCARNATION, WIRE_NO_ENDPOINT };

struct wire_frame {
	uint32_t op, length, credits;
	uint32_t slot;		   /* or status */
	uint64_t word[WIRE_WORDS]; /* host order; 0 is not filled */
};

static inline uint64_t wire_offset(const struct wire_frame *f)
{
	return f->word[2] & WIRE_MAX_OFFSET;
}
static inline uint32_t wire_generation(const struct wire_frame *f)
{
	return (uint32_t)(f->word[2] >> 48);
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
extern const struct wire_shape dpi_fabric_shape[256];

/* Read the first frame of size bytes: bytes of its header, and f->length more are there; -1: no correct peer sends this. What a length
 * means for a window is not this function's business. */
int dpi_fabric_parse(const uint8_t *bytes, size_t size, struct wire_frame *f);
/* Write a header, f->word[1] … included, to bytes, of which there must be enough. Returns its bytes. */
size_t dpi_fabric_write(uint8_t *bytes, const struct wire_frame *f);

#endif
