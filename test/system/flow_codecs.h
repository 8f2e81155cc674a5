/* SPDX-License-Identifier: Apache-2.0
 * flow_codecs.h: codecs that are drawn for a flow, and the key of those that encrypt. */
#ifndef FLOW_CODECS_H
#define FLOW_CODECS_H

#include <dlfcn.h>

#include "kit.h"

/* Codecs whose library is on this machine. */
static size_t draw_codecs(uint64_t *d, DPI_Codec codec[3])
{
	static const struct {
		int codec;
		const char *library;
	} all[] = { { DPI_CODEC_LZ4, "liblz4.so.1" }, { DPI_CODEC_ZSTD, "libzstd.so.1" }, { DPI_CODEC_DEFLATE, "libz.so.1" } };
	size_t n = 0;
	for (int i = 0; i < 3 && n < 2; i++) {
		bool drawn = one_in(d, 2);
		void *library = drawn ? dlopen(all[i].library, RTLD_LAZY) : NULL;
		if (library) codec[n++] = (DPI_Codec){ .codec = all[i].codec };
	}
	static const char *const crypto[] = { "libcrypto.so.3", "libcrypto.so.1.1" };
	bool encrypted = one_in(d, 2);
	for (int i = 0; i < 2 && encrypted; i++)
		if (dlopen(crypto[i], RTLD_LAZY)) {
			codec[n++] = (DPI_Codec){ .codec = DPI_CODEC_AES_256_GCM, .key = "model" };
			encrypted = false;
		}
	return n;
}

static void hold_key(void)
{
	CHECK_DPI(DPI_Set_Key("model", "thirty-two bytes that are a key.", DPI_KEY_SIZE));
}

#endif
