/* SPDX-License-Identifier: Apache-2.0
 * affinity.h: lists of processors. */
#ifndef DPI_CORE_AFFINITY_H
#define DPI_CORE_AFFINITY_H

#include <pthread.h>
#include <sched.h>

/* "0,2-3"; the empty list is the empty set. DPI_ERR_CONFIG with the place of the error. */
int dpi_affinity_parse(const char *list, cpu_set_t *set);
void dpi_affinity_print(const cpu_set_t *set, char *text, size_t size); /* size: at least 8 */
/* Bind a thread; the empty set leaves it where it is. DPI_ERR_CONFIG where the process may not run. */
int dpi_affinity_set(pthread_t thread, const cpu_set_t *set, const char *list);

#endif
