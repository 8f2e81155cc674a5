/* SPDX-License-Identifier: Apache-2.0
 * wire.h: what the two ends of a connection say to each other. Everything is little endian, in words of 8 bytes.
 *
 * The connection manager's private data introduces both (a hello and its answer). After that there are messages: word 0 is
 * op (8 bits), credits returned (16), bytes of the payload (16), how many of the receiver's messages the sender has handled (16, the
 * count's low bits), 1 if it wants to be told soon that this one is (1); then the op's words; then the payload.
 *
 * A put whose notification does to its word what the one before did, advances it by the put's bytes, needs no message: it is a write
 * with immediate, which counts as one. The immediate: 1 bit as above, then the attachment's place in its table. */
#ifndef DPI_VERBS_WIRE_H
#define DPI_VERBS_WIRE_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
	WIRE_VERSION = 3,
	WIRE_TOKEN = 16,     /* bytes */
	WIRE_HELLO = 48,     /* bytes; 56 is the most that a request's private data takes */
	WIRE_ACK = 24,	     /* bytes */
	WIRE_MESSAGE = 1024, /* bytes of the longest message */
	WIRE_WORDS = 8	     /* of the longest head, word 0 counted */
};
#define WIRE_TELL_IMMEDIATE UINT32_C(0x80000000)

/* op, words after word 0, has a payload. An attachment is what the target knows a remote by; a remote's and an operation's
 * id are its initiator's. */
#define WIRE_OPS(X)                                                                                    \
	X(PUT, 5, 1)	  /* attachment, offset, offset of the word, value, bell; the bytes */          \
	X(ADD, 4, 0)	  /* attachment, operation, offset, operand */                                  \
	X(SWAP, 5, 0)	  /* attachment, operation, offset, expected, desired */                        \
	X(FLUSH, 0, 0)	  /* to be told that this one is handled */                                     \
	X(ANSWER, 3, 0)	  /* operation, error class, word before; to ADD and SWAP */                    \
	X(ATTACH, 3, 0)	  /* remote, slot and generation, secret */                                     \
	X(ATTACHED, 6, 0) /* remote, error class, attachment, address, length, key of the device */     \
	X(REVOKE, 1, 0)	  /* remote: its window is being withdrawn; answered by DETACH */               \
	X(DETACH, 1, 0)	  /* attachment: nothing is under way on it, nothing follows */                 \
	X(SEND, 0, 1)	  /* the bytes */                                                               \
	X(CREDIT, 0, 0)                                                                                \
	X(BYE, 0, 0)                                                                                   \
	X(IMMEDIATE, 2, 0) /* a write's immediate, its bytes: as it is kept where it has to wait */    \
	X(CASTER, 6, 0)	  /* token (2), address and key of the ring, slots of it and MTU, IPv4 group */  \
	X(LISTENS, 1, 0)  /* enum wire_listens; to CASTER */                                           \
	X(CAST, 6, 0)	  /* attachment, offset, offset of the word, value, bell and size, first datagram */ \
	X(TELL, 0, 0)	  /* how far has it come? */                                                    \
	X(TOOK, 2, 0)	  /* all datagrams before this one are needed no more; how many casts were read over the connection */

enum wire_op {
	WIRE_NONE,
#define WIRE_OP(name, words, payload) WIRE_##name,
	WIRE_OPS(WIRE_OP)
#undef WIRE_OP
	WIRE_OP_COUNT
};

struct wire_shape {
	uint8_t words, payload;
};
extern const struct wire_shape dpi_verbs_shape[WIRE_OP_COUNT];

/* A message as it was received. */
struct wire_message {
	enum wire_op op;
	uint32_t credits, size;
	uint16_t handled;
	uint8_t tell;
	uint64_t word[WIRE_WORDS - 1];
	const uint8_t *payload; /* size bytes */
};
/* 0, or -1: not a message. */
int dpi_verbs_message_parse(const uint8_t *bytes, size_t size, struct wire_message *m);
/* The head's bytes. words: those after word 0. */
size_t dpi_verbs_message_head(uint8_t *bytes, enum wire_op op, uint32_t size, const uint64_t *words);
void dpi_verbs_message_credits(uint8_t *bytes, uint32_t credits, uint32_t handled); /* fill them in */
void dpi_verbs_message_tell(uint8_t *bytes);					     /* that this one is handled */

enum wire_listens { WIRE_DEAF, WIRE_JOINED, WIRE_HEARD };
#define WIRE_CAST_MORE (UINT64_C(1) << 63) /* in the word of bell and size: the same datagrams are meant by the next CAST too */

enum wire_status { WIRE_WELCOME, WIRE_OTHER_VERSION, WIRE_OTHER_TOKEN, WIRE_OTHER_INCARNATION, WIRE_CROSSED, WIRE_NO_ROOM, WIRE_ELSEWHERE };

/* serial: of the sender's latest attempt to connect (24 bits); what it asked before that is superseded. */
struct wire_hello {
	uint32_t version, lane, node, credits, serial;
	uint64_t incarnation, target_incarnation;
	uint8_t token[WIRE_TOKEN];
};
struct wire_ack {
	uint32_t version, status, node, credits, serial;
	uint64_t incarnation;
};
void dpi_verbs_hello(uint8_t bytes[WIRE_HELLO], const struct wire_hello *h);
int dpi_verbs_hello_parse(const uint8_t *bytes, size_t size, struct wire_hello *h); /* 0, or -1 */
void dpi_verbs_ack(uint8_t bytes[WIRE_ACK], const struct wire_ack *a);
int dpi_verbs_ack_parse(const uint8_t *bytes, size_t size, struct wire_ack *a);

static inline void wire_store(uint8_t *at, uint64_t v)
{
	v = htole64(v);
	memcpy(at, &v, 8);
}
static inline uint64_t wire_load(const uint8_t *at)
{
	uint64_t v;
	memcpy(&v, at, 8);
	return le64toh(v);
}

#endif
