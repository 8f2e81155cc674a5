/* SPDX-License-Identifier: Apache-2.0
 * region.c: memory that the provider is to know of: for whatever belongs to its domain, or, where it demands that, for one endpoint. */
#include "fabric.h"

/* Unlike the 65535 before, and as hard to guess as the length of the provider's keys allows. */
static uint64_t new_key(DPI_Tp *tp)
{
	return (dpi_fabric_random(tp) << 16 | tp->keys++) & tp->key_mask;
}

int dpi_fabric_register(DPI_Tp *tp, struct fid_ep *ep, const void *at, size_t size, uint64_t access, struct fid_mr **mr)
{
	int error = fi_mr_reg(tp->domain, at, size, access, 0, new_key(tp), 0, mr, NULL);
	if (!error && tp->mr_endpoint) {
		error = fi_mr_bind(*mr, &ep->fid, 0);
		if (!error) error = fi_mr_enable(*mr);
		if (error) fi_close(&(*mr)->fid);
	}
	if (error) *mr = NULL;
	return error;
}
