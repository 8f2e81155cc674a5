/* SPDX-License-Identifier: Apache-2.0
 * log.c: one write a line, so that lines of several processes do not mix. */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static int least = DPI_LOG_WARNING, self = -1;
static const char *const names[] = { "error", "warning", "information", "debug" };

void dpi_log_set(int level, int node)
{
	__atomic_store_n(&least, level, __ATOMIC_RELAXED);
	__atomic_store_n(&self, node, __ATOMIC_RELAXED);
}

void dpi_log(int level, const char *format, ...)
{
	if (level > __atomic_load_n(&least, __ATOMIC_RELAXED)) return;
	char line[1200];
	int node = __atomic_load_n(&self, __ATOMIC_RELAXED), at;
	if (node >= 0) at = snprintf(line, sizeof line, "dpi: node %d: %s: ", node, names[level]);
	else at = snprintf(line, sizeof line, "dpi: %s: ", names[level]);
	va_list args;
	va_start(args, format);
	int more = vsnprintf(line + at, sizeof line - (size_t)at - 1, format, args);
	va_end(args);
	if (more < 0) return;
	at += more;
	if (at > (int)sizeof line - 2) at = sizeof line - 2;
	line[at++] = '\n';
	ssize_t n = write(STDERR_FILENO, line, (size_t)at);
	(void)n; /* nowhere to say that it failed */
}
