/* SPDX-License-Identifier: Apache-2.0
 * json.h: the same facts for a person, as aligned lines, or for a machine, as JSON. */
#ifndef DPI_TOOLS_JSON_H
#define DPI_TOOLS_JSON_H

#include <stdbool.h>
#include <stdint.h>

struct json {
	bool machine;
	int depth;
	bool more; /* something stands before in this object */
};

void json_open(struct json *j, const char *name); /* an object, or a heading; NULL: the whole */
void json_close(struct json *j);
void json_text(struct json *j, const char *name, const char *value);
void json_number(struct json *j, const char *name, int64_t value);

#endif
