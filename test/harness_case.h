/* SPDX-License-Identifier: Apache-2.0
 * harness_case.h: between the two halves of the harness: the runner (harness.c) and a case's supervisor (harness_case.c). */
#ifndef HARNESS_CASE_H
#define HARNESS_CASE_H

#include "harness.h"

enum harness_outcome { HARNESS_OK = 0, HARNESS_NOT_OK = 1, HARNESS_SKIP = HARNESS_SKIPPED };

/* Run one case to its end; what there is to say goes to the descriptor report. In a process of its own. */
enum harness_outcome harness_supervise(const struct harness_case *c, const struct harness_transport *t, int report,
				       bool verbose);

/* Print the stacks of a process. */
void harness_stacks(int report, int pid);
/* The processes below one, this one not counted; returns how many there are, at most max. */
int harness_descendants(int pid, int *pids, int max);

#endif
