/* SPDX-License-Identifier: Apache-2.0
 * json.c: aligned lines, or JSON. */
#include "json.h"

#include <inttypes.h>
#include <stdio.h>

static void quoted(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\') printf("\\%c", *s);
		else if ((unsigned char)*s < 0x20) printf("\\u%04x", (unsigned)*s);
		else putchar(*s);
	}
	putchar('"');
}

static void name_of(struct json *j, const char *name)
{
	if (j->more) putchar(',');
	printf("\n%*s", 2 * j->depth, "");
	quoted(name);
	fputs(": ", stdout);
	j->more = true;
}

void json_open(struct json *j, const char *name)
{
	if (j->machine) {
		if (name) name_of(j, name);
		putchar('{');
		j->more = false;
	} else if (name) {
		printf("%s%*s%s\n", j->depth == 1 ? "\n" : "", 2 * (j->depth - 1), "", name);
	}
	j->depth++;
}

void json_close(struct json *j)
{
	j->depth--;
	if (!j->machine) return;
	printf("\n%*s}", 2 * j->depth, "");
	if (!j->depth) putchar('\n');
	j->more = true;
}

void json_text(struct json *j, const char *name, const char *value)
{
	if (j->machine) {
		name_of(j, name);
		quoted(value);
	} else {
		int indent = 2 * (j->depth - 1);
		printf("%*s%-*s %s\n", indent, "", 40 - indent, name, value);
	}
}

void json_number(struct json *j, const char *name, int64_t value)
{
	char text[32];
	snprintf(text, sizeof text, "%" PRId64, value);
	if (j->machine) {
		name_of(j, name);
		fputs(text, stdout);
	} else {
		json_text(j, name, text);
	}
}
