/* SPDX-License-Identifier: Apache-2.0
 * codec.c: the one table of codecs, and what is the same for all of them. */
#include "codec.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "coder.h"
#include "error.h"

static const struct dpi_codec *const codecs[] = { &dpi_codec_lz4, &dpi_codec_zstd, &dpi_codec_deflate, &dpi_codec_aes };
#define CODECS (sizeof codecs / sizeof *codecs)

const struct dpi_codec *dpi_codec_named(const char *name)
{
	for (size_t i = 0; i < CODECS; i++)
		if (!strcmp(codecs[i]->name, name)) return codecs[i];
	return NULL;
}

const struct dpi_codec *dpi_codec_numbered(uint32_t id)
{
	for (size_t i = 0; i < CODECS; i++)
		if (codecs[i]->id == id) return codecs[i];
	return NULL;
}

/* Libraries stay loaded: some have threads' data and exit handlers of their own. */
static int load(const struct dpi_codec *codec, const struct dpi_symbol *symbols, size_t count)
{
	void *module = dlopen(codec->library, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!module)
		return dpi_fail(DPI_ERR_UNSUPPORTED, "the codec %s needs %s, which cannot be loaded: install the package %s",
				codec->name, codec->library, codec->package);
	int error = DPI_SUCCESS;
	for (size_t i = 0; i < count && !error; i++) {
		void *found = dlsym(module, symbols[i].name);
		if (!found)
			error = dpi_fail(DPI_ERR_UNSUPPORTED, "the codec %s needs %s of %s: install a newer package %s",
					 codec->name,
					 symbols[i].name, codec->library, codec->package);
		memcpy(symbols[i].function, &found, sizeof found);
	}
	dlclose(module);
	return error;
}

int dpi_library(const struct dpi_codec *codec, const struct dpi_symbol *symbols, size_t count)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static uint32_t loaded; /* a bit for each codec's number */
	pthread_mutex_lock(&lock);
	int error = loaded >> codec->id & 1 ? DPI_SUCCESS : load(codec, symbols, count);
	if (!error) loaded |= (uint32_t)1 << codec->id;
	pthread_mutex_unlock(&lock);
	return error;
}

int dpi_coder_open(const struct dpi_codec *codec, int level, const char *key, struct dpi_coder **coder)
{
	if (level && (level < codec->least || level > codec->most || !codec->most))
		return codec->most ? dpi_fail(DPI_ERR_ARGUMENT, "%s has the levels %d to %d, not %d", codec->name,
					      codec->least, codec->most, level)
				   : dpi_fail(DPI_ERR_ARGUMENT, "%s has no levels", codec->name);
	if (codec->keyed != (key != NULL))
		return dpi_fail(DPI_ERR_ARGUMENT, codec->keyed ? "%s needs the name of a key" : "%s takes no key",
				codec->name);
	struct dpi_coder *c = calloc(1, sizeof *c);
	if (!c) return dpi_fail(DPI_ERR_MEMORY, "no memory for a coder of %s", codec->name);
	c->codec = codec;
	c->level = level ? level : codec->usual;
	int error = key ? dpi_key_get(key, c->key) : DPI_SUCCESS;
	if (key && !error) strcpy(c->key_name, key);
	if (!error) error = codec->open(c);
	if (error) dpi_coder_close(c);
	else *coder = c;
	return error;
}

int dpi_coder_like(const struct dpi_coder *other, struct dpi_coder **coder)
{
	struct dpi_coder *c = calloc(1, sizeof *c);
	if (!c) return dpi_fail(DPI_ERR_MEMORY, "no memory for a coder of %s", other->codec->name);
	*c = *other;
	c->encoder = c->decoder = NULL;
	int error = c->codec->open(c);
	if (error) dpi_coder_close(c);
	else *coder = c;
	return error;
}

void dpi_coder_close(struct dpi_coder *c)
{
	if (!c) return;
	c->codec->close(c);
	explicit_bzero(c, sizeof *c);
	free(c);
}

size_t dpi_coder_bound(const struct dpi_coder *c, size_t size)
{
	return c->codec->bound(c, size);
}

int dpi_coder_encode(struct dpi_coder *c, const void *from, size_t size, const void *with, size_t with_size, void *to,
		     size_t room, size_t *written)
{
	*written = room;
	return c->codec->encode(c, from, size, with, with_size, to, written);
}

int dpi_codec_declared(uint64_t declared, size_t limit, size_t *size)
{
	if (declared > limit)
		return dpi_fail(DPI_ERR_CORRUPT, "a segment declares %llu bytes, of at most %zu",
				(unsigned long long)declared, limit);
	*size = (size_t)declared;
	return DPI_SUCCESS;
}

int dpi_coder_decode(struct dpi_coder *c, const void *from, size_t size, const void *with, size_t with_size, void *to,
		     size_t plain)
{
	size_t written = plain;
	int error = c->codec->decode(c, from, size, with, with_size, to, &written);
	if (!error && written != plain)
		error = dpi_fail(DPI_ERR_CORRUPT, "a segment of %s holds %zu bytes and declares %zu", c->codec->name,
				 written, plain);
	return error;
}
