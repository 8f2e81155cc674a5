/* SPDX-License-Identifier: Apache-2.0
 * sections.h: the sections of dpi-info. */
#ifndef DPI_INFO_SECTIONS_H
#define DPI_INFO_SECTIONS_H

#include "context.h"

/* What the sections know. */
struct info {
	struct dpi_settings settings; /* as the environment gives them, or of the cluster joined */
	bool settings_good;	      /* false: they are the defaults, and settings_error says why */
	char settings_error[DPI_DETAIL_MAX];
	char file_key[256];	      /* see find_file_key */
	DPI_Context handle;
	struct dpi_context *ctx; /* NULL: none is open, and error says why */
	char error[DPI_DETAIL_MAX];
};

void show_library(void);
void show_transports(struct info *info);
void show_limits(void);
void show_topology(const struct info *info);
void show_settings(const struct info *info);
void show_errors(void);
void show_cluster(struct info *info);
void man_settings(void); /* as an mdoc list, for dpi_environment(7) */

#endif
