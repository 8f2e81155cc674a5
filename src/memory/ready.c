/* SPDX-License-Identifier: Apache-2.0
 * ready.c: the file descriptors of buffers. */
#include "request.h"

static bool records_ready(void *arg, struct dpi_listening *l)
{
	struct dpi_buffer *b = arg;
	l->bells = (uint64_t)1 << b->home->bell;
	return dpi_consumer_ready(b);
}

static bool room_ready(void *arg, struct dpi_listening *l)
{
	struct dpi_buffer *b = arg;
	struct dpi_appender *a = &b->appender;
	if (!dpi_request_list_or_listen(b, l)) return false; /* what was started comes first */
	l->bells = (uint64_t)1 << b->bell;
	if (a->open_room || atomic_load(&b->destroyed) || atomic_load(&b->home_peer->dead)) return true; /* for an error */
	int error = dpi_append_attach(b);
	if (error) return error != DPI_ERR_AGAIN;
	if (dpi_ring_room(&a->writer, a->wanted)) return true;
	/* what is written must be visible, or the reader could never make room */
	error = dpi_append_publish(b, 0);
	if (error == DPI_ERR_AGAIN) l->look_at = dpi_now() + DPI_LOOK_AGAIN_NS;
	return error && error != DPI_ERR_AGAIN;
}

/* Enter a handle and find what stands for an event of it. */
static struct dpi_buffer *begin(int event, DPI_Buffer handle, const char *call, struct dpi_descriptor ***d, int *error)
{
	if (event != DPI_EVENT_RECORDS && event != DPI_EVENT_ROOM) {
		*error = dpi_fail(DPI_ERR_ARGUMENT, "%s: event is %d: it is DPI_EVENT_RECORDS or DPI_EVENT_ROOM", call, event);
		return NULL;
	}
	unsigned uses = event == DPI_EVENT_RECORDS ? 1u << DPI_USE_QUEUE : DPI_RECORDS;
	struct dpi_buffer *b = dpi_buffer_begin(handle, call, uses, error);
	if (!b) return NULL;
	*d = event == DPI_EVENT_RECORDS ? &b->consumer.records : &b->appender.room;
	if (event == DPI_EVENT_ROOM || b->consumer.active) return b;
	*error = dpi_consumer_activate(b, call);
	if (!*error) return b;
	dpi_buffer_leave(b);
	return NULL;
}

int DPI_Get_Buffer_Descriptor(int event, DPI_Buffer handle, int *fd)
{
	int error;
	struct dpi_descriptor **d;
	struct dpi_buffer *b = begin(event, handle, "DPI_Get_Buffer_Descriptor", &d, &error);
	if (!b) return error;
	error = dpi_descriptor_get(b->ctx, "DPI_Get_Buffer_Descriptor", d, fd);
	dpi_buffer_leave(b);
	return error;
}

int DPI_Arm_Buffer(int event, DPI_Buffer handle, int *ready)
{
	int error;
	struct dpi_descriptor **d;
	struct dpi_buffer *b = begin(event, handle, "DPI_Arm_Buffer", &d, &error);
	if (!b) return error;
	error = dpi_descriptor_arm("DPI_Arm_Buffer", *d, event == DPI_EVENT_RECORDS ? records_ready : room_ready, b, ready);
	dpi_buffer_leave(b);
	return error;
}
