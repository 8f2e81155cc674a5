/* SPDX-License-Identifier: Apache-2.0 */
#include "mpi_start.h"
#include "../process.h"

#include <errno.h>
#include <mpi.h>
#include <stdlib.h>
#include <unistd.h>

static size_t add(const char **args, size_t n, const char *const *more)
{
	while (more && *more && n < 60)
		args[n++] = *more++;
	args[n] = NULL;
	return n;
}

/* No core is bound by mpirun: the ranks pin themselves as all the other programs do. */
static _Noreturn void launch(const struct options *o, unsigned ranks, const char *const *tuning, char **argv)
{
	const char *args[64], *shm[] = { "--mca", "btl", "self,vader", NULL };
	const char *tcp[] = { "--mca", "btl", "self,tcp", "--mca", "btl_tcp_if_include", "lo", NULL };
	const char *fixed[] = { "mpirun", "--oversubscribe", "--bind-to", "none", "--mca", "pml", "ob1", NULL };
	char count[16], self[4096] = "";
	size_t n = add(args, 0, fixed);

	snprintf(count, sizeof count, "%u", ranks);
	if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
		die(1, "the program's own path cannot be read");
	n = add(args, n, !strcmp(o->transport, "tcp") ? tcp : shm);
	n = add(args, n, tuning);
	if (geteuid() == 0)
		n = add(args, n, (const char *[]){ "--allow-run-as-root", NULL });
	n = add(args, n, (const char *[]){ "-n", count, self, NULL });
	add(args, n, (const char *const *)argv + 1);
	execvp(args[0], (char **)(uintptr_t)args);
	die(errno == ENOENT ? EXIT_SKIPPED : 1, "mpirun does not start: %s", strerror(errno));
}

void mpi_start(const struct options *o, unsigned ranks, const char *const *tuning, char **argv, int *rank)
{
	int size;

	if (!getenv("OMPI_COMM_WORLD_SIZE"))
		launch(o, ranks, tuning, argv);
	MPI_Init(NULL, NULL);
	MPI_Comm_rank(MPI_COMM_WORLD, rank);
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	if ((unsigned)size != ranks)
		die(2, "%u ranks are needed and %d started", ranks, size);
	if (*rank)
		pin_appender((unsigned)*rank - 1);
	else
		pin_consumer();
}
