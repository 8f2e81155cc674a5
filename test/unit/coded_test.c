/* SPDX-License-Identifier: Apache-2.0
 * coded_test.c: flows/decoded.c: encrypted segments as the specification describes them are taken once each, in their order, and nothing else
 * is. */
#include "unit.h"

#include <dpi.h>
#include <stdlib.h>

#include "error.h"
#include "flows/coded.h"

static const uint8_t key[DPI_KEY_SIZE] = { 9, 8, 7, 6, 5, 4, 3, 2, 1 };
static const struct dpi_coded_place here = { 0x1234567890abcdef, 17 };

static struct dpi_definition *definition(bool compress)
{
	static const DPI_Column column = { "number", DPI_TYPE_INT64, 0, 0, 0, 0 };
	DPI_Codec codecs[] = { { DPI_CODEC_LZ4, 0, NULL }, { DPI_CODEC_AES_256_GCM, 0, "k" } };
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	struct dpi_definition *d;
	a.segment = 4096;
	a.codecs = compress ? codecs : codecs + 1;
	a.codec_count = compress ? 2 : 1;
	CHECK_DPI(DPI_Set_Key("k", key, sizeof key));
	CHECK_DPI(DPI_Create_Schema(&column, 1, &a.schema));
	CHECK_DPI(dpi_definition_from(&a, &d));
	CHECK_DPI(DPI_Free_Schema(a.schema));
	return d;
}

static struct dpi_decoder *decoder(const struct dpi_definition *d, struct dpi_coded_place place)
{
	struct dpi_decoder *made;
	int error = dpi_decoder_open(d, place, &made);
	if (error == DPI_ERR_UNSUPPORTED) SKIP("%s", dpi_detail());
	CHECK_DPI(error);
	return made;
}

static struct dpi_decoder_in *ring(struct dpi_decoder *d, uint32_t source)
{
	struct dpi_decoder_in *in;
	int error;
	CHECK(!dpi_decoder_begin(d, source, &in, &error));
	return in;
}

/* A segment with a header in clear, as a source makes it. */
struct made {
	struct dpi_flow_segment h;
	uint8_t bytes[8192];
	uint64_t size;
};

static void make(const struct dpi_definition *d, struct dpi_coder *const coder[], struct dpi_coded_place place, uint64_t serial, uint32_t kind, const void *rows,
		 size_t size, struct made *m)
{
	uint8_t between[8192];
	size_t n;
	m->h = (struct dpi_flow_segment){ .base = { .sequence = serial * 10, .flags = DPI_SEGMENT_MAGIC | DPI_FLOW_CODED | kind, .reserved = 3 }, .value = 5,
					  .coded.serial = serial };
	uint32_t last = d->codecs - 1;
	if (last) {
		m->h.coded.plain[0] = (uint32_t)size;
		CHECK_DPI(dpi_coder_encode(coder[0], rows, size, NULL, 0, between, sizeof between, &n));
		rows = between;
		size = n;
	}
	m->h.coded.plain[last] = (uint32_t)size;
	struct dpi_coded_with with = { m->h, place };
	CHECK_DPI(dpi_coder_encode(coder[last], rows, size, &with, sizeof with, m->bytes, sizeof m->bytes, &n));
	m->size = n;
}

/* What it decodes to; 0, or the error. */
static int taken(struct dpi_decoder *d, struct dpi_decoder_in *in, const struct made *m, const void *rows, uint64_t count)
{
	struct dpi_decoded *out;
	uint64_t size = m->size;
	int error;
	const char *wrong = dpi_decode(d, in, &m->h, m->bytes, &size, &out, &error);
	CHECK(!wrong == !error);
	if (error) {
		CHECK(!out && *wrong);
		return error;
	}
	CHECK_INT(size, ==, count);
	CHECK(!count == !out);
	if (count) {
		CHECK(!memcmp(out->rows, rows, count));
		CHECK_INT((uintptr_t)out->rows % 64, ==, 0);
	}
	dpi_decoded_release(d, out);
	return 0;
}

static void in_order(bool compress)
{
	struct dpi_definition *def = definition(compress);
	struct dpi_decoder *d = decoder(def, here), *other = decoder(def, (struct dpi_coded_place){ here.incarnation, 18 });
	struct dpi_decoder *later = decoder(def, (struct dpi_coded_place){ here.incarnation + 1, 17 });
	struct dpi_decoder_in *in = ring(d, 3), *in_other = ring(other, 3), *in_later = ring(later, 3);
	struct dpi_coder *coder[DPI_CODECS_MAX] = { NULL };
	static struct made m[4];
	static uint64_t rows[400];
	for (uint64_t i = 0; i < 400; i++) rows[i] = i / 3;
	CHECK_DPI(dpi_coders_open(def, coder));
	for (uint64_t i = 0; i < 3; i++) make(def, coder, here, i, DPI_FLOW_ROWS, rows, 800 + i * 800, &m[i]);
	if (!compress) make(def, coder, here, 3, DPI_FLOW_END, "", 0, &m[3]);
	/* for this target of this process alone */
	CHECK_INT(taken(other, in_other, &m[0], rows, 800), ==, DPI_ERR_CORRUPT);
	CHECK_INT(taken(later, in_later, &m[0], rows, 800), ==, DPI_ERR_CORRUPT);
	/* before its turn, in its turn, again */
	CHECK_INT(taken(d, in, &m[1], rows, 1600), ==, DPI_ERR_CORRUPT);
	CHECK_INT(taken(d, in, &m[0], rows, 800), ==, 0);
	CHECK_INT(taken(d, in, &m[0], rows, 800), ==, DPI_ERR_CORRUPT);
	CHECK_INT(taken(d, in, &m[2], rows, 800), ==, DPI_ERR_CORRUPT);
	/* with another's turn */
	struct made forged = m[2];
	forged.h.coded.serial = 1;
	CHECK_INT(taken(d, in, &forged, rows, 2400), ==, DPI_ERR_CORRUPT);
	CHECK_INT(taken(d, in, &m[1], rows, 1600), ==, 0);
	CHECK_INT(taken(d, in, &m[2], rows, 2400), ==, 0);
	if (!compress) CHECK_INT(taken(d, in, &m[3], rows, 0), ==, 0);
	/* a second ring of the same source, and one of none */
	struct dpi_decoder_in *again;
	int error;
	CHECK_STR(dpi_decoder_begin(d, 3, &again, &error), "a second ring of one source");
	CHECK_INT(error, ==, DPI_ERR_CORRUPT);
	CHECK(dpi_decoder_begin(d, DPI_SOURCES_MAX, &again, &error));
	dpi_coders_close(coder);
	dpi_decoder_end(in), dpi_decoder_end(in_other), dpi_decoder_end(in_later);
	dpi_decoder_close(d), dpi_decoder_close(other), dpi_decoder_close(later);
	dpi_definition_unref(def);
}

