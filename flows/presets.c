/* SPDX-License-Identifier: Apache-2.0
 * presets.c: the flows that are wanted most, a line each. Whoever needs the flow makes the call: who comes first creates it. */
#include "context.h"
#include "flow.h"

static int create(const char *name, DPI_Schema schema, const char *key, DPI_Flow_Attr *a, uint32_t sources, uint32_t targets, DPI_Context ctx,
		  DPI_Flow *flow)
{
	a->create = DPI_CREATE_OR_OPEN;
	a->schema = schema;
	a->sources = sources;
	a->targets = targets;
	a->key = key ? &key : NULL;
	a->key_count = key != NULL;
	return DPI_Create_Flow(name, a, ctx, flow);
}

static int no_key(const char *call, const char *otherwise)
{
	return dpi_fail(DPI_ERR_ARGUMENT, "%s: key is NULL: name a column of the schema, or take %s", call, otherwise);
}

int DPI_Create_Shuffle(const char *name, DPI_Schema schema, const char *key, uint32_t sources, uint32_t targets, DPI_Context ctx, DPI_Flow *flow)
{
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	return key ? create(name, schema, key, &a, sources, targets, ctx, flow) : no_key(__func__, "DPI_Create_Gather");
}

int DPI_Create_Replicate(const char *name, DPI_Schema schema, uint32_t sources, uint32_t targets, DPI_Context ctx, DPI_Flow *flow)
{
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	a.dist = DPI_DIST_BROADCAST;
	return create(name, schema, NULL, &a, sources, targets, ctx, flow);
}

int DPI_Create_Combine(const char *name, DPI_Schema schema, const char *key, const DPI_Aggregate *aggregates, size_t aggregate_count,
		       uint32_t sources, uint32_t targets, DPI_Context ctx, DPI_Flow *flow)
{
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	a.aggregates = aggregates;
	a.aggregate_count = aggregate_count;
	if (!key) return no_key(__func__, "DPI_Create_Flow");
	if (!aggregates || !aggregate_count)
		return dpi_fail(DPI_ERR_ARGUMENT, "%s: there are no aggregates: say what becomes of the rows of a key, or take DPI_Create_Shuffle", __func__);
	return create(name, schema, key, &a, sources, targets, ctx, flow);
}

int DPI_Create_Gather(const char *name, DPI_Schema schema, uint32_t sources, DPI_Context ctx, DPI_Flow *flow)
{
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	return create(name, schema, NULL, &a, sources, 1, ctx, flow);
}
