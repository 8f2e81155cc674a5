/* SPDX-License-Identifier: Apache-2.0
 * error.h: error classes with a sentence, a thread's last one. */
#ifndef DPI_CORE_ERROR_H
#define DPI_CORE_ERROR_H

#include <stdarg.h>

#include "dpi.h"

#define DPI_DETAIL_MAX 1024 /* bytes of a sentence */

enum { /* how many classes there are; their numbers have no gaps */
#define DPI_ERROR_PLACE(name, number, text) DPI_ERROR_PLACE_##name,
	DPI_ERRORS(DPI_ERROR_PLACE)
#undef DPI_ERROR_PLACE
	DPI_ERROR_CLASSES
};

#define DPI_NEEDED "it has no default, pass one" /* the remedy for a pointer that is NULL */

/* Set this thread's sentence and return error, so that a failure is one line: return dpi_fail(DPI_ERR_SIZE, "…"). */
int dpi_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
int dpi_fail_v(int error, const char *format, va_list args);
/* The same with errno's text appended. */
int dpi_fail_errno(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* This thread's sentence; "" when none. */
const char *dpi_detail(void);
/* What fails between these two is not yet what the call fails of: there may be another way, or it is not about the call. The caller's
 * sentence stays as it is meanwhile; dpi_detail gives that of what failed last. dpi_aside_over takes what dpi_aside returned, and
 * returns error: one that is the call's after all keeps its sentence. They nest. */
int dpi_aside(void);
int dpi_aside_over(int before, int error);
/* Name of a class; "?" for an unknown number. */
const char *dpi_error_name(int error);

#endif
