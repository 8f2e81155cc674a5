/* SPDX-License-Identifier: Apache-2.0
 * config.c: the setting HOOK: a comma list of items. */
#include "hook.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DELAY_MAX_US 10000000

enum item_kind { FLAG, NUMBER, PROBABILITY };

static const struct item {
	const char *name, *form;
	enum item_kind kind;
	size_t offset;
	uint64_t max;
} items[] = {
#define ITEM(name, form, kind, field, max) { name, form, kind, offsetof(struct hook_config, field), max }
	ITEM("seed", "seed=N", NUMBER, seed, UINT64_MAX),	    /* of all decisions */
	ITEM("delay", "delay=US", NUMBER, delay_us, DELAY_MAX_US),  /* what is posted, and completions, on the average */
	ITEM("reorder", "reorder", FLAG, reorder, 0),		    /* operations overtake each other where they may */
	ITEM("noorder", "noorder", FLAG, noorder, 0),		    /* no order of puts is promised */
	ITEM("again", "again=P", PROBABILITY, again, 0),	    /* a post is not accepted */
	ITEM("error", "error=P", PROBABILITY, error, 0),	    /* a post fails */
	ITEM("short", "short=P", PROBABILITY, cut, 0),		    /* a put or get is done in several pieces */
	ITEM("kill", "kill=N", NUMBER, kill, UINT64_MAX),	    /* a connection dies after N operations */
	ITEM("death", "death=P", PROBABILITY, death, 0),	    /* a connection dies at a post */
	ITEM("refuse", "refuse", FLAG, refuse, 0),		    /* no connection comes about */
	ITEM("nodirect", "nodirect", FLAG, nodirect, 0),	    /* no direct pointers, no CPU atomics */
	ITEM("trace", "trace", FLAG, trace, 0),			    /* a line in the log for each operation */
	ITEM("count", "count", FLAG, count, 0),			    /* totals in the log at the end */
#undef ITEM
};
#define ITEMS (sizeof items / sizeof *items)

/* By hand, so that the locale has no say. All digits, at most max. */
static bool number(const char *s, uint64_t max, uint64_t *value)
{
	uint64_t v = 0;
	if (!*s) return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || v > (max - (uint64_t)(*s - '0')) / 10) return false;
		v = v * 10 + (uint64_t)(*s - '0');
	}
	*value = v;
	return true;
}

/* 0 … 1 with at most nine decimals, in units of 2^-32. */
static bool probability(const char *s, uint64_t *value)
{
	uint64_t billionths = 0, unit = 1000000000;
	if ((*s != '0' && *s != '1') || (s[1] && s[1] != '.')) return false;
	billionths = (uint64_t)(*s - '0') * unit;
	for (const char *p = s + 1 + (s[1] == '.'); *p; p++) {
		if (*p < '0' || *p > '9' || unit == 1) return false;
		unit /= 10;
		billionths += (uint64_t)(*p - '0') * unit;
	}
	if (billionths > 1000000000) return false;
	*value = billionths * 4294967296u / 1000000000;
	return true;
}

static int refuse(const DPI_Tp_Core *core, const char *item)
{
	char known[256] = "";
	size_t at = 0;
	for (size_t i = 0; i < ITEMS && at < sizeof known; i++)
		at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", items[i].form);
	return core->fail_text(core->self, DPI_ERR_CONFIG,
			       "DPI_HOOK: '%s' is no item of it; they are %s (US up to %d, P from 0 to 1), with commas "
			       "between", item, known, DELAY_MAX_US);
}

static bool parse_item(char *text, struct hook_config *config)
{
	char *value = strchr(text, '=');
	size_t length = value ? (size_t)(value - text) : strlen(text);
	for (const struct item *i = items; i < items + ITEMS; i++) {
		void *field = (char *)config + i->offset;
		if (strlen(i->name) != length || memcmp(i->name, text, length)) continue;
		if (i->kind == FLAG) return !value && (*(bool *)field = true);
		if (!value) return false;
		return i->kind == NUMBER ? number(value + 1, i->max, field) : probability(value + 1, field);
	}
	return false;
}

int hook_parse(const DPI_Tp_Core *core, const char *text, struct hook_config *config)
{
	char item[64];
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	struct hook_dice dice = { (uint64_t)t.tv_nsec ^ (uint64_t)t.tv_sec << 30 ^ (uint64_t)getpid() << 44 };
	*config = (struct hook_config){ .seed = hook_draw(&dice) % 1000000000, .kill = UINT64_MAX };
	if (!text) text = "";
	for (const char *p = text; *text;) {
		size_t length = strcspn(p, ",");
		snprintf(item, sizeof item, "%.*s", (int)(length < sizeof item ? length : sizeof item), p);
		if (length >= sizeof item || !parse_item(item, config)) return refuse(core, item);
		if (!p[length]) break;
		p += length + 1;
	}
	return DPI_SUCCESS;
}
