/* SPDX-License-Identifier: Apache-2.0
 * auth.h: the cluster key, and proofs that one holds it: HMAC-SHA256. It authenticates; it does not encrypt. */
#ifndef DPI_CORE_AUTH_H
#define DPI_CORE_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DPI_PROOF_SIZE 32
#define DPI_CHALLENGE_SIZE 32

struct dpi_auth;

/* Read the key file and load libcrypto. DPI_ERR_CONFIG: the file is missing, others may read it, or its size is wrong;
 * DPI_ERR_UNSUPPORTED: no libcrypto. */
int dpi_auth_open(const char *path, struct dpi_auth **auth);
/* The same with a key that came otherwise. */
int dpi_auth_take(const void *key, size_t size, struct dpi_auth **auth);
void dpi_auth_close(struct dpi_auth *auth); /* wipes the key; NULL is fine */

/* The proof over what was said: a keyed hash. Any thread. */
int dpi_auth_prove(const struct dpi_auth *auth, const void *said, size_t size, uint8_t proof[DPI_PROOF_SIZE]);
/* In constant time. */
bool dpi_auth_equal(const uint8_t a[DPI_PROOF_SIZE], const uint8_t b[DPI_PROOF_SIZE]);
/* Unpredictable bytes. */
int dpi_auth_random(void *bytes, size_t size);

#endif
