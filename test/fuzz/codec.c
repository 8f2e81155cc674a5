/* SPDX-License-Identifier: Apache-2.0
 * codec.c: libFuzzer target: segments of any bytes to every decoder. The first byte chooses the codec, the next two are
 * the size that is declared; then sketches as others may send them. */
#include <dpi.h>

#include "flows/codec/codec.h"
#include "flows/sketch.h"
#include "fuzz.h"

static struct dpi_coder *coder[5];

static void decode(uint32_t id, const uint8_t *data, size_t size, size_t plain)
{
	static const uint8_t key[DPI_KEY_SIZE] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };
	const struct dpi_codec *codec = dpi_codec_numbered(id);
	if (!coder[id]) {
		if (codec->keyed) need(!DPI_Set_Key("k", key, sizeof key), "a key");
		if (dpi_coder_open(codec, 0, codec->keyed ? "k" : NULL, &coder[id])) return; /* the library is not there */
	}
	uint8_t *to = malloc(plain), *again = malloc(plain);
	int error = dpi_coder_decode(coder[id], data, size, "with", codec->keyed ? 4 : 0, to, plain);
	need(!error || error == DPI_ERR_CORRUPT || error == DPI_ERR_AUTH, "the class of an error");
	if (!error) { /* the same twice, whatever came between */
		need(!dpi_coder_decode(coder[id], data, size, "with", codec->keyed ? 4 : 0, again, plain), "decoding again");
		need(!plain || !memcmp(to, again, plain), "the same content");
	}
	free(to), free(again);
}

static void sketches(uint8_t which, const uint8_t *data, size_t size)
{
	if (which == 5) {
		struct dpi_hll *h;
		if (dpi_hll_load(data, size, &h)) return;
		need(dpi_hll_estimate(h) >= 0, "an estimate");
		dpi_hll_free(h);
	} else if (which == 6) {
		struct dpi_bloom *b;
		if (dpi_bloom_load(data, size, size, &b)) return;
		dpi_bloom_insert(b, 12345);
		need(dpi_bloom_may_have(b, 12345), "what was inserted");
		dpi_bloom_free(b);
	} else {
		struct dpi_heavy *h;
		if (dpi_heavy_load(data, size, 64, &h)) return;
		dpi_heavy_add(h, 5, 1);
		dpi_heavy_free(h);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3) return 0;
	uint8_t which = data[0] % 8;
	if (which >= 1 && which <= 4) decode(which, data + 3, size - 3, (size_t)(data[1] | data[2] << 8));
	else if (which) sketches(which, data + 3, size - 3);
	return 0;
}
