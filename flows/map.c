/* SPDX-License-Identifier: Apache-2.0
 * map.c: stages over runs of rows. */
#include "map.h"

#include "error.h"

int dpi_maps_new(const struct dpi_definition *d, uint32_t first, uint32_t count, struct dpi_maps **m)
{
	(void)d, (void)first, (void)count;
	*m = NULL;
	return dpi_fail(DPI_ERR_UNSUPPORTED, "stages: not yet");
}

void dpi_maps_free(struct dpi_maps *m)
{
	(void)m;
}

int dpi_maps_run(struct dpi_maps *m, const struct dpi_rows *in, struct dpi_mapped *out)
{
	(void)m, (void)in, (void)out;
	return DPI_SUCCESS;
}

void dpi_maps_back(struct dpi_maps *m)
{
	(void)m;
}

void dpi_maps_count(const struct dpi_maps *m, uint64_t *sifted, uint64_t *errors)
{
	(void)m;
	*sifted = *errors = 0;
}
