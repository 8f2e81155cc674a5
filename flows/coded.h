/* SPDX-License-Identifier: Apache-2.0
 * coded.h: flows with codecs. A source gathers the rows for a target in memory of its own, encodes them when they fill a segment, and at
 * a flush, a mark, the end and after the linger time, and sends them as one run that is written at once. A target copies it out of the
 * ring before it looks at it, and decodes it into memory of its own.
 *
 * Every segment of such a flow is of DPI_FLOW_CODED, also marks and the end, so that with a key nobody can forge these either. What is
 * authenticated with it: its header, as far as it is known when that codec comes to it; and which target of which process it is for
 * (struct dpi_coded_place), so that it is of no use in another ring, flow or run of the program. Its serial makes each segment of a ring
 * have one place. What a source of a retained flow has kept in one ring and sends again in another is encrypted anew: coded_again.c. */
#ifndef DPI_FLOWS_CODED_H
#define DPI_FLOWS_CODED_H

#include <pthread.h>
#include <stdatomic.h>

#include "codec/codec.h"
#include "definition.h"
#include "linger.h"
#include "segment.h"

struct dpi_buffer;
struct dpi_context;
struct dpi_kept;
struct dpi_part;
struct dpi_run_flush;
struct dpi_source;
struct dpi_target;

/* A queue has this number in its process, and the process its own among all that ever were. */
struct dpi_coded_place {
	uint64_t incarnation, queue;
};

/* Bytes by which an encoding may be longer than the rows: those that compress send as it is what they would make longer. */
uint32_t dpi_coded_more(const struct dpi_definition *d);
/* Bytes of a segment, as dpi_flow_segment_size, of what is encoded; and of the longest run. Without codecs both are the same. */
uint32_t dpi_flow_plain_size(const struct dpi_definition *d);
uint32_t dpi_flow_run_size(const struct dpi_definition *d);

/* Coders for all codecs of a definition, in order. NAME (no key), UNSUPPORTED (no library), MEMORY; then none is left open. */
int dpi_coders_open(const struct dpi_definition *d, struct dpi_coder *coder[DPI_CODECS_MAX]);
void dpi_coders_close(struct dpi_coder *coder[DPI_CODECS_MAX]);

/* The header as codec number i has it: nothing of those behind it. */
static inline struct dpi_flow_segment dpi_coded_header_at(const struct dpi_flow_segment *h, uint32_t i)
{
	struct dpi_flow_segment at = *h;
	for (uint32_t k = i + 1; k < DPI_CODECS_MAX; k++) at.coded.plain[k] = 0;
	at.coded.as_is &= (1u << i) - 1;
	return at;
}
struct dpi_coded_with {
	struct dpi_flow_segment header;
	struct dpi_coded_place place;
};

/* ----------------------------------------------------------------------------------------------------------- source */

/* The rows for one target. The source's thread and the linger service take the lock for each of them that they do. */
struct dpi_coded_lane {
	pthread_mutex_t lock;
	uint8_t *rows;	    /* segment bytes less a header; NULL: nothing was sent to it yet */
	uint64_t from, fill; /* of these still to be sent */
	_Atomic uint64_t filled; /* is fill: for a look without the lock; it only falls behind the thread's back */
	_Atomic bool pending;	 /* from != fill */
	bool held;		 /* room is handed out behind fill: rows stays where it is */
	bool unended;		 /* the transport was busy: the run that is written has still to be ended */
	uint64_t sent, waiting;	 /* rows, in segments and in rows[from … fill] */
	uint64_t serial;	 /* of the next segment in the lane's ring */
};

struct dpi_coded {
	struct dpi_source *s;
	struct dpi_coded_lane *lane; /* of each target */
	pthread_mutex_t lock;	     /* the coders, what follows them, and the source's counters of segments and codecs; behind a lane's */
	struct dpi_coder *coder[DPI_CODECS_MAX];
	uint8_t *scratch[2];
	size_t scratch_size;
	uint8_t *again; /* of a retained flow: a segment that is sent again */
	uint32_t room;	/* bytes of rows */
	uint32_t more;
	/* coded_linger.c */
	struct dpi_lingerer linger;
	_Atomic bool asleep;
};

/* Where a flow has codecs: s->coded, or NULL. */
int dpi_coded_open(struct dpi_source *s);
void dpi_coded_close(struct dpi_source *s); /* the lanes' rings are there still; nothing is sent */

/* As the functions of dpi_lane_; deadline 0: do not wait, DPI_ERR_AGAIN. */
int dpi_coded_room(struct dpi_source *s, uint32_t target, uint64_t need, int64_t deadline, bool *dropped);
int dpi_coded_send(struct dpi_source *s, uint32_t target, uint32_t kind, uint64_t value, int64_t deadline, bool *dropped);
int dpi_coded_part_room(struct dpi_source *s, uint32_t target, int64_t deadline, bool *dropped);
int dpi_coded_part_write(struct dpi_source *s, uint32_t target, const struct dpi_part *part);
int dpi_coded_flush(struct dpi_source *s, uint32_t target, int64_t deadline);
/* Send what is gathered, if that takes no wait. False: it does; of rows, the linger service tries again. */
bool dpi_coded_publish(struct dpi_source *s, uint32_t target, bool lingered);
/* coded.c: one codec after the other, from number i on; under the lock of the coders. out: the last one's scratch, or from. */
int dpi_coded_encode(struct dpi_coded *c, uint32_t i, struct dpi_coded_with *with, const uint8_t *from, uint64_t size, bool lingered, const uint8_t **out,
		     uint64_t *out_size);
