/* SPDX-License-Identifier: Apache-2.0
 * function.h: functions of the program that definitions name: DPI_Register_Group, …_Dist, …_Map, …_Ack. */
#ifndef DPI_FLOWS_FUNCTION_H
#define DPI_FLOWS_FUNCTION_H

#include <dpi.h>

struct dpi_group_function {
	DPI_Group_Function *call;
	void *arg;
};
struct dpi_dist_function {
	DPI_Dist_Function *call;
	void *arg;
};
struct dpi_map_function {
	DPI_Map_Function *call;
	void *arg;
};
struct dpi_ack_function {
	DPI_Ack_Function *call;
	void *arg;
};
/* DPI_ERR_NAME with the sentence: not registered in this process. */
int dpi_function_group(const char *name, uint32_t version, struct dpi_group_function *f);
int dpi_function_dist(const char *name, uint32_t version, struct dpi_dist_function *f);
int dpi_function_map(const char *name, uint32_t version, struct dpi_map_function *f);
int dpi_function_ack(const char *name, uint32_t version, struct dpi_ack_function *f);

#endif
