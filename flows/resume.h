/* SPDX-License-Identifier: Apache-2.0
 * resume.h: sources with ids: see resume.c. */
#ifndef DPI_FLOWS_RESUME_H
#define DPI_FLOWS_RESUME_H

#include "source.h"

/* Are they attributes for a source of such a flow? */
int dpi_source_check_attr(const struct dpi_definition *d, const DPI_Source_Attr *a);
/* The flow counts it, or gives it back its number; its lanes begin where attr->rows says. Errors: as dpi_flow_resume. */
int dpi_source_join(struct dpi_source *s, const DPI_Source_Attr *a, int64_t deadline);
/* FENCED: another has its id now. */
int dpi_source_look(struct dpi_source *s);
static inline int dpi_source_fenced(struct dpi_source *s)
{
	if (__builtin_expect(!s->id || s->seen == atomic_load_explicit(&s->flow->version, memory_order_acquire), 1)) return DPI_SUCCESS;
	return dpi_source_look(s);
}

#endif
