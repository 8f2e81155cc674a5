/* SPDX-License-Identifier: Apache-2.0
 * stage_stats.c: the counters of one stage, at a source or target where it runs. */
#include "map.h"
#include "pipe.h"

static int give(const char *call, const struct dpi_flow *f, const struct dpi_maps *maps, const char *here, uint32_t stage, DPI_Stage_Stats *stats)
{
	const struct dpi_definition *d = f->definition;
	DPI_Stage_Stats all = { 0 };
	if (dpi_maps_stage(maps, stage, &all)) return dpi_give(call, stats, &all, sizeof all);
	if (stage >= d->stages) return dpi_fail(DPI_ERR_RANGE, "%s: stage is %u: flow '%s' has %u stage%s, counted from 0", call, stage, f->name, d->stages, d->stages == 1 ? "" : "s");
	return dpi_fail(DPI_ERR_RANGE, "%s: stage %u of flow '%s' does not run at a %s: ask its %s", call, stage, f->name, here,
			stage < d->source_stages ? "sources" : "targets");
}

int DPI_Get_Source_Stage_Stats(DPI_Source handle, uint32_t stage, DPI_Stage_Stats *stats)
{
	const struct dpi_source *s = dpi_source_get(handle);
	if (!s) return dpi_handle_error(DPI_HANDLE_SOURCE, (uint64_t)(uintptr_t)handle);
	return give("DPI_Get_Source_Stage_Stats", s->flow, s->pipe ? s->pipe->maps : NULL, "source", stage, stats);
}

int DPI_Get_Target_Stage_Stats(DPI_Target handle, uint32_t stage, DPI_Stage_Stats *stats)
{
	const struct dpi_target *t = dpi_target_get(handle);
	if (!t) return dpi_handle_error(DPI_HANDLE_TARGET, (uint64_t)(uintptr_t)handle);
	return give("DPI_Get_Target_Stage_Stats", t->flow, t->pipe ? t->pipe->maps : NULL, "target", stage, stats);
}
