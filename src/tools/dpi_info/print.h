/* SPDX-License-Identifier: Apache-2.0
 * print.h: the same facts for a person, in aligned columns of at most 100, or for a machine, as JSON. A fact has a key for
 * the one and a label for the other. */
#ifndef DPI_INFO_PRINT_H
#define DPI_INFO_PRINT_H

#include <stdbool.h>
#include <stdint.h>

extern bool print_json;

void print_begin(void);
bool print_end(void); /* false: it could not be written */

/* An object, for a person a heading with its facts indented; title NULL: no heading. */
void print_section(const char *key, const char *title);
/* A list of objects, or, with print_word, of words. For a person what is in it is printed by its own code, under the
 * heading. */
void print_list(const char *key, const char *title);
void print_item(void);	/* an object of the list */
void print_close(void); /* any of these */

void print_fact(const char *key, const char *label, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What is not there: null for a machine, the text for a person. */
void print_none(const char *key, const char *label, const char *text);
/* note: may be NULL; for a person alone. */
void print_count(const char *key, const char *label, uint64_t value, const char *note);
void print_size(const char *key, const char *label, uint64_t bytes, const char *note);
void print_number(const char *key, const char *label, double value, const char *unit);
void print_flag(const char *key, const char *label, bool flag, const char *yes, const char *no);
void print_word(const char *word);

/* For a person alone: text, wrapped, from column at on (the line has used so many already). */
void print_wrapped(int at, int used, const char *text);
/* text in width columns, padded, with a blank at its end even if it is longer; the columns it takes. Control characters
 * become '?'. */
int print_cell(int width, const char *text);

#endif
