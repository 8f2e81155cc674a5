/* SPDX-License-Identifier: Apache-2.0
 * codec_test.c: flows/codec: segments come back as they went, other programs read the formats, no damage passes, nonces
 * never come twice, keys are where they should be and nowhere else. */
#include "unit.h"

#include <dpi.h>
#include <dlfcn.h>
#include <sys/wait.h>

#include "flows/codec/codec.h"
#include "flows/codec/key.h"

static const char *const names[] = { "lz4", "zstd", "deflate", "aes-256-gcm" };
#define CODECS 4
static const uint8_t key[DPI_KEY_SIZE] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };

static struct dpi_coder *coder(const char *name, int level, const char *key_name)
{
	struct dpi_coder *c;
	const struct dpi_codec *codec = dpi_codec_named(name);
	CHECK(codec);
	int error = dpi_coder_open(codec, level, key_name, &c);
	if (error == DPI_ERR_UNSUPPORTED) {
		const char *why;
		DPI_Get_Error_Detail(&why);
		CHECK_HAS(why, codec->package);
		SKIP("%s", why);
	}
	CHECK_DPI(error);
	return c;
}

static struct dpi_coder *coder_number(int i)
{
	if (i == 3) CHECK_DPI(DPI_Set_Key("k", key, sizeof key));
	return coder(names[i], 0, i == 3 ? "k" : NULL);
}

/* Text that compresses well, noise, or both. */
static void content(struct draws *d, uint8_t *p, size_t size)
{
	uint64_t how = draw_below(d, 3);
	fill(p, size, draw(d));
	for (size_t i = 0; i < size; i++)
		if (how == 0 || (how == 1 && i % 1000 > 300))
			p[i] = (uint8_t)("the quick brown fox "[i % 20] + (i % 777 == 0));
}

TEST(codec_table, "C-1 C-2", 0)
{
	for (uint32_t i = 0; i < CODECS; i++) {
		const struct dpi_codec *c = dpi_codec_named(names[i]);
		CHECK(c && c->id == i + 1 && dpi_codec_numbered(i + 1) == c);
		CHECK_STR(c->name, names[i]);
		CHECK(c->keyed == (i == 3));
	}
	CHECK(!dpi_codec_named("lzma") && !dpi_codec_numbered(0) && !dpi_codec_numbered(5) && !dpi_codec_named(""));
	struct dpi_coder *c;
	CHECK_ERROR(dpi_coder_open(dpi_codec_named("zstd"), 99, NULL, &c), DPI_ERR_ARGUMENT, "1 to 19");
	CHECK_ERROR(dpi_coder_open(dpi_codec_named("aes-256-gcm"), 1, "k", &c), DPI_ERR_ARGUMENT, "no levels");
	CHECK_ERROR(dpi_coder_open(dpi_codec_named("lz4"), 0, "k", &c), DPI_ERR_ARGUMENT, "no key");
	CHECK_ERROR(dpi_coder_open(dpi_codec_named("aes-256-gcm"), 0, NULL, &c), DPI_ERR_ARGUMENT, "name of a key");
	CHECK_ERROR(dpi_coder_open(dpi_codec_named("aes-256-gcm"), 0, "none", &c), DPI_ERR_NAME, "none");
	struct dpi_codec fake = *dpi_codec_named("lz4"); /* as where the package is not installed, or is of long ago */
	fake.id = 9, fake.library = "libdpi-none.so.1";
	CHECK_ERROR(dpi_coder_open(&fake, 0, NULL, &c), DPI_ERR_UNSUPPORTED, "install the package liblz4-1");
	fake.library = "libc.so.6";
	CHECK_ERROR(dpi_coder_open(&fake, 0, NULL, &c), DPI_ERR_UNSUPPORTED, "newer package liblz4-1");
	size_t size;
	CHECK_DPI(dpi_codec_declared(100, 100, &size));
	CHECK_INT(size, ==, 100);
	CHECK_ERROR(dpi_codec_declared(UINT64_MAX, 100, &size), DPI_ERR_CORRUPT, "at most 100");
}

