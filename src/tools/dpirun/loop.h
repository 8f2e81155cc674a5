/* SPDX-License-Identifier: Apache-2.0
 * loop.h: the one epoll loop. A watch lives as long as the program; removed, its fd is -1 and ready is not called. */
#ifndef DPIRUN_LOOP_H
#define DPIRUN_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct watch {
	int fd;
	uint32_t events; /* watched now */
	bool in_epoll;
	void (*ready)(struct watch *w, uint32_t events);
	void *owner;
};

void loop_open(void);
/* False with errno where the descriptor cannot be watched, such as EPERM of a file, which is always ready. */
bool loop_watch(struct watch *w, uint32_t events); /* adds or changes; 0 events: looks away */
void loop_remove(struct watch *w);		   /* and closes the descriptor */
/* Wait for events until the deadline (now_ms) and serve them. */
void loop_turn(int64_t deadline);

#endif
