/* SPDX-License-Identifier: Apache-2.0
 * definition_retain.c: what a definition says of delivery: what sources keep, and how long anybody is waited for. As bytes: uint32_t
 * with their number, then, if anything is set, the numbers of definition_parts.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "definition_parts.h"
#include "error.h"

static const char *const retain_text[] = { "direct", "?", "released", "confirmed" };

/* ------------------------------------------------------------------------------------------------------ attributes */

static int check_time(const char *field, int64_t us)
{
	if (us >= 0 && us <= DPI_FLOW_LINGER_MOST) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_ARGUMENT, "attr->%s is %" PRId64 ": it is microseconds, at most %lld, or 0", field, us, DPI_FLOW_LINGER_MOST);
}

static int check_retain(const struct dpi_definition *d)
{
	if (d->retain && d->retain != DPI_ACK_RELEASED && d->retain != DPI_ACK_CONFIRMED)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->retain is %d: it is 0 (direct), DPI_ACK_RELEASED or DPI_ACK_CONFIRMED", (int)d->retain);
	if (d->retain && d->ack && d->ack != d->retain)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->retain is %s and attr->ack another level: rows are kept until they are acknowledged, so set both to the same",
				retain_text[d->retain]);
	if (d->retain && d->reduction && d->window == DPI_WINDOW_END)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->retain is given, attr->aggregates reduce, and attr->window is DPI_WINDOW_END: every row would be kept until the flow has ended; "
				"end windows by marks or by their rows");
	for (uint32_t i = 0; d->retain && i < d->stages; i++)
		if (d->stage[i].kind == DPI_STAGE_SAMPLE && !d->stage[i].key_count)
			return dpi_fail(DPI_ERR_UNSUPPORTED, "attr->retain is given, and stage %u is a sample without a key: which rows it takes depends on those before, which do not "
					"all come again when a source or target goes on; give it a key", i);
	if (d->resume_us && !d->retain)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->resume_us is set, and attr->retain is 0: only sources of a retained flow resume");
	return DPI_SUCCESS;
}

int dpi_definition_retain(struct dpi_definition *d, const DPI_Flow_Attr *attr)
{
	d->retain = (uint32_t)attr->retain;
	d->resume_us = attr->resume_us;
	d->detach_us = attr->detach_us;
	int error = check_time("resume_us", d->resume_us);
	if (!error) error = check_time("detach_us", d->detach_us);
	return error ? error : check_retain(d);
}

/* ---------------------------------------------------------------------------------------------------------- bytes */

static uint32_t part_bytes(const struct dpi_definition *d)
{
	enum { u32 = 4, u64 = 8 };
	uint32_t size = 0;
#define ADD(kind, field) size += kind;
	DPI_DEFINITION_RETAIN(ADD)
#undef ADD
	return d->retain || d->resume_us || d->detach_us ? size : 0;
}

size_t dpi_definition_retain_bytes(const struct dpi_definition *d)
{
	return 4 + part_bytes(d);
}

void dpi_definition_retain_pack(const struct dpi_definition *d, struct dpi_pack *p)
{
	dpi_pack_u32(p, part_bytes(d));
	if (!part_bytes(d)) return;
#define PACK(kind, field) dpi_pack_##kind(p, d->field);
	DPI_DEFINITION_RETAIN(PACK)
#undef PACK
}

bool dpi_definition_retain_unpack(struct dpi_unpack *in, DPI_Flow_Attr *attr)
{
	uint32_t size = dpi_unpack_u32(in);
	if (in->bad || !size) return !in->bad;
	const uint8_t *begin = in->at;
	attr->retain = (int)dpi_unpack_u32(in);
	attr->resume_us = (int64_t)dpi_unpack_u64(in);
	attr->detach_us = (int64_t)dpi_unpack_u64(in);
	return !in->bad && (size_t)(in->at - begin) == size && (attr->retain || attr->resume_us || attr->detach_us);
}

/* --------------------------------------------------------------------------------------------------------- equality */

bool dpi_definition_retain_equal(const struct dpi_definition *flow, const struct dpi_definition *yours, char *text, size_t room)
{
	if (flow->retain != yours->retain)
		snprintf(text, room, "the flow's retain is %s, yours is %s", retain_text[flow->retain], retain_text[yours->retain]);
	else if (flow->resume_us != yours->resume_us)
		snprintf(text, room, "the flow's resume_us is %" PRId64 ", yours is %" PRId64, flow->resume_us, yours->resume_us);
	else if (flow->detach_us != yours->detach_us)
		snprintf(text, room, "the flow's detach_us is %" PRId64 ", yours is %" PRId64, flow->detach_us, yours->detach_us);
	else return true;
	return false;
}