static void there_and_back(int which)
{
	struct draws d = draws_from(which);
	struct dpi_coder *c = coder_number(which);
	bool keyed = which == 3;
	for (int n = rounds(150); n; n--) {
		size_t size = draw_below(&d, 4) ? draw_below(&d, 5000) : draw_below(&d, 3) ? draw_below(&d, 3)
			: draw_below(&d, 300000);
		size_t bound = dpi_coder_bound(c, size), written;
		uint8_t *plain = guarded(size), *coded = guarded(bound), with[24];
		content(&d, plain, size), fill(with, 24, 5);
		CHECK_DPI(dpi_coder_encode(c, plain, size, with, keyed ? 24 : 0, coded, bound, &written));
		CHECK(written <= bound);
		uint8_t *exact = guarded(written), *back = guarded(size);
		memcpy(exact, coded, written);
		CHECK_DPI(dpi_coder_decode(c, exact, written, with, keyed ? 24 : 0, back, size));
		CHECK(!size || !memcmp(plain, back, size));
		/* another size than declared */
		uint8_t *longer = guarded(size + 1);
		CHECK_INT(dpi_coder_decode(c, exact, written, with, keyed ? 24 : 0, longer, size + 1), ==, DPI_ERR_CORRUPT);
		guarded_free(longer, size + 1);
		if (size) {
			uint8_t *shorter = guarded(size - 1);
			CHECK_INT(dpi_coder_decode(c, exact, written, with, keyed ? 24 : 0, shorter, size - 1), ==,
				  DPI_ERR_CORRUPT);
			guarded_free(shorter, size - 1);
		}
		/* cut short, or with more behind it */
		size_t cut = draw_below(&d, written);
		CHECK_INT(dpi_coder_decode(c, exact + written - cut, cut, with, keyed ? 24 : 0, back, size), ==,
			  DPI_ERR_CORRUPT);
		memmove(exact + written - cut, exact, cut);
		CHECK_INT(dpi_coder_decode(c, exact + written - cut, cut, with, keyed ? 24 : 0, back, size), ==,
			  DPI_ERR_CORRUPT);
		uint8_t *more = guarded(written + 1);
		memcpy(more, coded, written), more[written] = 0;
		CHECK_INT(dpi_coder_decode(c, more, written + 1, with, keyed ? 24 : 0, back, size), ==, DPI_ERR_CORRUPT);
		guarded_free(more, written + 1);
		/* any one bit: an error, or where the format allows it the same content */
		memcpy(exact, coded, written);
		exact[draw_below(&d, written)] ^= (uint8_t)(1 << draw_below(&d, 8));
		int error = dpi_coder_decode(c, exact, written, with, keyed ? 24 : 0, back, size);
		CHECK(error == DPI_ERR_CORRUPT || (keyed && error == DPI_ERR_AUTH) || (!error && !keyed &&
										       (!size || !memcmp(plain, back,
											       size))));
		guarded_free(plain, size), guarded_free(coded, bound), guarded_free(exact, written), guarded_free(back,
			size);
	}
	dpi_coder_close(c);
}

TEST(codec_lz4_there_and_back, "C-3 C-4 C-5", 0) { there_and_back(0); }
TEST(codec_zstd_there_and_back, "C-3 C-4 C-5", 0) { there_and_back(1); }
TEST(codec_deflate_there_and_back, "C-3 C-4 C-5", 0) { there_and_back(2); }
TEST(codec_aes_there_and_back, "C-4 C-5 C-10", 0) { there_and_back(3); }

TEST(codec_levels, "C-3", 0)
{
	struct draws d = draws_from(rank);
	enum { SIZE = 20000 };
	static uint8_t plain[SIZE], coded[2 * SIZE], back[SIZE];
	size_t written;
	for (int i = 0; i < 3; i++) {
		const struct dpi_codec *codec = dpi_codec_named(names[i]);
		for (int level = codec->least; level <= codec->most; level++) {
			struct dpi_coder *c = coder(names[i], level, NULL);
			content(&d, plain, SIZE);
			CHECK(dpi_coder_bound(c, SIZE) <= sizeof coded);
			CHECK_DPI(dpi_coder_encode(c, plain, SIZE, NULL, 0, coded, sizeof coded, &written));
			CHECK_DPI(dpi_coder_decode(c, coded, written, NULL, 0, back, SIZE));
			CHECK(!memcmp(plain, back, SIZE));
			dpi_coder_close(c);
		}
	}
}

