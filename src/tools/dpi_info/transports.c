/* SPDX-License-Identifier: Apache-2.0
 * transports.c: which transports there are, whether they work here and why not, what is true of them. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "print.h"
#include "sections.h"

static const struct {
	uint32_t bit;
	const char *name;
} capabilities[] = {
	{ DPI_TP_DIRECT, "direct" },
	{ DPI_TP_PUT_ORDER, "put_order" },
	{ DPI_TP_LAST_BYTE_LAST, "last_byte_last" },
	{ DPI_TP_ATOMICS, "atomics" },
	{ DPI_TP_CPU_ATOMICS, "cpu_atomics" },
	{ DPI_TP_APPEND, "append" },
	{ DPI_TP_MULTICAST, "multicast" },
	{ DPI_TP_PASSIVE, "passive" },
	{ DPI_TP_FD, "fd" },
	{ DPI_TP_SAME_HOST, "same_host" },
	{ DPI_TP_ANY_MEMORY, "any_memory" },
	{ DPI_TP_LOCAL, "local" },
};

#define NAME 32
#define CHOICES 64

/* A transport looked at. */
struct seen {
	char name[NAME];
	bool chosen; /* a context with these settings opens it */
	bool usable;
	char reason[DPI_DETAIL_MAX];
	DPI_Tp_Attr attr; /* where usable */
	struct choice {
		int level;
		char text[200];
	} choice[CHOICES]; /* what it said of devices and providers when it was opened: which are used, which are not, and why */
	int choices;
};

static const struct dpi_settings *settings; /* for the callback, which may have no context */
static bool secure;			    /* a cluster with these settings has a key */

static const char *setting(void *self, const char *name)
{
	int i = dpi_setting_find(name);
	(void)self;
	return i < 0 ? NULL : settings->value[i];
}

static struct seen *looked_at; /* by the transport that is being opened */

static void __attribute__((format(printf, 3, 4))) note(void *self, int level, const char *format, ...)
{
	struct seen *s = looked_at;
	struct choice *c = s->choice + s->choices;
	va_list args;
	(void)self;
	if (s->choices == CHOICES) return;
	c->level = level;
	va_start(args, format);
	vsnprintf(c->text, sizeof c->text, format, args);
	va_end(args);
	int same = 0; /* a provider offers itself several times */
	while (strcmp(s->choice[same].text, c->text)) same++;
	s->choices += same == s->choices;
}

static struct dpi_topology *topology; /* read when a transport asks */

static int near(void *self, const char *device)
{
	(void)self;
	return dpi_topology_near_here(&topology, device);
}

/* Is the name in DPI_TRANSPORT, or is nothing there? */
static bool named(const char *name)
{
	const char *list = settings->value[DPI_SETTING_TRANSPORT];
	size_t n = strlen(name);
	for (const char *at = list; *at; at += strcspn(at, ", "), at += strspn(at, ", "))
		if (strcspn(at, ", ") == n && !strncmp(at, name, n)) return true;
	return false;
}

/* Open it for a moment, with nobody to talk to. */
static void try_it(struct seen *s, const DPI_Transport *table, const DPI_Transport *lower)
{
	struct dpi_carrier c = { .fd = -1 };
	DPI_Transport low;
	char reason[160] = "";
	snprintf(c.name, sizeof c.name, "%s", s->name);
	dpi_transport_fill(&c.filled, table);
	if (lower) dpi_transport_fill(&low, lower);
	dpi_carrier_core(&c, NULL);
	c.core.setting = setting;
	c.core.log = note;
	c.core.near = near;
	c.core.secure = secure;
	looked_at = s;
	s->attr.size = sizeof s->attr;
	int error = c.filled.probe(&c.core, reason, sizeof reason);
	if (error == DPI_ERR_UNSUPPORTED && !*reason && !table->probe) error = DPI_SUCCESS; /* it has no probe: open tells */
	if (!error) {
		*reason = 0;
		error = c.filled.open(&c.core, lower ? &low : NULL, &c.tp);
		if (!error) error = c.filled.query(c.tp, &s->attr);
	}
	s->usable = !error;
	if (error) snprintf(s->reason, sizeof s->reason, "%s", *reason ? reason : dpi_detail());
	if (c.tp) c.filled.close(c.tp);
}

static void look(struct info *info, const char name[NAME], struct seen *s)
{
	char base[NAME];
	memcpy(s->name, name, NAME);
	memcpy(base, name, NAME);
	char *colon = strchr(base, ':');
	if (colon) *colon++ = 0;
	const char *folders = settings->value[DPI_SETTING_MODULES];
	const DPI_Transport *table, *lower = NULL;
	void *module; /* stays until the program ends */
	const struct dpi_carrier *open = info->ctx ? dpi_carrier_find(info->ctx, name) : NULL;
	if (dpi_transport_find(folders, base, &module, &table) || (colon && dpi_transport_find(folders, colon, &module, &lower))) {
		snprintf(s->reason, sizeof s->reason, "not built in; %.900s", dpi_detail());
		return;
	}
	try_it(s, table, lower);
	if (open) {
		if (!s->usable) s->attr = open->attr;
		s->chosen = s->usable = true;
		snprintf(s->reason, sizeof s->reason, "a context with these settings has it; peers are tried in this order");
		return;
	}
	if (!s->usable) return;
	if (colon && !named(name)) snprintf(s->reason, sizeof s->reason, "works; used only where DPI_TRANSPORT names it");
	else if (!info->ctx)
		snprintf(s->reason, sizeof s->reason, "works by itself; but no context can be opened, see the end");
	else if (*settings->value[DPI_SETTING_TRANSPORT])
		snprintf(s->reason, sizeof s->reason, "works; but DPI_TRANSPORT is '%s'", settings->value[DPI_SETTING_TRANSPORT]);
	else
		snprintf(s->reason, sizeof s->reason, "works; used where DPI_TRANSPORT names it, or of itself where there is a device for it");
}

