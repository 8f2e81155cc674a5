/* SPDX-License-Identifier: Apache-2.0
 * coder.h: what the codecs share among themselves. */
#ifndef DPI_CODEC_CODER_H
#define DPI_CODEC_CODER_H

#include "codec.h"
#include "key.h"

struct dpi_coder {
	const struct dpi_codec *codec;
	int level;
	void *encoder, *decoder; /* of the library, or the codec's own */
	uint8_t key[DPI_KEY_BYTES];
	char key_name[DPI_NAME_MAX];
};

/* The functions of a library, found once for the process. false: not there; then asking again tries again. */
struct dpi_symbol {
	const char *name;
	void *function; /* address of the pointer that is set */
};
int dpi_library(const struct dpi_codec *codec, const struct dpi_symbol *symbols, size_t count);

extern const struct dpi_codec dpi_codec_lz4 __attribute__((visibility("hidden")));
extern const struct dpi_codec dpi_codec_zstd __attribute__((visibility("hidden")));
extern const struct dpi_codec dpi_codec_deflate __attribute__((visibility("hidden")));
extern const struct dpi_codec dpi_codec_aes __attribute__((visibility("hidden")));

#endif