/* What we write the field's programs read, and the other way. */
static void with_program(int which, const char *pack, const char *unpack)
{
	char path[300], command[800];
	struct dpi_coder *c = coder_number(which);
	static uint8_t plain[50000], coded[60000], back[50000];
	size_t written;
	struct draws d = draws_from(which);
	content(&d, plain, sizeof plain);
	CHECK_DPI(dpi_coder_encode(c, plain, sizeof plain, NULL, 0, coded, sizeof coded, &written));
	snprintf(command, sizeof command, "command -v %.*s >/dev/null", (int)strcspn(pack, " "), pack);
	if (system(command)) SKIP("no %s", pack);
	snprintf(path, sizeof path, "%s/codec-%d-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", which);
	int fd = mkstemp(path);
	CHECK(fd >= 0 && write(fd, coded, written) == (ssize_t)written);
	close(fd);
	snprintf(command, sizeof command, "%s <%s", unpack, path);
	FILE *f = popen(command, "r");
	CHECK(f && fread(back, 1, sizeof back, f) == sizeof back && fgetc(f) == EOF && !pclose(f));
	CHECK(!memcmp(plain, back, sizeof plain));
	f = fopen(path, "w");
	CHECK(f && fwrite(plain, 1, sizeof plain, f) == sizeof plain && !fclose(f));
	snprintf(command, sizeof command, "%s <%s", pack, path);
	f = popen(command, "r");
	written = f ? fread(coded, 1, sizeof coded, f) : 0;
	CHECK(written && !pclose(f));
	CHECK_DPI(dpi_coder_decode(c, coded, written, NULL, 0, back, sizeof back));
	CHECK(!memcmp(plain, back, sizeof plain));
	unlink(path);
	dpi_coder_close(c);
}

TEST(codec_deflate_is_gzip, "C-3", 0) { with_program(2, "gzip -c", "gzip -dc"); }
TEST(codec_zstd_is_zstd, "C-3", 0) { with_program(1, "zstd -qc", "zstd -qdc"); }
TEST(codec_lz4_is_lz4, "C-3", 0) { with_program(0, "lz4 -qc", "lz4 -qdc"); }

/* ------------------------------------------------------------------------------------------------------ encryption */

#define HEADER 56
#define SALT(segment) ((segment) + 16)
#define COUNTER(segment) ((segment) + 8)

TEST(aes_other_key_other_context, "C-8 C-10", 0)
{
	uint8_t coded[200], back[40], other[DPI_KEY_SIZE] = { 9 };
	size_t written;
	CHECK_DPI(DPI_Set_Key("a", key, sizeof key));
	struct dpi_coder *c = coder("aes-256-gcm", 0, "a"), *same = coder("aes-256-gcm", 0, "a");
	CHECK_DPI(dpi_coder_encode(c, "what must not be seen, nor be changed", 37, "header", 6, coded, sizeof coded,
				   &written));
	CHECK_INT(written, ==, HEADER + 37 + 16);
	CHECK_DPI(dpi_coder_decode(same, coded, written, "header", 6, back, 37));
	CHECK(!memcmp(back, "what must", 9) && !memmem(coded, written, "must", 4));
	CHECK_ERROR(dpi_coder_decode(same, coded, written, "headex", 6, back, 37), DPI_ERR_CORRUPT, "changed");
	CHECK(!memcmp(back, "\0\0\0\0\0\0\0\0", 8)); /* nothing that was not authenticated is left there */
	CHECK_ERROR(dpi_coder_decode(same, coded, written, "heade", 5, back, 37), DPI_ERR_CORRUPT, "changed");
	CHECK_DPI(DPI_Set_Key("a", other, sizeof other));
	struct dpi_coder *wrong = coder("aes-256-gcm", 0, "a");
	CHECK_ERROR(dpi_coder_decode(wrong, coded, written, "header", 6, back, 37), DPI_ERR_AUTH, "another key than \"a\"");
	CHECK_DPI(DPI_Remove_Key("a"));
	CHECK_DPI(dpi_coder_decode(same, coded, written, "header", 6, back, 37)); /* open ones go on */
	for (size_t i = 0; i < written; i++) /* each bit of each byte counts */
		for (int bit = 0; bit < 8; bit++) {
			coded[i] ^= (uint8_t)(1 << bit);
			int error = dpi_coder_decode(same, coded, written, "header", 6, back, 37);
			CHECK(error == DPI_ERR_CORRUPT || error == DPI_ERR_AUTH);
			coded[i] ^= (uint8_t)(1 << bit);
		}
	dpi_coder_close(c), dpi_coder_close(same), dpi_coder_close(wrong);
}

