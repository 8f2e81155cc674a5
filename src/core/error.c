/* SPDX-License-Identifier: Apache-2.0
 * error.c: the thread's last sentence, and the table of classes. */
#include "error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ASIDES 3 /* deeper ones share the last place */

static _Thread_local char details[1 + ASIDES][DPI_DETAIL_MAX];
static _Thread_local int depth;

static char *detail(void)
{
	return details[depth < ASIDES ? depth : ASIDES];
}

int dpi_fail_v(int error, const char *format, va_list args)
{
	/* built aside: an argument may be the old sentence itself */
	char text[DPI_DETAIL_MAX];
	vsnprintf(text, sizeof text, format, args);
	memcpy(detail(), text, strlen(text) + 1);
	return error;
}

int dpi_fail(int error, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	dpi_fail_v(error, format, args);
	va_end(args);
	return error;
}

int dpi_fail_errno(int error, const char *format, ...)
{
	int number = errno;
	char text[DPI_DETAIL_MAX], reason[128];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return dpi_fail(error, "%s: %s", text, strerror_r(number, reason, sizeof reason));
}

const char *dpi_detail(void)
{
	return detail();
}

int dpi_aside(void)
{
	return depth++;
}

int dpi_aside_over(int before, int error)
{
	const char *sentence = detail();
	depth = before;
	return error ? dpi_fail(error, "%s", sentence) : DPI_SUCCESS;
}

static const struct {
	int number;
	const char *name, *text;
} classes[] = {
#define CLASS(name, number, text) { number, "DPI_" #name, text },
	DPI_ERRORS(CLASS)
#undef CLASS
};

const char *dpi_error_name(int error)
{
	const char *name;
	return DPI_Get_Error_Name(error, &name) ? "?" : name;
}

static int find(int error, size_t *at)
{
	for (*at = 0; *at < sizeof classes / sizeof *classes; ++*at)
		if (classes[*at].number == error) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_ARGUMENT, "%d is not an error class: they run from 0 to %d", error,
			classes[sizeof classes / sizeof *classes - 1].number);
}

int DPI_Get_Error_Name(int error, const char **name)
{
	size_t at;
	if (!name) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Get_Error_Name: name is NULL: pass where the text may go");
	if (find(error, &at)) return DPI_ERR_ARGUMENT;
	*name = classes[at].name;
	return DPI_SUCCESS;
}

int DPI_Get_Error_Text(int error, const char **text)
{
	size_t at;
	if (!text) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Get_Error_Text: text is NULL: pass where the text may go");
	if (find(error, &at)) return DPI_ERR_ARGUMENT;
	*text = classes[at].text;
	return DPI_SUCCESS;
}

int DPI_Get_Error_Detail(const char **text)
{
	if (!text) return DPI_ERR_ARGUMENT; /* the sentence that is asked for stays */
	*text = detail();
	return DPI_SUCCESS;
}
