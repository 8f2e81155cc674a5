/* SPDX-License-Identifier: Apache-2.0
 * cluster_file.c: the cluster file: a line a node, and a few words. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster.h"

#define FILE_MAX (1 << 20)
#define WORDS 3

struct parser {
	const char *name;
	int line;
	struct dpi_cluster_file *file;
	int room;
	int nodes_line, nodes;
};

static int wrong(const struct parser *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int wrong(const struct parser *p, const char *format, ...)
{
	char text[600];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return dpi_fail(DPI_ERR_CONFIG, "%s:%d: %s", p->name, p->line, text);
}

/* A number from 0 to most, nothing else; -1. */
static int number(const char *word, int most)
{
	size_t n = strlen(word);
	if (!n || n > 6 || strspn(word, "0123456789") != n) return -1;
	long v = strtol(word, NULL, 10);
	return v <= most ? (int)v : -1;
}

static int node_line(struct parser *p, const char *word, const char *address)
{
	struct dpi_cluster_file *f = p->file;
	int node = number(word, DPI_NODES_MAX - 1);
	if (node < 0)
		return wrong(p, "'%s' is neither a node number (0 to %d) nor one of the words nodes, key, job", word,
			     DPI_NODES_MAX - 1);
	for (int i = 0; i < f->count; i++)
		if (f->node[i].node == node) return wrong(p, "node %d has a line already, line %d", node, f->node[i].line);
	if (dpi_address_check(address)) return wrong(p, "%s", dpi_detail());
	for (int i = 0; i < f->count; i++)
		if (!strcmp(f->node[i].address, address))
			return wrong(p, "%s is the address of node %d already, line %d", address, f->node[i].node,
				     f->node[i].line);
	if (f->count == p->room) {
		int room = p->room ? 2 * p->room : 16;
		void *grown = realloc(f->node, (size_t)room * sizeof *f->node);
		if (!grown) return dpi_fail(DPI_ERR_MEMORY, "no memory for the cluster file");
		f->node = grown;
		p->room = room;
	}
	struct dpi_cluster_line *l = &f->node[f->count++];
	l->node = node;
	l->line = p->line;
	snprintf(l->address, sizeof l->address, "%s", address);
	return DPI_SUCCESS;
}

static int text_line(struct parser *p, const char *word, const char *value, char *out, size_t room)
{
	if (*out) return wrong(p, "there is a line '%s' already", word);
	if (strlen(value) >= room) return wrong(p, "the value of '%s' has more than %zu characters", word, room - 1);
	snprintf(out, room, "%s", value);
	return DPI_SUCCESS;
}

static int parse_line(struct parser *p, char *line)
{
	char *word[WORDS], *save = NULL, *comment = strchr(line, '#');
	int words = 0;
	if (comment) *comment = 0;
	for (char *w = strtok_r(line, " \t\r", &save); w; w = strtok_r(NULL, " \t\r", &save)) {
		if (words == WORDS - 1)
			return wrong(p, "'%s' is one word too many: a line is NODE ADDRESS, nodes N, key FILE or job NAME",
				     w);
		word[words++] = w;
	}
	if (!words) return DPI_SUCCESS;
	if (words == 1) return wrong(p, "'%s' stands alone: a line is NODE ADDRESS, nodes N, key FILE or job NAME", word[0]);
	if (!strcmp(word[0], "key")) return text_line(p, "key", word[1], p->file->key, sizeof p->file->key);
	if (!strcmp(word[0], "job")) return text_line(p, "job", word[1], p->file->job, sizeof p->file->job);
	if (strcmp(word[0], "nodes")) return node_line(p, word[0], word[1]);
	if (p->nodes_line) return wrong(p, "there is a line 'nodes' already, line %d", p->nodes_line);
	p->nodes = number(word[1], DPI_NODES_MAX);
	p->nodes_line = p->line;
	return p->nodes > 0 ? DPI_SUCCESS : wrong(p, "'%s' is not a number of nodes (1 to %d)", word[1], DPI_NODES_MAX);
}

static int parse_all(struct parser *p, const char *text, size_t size)
{
	char line[1024];
	int highest = -1;
	bool zero = false;
	struct dpi_cluster_file *f = p->file;
	for (size_t at = 0; at < size;) {
		const char *end = memchr(text + at, '\n', size - at);
		size_t n = end ? (size_t)(end - text) - at : size - at;
		p->line++;
		if (n >= sizeof line) return wrong(p, "the line has more than %zu characters", sizeof line - 1);
		if (memchr(text + at, 0, n)) return wrong(p, "the line has a zero byte: this is not a text file");
		memcpy(line, text + at, n);
		line[n] = 0;
		int error = parse_line(p, line);
		if (error) return error;
		at += n + 1;
	}
	for (int i = 0; i < f->count; i++) {
		if (f->node[i].node > highest) highest = f->node[i].node;
		zero |= !f->node[i].node;
	}
	if (!zero) return wrong(p, "there is no line for node 0, which holds the registry: add '0 HOST:PORT'");
	f->nodes = p->nodes_line ? p->nodes : highest + 1;
	if (highest < f->nodes) return DPI_SUCCESS;
	for (int i = 0; i < f->count; i++)
		if (f->node[i].node == highest) p->line = f->node[i].line;
	return wrong(p, "node %d is outside the cluster: line %d says 'nodes %d'", highest, p->nodes_line, f->nodes);
}

int dpi_cluster_file_parse(const char *name, const char *text, size_t size, struct dpi_cluster_file *file)
{
	struct parser p = { .name = name, .file = file };
	memset(file, 0, sizeof *file);
	int error = parse_all(&p, text, size);
	if (error) dpi_cluster_file_free(file);
	return error;
}

void dpi_cluster_file_free(struct dpi_cluster_file *file)
{
	free(file->node);
	memset(file, 0, sizeof *file);
}

int dpi_cluster_file_read(const char *path, struct dpi_cluster_file *file)
{
	struct stat st;
	size_t size = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return dpi_fail_errno(DPI_ERR_CONFIG,
				      "DPI_CLUSTER is '%s', which is no address (unix:NAME, HOST:PORT), and cannot be read "
				      "as a cluster file",
				      path);
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
		close(fd);
		return dpi_fail(DPI_ERR_CONFIG, "the cluster file %s is not a regular file of at most %d bytes", path,
				FILE_MAX);
	}
	char *text = malloc((size_t)st.st_size + 1);
	while (text && size < (size_t)st.st_size) {
		ssize_t n = read(fd, text + size, (size_t)st.st_size - size);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) break;
		size += (size_t)n;
	}
	close(fd);
	if (!text) return dpi_fail(DPI_ERR_MEMORY, "no memory for the cluster file %s", path);
	int error = dpi_cluster_file_parse(path, text, size, file);
	free(text);
	const char *slash = strrchr(path, '/');
	if (error || !slash || !*file->key || *file->key == '/') return error;
	/* the key's path is relative to the cluster file */
	char key[2 * sizeof file->key];
	int n = snprintf(key, sizeof key, "%.*s%s", (int)(slash - path + 1), path, file->key);
	if (n < 0 || (size_t)n >= sizeof file->key) {
		dpi_cluster_file_free(file);
		return dpi_fail(DPI_ERR_CONFIG, "%s: the path of the key file is too long", path);
	}
	memcpy(file->key, key, (size_t)n + 1);
	return DPI_SUCCESS;
}