/* By another program's hands: HKDF and GCM of libcrypto called here, from the specification. */
TEST(aes_is_what_the_specification_says, "C-9", 0)
{
	uint8_t coded[200], prk[32], derived[32], block[64], plain[32];
	static const char info[] = "DPI aes-256-gcm segment 1";
	size_t written, n = sizeof info - 1;
	int got;
	CHECK_DPI(DPI_Set_Key("k", key, sizeof key));
	struct dpi_coder *c = coder("aes-256-gcm", 0, "k");
	for (int i = 0; i < 3; i++)
		CHECK_DPI(dpi_coder_encode(c, "sixteen bytes ok", 16, "with", 4, coded, sizeof coded, &written));
	CHECK(!memcmp(coded, "DPIE\1\0\0\0\2\0\0\0\0\0\0\0", 16));
	void *m = dlopen("libcrypto.so.3", RTLD_NOW);
	CHECK(m);
	const void *(*sha256)(void), *(*gcm)(void);
	uint8_t *(*hmac)(const void *, const void *, int, const uint8_t *, size_t, uint8_t *, unsigned *);
	void *(*make)(void);
	void (*end)(void *);
	int (*init)(void *, const void *, void *, const uint8_t *, const uint8_t *), (*update)(void *, uint8_t *, int *,
		const uint8_t *, int);
	int (*ctrl)(void *, int, int, void *), (*final)(void *, uint8_t *, int *);
	*(void **)&sha256 = dlsym(m, "EVP_sha256"), *(void **)&gcm = dlsym(m, "EVP_aes_256_gcm"), *(void **)&hmac =
		dlsym(m, "HMAC");
	*(void **)&make = dlsym(m, "EVP_CIPHER_CTX_new"), *(void **)&init = dlsym(m, "EVP_DecryptInit_ex");
	*(void **)&update = dlsym(m, "EVP_DecryptUpdate"), *(void **)&ctrl = dlsym(m, "EVP_CIPHER_CTX_ctrl");
	*(void **)&final = dlsym(m, "EVP_DecryptFinal_ex"), *(void **)&end = dlsym(m, "EVP_CIPHER_CTX_free");
	CHECK(hmac(sha256(), SALT(coded), 32, key, sizeof key, prk, NULL));
	memcpy(block, info, n), block[n] = 1;
	CHECK(hmac(sha256(), prk, 32, block, n + 1, derived, NULL));
	void *context = make();
	CHECK(init(context, gcm(), NULL, derived, (const uint8_t *)"\2\0\0\0\0\0\0\0\0\0\0\0"));
	CHECK(update(context, NULL, &got, coded, HEADER) && update(context, NULL, &got, (const uint8_t *)"with", 4));
	CHECK(update(context, plain, &got, coded + HEADER, 16) && ctrl(context, 0x11, 16, coded + HEADER + 16));
	CHECK(final(context, plain + 16, &got) > 0);
	CHECK(!memcmp(plain, "sixteen bytes ok", 16));
	end(context);
	memcpy(block, derived, 32), memcpy(block + 32, info, n), block[32 + n] = 2;
	CHECK(hmac(sha256(), prk, 32, block, 32 + n + 1, derived, NULL));
	CHECK(!memcmp(derived, coded + 48, 8));
	dpi_coder_close(c);
	dlclose(m);
}

/* (salt, counter) is never the same: within a coder, between coders, after a restart. */
TEST(aes_nonces_never_come_twice, "C-9", 0)
{
	enum { CODERS = 40, EACH = 50 };
	static uint8_t seen[CODERS * EACH][40];
	uint8_t coded[100];
	size_t written;
	CHECK_DPI(DPI_Set_Key("k", key, sizeof key));
	for (int i = 0; i < CODERS; i++) {
		struct dpi_coder *c = coder("aes-256-gcm", 0, "k");
		for (int k = 0; k < EACH; k++) {
			CHECK_DPI(dpi_coder_encode(c, "x", 1, NULL, 0, coded, sizeof coded, &written));
			memcpy(seen[i * EACH + k], COUNTER(coded), 8), memcpy(seen[i * EACH + k] + 8, SALT(coded), 32);
			CHECK(k == 0 || !memcmp(seen[i * EACH + k] + 8, seen[i * EACH] + 8, 32));
		}
		dpi_coder_close(c);
	}
	for (int i = 0; i < CODERS * EACH; i++)
		for (int k = 0; k < i; k++) CHECK(memcmp(seen[i], seen[k], 40));
}

