/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads captures. The .hex form is turned into the .bin form, so that whatever uses a capture knows only the
 * latter.
 */

#include "capture.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bytes {
	uint8_t *data;
	size_t len, size;
};

static void bytes_add(struct bytes *bytes, uint8_t byte)
{
	if (bytes->len == bytes->size) {
		bytes->size = bytes->size ? bytes->size * 2 : 256;
		bytes->data = realloc(bytes->data, bytes->size);
		if (!bytes->data)
			abort();
	}
	bytes->data[bytes->len++] = byte;
}

static int file_read(const char *path, struct bytes *ret)
{
	FILE *file = fopen(path, "rb");
	if (!file) {
		fprintf(stderr, "%s: cannot be opened\n", path);
		return -1;
	}
	*ret = (struct bytes){ 0 };
	for (int c; (c = getc(file)) != EOF;)
		bytes_add(ret, (uint8_t)c);
	bytes_add(ret, 0); /* for the .hex reader */
	ret->len--;
	bool failed = ferror(file);
	fclose(file);
	if (failed) {
		fprintf(stderr, "%s: cannot be read\n", path);
		free(ret->data);
	}
	return failed ? -1 : 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int hex_line(const char *line, struct bytes *message)
{
	while (*line && *line != '\n') {
		if (isspace((unsigned char)*line)) {
			line++;
		} else if (*line == '"') {
			for (line++; *line && *line != '\n' && *line != '"'; line++)
				bytes_add(message, (uint8_t)*line);
			if (*line++ != '"')
				return -1;
		} else {
			int high = hex_digit(line[0]), low = high < 0 ? -1 : hex_digit(line[1]);
			if (low < 0)
				return -1;
			bytes_add(message, (uint8_t)(high << 4 | low));
			line += 2;
		}
	}
	return 0;
}

static void bytes_add_message(struct bytes *bytes, struct bytes *message, bool any)
{
	if (!any)
		return;
	for (int shift = 24; shift >= 0; shift -= 8)
		bytes_add(bytes, (uint8_t)(message->len >> shift));
	for (size_t i = 0; i < message->len; i++)
		bytes_add(bytes, message->data[i]);
	message->len = 0;
}

/* "version N" or "version N parallel" */
static int hex_version(const char *line, struct bytes *ret)
{
	char *end;

	if (strncmp(line, "version ", 8) != 0)
		return -1;
	unsigned long version = strtoul(line + 8, &end, 10);
	bool parallel = strncmp(end, " parallel", 9) == 0;
	if (end == line + 8 || version > 4 || (end[0] != '\n' && !parallel))
		return -1;
	bytes_add(ret, (uint8_t)(version | (parallel ? CAPTURE_PARALLEL : 0)));
	return 0;
}

static int hex_parse(const char *text, struct bytes *ret)
{
	struct bytes message = { 0 };
	bool any = false;
	int r = 0;

	for (const char *line = text; r == 0 && *line; line += *line == '\n') {
		size_t blanks = strspn(line, " \t");
		bool content = line[blanks] != '#' && line[blanks] != '\n' && line[blanks] != '\0';
		if (content && ret->len == 0) {
			r = hex_version(line, ret);
		} else if (content) {
			if (blanks == 0) {
				bytes_add_message(ret, &message, any);
				any = true;
			}
			r = any ? hex_line(line, &message) : -1;
		}
		line += strcspn(line, "\n");
	}
	bytes_add_message(ret, &message, any);
	free(message.data);
	return r;
}

int capture_load(const char *path, struct capture *ret_capture)
{
	struct bytes bytes, hex = { 0 };
	const char *suffix = strrchr(path, '.');

	if (file_read(path, &bytes) < 0)
		return -1;
	if (suffix && strcmp(suffix, ".hex") == 0) {
		int r = hex_parse((const char *)bytes.data, &hex);
		free(bytes.data);
		if (r < 0) {
			fprintf(stderr, "%s: not in the form of a capture\n", path);
			free(hex.data);
			return -1;
		}
		bytes = hex;
	}
	*ret_capture = (struct capture){ .data = bytes.data, .len = bytes.len };
	return 0;
}

void capture_fini(struct capture *capture)
{
	free(capture->data);
	*capture = (struct capture){ 0 };
}

static int is_capture(const struct dirent *entry)
{
	const char *suffix = strrchr(entry->d_name, '.');
	return suffix && (strcmp(suffix, ".hex") == 0 || strcmp(suffix, ".bin") == 0);
}

static void paths_add(char ***paths, size_t *n, const char *dir, const char *name)
{
	size_t size = strlen(name) + (dir ? strlen(dir) + 1 : 0) + 1;
	char *path = malloc(size);

	*paths = realloc(*paths, (*n + 2) * sizeof(**paths));
	if (!path || !*paths)
		abort();
	snprintf(path, size, "%s%s%s", dir ? dir : "", dir ? "/" : "", name);
	(*paths)[(*n)++] = path;
	(*paths)[*n] = NULL;
}

char **capture_paths(int n_args, char **args)
{
	char **paths = NULL;
	size_t n = 0;

	for (int i = 0; i < n_args; i++) {
		struct dirent **entries;
		int n_entries = scandir(args[i], &entries, is_capture, alphasort);
		if (n_entries < 0) {
			paths_add(&paths, &n, NULL, args[i]);
			continue;
		}
		for (int e = 0; e < n_entries; e++) {
			paths_add(&paths, &n, args[i], entries[e]->d_name);
			free(entries[e]);
		}
		free(entries);
		if (n_entries == 0) {
			fprintf(stderr, "%s: no captures\n", args[i]);
			capture_paths_free(paths);
			return NULL;
		}
	}
	return paths;
}

void capture_paths_free(char **paths)
{
	for (char **path = paths; path && *path; path++)
		free(*path);
	free(paths);
}

bool capture_decoder(const uint8_t *data, size_t len, struct pgoutput_decoder *ret_decoder)
{
	return len > 0 &&
	       pgoutput_decoder_init(ret_decoder, data[0] & 0x7f, (data[0] & CAPTURE_PARALLEL) != 0) == 0;
}

bool capture_next(const uint8_t *data, size_t len, size_t *pos, const uint8_t **ret_message, size_t *ret_len)
{
	if (*pos == 0)
		*pos = 1;
	if (len < *pos || len - *pos < 4)
		return false;
	size_t message_len = pgoutput_u32(data + *pos);
	*pos += 4;
	if (message_len > len - *pos)
		message_len = len - *pos;
	*ret_message = data + *pos;
	*ret_len = message_len;
	*pos += message_len;
	return true;
}