struct dpi_coded_place dpi_coded_place_of(const struct dpi_buffer *b);
/* coded_again.c, of a retained flow, under the lane's lock, as all of retain.c. A segment k for the lane's present ring, of k->size bytes.
 * *bytes: in: what it is made of, in the ring from; or, without from, the header of a segment of no rows. Out: the segment, which stands until
 * the next one. CORRUPT: from holds something else than was written to it. */
int dpi_coded_again(struct dpi_source *s, uint32_t target, const struct dpi_kept *k, const struct dpi_buffer *from, const uint8_t **bytes);
/* The lane's ring is of use no more. */
void dpi_coded_lost(struct dpi_source *s, uint32_t target);
/* Has the transport refused what is written, so that it is to be tried again? */
bool dpi_coded_busy(struct dpi_source *s, uint32_t target);
/* As dpi_run_look and dpi_run_looks, of a ring that the linger service may be sending into. */
void dpi_coded_look(struct dpi_source *s, uint32_t target, struct dpi_run_flush *f);
bool dpi_coded_looks(struct dpi_source *s, uint32_t target, const struct dpi_run_flush *f);
/* Rows in segments that lie in the ring, and the position behind them. */
uint64_t dpi_coded_travelled(struct dpi_source *s, uint32_t target, uint64_t *place);
/* A row of which need bytes have room: here is its place; it is written there; it is not, after dpi_coded_hold. */
uint8_t *dpi_coded_hold(struct dpi_source *s, uint32_t target);
int dpi_coded_commit(struct dpi_source *s, uint32_t target, uint64_t size, uint64_t need);
void dpi_coded_discard(struct dpi_source *s, uint32_t target);
/* The same at once, from the caller's memory. */
int dpi_coded_put(struct dpi_source *s, uint32_t target, const void *row, uint64_t size, uint64_t need);

/* Columns, whose own linger service (columnar.h) holds the source's lock: where the next segment is built, once dpi_coded_room has found
 * room for one of full size; and it is built. */
uint8_t *dpi_coded_columns(struct dpi_source *s, uint32_t target);
void dpi_coded_built(struct dpi_source *s, uint32_t target, uint64_t size, uint64_t rows);

/* coded_linger.c */
int64_t dpi_coded_linger(struct dpi_lingerer *l, int64_t now);
void dpi_coded_linger_wake(struct dpi_coded *c); /* something is pending that the service does not know of */
/* coded.c: by the service: send what is pending, if that takes no wait. */
void dpi_coded_linger_send(struct dpi_coded *c, uint32_t target);

/* ----------------------------------------------------------------------------------------------------------- target */

/* A segment's rows, decoded. */
struct dpi_decoded {
	struct dpi_decoded *next;
	_Alignas(64) uint8_t rows[];
};

/* Of a source at a target. */
struct dpi_decoder_in {
	struct dpi_coder *keyed[DPI_CODECS_MAX]; /* each source's segments have a salt of its own */
	uint64_t serial;
};

struct dpi_decoder {
	const struct dpi_definition *definition;
	struct dpi_coder *coder[DPI_CODECS_MAX];
	struct dpi_coded_place place;
	uint32_t room, run; /* bytes of rows, and of a run behind its header */
	uint8_t *copy, *scratch[2];
	struct dpi_decoded *unused;
	_Atomic uint64_t memory; /* bytes of all that are there */
	uint8_t seen[DPI_SOURCES_MAX / 8]; /* sources that have, or had, a ring here */
};

/* Where a flow has codecs; else *d is NULL. Errors: as dpi_coders_open. */
int dpi_decoder_open(const struct dpi_definition *definition, struct dpi_coded_place place, struct dpi_decoder **d);
void dpi_decoder_close(struct dpi_decoder *d); /* nothing is lent; NULL is fine */
/* A ring says that it is this source's: 0 if another one was already. in: out. */
const char *dpi_decoder_begin(struct dpi_decoder *d, uint32_t source, struct dpi_decoder_in **in, int *error);
void dpi_decoder_end(struct dpi_decoder_in *in);
/* size bytes in the ring behind h, which was copied. rows: out, NULL if there are none; size: out, their bytes. Else what is wrong, which
 * stands until the thread's next sentence, and *error. */
const char *dpi_decode(struct dpi_decoder *d, struct dpi_decoder_in *in, const struct dpi_flow_segment *h, const uint8_t *data, uint64_t *size,
		       struct dpi_decoded **rows, int *error);
void dpi_decoded_release(struct dpi_decoder *d, struct dpi_decoded *rows);

#endif