TEST(aes_in_a_forked_child, "C-6 C-9", 0)
{
	uint8_t coded[100], back[1];
	size_t written;
	CHECK_DPI(DPI_Set_Key("k", key, sizeof key));
	struct dpi_coder *c = coder("aes-256-gcm", 0, "k");
	CHECK_DPI(dpi_coder_encode(c, "x", 1, NULL, 0, coded, sizeof coded, &written));
	pid_t child = fork();
	if (!child) {
		struct dpi_coder *mine;
		uint8_t more[100], got[DPI_KEY_SIZE];
		bool good = dpi_coder_encode(c, "x", 1, NULL, 0, more, sizeof more, &written) == DPI_ERR_FORK;
		good = good && dpi_key_get("k", got) == DPI_ERR_NAME;
		good = good && DPI_Set_Key("k", key, sizeof key) == DPI_SUCCESS;
		good = good && dpi_coder_open(dpi_codec_named("aes-256-gcm"), 0, "k", &mine) == DPI_SUCCESS;
		good = good && dpi_coder_encode(c, "x", 1, NULL, 0, more, sizeof more, &written) == DPI_ERR_FORK;
		good = good && dpi_coder_encode(mine, "x", 1, NULL, 0, more, sizeof more, &written) == DPI_SUCCESS;
		good = good && memcmp(SALT(more), SALT(coded), 32);
		_exit(good ? 0 : 1);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK_DPI(dpi_coder_encode(c, "x", 1, NULL, 0, coded, sizeof coded, &written));
	CHECK_DPI(dpi_coder_decode(c, coded, written, NULL, 0, back, 1));
	dpi_coder_close(c);
}

TEST(keys_by_name, "C-6 C-7", 0)
{
	char name[DPI_NAME_MAX + 1];
	uint8_t got[DPI_KEY_SIZE], other[DPI_KEY_SIZE] = { 77 };
	CHECK_ERROR(DPI_Set_Key(NULL, key, 32), DPI_ERR_ARGUMENT, "NULL");
	CHECK_ERROR(DPI_Set_Key("", key, 32), DPI_ERR_ARGUMENT, "1 to 127");
	CHECK_ERROR(DPI_Set_Key("k", NULL, 32), DPI_ERR_ARGUMENT, "NULL");
	CHECK_ERROR(DPI_Set_Key("k", key, 16), DPI_ERR_SIZE, "16 bytes");
	memset(name, 'n', sizeof name), name[DPI_NAME_MAX] = 0;
	CHECK_ERROR(DPI_Set_Key(name, key, 32), DPI_ERR_ARGUMENT, "1 to 127");
	CHECK_ERROR(DPI_Remove_Key("k"), DPI_ERR_NAME, "\"k\"");
	for (int i = 0; i < DPI_KEYS_HELD_MAX; i++) {
		snprintf(name, sizeof name, "key %d", i);
		fill(other, sizeof other, (uint64_t)i);
		CHECK_DPI(DPI_Set_Key(name, other, sizeof other));
	}
	CHECK_ERROR(DPI_Set_Key("one more", key, 32), DPI_ERR_LIMIT, "one more");
	CHECK_DPI(DPI_Set_Key("key 7", key, 32)); /* replaced */
	for (int i = 0; i < DPI_KEYS_HELD_MAX; i++) {
		snprintf(name, sizeof name, "key %d", i);
		CHECK_DPI(dpi_key_get(name, got));
		CHECK(i == 7 ? !memcmp(got, key, 32) : filled(got, 32, (uint64_t)i));
		CHECK_DPI(DPI_Remove_Key(name));
		CHECK_ERROR(dpi_key_get(name, got), DPI_ERR_NAME, "DPI_Set_Key");
	}
}

/* ---------------------------------------------------------------------------------------------------------- threads */

static void *use_coders(void *arg)
{
	struct draws d = draws_from((int)(intptr_t)arg);
	uint8_t plain[500], coded[1000], back[500];
	char name[20];
	size_t written;
	snprintf(name, sizeof name, "thread %d", (int)(intptr_t)arg);
	for (int n = rounds(40); n; n--) {
		int which = (int)draw_below(&d, CODECS);
		struct dpi_coder *c;
		CHECK_DPI(DPI_Set_Key(name, key, sizeof key));
		int error = dpi_coder_open(dpi_codec_named(names[which]), 0, which == 3 ? name : NULL, &c);
		if (error == DPI_ERR_UNSUPPORTED) continue;
		CHECK_DPI(error);
		content(&d, plain, sizeof plain);
		CHECK_DPI(dpi_coder_encode(c, plain, sizeof plain, NULL, 0, coded, sizeof coded, &written));
		CHECK_DPI(DPI_Remove_Key(name));
		CHECK_DPI(dpi_coder_decode(c, coded, written, NULL, 0, back, sizeof back));
		CHECK(!memcmp(plain, back, sizeof plain));
		dpi_coder_close(c);
	}
	return NULL;
}

TEST(codec_coders_of_many_threads, "C-7", 0)
{
	pthread_t t[4];
	for (intptr_t i = 0; i < 4; i++) t[i] = start_thread(use_coders, (void *)i);
	for (int i = 0; i < 4; i++) end_thread(t[i]);
}
