/* SPDX-License-Identifier: Apache-2.0 */
/* What the MPI programs share. Each starts itself under mpirun when it is not yet there, so that it is called like any
 * other: --transport shm means the btl vader, tcp the btl tcp on loopback, both under the pml ob1. */
#ifndef BENCH_MPI_START_H
#define BENCH_MPI_START_H

#include "../common.h"

/* Returns only within an MPI job; then MPI is initialised, *rank set and this process pinned (rank 0 as consumer).
 * tuning: further --mca pairs for mpirun, a NULL-terminated list. */
void mpi_start(const struct options *o, unsigned ranks, const char *const *tuning, char **argv, int *rank);

#endif
