/* SPDX-License-Identifier: Apache-2.0
 * life.c: what test/system/hosts.sh runs to see who can name things: each process tries over and over, and says when that changes. */
#include <dpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static DPI_Context ctx;

/* A line 'WHAT CLASS SENTENCE' when the class is another than last time. */
static void say(const char *what, int error, int *last)
{
	const char *name = "?", *detail = "";
	if (error == *last) return;
	*last = error;
	if (error) DPI_Get_Error_Detail(&detail);
	DPI_Get_Error_Name(error, &name);
	printf("%s %s %s\n", what, name, detail);
}

/* A name of its own, made and taken away. */
static int name_it(const char *own)
{
	DPI_Buffer b;
	char name[64];
	snprintf(name, sizeof name, "%s again", own);
	int error = DPI_Create_Buffer(name, DPI_NODE_SELF, NULL, ctx, &b);
	if (error == DPI_ERR_EXISTS) return DPI_Destroy_Buffer(name, ctx); /* it was made when the registry died */
	if (error) return error;
	DPI_Close_Buffer(b);
	return DPI_Destroy_Buffer(name, ctx);
}

static int open_it(const char *name)
{
	DPI_Buffer b;
	DPI_Open_Attr attr = DPI_OPEN_ATTR_INIT;
	attr.wait_us = DPI_NO_WAIT;
	int error = DPI_Open_Buffer(name, &attr, ctx, &b);
	if (!error) DPI_Close_Buffer(b);
	return error;
}

/* life FILE NAME OTHER [PATH]: until FILE is there; NAME: of a queue of its own; OTHER: of one whose appends are to go on */
int main(int argc, char **argv)
{
	int naming = -1, finding = -1, appending = -1;
	DPI_Buffer mine, others = NULL;
	setvbuf(stdout, NULL, _IOLBF, 0);
	int error = argc == 4 ? DPI_Init(&ctx) : DPI_ERR_ARGUMENT;
	if (!error) error = DPI_Create_Buffer(argv[2], DPI_NODE_SELF, NULL, ctx, &mine);
	if (error) {
		say("start", error, &naming);
		return 1;
	}
	printf("process %d\n", (int)getpid());
	for (long i = 0; access(argv[1], F_OK); i++) {
		DPI_Record r;
		usleep(10000);
		say("names", name_it(argv[2]), &naming);
		error = open_it(argv[3]);
		say("finds", error, &finding);
		if (!others && !error) error = DPI_Open_Buffer(argv[3], NULL, ctx, &others);
		if (others) error = DPI_Append(&i, sizeof i, others);
		if (others && !error) error = DPI_Flush_Buffer(others);
		if (others) say("appends", error, &appending);
		DPI_Set_Timeout(1000, mine);
		while (!DPI_Next_Record(mine, &r)) DPI_Release_Records(1, mine);
	}
	DPI_Finalize(ctx);
	return 0;
}
