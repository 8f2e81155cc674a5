/* SPDX-License-Identifier: Apache-2.0
 * decoded.c: the target's side of codecs. Sources are not trusted: all that is read was copied out of the ring first. */
#include <stdlib.h>
#include <string.h>

#include "coded.h"
#include "error.h"

int dpi_decoder_open(const struct dpi_definition *definition, struct dpi_coded_place place, struct dpi_decoder **out)
{
	*out = NULL;
	if (!definition->codecs) return DPI_SUCCESS;
	struct dpi_decoder *d = calloc(1, sizeof *d);
	if (!d) return dpi_fail(DPI_ERR_MEMORY, "no memory for the codecs of a target");
	d->definition = definition;
	d->place = place;
	d->room = dpi_flow_plain_size(definition) - (uint32_t)sizeof(struct dpi_flow_segment);
	d->run = dpi_flow_run_size(definition) - (uint32_t)sizeof(struct dpi_flow_segment);
	int error = dpi_coders_open(definition, d->coder);
	d->copy = malloc(d->run);
	for (int i = 0; i < 2; i++) d->scratch[i] = malloc(d->run);
	atomic_init(&d->memory, 3 * (uint64_t)d->run);
	if (!error && (!d->copy || !d->scratch[0] || !d->scratch[1])) error = dpi_fail(DPI_ERR_MEMORY, "no memory for the codecs of a target");
	if (error) dpi_decoder_close(d);
	else *out = d;
	return error;
}

void dpi_decoder_close(struct dpi_decoder *d)
{
	if (!d) return;
	while (d->unused) {
		struct dpi_decoded *next = d->unused->next;
		free(d->unused);
		d->unused = next;
	}
	dpi_coders_close(d->coder);
	free(d->copy);
	free(d->scratch[0]);
	free(d->scratch[1]);
	free(d);
}

const char *dpi_decoder_begin(struct dpi_decoder *d, uint32_t source, struct dpi_decoder_in **out, int *error)
{
	uint8_t *seen = &d->seen[source / 8 % sizeof d->seen], bit = (uint8_t)(1u << source % 8);
	*error = DPI_ERR_CORRUPT;
	if (source >= DPI_SOURCES_MAX) return "a segment of another source";
	if (!d->definition->retain && *seen & bit) return "a second ring of one source"; /* retained: inlet.c, which knows their epochs */
	struct dpi_decoder_in *in = calloc(1, sizeof *in);
	*error = in ? DPI_SUCCESS : dpi_fail(DPI_ERR_MEMORY, "no memory for the codecs of a source");
	for (uint32_t i = 0; i < d->definition->codecs && !*error; i++)
		if (*d->definition->codec[i].key) *error = dpi_coder_like(d->coder[i], &in->keyed[i]);
	if (*error) {
		dpi_decoder_end(in);
		return dpi_detail();
	}
	*seen |= bit;
	*out = in;
	return NULL;
}

void dpi_decoder_end(struct dpi_decoder_in *in)
{
	if (!in) return;
	dpi_coders_close(in->keyed);
	free(in);
}

static struct dpi_decoded *take(struct dpi_decoder *d)
{
	struct dpi_decoded *rows = d->unused;
	if (rows) {
		d->unused = rows->next;
		return rows;
	}
	size_t size = (sizeof *rows + d->run + 63) / 64 * 64;
	rows = aligned_alloc(64, size);
	if (rows) atomic_fetch_add_explicit(&d->memory, size, memory_order_relaxed);
	return rows;
}

void dpi_decoded_release(struct dpi_decoder *d, struct dpi_decoded *rows)
{
	if (!rows) return;
	rows->next = d->unused;
	d->unused = rows;
}

/* Every size that the header has, against what there is room for. lowest: out, the first codec that did something. */
static const char *check_header(const struct dpi_decoder *d, const struct dpi_decoder_in *in, const struct dpi_flow_coded *h, uint64_t size,
				uint32_t *lowest)
{
	uint32_t codecs = d->definition->codecs;
	*lowest = codecs;
	if (h->serial != in->serial) return "a coded segment that came before, or out of order";
	if (size > d->run) return "a coded segment that is larger than any";
	if ((h->epoch && !d->definition->retain) || h->as_is >> codecs) return "a coded segment with codecs that the flow does not have";
	for (uint32_t i = DPI_CODECS_MAX; i-- > 0;) {
		bool as_is = h->as_is >> i & 1;
		if (i >= codecs && h->plain[i]) return "a coded segment with codecs that the flow does not have";
		if (i >= codecs) continue;
		if (h->plain[i] > (i ? d->run : d->room)) return "a coded segment that declares more bytes than any has";
		if (as_is && *d->definition->codec[i].key) return "a segment that is not encrypted";
		if (as_is && h->plain[i] != (i + 1 < codecs ? h->plain[i + 1] : size)) return "a coded segment whose sizes do not agree";
		if (!as_is) *lowest = i;
	}
	return NULL;
}

/* From d->copy to the rows. */
static int decode(struct dpi_decoder *d, struct dpi_decoder_in *in, const struct dpi_flow_segment *h, uint64_t size, uint32_t lowest, uint8_t *rows)
{
	const uint8_t *from = d->copy;
	int error = DPI_SUCCESS;
	if (lowest == d->definition->codecs) memcpy(rows, from, size);
	for (uint32_t i = d->definition->codecs; i-- > lowest && !error;) {
		if (h->coded.as_is >> i & 1) continue;
		struct dpi_coded_with with = { dpi_coded_header_at(h, i), d->place };
		struct dpi_coder *keyed = in->keyed[i];
		uint8_t *to = i == lowest ? rows : d->scratch[from == d->scratch[0]];
		error = dpi_coder_decode(keyed ? keyed : d->coder[i], from, size, keyed ? &with : NULL, keyed ? sizeof with : 0, to, h->coded.plain[i]);
		from = to;
		size = h->coded.plain[i];
	}
	return error;
}

const char *dpi_decode(struct dpi_decoder *d, struct dpi_decoder_in *in, const struct dpi_flow_segment *h, const uint8_t *data, uint64_t *size,
		       struct dpi_decoded **out, int *error)
{
	uint32_t lowest;
	*out = NULL;
	*error = DPI_ERR_CORRUPT;
	const char *wrong = check_header(d, in, &h->coded, *size, &lowest);
	if (wrong) return wrong;
	struct dpi_decoded *rows = take(d);
	*error = rows ? DPI_SUCCESS : dpi_fail(DPI_ERR_MEMORY, "no memory for the rows of a segment");
	if (!*error) {
		memcpy(d->copy, data, *size);
		*error = decode(d, in, h, *size, lowest, rows->rows);
	}
	if (*error) {
		dpi_decoded_release(d, rows);
		return dpi_detail();
	}
	in->serial++;
	*size = h->coded.plain[0];
	if (*size) *out = rows;
	else dpi_decoded_release(d, rows);
	return NULL;
}