static void show_json(const struct seen *s)
{
	const DPI_Tp_Attr *a = &s->attr;
	print_item();
	print_fact("name", "", "%s", s->name);
	print_flag("open", "", s->chosen, "", "");
	print_flag("usable", "", s->usable, "", "");
	print_fact("reason", "", "%s", s->reason);
	if (s->usable && *a->device) print_fact("device", "", "%s", a->device);
	print_list("choices", NULL);
	for (int i = 0; i < s->choices; i++) print_word(s->choice[i].text);
	print_close();
	if (s->usable) {
		print_list("capabilities", NULL);
		for (size_t i = 0; i < sizeof capabilities / sizeof *capabilities; i++)
			if (a->capabilities & capabilities[i].bit) print_word(capabilities[i].name);
		print_close();
		print_count("lanes", "", a->lanes, NULL);
		print_count("max_iov", "", a->max_iov, NULL);
		print_count("max_put_bytes", "", a->max_put, NULL);
		print_count("max_send_bytes", "", a->max_send, NULL);
		print_count("inline_bytes", "", a->inline_size, NULL);
		print_count("alignment_bytes", "", a->alignment, NULL);
		print_count("outstanding", "", a->outstanding, NULL);
		print_count("windows", "", a->windows, NULL);
		print_number("latency_us", "", a->latency_us, "");
		print_number("bandwidth_bytes_us", "", a->bandwidth_bytes_us, "");
		print_number("overhead_us", "", a->overhead_us, "");
	}
	print_close();
}

static void add(char *text, size_t size, const char *format, const char *word, uint64_t value)
{
	size_t at = strlen(text);
	if (value) snprintf(text + at, size - at, format, at ? ", " : "", word, (unsigned long long)value);
}

/* A column for the words, each line of it wrapped. */
static void line(const char *label, const char *text)
{
	fputs("           ", stdout);
	int used = 11 + print_cell(14, label);
	print_wrapped(used, used, *text ? text : "-");
}

static void show(const struct seen *s)
{
	const DPI_Tp_Attr *a = &s->attr;
	char text[600] = "";
	fputs("  ", stdout);
	int used = 2 + print_cell(10, s->name);
	used += print_cell(13, s->chosen ? "open" : s->usable ? "usable" : "not usable");
	print_wrapped(25, used, s->reason);
	if (s->usable && *a->device) line("device", a->device);
	for (int i = 0, shown = 0; i < s->choices; i++) /* the outcome; a machine is told of every candidate */
		if (s->choice[i].level <= DPI_LOG_INFORMATION) line(shown++ ? "" : "choices", s->choice[i].text);
	if (!s->usable) return;
	for (size_t i = 0; i < sizeof capabilities / sizeof *capabilities; i++)
		if (a->capabilities & capabilities[i].bit)
			snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", *text ? ", " : "",
				 capabilities[i].name);
	line("capabilities", text);
	*text = 0;
	add(text, sizeof text, "%s%s %llu bytes", "put", a->max_put);
	add(text, sizeof text, "%s%s %llu bytes", "send", a->max_send);
	if (a->inline_size == UINT32_MAX) add(text, sizeof text, "%s%s", "puts are done at once", 1);
	else add(text, sizeof text, "%s%s %llu bytes", "inline", a->inline_size);
	add(text, sizeof text, "%s%s %llu", "pieces", a->max_iov);
	add(text, sizeof text, "%s%s %llu", "outstanding", a->outstanding);
	add(text, sizeof text, "%s%s %llu", "windows", a->windows);
	if (a->alignment > 1) add(text, sizeof text, "%s%s %llu bytes", "alignment", a->alignment);
	line("limits", *text ? text : "none");
	snprintf(text, sizeof text, "latency %.3g us, bandwidth %.0f MB/s, overhead %.3g us an operation", a->latency_us,
		 a->bandwidth_bytes_us, a->overhead_us);
	line("costs", text);
}

void show_transports(struct info *info)
{
	char names[16][NAME];
	int count = 0;
	settings = &info->settings;
	secure = info->ctx ? dpi_transports_secure(info->ctx) : *settings->value[DPI_SETTING_KEY_FILE] != 0;
	/* those that settings open, in their order; then the rest of the built-in ones; a wrapper over the first */
	for (const char *at = settings->value[DPI_SETTING_TRANSPORT]; *at && count < 8;
	     at += strcspn(at, ", "), at += strspn(at, ", "))
		snprintf(names[count++], sizeof *names, "%.*s", (int)strcspn(at, ", "), at);
	const DPI_Transport *t;
	for (int i = 0; (t = dpi_transport_at(i)) && count < 16; i++) {
		bool there = false;
		snprintf(names[count], sizeof *names, strcmp(t->name, "hook") ? "%s" : "%s:shm", t->name);
		for (int k = 0; k < count; k++) there |= !strcmp(names[k], names[count]);
		count += !there;
	}
	for (const char *at = DPI_TRANSPORTS_AUTOMATIC; *at && count < 16; at += strcspn(at, ","), at += *at == ',') {
		bool there = false;
		snprintf(names[count], sizeof *names, "%.*s", (int)strcspn(at, ","), at);
		for (int k = 0; k < count; k++) there |= !strcmp(names[k], names[count]);
		count += !there;
	}
	print_list("transports", "Transports");
	for (int i = 0; i < count; i++) {
		struct seen s = { 0 };
		look(info, names[i], &s);
		if (print_json) show_json(&s);
		else show(&s);
	}
	print_close();
	free(topology);
	topology = NULL;
}
