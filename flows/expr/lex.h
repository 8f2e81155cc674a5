/* SPDX-License-Identifier: Apache-2.0
 * lex.h: an expression's text as tokens. */
#ifndef DPI_EXPR_LEX_H
#define DPI_EXPR_LEX_H

#include "type.h"

enum dpi_token_kind {
	TOKEN_END,
	TOKEN_NAME,
	TOKEN_QUOTED, /* a name between double quotes, which stay; a quote within is two */
	TOKEN_INTEGER,
	TOKEN_DECIMAL,
	TOKEN_REAL,
	TOKEN_STRING, /* as TOKEN_QUOTED, with single quotes */
	TOKEN_SYMBOL, /* one or two characters */
	TOKEN_WRONG   /* a sentence is set */
};

struct dpi_lexer {
	const uint8_t *text, *end, *next; /* next: behind the token */
	uint32_t next_at;		  /* character number of next */
	int kind;
	struct dpi_text token;
	uint32_t at; /* character number of the token, from 1 */
};

int dpi_lex_open(struct dpi_lexer *l, const char *text, size_t size); /* and the first token */
void dpi_lex_next(struct dpi_lexer *l);
bool dpi_lex_is(const struct dpi_lexer *l, const char *what); /* a symbol, or a word in whatever case */
/* Copy a token between quotes without them; out has room for its size. */
size_t dpi_lex_unquote(const struct dpi_lexer *l, uint8_t *out);

#endif
