/* SPDX-License-Identifier: Apache-2.0
 * json.c: a sample as one line of JSON. */
#include <inttypes.h>
#include <stdio.h>

#include "error.h"
#include "sample.h"

static void text(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '"' || c == '\\') printf("\\%c", c);
		else if (c < 0x20 || c == 0x7f) printf("\\u%04x", c);
		else putchar(c);
	}
	putchar('"');
}

#define COUNTER(name, unit, text) printf(",\"" #name "\":%" PRIu64, counters->name);

/* Those that run at an endpoint: e is it. */
static void stages_at(const struct flow *f, const struct seen *e)
{
	int kind = e->now.kind == DPI_ENDPOINT_SOURCE ? DPI_ENDPOINT_SOURCE_STAGE : DPI_ENDPOINT_TARGET_STAGE;
	const char *between = "";
	printf(",\"stages\":[");
	for (size_t i = 0; i < f->stages; i++) {
		const struct seen *s = &f->stage[i];
		const DPI_Stage_Stats *counters = &s->now.stage;
		if (s->now.kind != kind || s->now.number != e->now.number || s->now.node != e->now.node) continue;
		printf("%s{\"stage\":%u,\"kind\":\"%s\",\"rows_per_s\":%.1f,\"passed_per_s\":%.1f,\"bytes_per_s\":%.1f", between, s->now.stage_number,
		       sample_stage_kind(s->now.stage_kind), s->rows_per_s, s->passed_per_s, s->bytes_per_s);
		DPI_STAGE_STATS(COUNTER)
		putchar('}');
		between = ",";
	}
	putchar(']');
}

/* Each stage of a flow, at all of its endpoints together. */
static void stages(const struct flow *f)
{
	struct stage s = { 0 };
	const DPI_Stage_Stats *counters = &s.total;
	const char *between = "";
	printf(",\"stages\":[");
	for (uint32_t from = 0; sample_stage(f, from, &s); from = s.number + 1) {
		printf("%s{\"stage\":%u,\"kind\":\"%s\",\"at\":\"%s\",\"endpoints\":%zu,\"rows_per_s\":%.1f,\"passed_per_s\":%.1f,\"bytes_per_s\":%.1f", between,
		       s.number, sample_stage_kind(s.kind), s.at_target ? "targets" : "sources", s.endpoints, s.rows_per_s, s.passed_per_s, s.bytes_per_s);
		DPI_STAGE_STATS(COUNTER)
		putchar('}');
		between = ",";
	}
	putchar(']');
}

/* Whom an endpoint has waited for. */
static void stalls(const struct flow *f, const struct seen *e)
{
	bool source = e->now.kind == DPI_ENDPOINT_SOURCE;
	const char *between = "";
	printf(source ? ",\"stalls_for\":[" : ",\"waits_for\":[");
	for (size_t i = 0; i < f->lists.stalls; i++) {
		const DPI_Stall *s = &f->lists.stall[i];
		if (s->kind != e->now.kind || s->number != e->now.number || s->node != e->now.node) continue;
		printf("%s{\"%s\":", between, source ? "for_target" : "for_source");
		if (s->peer == DPI_SOURCE_NONE) printf("null");
		else printf("%u", s->peer);
		printf(",\"count\":%" PRIu64 ",\"us\":%" PRIu64 "}", s->count, s->time_us);
		between = ",";
	}
	putchar(']');
}

/* For which targets all sources of a flow have waited. */
static void stalls_together(const struct flow *f)
{
	const char *between = "";
	printf(",\"stalls_for\":[");
	for (uint32_t t = 0; t < f->info->targets; t++) {
		uint64_t count, us = sample_stalled(f, t, &count);
		if (!count) continue;
		printf("%s{\"for_target\":%u,\"count\":%" PRIu64 ",\"us\":%" PRIu64 "}", between, t, count, us);
		between = ",";
	}
	putchar(']');
}

static void keys(const struct flow *f, const struct seen *e)
{
	const char *between = "";
	printf(",\"heavy_keys\":[");
	for (size_t i = 0; i < f->lists.keys; i++) {
		const DPI_Heavy_Key *k = &f->lists.key[i];
		if (k->target != e->now.number || k->node != e->now.node) continue;
		printf("%s{\"key\":", between);
		text(k->key);
		printf(",\"rows\":%" PRIu64 ",\"error\":%" PRIu64 ",\"hash\":%" PRIu64 "}", k->rows, k->error, k->hash);
		between = ",";
	}
	putchar(']');
}

static void source(const struct flow *f, const struct seen *e)
{
	const DPI_Source_Stats *counters = &e->now.source;
	printf("{\"source\":%u,\"node\":%d,\"rows_per_s\":%.1f,\"bytes_per_s\":%.1f,\"waited\":%.3f", e->now.number, e->now.node, e->rows_per_s,
	       e->bytes_per_s, e->waited);
	if (counters->waiting) printf(",\"waits_for_target\":%" PRIu64, counters->waiting - 1);
	else printf(",\"waits_for_target\":null");
	if (e->waits_for >= 0) printf(",\"waits_for_node\":%d", e->waits_for);
	else printf(",\"waits_for_node\":null");
	DPI_SOURCE_STATS(COUNTER)
	stalls(f, e);
	stages_at(f, e);
	putchar('}');
}

static void target(const struct flow *f, const struct seen *e)
{
	const DPI_Target_Stats *counters = &e->now.target;
	printf("{\"target\":%u,\"node\":%d,\"rows_per_s\":%.1f,\"bytes_per_s\":%.1f,\"waited\":%.3f,\"fill\":%" PRIu64, e->now.number, e->now.node,
	       e->rows_per_s, e->bytes_per_s, e->waited, e->now.fill);
	DPI_TARGET_STATS(COUNTER)
	stalls(f, e);
	keys(f, e);
	stages_at(f, e);
	putchar('}');
}

static void flow(const struct flow *f)
{
	const DPI_Flow_Info *i = f->info;
	printf("{\"flow\":");
	text(i->name);
	printf(",\"sealed\":%s,\"failed\":", i->sealed ? "true" : "false");
	if (i->failed) text(dpi_error_name(i->failed));
	else printf("null");
	printf(",\"targets\":%u,\"bound\":%u,\"sources\":%u,\"closed\":%u", i->targets, i->bound, i->sources, i->closed);
	printf(",\"rows\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"rows_per_s\":%.1f,\"bytes_per_s\":%.1f,\"skew\":%.3f", f->rows, f->bytes, f->rows_per_s,
	       f->bytes_per_s, f->skew);
	stalls_together(f);
	stages(f);
	printf(",\"open_sources\":[");
	for (size_t k = 0; k < f->sources; k++) {
		if (k) putchar(',');
		source(f, &f->source[k]);
	}
	printf("],\"open_targets\":[");
	for (size_t k = 0; k < f->targets; k++) {
		if (k) putchar(',');
		target(f, &f->target[k]);
	}
	printf("]}");
}

bool json_write(const struct sample *s)
{
	printf("{\"time\":%.3f,\"elapsed\":%.3f,\"nodes\":%d,\"flows\":[", s->time, s->elapsed, s->nodes);
	for (size_t i = 0; i < s->flows; i++) {
		if (i) putchar(',');
		flow(&s->flow[i]);
	}
	printf("],\"errors\":[");
	for (size_t i = 0; i < s->failures; i++) {
		printf("%s{\"node\":%d,\"error\":", i ? "," : "", s->failure[i].node);
		text(s->failure[i].sentence);
		putchar('}');
	}
	puts("]}");
	return !fflush(stdout) && !ferror(stdout);
}
