/* SPDX-License-Identifier: Apache-2.0
 * aes.c: AES-256-GCM by libcrypto. A segment is a header, the ciphertext and a tag. Each coder that encrypts draws 256
 * random bits and derives a key of its own from them; under that key nonces count up. spec/11-codecs.md has the argument.
 * */
#include <stdlib.h>
#include <string.h>

#include "auth.h"
#include "coder.h"
#include "error.h"

#define MAGIC "DPIE"
#define VERSION 1
#define SALT 32
#define CHECK 8
#define NONCE 12
#define TAG 16
#define PER_KEY ((uint64_t)1 << 32) /* segments, then a new key is drawn */
#define LARGEST ((size_t)1 << 30)   /* bytes of a segment: libcrypto counts in int, GCM to 2^36 */

/* Little endian, as written; authenticated with everything else. */
struct header {
	uint8_t magic[4], version, reserved[3];
	uint8_t counter[8];
	uint8_t salt[SALT];
	uint8_t check[CHECK]; /* derived with the key: tells another key from damage */
};

_Static_assert(sizeof(struct header) + TAG == DPI_CODEC_SEALED, "the header and the tag");

struct derived {
	uint64_t process; /* the mark of the process that drew the salt */
	uint64_t counter;
	bool ready;
	uint8_t salt[SALT], check[CHECK];
	void *context; /* EVP_CIPHER_CTX, with the key set */
};

static void *(*new_context)(void);
static void (*free_context)(void *);
static const void *(*aes_256_gcm)(void);
static int (*cipher_init)(void *, const void *, void *, const uint8_t *, const uint8_t *, int);
static int (*cipher_update)(void *, uint8_t *, int *, const uint8_t *, int);
static int (*cipher_final)(void *, uint8_t *, int *);
static int (*cipher_ctrl)(void *, int, int, void *);
static const void *(*sha256)(void);
static uint8_t *(*hmac)(const void *, const void *, int, const uint8_t *, size_t, uint8_t *, unsigned *);
static void (*clear_errors)(void);
enum { GET_TAG = 0x10, SET_TAG = 0x11 };

static void close(struct dpi_coder *c)
{
	struct derived *both[] = { c->encoder, c->decoder };
	for (int i = 0; i < 2; i++) {
		if (!both[i]) continue;
		if (both[i]->context) free_context(both[i]->context);
		explicit_bzero(both[i], sizeof *both[i]);
		free(both[i]);
	}
}

static int open(struct dpi_coder *c)
{
	static const struct dpi_symbol symbols[] = {
		{ "EVP_CIPHER_CTX_new", &new_context }, { "EVP_CIPHER_CTX_free", &free_context },
		{ "EVP_aes_256_gcm", &aes_256_gcm },	{ "EVP_CipherInit_ex", &cipher_init },
		{ "EVP_CipherUpdate", &cipher_update }, { "EVP_CipherFinal_ex", &cipher_final },
		{ "EVP_CIPHER_CTX_ctrl", &cipher_ctrl }, { "EVP_sha256", &sha256 },
		{ "HMAC", &hmac },			{ "ERR_clear_error", &clear_errors },
	};
	int error = dpi_library(c->codec, symbols, sizeof symbols / sizeof *symbols);
	if (error) return error;
	struct derived *e = c->encoder = calloc(1, sizeof *e), *d = c->decoder = calloc(1, sizeof *d);
	if (!e || !d || !(e->context = new_context()) || !(d->context = new_context()))
		return dpi_fail(DPI_ERR_MEMORY, "no memory for AES-256-GCM");
	return dpi_key_process_mark(&e->process);
}

/* HKDF-SHA256 (RFC 5869) of the key, the salt and what it is for: first the cipher's key, then the check. */
static int derive(const struct dpi_coder *c, const uint8_t salt[SALT], uint8_t key[32], uint8_t check[CHECK])
{
	static const char info[] = "DPI aes-256-gcm segment 1";
	uint8_t extracted[32], block[32], text[32 + sizeof info];
	const size_t length = sizeof info - 1;
	bool good = hmac(sha256(), salt, SALT, c->key, sizeof c->key, extracted, NULL);
	memcpy(text, info, length);
	text[length] = 1;
	good = good && hmac(sha256(), extracted, 32, text, length + 1, key, NULL);
	memcpy(text, key, 32);
	memcpy(text + 32, info, length);
	text[32 + length] = 2;
	good = good && hmac(sha256(), extracted, 32, text, 32 + length + 1, block, NULL);
	memcpy(check, block, CHECK);
	explicit_bzero(extracted, sizeof extracted);
	explicit_bzero(text, sizeof text);
	return good ? DPI_SUCCESS : dpi_fail(DPI_ERR_INTERNAL, "libcrypto does not compute an HMAC-SHA256");
}

static int set_key(const struct dpi_coder *c, struct derived *d, const uint8_t salt[SALT], int encrypt)
{
	uint8_t key[32];
	d->ready = false;
	int error = derive(c, salt, key, d->check);
	if (!error && !cipher_init(d->context, aes_256_gcm(), NULL, key, NULL, encrypt))
		error = dpi_fail(DPI_ERR_INTERNAL, "libcrypto does not take a key for AES-256-GCM");
	explicit_bzero(key, sizeof key);
	memcpy(d->salt, salt, SALT);
	d->ready = !error;
	return error;
}

