/* SPDX-License-Identifier: Apache-2.0
 * log.h: lines on standard error, by level (setting DPI_LOG: error, warning, information, debug). */
#ifndef DPI_CORE_LOG_H
#define DPI_CORE_LOG_H

enum dpi_log_level { DPI_LOG_ERROR, DPI_LOG_WARNING, DPI_LOG_INFORMATION, DPI_LOG_DEBUG };

void dpi_log_set(int level, int node); /* node < 0: not known yet */
void dpi_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
