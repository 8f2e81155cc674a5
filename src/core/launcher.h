/* SPDX-License-Identifier: Apache-2.0
 * launcher.h: the cluster of an MPI job: mpirun, prterun and srun tell its processes of each other through PMIx. Node 0 tells
 * the others where it is; PMIx is the job's trusted channel, so the cluster key goes that way, too. */
#ifndef DPI_CORE_LAUNCHER_H
#define DPI_CORE_LAUNCHER_H

#include "cluster.h"

#define DPI_LAUNCHER_KEY 32		/* bytes of a key that node 0 makes */
#define DPI_LAUNCHER_TEXT (2 * DPI_LAUNCHER_KEY + DPI_JOB_MAX + DPI_NODE_ADDRESSES * DPI_ADDRESS_TEXT + 32)

/* What node 0 tells. */
struct dpi_launcher_word {
	char job[DPI_JOB_MAX];
	bool secure; /* key holds one */
	uint8_t key[DPI_LAUNCHER_KEY];
	int addresses;
	char address[DPI_NODE_ADDRESSES][DPI_ADDRESS_TEXT];
};
/* As text, and back. Pure. Parsing takes any text: DPI_ERR_CORRUPT, DPI_ERR_VERSION. */
void dpi_launcher_print(const struct dpi_launcher_word *w, char text[DPI_LAUNCHER_TEXT]);
int dpi_launcher_parse(const char *text, struct dpi_launcher_word *w);

/* Is this process one of an MPI job, and has nobody said where its cluster is? */
bool dpi_launcher_meant(struct dpi_context *ctx);

/* May this process be a cluster of its own? Not if a launcher that cannot say more started it with others. */
int dpi_launcher_alone(struct dpi_context *ctx);
/* Node number and count, and, but for node 0, where node 0 is, the job's name and its key: into the cluster. UNSUPPORTED: no PMIx
 * here; CONFIG; TIMEOUT: not all processes of the job come. */
int dpi_launcher_open(struct dpi_context *ctx);
/* Node 0, which listens now: tell the others. Nothing to do if the cluster is from elsewhere. */
int dpi_launcher_publish(struct dpi_context *ctx);
void dpi_launcher_close(struct dpi_launcher *l); /* NULL is fine */

#endif
