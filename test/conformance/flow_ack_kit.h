/* SPDX-License-Identifier: Apache-2.0
 * flow_ack_kit.h: what the cases of acknowledgements share. */
#ifndef FLOW_ACK_KIT_H
#define FLOW_ACK_KIT_H

#include "flow_kit.h"

#define EVERYWHERE .dist = DPI_DIST_BROADCAST, .targets = 3, .sources = 1, .ack = DPI_ACK_CONFIRMED
#define LONG (10 * SECOND)

static inline void push_one(DPI_Source s, int64_t key, int64_t number)
{
	struct flow_row r = row_of(0, key, number);
	CHECK_DPI(DPI_Push(&r, sizeof r, s));
}

static inline int tested(uint64_t key, DPI_Source s)
{
	int acknowledged = 9;
	CHECK_DPI(DPI_Test_Ack(key, s, &acknowledged));
	return acknowledged;
}

static inline void take(DPI_Target t, int count)
{
	DPI_Tuple u;
	for (int i = 0; i < count; i++) CHECK_DPI(DPI_Next(t, &u));
}

/* Nothing more is there; gives back what was taken. */
static inline void take_none(DPI_Target t)
{
	DPI_Tuple u;
	CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, "nothing");
}

static inline void confirm_all(DPI_Target t)
{
	CHECK_DPI(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, t));
}

static inline void finish_source(DPI_Source s, DPI_Flow f, DPI_Context ctx)
{
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Close_Flow(f));
	leave(ctx);
}

static inline void finish_target(DPI_Target t, DPI_Flow f, DPI_Context ctx)
{
	struct flow_tally tally = { 0 };
	flow_drain(t, &tally);
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Close_Flow(f));
	leave(ctx);
}

#endif
