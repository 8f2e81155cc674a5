/* SPDX-License-Identifier: Apache-2.0
 * definition.h: what a flow is, as its creator said it, checked; and as it travels. Never changes once made. */
#ifndef DPI_FLOWS_DEFINITION_H
#define DPI_FLOWS_DEFINITION_H

#include "schema.h"
#include "stage.h"
#include "vector.h"

struct dpi_reduction; /* reduce/reduce.h */

/* One of d->codec. */
struct dpi_flow_codec {
	uint32_t codec; /* DPI_CODEC_* */
	int level;
	char key[DPI_NAME_MAX]; /* its name; "": none */
};

struct dpi_definition {
	_Atomic uint32_t references;
	struct dpi_schema *schema; /* of rows as they are pushed: of group and dist, and of DPI_Push */
	struct dpi_schema *wire;   /* of what travels, codecs undone: of lanes, inlets and segments */
	struct dpi_schema *output; /* of what targets give */
	uint32_t targets, sources;
	uint32_t key_count;
	uint16_t key[DPI_KEYS_MAX]; /* columns */
	uint32_t dist, shift, table_size, hint, segment, on_death, layout;
	uint32_t group_version, dist_version;
	uint64_t salt, memory, expected;
	int64_t linger_us; /* 0: the setting of each source's process */
	char group[DPI_NAME_MAX], dist_function[DPI_NAME_MAX]; /* "": none */
	uint32_t ack, ack_of, ack_quorum, ack_up_to, ack_pending, ack_version; /* all 0: no acknowledgements */
	uint32_t ack_column;	/* its number + 1; 0: none */
	char ack_function[DPI_NAME_MAX];
	uint32_t retain; /* 0: direct; or DPI_ACK_RELEASED, CONFIRMED */
	int64_t resume_us, detach_us;
	uint32_t *table;	  /* table_size targets, or NULL */
	struct dpi_vector *bound; /* range: the key's columns of targets - 1 rows, owned; NULL: one target, or no range */
	uint32_t row_error, reduce, reduce_full, window;
	uint64_t reduce_memory, window_rows; /* 0 without reduction, or with another window */
	uint32_t stages, source_stages;	     /* of them those that run at the source: the first ones */
	struct dpi_stage *stage;
	struct dpi_stage grouped;	 /* before these, of a reduction by the group function; in NULL: none */
	struct dpi_reduction *reduction; /* its input: behind the source's stages. NULL: no reduce */
	bool partial;			 /* partial rows travel: wire is the reduction's state schema */
	uint32_t codecs;
	struct dpi_flow_codec codec[DPI_CODECS_MAX];
};

/* Is anything between a pushed row and the lane, or between the inlet and the program? Codecs are the lane's and the inlet's. */
static inline bool dpi_definition_source_pipe(const struct dpi_definition *d)
{
	return d->source_stages || d->partial || d->grouped.in;
}
static inline bool dpi_definition_target_pipe(const struct dpi_definition *d)
{
	return d->source_stages < d->stages || d->reduction;
}

/* Columns of the key: those named, or one UINT64 that the group function gives. 0: possible with round robin, broadcast and
 * function, and with hash if there is one target. */
static inline uint32_t dpi_definition_keys(const struct dpi_definition *d)
{
	return d->group[0] ? 1 : d->key_count;
}

/* Each gives one reference. Every error has its sentence, which names the field ("attr->shift is 70: …"). attr has been
 * copied to this library's size. Errors: as DPI_Create_Flow's. */
int dpi_definition_from(const DPI_Flow_Attr *attr, struct dpi_definition **d);
/* From bytes of anybody: every size is bounded, every value checked as dpi_definition_from does. CORRUPT VERSION MEMORY. */
int dpi_definition_parse(const void *bytes, size_t size, struct dpi_definition **d);
/* As bytes, little endian, malloc'ed: the caller frees. Equal definitions have equal bytes. LIMIT MEMORY. */
int dpi_definition_write(const struct dpi_definition *d, uint8_t **bytes, size_t *size);
static inline struct dpi_definition *dpi_definition_ref(struct dpi_definition *d)
{
	atomic_fetch_add_explicit(&d->references, 1, memory_order_relaxed);
	return d;
}
void dpi_definition_unref(struct dpi_definition *d); /* NULL is allowed */
/* True if they are equal; else text is the first difference: "the flow's dist is hash, yours is radix". */
bool dpi_definition_equal(const struct dpi_definition *flow, const struct dpi_definition *yours, char *text, size_t room);

/* Bytes of rows that a source is expected to send to a target, twice what each gets on average; 0: it is not known. */
uint64_t dpi_definition_expected(const struct dpi_definition *d);

/* Bytes of a target's share of memory for each source at first, and of a segment: see source.c. */
#define DPI_FLOW_SEGMENT 16384u
#define DPI_FLOW_SEGMENT_LEAST 512u
#define DPI_FLOW_SEGMENT_FEW 1024u /* the least that is chosen where few rows are expected */
#define DPI_FLOW_SEGMENT_MOST (1u << 20)
#define DPI_FLOW_MEMORY (64ull << 20)
#define DPI_FLOW_MEMORY_MOST (1ull << 46)
#define DPI_ACK_PENDING 16384u /* rows of a source that wait for acknowledgements, or to be told of */
#define DPI_ACK_PENDING_MOST (1u << 22)
#define DPI_FLOW_LINGER_MOST 1000000000000000ll /* as nanoseconds it can still be added to a time */

#endif
