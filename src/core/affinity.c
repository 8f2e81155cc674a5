/* SPDX-License-Identifier: Apache-2.0
 * affinity.c: lists of processors, and threads bound to them. */
#include "affinity.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

static int number(const char **at, long *n)
{
	char *end;
	if (**at < '0' || **at > '9') return -1;
	errno = 0;
	*n = strtol(*at, &end, 10);
	if (errno || *n >= CPU_SETSIZE) return -1;
	*at = end;
	return 0;
}

int dpi_affinity_parse(const char *list, cpu_set_t *set)
{
	const char *at = list;
	CPU_ZERO(set);
	while (*at) {
		long first, last;
		if (number(&at, &first)) goto bad;
		last = first;
		if (*at == '-' && (at++, number(&at, &last) || last < first)) goto bad;
		for (long i = first; i <= last; i++) CPU_SET((size_t)i, set);
		if (*at == ',' && at[1]) at++;
		else if (*at) goto bad;
	}
	return DPI_SUCCESS;
bad:
	return dpi_fail(DPI_ERR_CONFIG, "DPI_BIND is '%s': '%s' is no processor; write a list such as 0,2-3", list, at);
}

/* What does not fit is left out, and three dots say so. */
void dpi_affinity_print(const cpu_set_t *set, char *text, size_t size)
{
	size_t at = 0;
	*text = 0;
	for (size_t i = 0, end; i < CPU_SETSIZE; i = end + 1) {
		char range[32];
		for (end = i; end < CPU_SETSIZE && CPU_ISSET(end, set); end++) {}
		if (end == i) continue;
		int n = snprintf(range, sizeof range, end - i > 1 ? "%s%zu-%zu" : "%s%zu", at ? "," : "", i, end - 1);
		if (at + (size_t)n + sizeof ",..." > size) {
			snprintf(text + at, size - at, "%s", at ? ",..." : "...");
			return;
		}
		strcpy(text + at, range);
		at += (size_t)n;
	}
}

int dpi_affinity_set(pthread_t thread, const cpu_set_t *set, const char *list)
{
	if (!CPU_COUNT(set) || !(errno = pthread_setaffinity_np(thread, sizeof *set, set))) return DPI_SUCCESS;
	return dpi_fail_errno(DPI_ERR_CONFIG, "DPI_BIND is '%s': this process may not run there (taskset -p shows where it may)", list);
}
