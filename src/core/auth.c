/* SPDX-License-Identifier: Apache-2.0
 * auth.c: the cluster key; HMAC-SHA256 of libcrypto, loaded when a key is in use. */
#include "auth.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

#define KEY_LEAST 16
#define KEY_MOST 4096

typedef unsigned char *hmac_function(const void *md, const void *key, int key_size, const unsigned char *data, size_t size,
				     unsigned char *out, unsigned *out_size);

struct dpi_auth {
	void *module;
	hmac_function *hmac;
	const void *sha256;
	size_t size;
	uint8_t key[KEY_MOST + 1];
};

static int read_key(const char *path, struct dpi_auth *a)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), error = DPI_SUCCESS;
	if (fd < 0) return dpi_fail_errno(DPI_ERR_CONFIG, "the key file %s cannot be read", path);
	if (fstat(fd, &st)) error = dpi_fail_errno(DPI_ERR_CONFIG, "the key file %s cannot be read", path);
	else if (!S_ISREG(st.st_mode)) error = dpi_fail(DPI_ERR_CONFIG, "the key file %s is not a regular file", path);
	else if (st.st_uid != geteuid())
		error = dpi_fail(DPI_ERR_CONFIG,
				 "the key file %s belongs to user %u, not to %u who runs this: copy it, or chown it", path,
				 (unsigned)st.st_uid, (unsigned)geteuid());
	else if (st.st_mode & 077)
		error = dpi_fail(DPI_ERR_CONFIG, "others may use the key file %s (mode %04o): chmod 600 %s", path,
				 (unsigned)st.st_mode & 07777, path);
	while (!error && a->size <= KEY_MOST) {
		ssize_t n = read(fd, a->key + a->size, sizeof a->key - a->size);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0) error = dpi_fail_errno(DPI_ERR_CONFIG, "the key file %s cannot be read", path);
		if (n <= 0) break;
		a->size += (size_t)n;
	}
	if (!error && (a->size < KEY_LEAST || a->size > KEY_MOST))
		error = dpi_fail(DPI_ERR_CONFIG,
				 "the key file %s has %s%zu bytes: a key has %d to %d (make one: head -c 32 /dev/urandom > "
				 "FILE)",
				 path, a->size > KEY_MOST ? "more than " : "",
				 a->size > KEY_MOST ? (size_t)KEY_MOST : a->size, KEY_LEAST, KEY_MOST);
	close(fd);
	return error;
}

/* With the key in place. Frees a on failure. */
static int ready(struct dpi_auth *a, struct dpi_auth **auth)
{
	const void *(*sha256)(void) = NULL;
	a->module = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
	if (a->module) {
		*(void **)&sha256 = dlsym(a->module, "EVP_sha256");
		*(void **)&a->hmac = dlsym(a->module, "HMAC");
	}
	if (!sha256 || !a->hmac) {
		dpi_auth_close(a);
		return dpi_fail(DPI_ERR_UNSUPPORTED, "a cluster key needs libcrypto.so.3, which cannot be loaded: "
						     "install the package libssl3");
	}
	a->sha256 = sha256();
	*auth = a;
	return DPI_SUCCESS;
}

int dpi_auth_open(const char *path, struct dpi_auth **auth)
{
	struct dpi_auth *a = calloc(1, sizeof *a);
	if (!a) return dpi_fail(DPI_ERR_MEMORY, "no memory for the cluster key");
	int error = read_key(path, a);
	if (!error) return ready(a, auth);
	dpi_auth_close(a);
	return error;
}

int dpi_auth_take(const void *key, size_t size, struct dpi_auth **auth)
{
	struct dpi_auth *a = calloc(1, sizeof *a);
	if (!a) return dpi_fail(DPI_ERR_MEMORY, "no memory for the cluster key");
	a->size = size < KEY_MOST ? size : KEY_MOST;
	memcpy(a->key, key, a->size);
	return ready(a, auth);
}

void dpi_auth_close(struct dpi_auth *a)
{
	if (!a) return;
	explicit_bzero(a->key, sizeof a->key);
	/* libcrypto stays: it has an exit handler and threads' data of its own */
	free(a);
}

int dpi_auth_prove(const struct dpi_auth *a, const void *said, size_t size, uint8_t proof[DPI_PROOF_SIZE])
{
	unsigned n = 0;
	if (!a->hmac(a->sha256, a->key, (int)a->size, said, size, proof, &n) || n != DPI_PROOF_SIZE)
		return dpi_fail(DPI_ERR_INTERNAL, "libcrypto did not compute an HMAC-SHA256");
	return DPI_SUCCESS;
}

bool dpi_auth_equal(const uint8_t a[DPI_PROOF_SIZE], const uint8_t b[DPI_PROOF_SIZE])
{
	volatile uint8_t difference = 0;
	for (int i = 0; i < DPI_PROOF_SIZE; i++) difference |= a[i] ^ b[i];
	return !difference;
}

int dpi_auth_random(void *bytes, size_t size)
{
	if (getrandom(bytes, size, 0) != (ssize_t)size)
		return dpi_fail_errno(DPI_ERR_INTERNAL, "the kernel gives no random bytes");
	return DPI_SUCCESS;
}
