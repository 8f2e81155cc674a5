/* SPDX-License-Identifier: Apache-2.0
 * util.h: memory that is there or dpirun ends, growing bytes and lists of strings, time, sentences to the user. */
#ifndef DPIRUN_UTIL_H
#define DPIRUN_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXIT_USAGE 2	 /* the command line or the host file is wrong */
#define EXIT_TIMEOUT 124 /* --timeout */
#define EXIT_SELF 125	 /* dpirun itself cannot go on */
#define EXIT_NO_EXEC 127 /* a program cannot be executed */

#define NEVER INT64_MAX
int64_t now_ms(void); /* monotonic */

/* Print 'dpirun: sentence' on standard error. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, then exit: only before the first process is started. */
_Noreturn void quit(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Where say writes; a line with its end. NULL: file descriptor 2. */
extern void (*say_to)(const char *line, size_t size);

void *get_memory(size_t size); /* zeroed */
void *grow_memory(void *p, size_t size);
char *copy_text(const char *text);
char *print_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Bytes that grow. */
struct bytes {
	char *data;
	size_t size, room;
};
void bytes_add(struct bytes *b, const void *data, size_t size);
void bytes_cut(struct bytes *b, size_t size); /* from the front */
void bytes_free(struct bytes *b);

/* A list of strings that ends with NULL, such as an environment. */
struct strings {
	char **list;
	int count, room;
};
void strings_add(struct strings *s, const char *text);
/* text is NAME=value: replaces the entry of that name, or adds one. */
void strings_set(struct strings *s, const char *text);
void strings_set_pair(struct strings *s, const char *name, const char *value);
void strings_set_all(struct strings *s, const struct strings *from);
void strings_free(struct strings *s);

bool fill_random(void *p, size_t size);
/* A whole number from least to most and nothing else; -1. */
long parse_number(const char *text, long least, long most);

#endif
