/* SPDX-License-Identifier: Apache-2.0
 * coded_again.c: encoded segments of a retained flow, sent again into another ring.
 *
 * What compresses knows nothing of rings: its frames are sent as they lie in the old one. What encrypts has authenticated the ring and the
 * place in it. So the source opens its own segments and encrypts them for the new ring, with nonces that were never used before. Who
 * can write into the old ring gains nothing by it: the segment is copied first, and taken only as the one that was written there, by its place,
 * serial and rows, which are known here. */
#include <string.h>

#include "retain.h"

void dpi_coded_lost(struct dpi_source *s, uint32_t target)
{
	struct dpi_coded_lane *cl = &s->coded->lane[target];
	cl->unended = false;
	cl->serial = 0;
}

/* The first codec that encrypts; all behind it do. */
static uint32_t first_keyed(const struct dpi_definition *d)
{
	uint32_t i = 0;
	while (i < d->codecs && !*d->codec[i].key) i++;
	return i;
}

/* The bytes behind the header: *from, in memory of the source, to what the first codec was given that encrypts. */
static int decrypt(struct dpi_coded *c, uint32_t first, const struct dpi_coded_with *old, const uint8_t **from, uint64_t *size)
{
	for (uint32_t i = c->s->flow->definition->codecs; i-- > first;) {
		struct dpi_coded_with with = { dpi_coded_header_at(&old->header, i), old->place };
		uint8_t *to = *from == c->scratch[0] ? c->scratch[1] : c->scratch[0];
		uint64_t plain = *size < DPI_CODEC_SEALED ? 0 : *size - DPI_CODEC_SEALED;
		int error = dpi_coder_decode(c->coder[i], *from, *size, &with, sizeof with, to, plain);
		if (error) return error;
		*from = to;
		*size = plain;
	}
	return DPI_SUCCESS;
}

static int changed(struct dpi_source *s, uint32_t target, const struct dpi_buffer *from)
{
	return dpi_fail(DPI_ERR_CORRUPT, "what source %u of flow '%s' keeps for target %u was changed where it lay, in memory of node %d: it cannot be sent again; close the source, and resume it with its rows",
			s->number, s->flow->name, target, from->home_peer->node);
}

int dpi_coded_again(struct dpi_source *s, uint32_t target, const struct dpi_kept *k, const struct dpi_buffer *from, const uint8_t **bytes)
{
	struct dpi_coded *c = s->coded;
	const struct dpi_lane *l = &s->lane[target];
	const uint64_t header = sizeof(struct dpi_flow_segment);
	uint32_t first = from ? first_keyed(s->flow->definition) : 0;
	memcpy(c->again, *bytes, from ? k->size : header);
	struct dpi_coded_with old = { .place = dpi_coded_place_of(from ? from : l->b) }, with = { .place = dpi_coded_place_of(l->b) };
	const uint8_t *rest = c->again + header;
	uint64_t size = from ? k->size - header : 0, coded = size;
	memcpy(&old.header, c->again, header);
	with.header = old.header;
	with.header.base.flags |= DPI_FLOW_CODED;
	for (uint32_t i = first; i < DPI_CODECS_MAX; i++) with.header.coded.plain[i] = 0;
	with.header.coded.as_is &= (1u << first) - 1;
	with.header.coded.serial = c->lane[target].serial;
	with.header.coded.epoch = l->epoch;
	if (from && (old.header.coded.serial != k->serial || old.header.base.sequence != k->sequence)) return changed(s, target, from);
	pthread_mutex_lock(&c->lock);
	int error = from ? decrypt(c, first, &old, &rest, &size) : DPI_SUCCESS;
	if (error == DPI_ERR_CORRUPT || error == DPI_ERR_AUTH) error = changed(s, target, from);
	if (!error) error = dpi_coded_encode(c, first, &with, rest, size, false, &rest, &coded);
	if (!error) {
		memcpy(c->again, &with.header, header);
		if (rest != c->again + header && coded) memcpy(c->again + header, rest, coded);
	}
	pthread_mutex_unlock(&c->lock);
	*bytes = c->again;
	return error;
}