static void put8(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++) p[i] = (uint8_t)(v >> 8 * i);
}

/* The counter and 32 zero bits; then what is authenticated in clear. */
static bool begin(void *context, const struct header *h, const void *with, size_t with_size, int encrypt)
{
	uint8_t nonce[NONCE] = { 0 };
	int n;
	memcpy(nonce, h->counter, sizeof h->counter);
	return cipher_init(context, NULL, NULL, NULL, nonce, encrypt) &&
	       cipher_update(context, NULL, &n, (const uint8_t *)h, sizeof *h) &&
	       (!with_size || cipher_update(context, NULL, &n, with, (int)with_size));
}

static size_t bound(const struct dpi_coder *c, size_t size)
{
	(void)c;
	return sizeof(struct header) + size + TAG;
}

static int encode(struct dpi_coder *c, const void *from, size_t size, const void *with, size_t with_size, void *to,
		  size_t *written)
{
	struct derived *d = c->encoder;
	struct header h = { .magic = MAGIC, .version = VERSION };
	uint8_t *text = (uint8_t *)to + sizeof h;
	int n = 0, end = 0, error = DPI_SUCCESS;
	if (size > LARGEST || with_size > LARGEST)
		return dpi_fail(DPI_ERR_SIZE, "a segment of %zu bytes: AES takes 1 GiB", size);
	if (*written < bound(c, size))
		return dpi_fail(DPI_ERR_INTERNAL, "no room for a segment of %zu bytes and its tag", size);
	if (dpi_key_process() != d->process)
		return dpi_fail(DPI_ERR_FORK,
				"this coder is of the process that forked: it would use the same nonces; open another");
	if (!d->ready || d->counter == PER_KEY) {
		uint8_t salt[SALT];
		error = dpi_auth_random(salt, sizeof salt);
		if (!error) error = set_key(c, d, salt, 1);
		d->counter = 0;
	}
	if (error) return error;
	put8(h.counter, d->counter++); /* before it is used, so that no failure can make it come again */
	memcpy(h.salt, d->salt, SALT);
	memcpy(h.check, d->check, CHECK);
	memcpy(to, &h, sizeof h);
	if (!begin(d->context, &h, with, with_size, 1) || (size && !cipher_update(d->context, text, &n, from, (int)size)) ||
	    !cipher_final(d->context, text + n, &end) || (size_t)n + (size_t)end != size ||
	    !cipher_ctrl(d->context, GET_TAG, TAG, text + size)) {
		clear_errors();
		return dpi_fail(DPI_ERR_INTERNAL, "libcrypto does not encrypt");
	}
	*written = bound(c, size);
	return DPI_SUCCESS;
}

static int decode(struct dpi_coder *c, const void *from, size_t size, const void *with, size_t with_size, void *to,
		  size_t *written)
{
	struct derived *d = c->decoder;
	struct header h;
	uint8_t tag[TAG], none[TAG];
	int n = 0, end = 0;
	if (size < bound(c, 0) || size > bound(c, LARGEST) || with_size > LARGEST)
		return dpi_fail(DPI_ERR_CORRUPT, "an encrypted segment of %zu bytes: it has %zu to %zu", size, bound(c, 0),
				bound(c, LARGEST));
	memcpy(&h, from, sizeof h);
	size_t plain = size - bound(c, 0);
	const uint8_t *text = (const uint8_t *)from + sizeof h;
	if (memcmp(h.magic, MAGIC, 4) || h.version != VERSION || h.reserved[0] || h.reserved[1] || h.reserved[2])
		return dpi_fail(DPI_ERR_CORRUPT, "a segment is not encrypted, or by another version than %d", VERSION);
	if (plain != *written)
		return dpi_fail(DPI_ERR_CORRUPT, "an encrypted segment holds %zu bytes and declares %zu", plain, *written);
	if (!d->ready || memcmp(d->salt, h.salt, SALT)) {
		int error = set_key(c, d, h.salt, 0);
		if (error) return error;
	}
	if (memcmp(d->check, h.check, CHECK))
		return dpi_fail(
			DPI_ERR_AUTH,
			"a segment was encrypted with another key than \"%s\" of this process: both ends must set the same",
			c->key_name);
	memcpy(tag, text + plain, TAG);
	if (!begin(d->context, &h, with, with_size, 0) || (plain && !cipher_update(d->context, to, &n, text, (int)plain)) ||
	    !cipher_ctrl(d->context, SET_TAG, TAG, tag) || cipher_final(d->context, none, &end) <= 0) {
		clear_errors();
		if (plain) explicit_bzero(to, plain); /* nobody may use what was not authenticated */
		return dpi_fail(DPI_ERR_CORRUPT, "an encrypted segment, or what goes with it, was changed on its way");
	}
	return DPI_SUCCESS;
}

const struct dpi_codec dpi_codec_aes = { "aes-256-gcm", 4, true, 0, 0, 0, "libcrypto.so.3", "libssl3", open, close, bound,
					 encode, decode };