TEST(coded_segments_once_and_in_order, "C-14 C-15", 0) { in_order(false); }
TEST(coded_and_compressed_segments_once_and_in_order, "C-14 C-15", 0) { in_order(true); }

/* Each bit of the header and of the bytes matters, and every length. */
static void every_bit(bool compress)
{
	struct dpi_definition *def = definition(compress);
	struct dpi_decoder *d = decoder(def, here);
	struct dpi_decoder_in *in = ring(d, 3);
	struct dpi_coder *coder[DPI_CODECS_MAX] = { NULL };
	static struct made m, bad;
	static uint64_t rows[30];
	CHECK_DPI(dpi_coders_open(def, coder));
	make(def, coder, here, 0, DPI_FLOW_ROWS, rows, sizeof rows, &m);
	for (size_t bit = 0; bit < 8 * (sizeof m.h + m.size); bit++) {
		bad = m;
		if (bit < 8 * sizeof m.h) ((uint8_t *)&bad.h)[bit / 8] ^= (uint8_t)(1 << bit % 8);
		else bad.bytes[bit / 8 - sizeof m.h] ^= (uint8_t)(1 << bit % 8);
		int error = taken(d, in, &bad, rows, sizeof rows);
		CHECK(error == DPI_ERR_CORRUPT || error == DPI_ERR_AUTH);
	}
	for (uint64_t size = 0; size < m.size + 8; size++) {
		bad = m;
		bad.size = size;
		if (size != m.size) CHECK_INT(taken(d, in, &bad, rows, sizeof rows), ==, DPI_ERR_CORRUPT);
	}
	/* in clear, and larger than any */
	bad = m;
	bad.h.coded.as_is = 1u << (def->codecs - 1);
	bad.size = bad.h.coded.plain[def->codecs - 1];
	CHECK_INT(taken(d, in, &bad, rows, sizeof rows), ==, DPI_ERR_CORRUPT);
	bad = m;
	bad.size = d->run + 1;
	CHECK_INT(taken(d, in, &bad, rows, sizeof rows), ==, DPI_ERR_CORRUPT);
	CHECK_INT(taken(d, in, &m, rows, sizeof rows), ==, 0); /* none of that took its turn */
	dpi_coders_close(coder);
	dpi_decoder_end(in);
	dpi_decoder_close(d);
	dpi_definition_unref(def);
}

TEST(coded_segments_every_bit, "C-14 C-15", 0) { every_bit(false); }
TEST(coded_and_compressed_segments_every_bit, "C-14 C-15", 0) { every_bit(true); }

/* Whatever the codecs need, the smallest segments still hold rows, and the longest run what is made of them. */
TEST(coded_sizes, "C-11", 0)
{
	static const DPI_Column columns[] = { { "a", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "b", DPI_TYPE_FIXED, 0, 132, 0, 0 } };
	DPI_Codec codecs[DPI_CODECS_MAX];
	for (size_t n = 0; n < DPI_CODECS_MAX; n++) codecs[n] = (DPI_Codec){ DPI_CODEC_AES_256_GCM, 0, "k" };
	for (size_t n = 0; n <= DPI_CODECS_MAX; n++)
		for (uint32_t segment = 512; segment < 2048; segment += 8) {
			DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
			struct dpi_definition *d;
			a.dist = DPI_DIST_BROADCAST;
			a.segment = segment;
			a.codecs = n ? codecs : NULL;
			a.codec_count = n;
			CHECK_DPI(DPI_Create_Schema(columns, 2, &a.schema));
			CHECK_DPI(dpi_definition_from(&a, &d));
			CHECK_DPI(DPI_Free_Schema(a.schema));
			CHECK_INT(dpi_flow_run_size(d), <=, segment);
			CHECK_INT(dpi_flow_plain_size(d), ==, 64 + (dpi_flow_plain_size(d) - 64) / 144 * 144);
			CHECK_INT(dpi_flow_plain_size(d), >=, 64 + 144);
			CHECK_INT(dpi_flow_run_size(d) - dpi_flow_plain_size(d), ==, 72 * n);
			dpi_definition_unref(d);
		}
}
