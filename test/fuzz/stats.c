/* SPDX-License-Identifier: Apache-2.0
 * stats.c: libFuzzer target: the answer of a node that was asked what its flows do. */

#include "flows/stats.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum { ROOM = 4 };
	DPI_Flow_Info flow = DPI_FLOW_INFO_INIT;
	DPI_Endpoint_Info info[ROOM];
	size_t found = 9;
	uint32_t seen;
	bool more;
	uint8_t *copy = copy_of(data, size);
	memset(info, 0xa5, sizeof info);
	struct dpi_unpack u = { .at = copy, .end = copy + size };
	if (dpi_stats_unpack(&u, &flow, info, ROOM, &found, &seen, &more)) {
		need(found <= seen, "more endpoints than entries");
		for (size_t i = 0; i < found && i < ROOM; i++) {
			need(info[i].kind >= DPI_ENDPOINT_SOURCE && info[i].kind <= DPI_ENDPOINT_TARGET_STAGE, "a kind");
			need(info[i].size == sizeof *info && memchr(info[i].flow.name, 0, DPI_NAME_MAX), "an endpoint");
		}
	}
	need(memchr(flow.name, 0, DPI_NAME_MAX) != NULL, "a name");
	DPI_Stall stall[ROOM];
	DPI_Heavy_Key key[ROOM];
	char name[DPI_NAME_MAX] = "";
	u = (struct dpi_unpack){ .at = copy, .end = copy + size };
	if (dpi_stats_unpack_stalls(&u, name, stall, ROOM, &found, &seen, &more))
		for (size_t i = 0; i < found && i < ROOM; i++)
			need(stall[i].size == sizeof *stall && memchr(stall[i].flow, 0, DPI_NAME_MAX) && stall[i].kind <= DPI_ENDPOINT_TARGET, "a stall");
	u = (struct dpi_unpack){ .at = copy, .end = copy + size };
	if (dpi_stats_unpack_heavy(&u, name, key, ROOM, &found, &seen, &more))
		for (size_t i = 0; i < found && i < ROOM; i++)
			need(key[i].size == sizeof *key && memchr(key[i].key, 0, DPI_HEAVY_TEXT), "a key");
	need(memchr(name, 0, DPI_NAME_MAX) != NULL, "a name");
	free(copy);
	return 0;
}
