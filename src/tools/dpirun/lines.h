/* SPDX-License-Identifier: Apache-2.0
 * lines.h: from streams of bytes to whole lines, labelled or not, in dpirun's own standard output and error. */
#ifndef DPIRUN_LINES_H
#define DPIRUN_LINES_H

#include "job.h"

#define LINE_MAX_SIZE (1 << 20) /* a longer line is cut here */

/* full: called when a stream's sink is above its mark (pause) or below again. broken: it cannot be written any more: error
 * is errno. */
void lines_open(void (*full)(int which, bool pause), void (*broken)(int which, int error));
void lines_add(struct stream *s, const char *data, size_t size); /* size 0: the stream's end */
void lines_flush(void);
bool lines_empty(void); /* all is written, or cannot be */
void lines_drop(void);	/* throw away what is not written */

#endif
