/* SPDX-License-Identifier: Apache-2.0
 * guard.h: a small process that outlives a killed dpirun and kills what it left. The processes dpirun started die by
 * themselves (PR_SET_PDEATHSIG); the guard is for those that they started. */
#ifndef DPIRUN_GUARD_H
#define DPIRUN_GUARD_H

#include <sys/types.h>

/* job: every process of it has DPI_JOB=job in its environment. */
void guard_open(const char *job);
void guard_add(pid_t group);
void guard_remove(pid_t group);
void guard_close(void); /* all is over: the guard ends and kills nothing */
pid_t guard_process(void);

#endif
