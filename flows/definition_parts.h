/* SPDX-License-Identifier: Apache-2.0
 * definition_parts.h: what the files of definition.h share. */
#ifndef DPI_FLOWS_DEFINITION_PARTS_H
#define DPI_FLOWS_DEFINITION_PARTS_H

#include "definition.h"
#include "message.h"
#include "move/hash.h"

/* The plain numbers of a definition, which have the same names in DPI_Flow_Attr, in the order of its bytes. */
#define DPI_DEFINITION_NUMBERS(X)                                                                      \
	X(u32, targets)                                                                                \
	X(u32, sources)                                                                                \
	X(u32, dist)                                                                                   \
	X(u32, shift)                                                                                  \
	X(u32, table_size)                                                                             \
	X(u32, hint)                                                                                   \
	X(u32, segment)                                                                                \
	X(u32, on_death)                                                                               \
	X(u32, group_version)                                                                          \
	X(u32, dist_version)                                                                           \
	X(u64, salt)                                                                                   \
	X(u64, memory)                                                                                 \
	X(u64, expected)                                                                               \
	X(u64, linger_us)

/* The numbers of stages, reduce and codecs, and the layout, which stand behind all that is above. */
#define DPI_DEFINITION_PIPE_NUMBERS(X)                                                                 \
	X(u32, row_error)                                                                              \
	X(u32, reduce)                                                                                 \
	X(u32, reduce_full)                                                                            \
	X(u32, window)                                                                                 \
	X(u64, reduce_memory)                                                                          \
	X(u64, window_rows)                                                                            \
	X(u32, layout)

/* What bytes say that attributes cannot. */
struct dpi_parsed_pipe {
	struct dpi_schema *schema[DPI_STAGES_MAX]; /* of each stage, instead of its handle; NULL: none */
	const void *reduction;			   /* instead of aggregates; NULL: none */
	size_t reduction_size;
	/* what attributes point to */
	DPI_Stage stage[DPI_STAGES_MAX];
	struct dpi_stage_names *names[DPI_STAGES_MAX];
	DPI_Codec codec[DPI_CODECS_MAX];
	char key[DPI_CODECS_MAX][DPI_NAME_MAX];
};

/* dpi_definition_from over a schema that is there; it takes a reference of its own. parsed: NULL for attributes of a program. */
int dpi_definition_make(struct dpi_schema *s, const DPI_Flow_Attr *attr, const struct dpi_parsed_pipe *parsed,
			struct dpi_definition **d);
int dpi_definition_copy_name(const char *field, const char *name, char to[static DPI_NAME_MAX]);
int dpi_definition_below(const char *field, uint32_t value, uint32_t most, const char *values);

/* definition_pipe.c: stages, reduce, codecs and the schemas that they derive; the rest of d is done. */
int dpi_pipe_from(const DPI_Flow_Attr *attr, const struct dpi_parsed_pipe *parsed, struct dpi_definition *d);
void dpi_pipe_free(struct dpi_definition *d);
bool dpi_pipe_equal(const struct dpi_definition *flow, const struct dpi_definition *yours, char *text, size_t room);

/* definition_pipe_write.c */
struct dpi_pack;
struct dpi_unpack;
size_t dpi_pipe_bytes(const struct dpi_definition *d);
void dpi_pipe_pack(struct dpi_pack *p, const struct dpi_definition *d);
/* Sets attr's fields, which point into parsed, and parsed, which dpi_pipe_parsed_free frees also after an error. */
int dpi_pipe_unpack(struct dpi_unpack *in, DPI_Flow_Attr *attr, struct dpi_parsed_pipe *parsed);
void dpi_pipe_parsed_free(struct dpi_parsed_pipe *parsed);

/* The same of acknowledgements, in a part of their own (definition_ack.c), which is empty where there are none. */
#define DPI_DEFINITION_ACK(X)                                                                          \
	X(u32, ack)                                                                                    \
	X(u32, ack_of)                                                                                 \
	X(u32, ack_quorum)                                                                             \
	X(u32, ack_up_to)                                                                              \
	X(u32, ack_pending)                                                                            \
	X(u32, ack_version)

/* definition_ack.c. Fill d's part from attr, everything else being there. ARGUMENT NAME UNSUPPORTED. */
int dpi_definition_ack(struct dpi_definition *d, const DPI_Flow_Attr *attr);
size_t dpi_definition_ack_bytes(const struct dpi_definition *d);
void dpi_definition_ack_pack(const struct dpi_definition *d, struct dpi_pack *p);
/* Fill attr from the part; function is where a name may go. False: nonsense. */
bool dpi_definition_ack_unpack(struct dpi_unpack *in, const struct dpi_schema *s, DPI_Flow_Attr *attr, char function[static DPI_NAME_MAX]);
bool dpi_definition_ack_equal(const struct dpi_definition *flow, const struct dpi_definition *yours, char *text, size_t room);
/* The same of delivery, in a part of its own (definition_retain.c), empty where all is 0. */
#define DPI_DEFINITION_RETAIN(X)                                                                       \
	X(u32, retain)                                                                                 \
	X(u64, resume_us)                                                                              \
	X(u64, detach_us)

/* definition_retain.c. As definition_ack.c. */
int dpi_definition_retain(struct dpi_definition *d, const DPI_Flow_Attr *attr);
size_t dpi_definition_retain_bytes(const struct dpi_definition *d);
void dpi_definition_retain_pack(const struct dpi_definition *d, struct dpi_pack *p);
bool dpi_definition_retain_unpack(struct dpi_unpack *in, DPI_Flow_Attr *attr);
bool dpi_definition_retain_equal(const struct dpi_definition *flow, const struct dpi_definition *yours, char *text, size_t room);
/* What dpi_definition_write would write. */
size_t dpi_definition_bytes(const struct dpi_definition *d);

/* definition_bounds.c. The columns of bounds: type, width and scale of each column of the key. */
void dpi_bounds_key(const struct dpi_definition *d, struct dpi_strided key[static DPI_KEYS_MAX]);
/* Fill d->bound with a copy: packed, NULLs and bits behind the last row zero, one NaN and no -0.0, so that equal bounds have
 * equal bytes. ARGUMENT LIMIT MEMORY. */
int dpi_bounds_from(const DPI_Values *values, struct dpi_definition *d);
void dpi_bounds_free(struct dpi_definition *d);
static inline uint32_t dpi_bounds_rows(const struct dpi_definition *d)
{
	return d->bound ? d->targets - 1 : 0;
}
/* Bytes of a column's data. */
size_t dpi_bounds_data(const struct dpi_vector *v, uint32_t rows);
/* The first row in which two columns of one type differ; rows if none does. */
uint32_t dpi_bounds_differ(const struct dpi_vector *a, const struct dpi_vector *b, uint32_t rows);

#endif
