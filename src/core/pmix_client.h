/* SPDX-License-Identifier: Apache-2.0
 * pmix_client.h: what of PMIx is needed: who am I, and a text that rank 0 gives to all. Each call has a deadline. */
#ifndef DPI_CORE_PMIX_CLIENT_H
#define DPI_CORE_PMIX_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dpi_pmix_job {
	uint32_t rank, size;
	bool one_host; /* all its processes run on this host, says the launcher */
};

/* Load the library and join the job, once in a process. FORK: its parent did; UNSUPPORTED: built without PMIx, or the library is missing; CONFIG: no launcher answers;
 * TIMEOUT. */
int dpi_pmix_open(struct dpi_pmix_job *job, int64_t deadline);
/* Rank 0 tells, all others hear; each returns when all have called. TIMEOUT, PEER. */
int dpi_pmix_tell(const struct dpi_pmix_job *job, const char *text, int64_t deadline);
int dpi_pmix_hear(const struct dpi_pmix_job *job, char *text, size_t room, int64_t deadline);

#endif
