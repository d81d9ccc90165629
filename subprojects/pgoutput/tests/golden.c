/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Golden test: every capture of the directories given is decoded and printed, and the text must be that of
 * the file beside it that ends in .txt. Only `--update` writes these files: a test run never accepts its own
 * output. A missing text, a text without a capture, and a directory without any are failures too.
 */

#include "capture.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int is_text(const struct dirent *entry)
{
	const char *suffix = strrchr(entry->d_name, '.');
	return suffix && strcmp(suffix, ".txt") == 0;
}

/* the text of a whole capture; where a message is refused, the reason and the next message */
static int render(const char *path, char **ret_text, size_t *ret_len)
{
	struct capture capture;
	struct pgoutput_decoder d;

	if (capture_load(path, &capture) < 0)
		return -1;
	if (!capture_decoder(capture.data, capture.len, &d)) {
		fprintf(stderr, "%s: no decoder for this version\n", path);
		capture_fini(&capture);
		return -1;
	}
	FILE *file = open_memstream(ret_text, ret_len);
	if (!file)
		abort();
	size_t pos = 0, len;
	for (const uint8_t *bytes; capture_next(capture.data, capture.len, &pos, &bytes, &len);) {
		struct pgoutput_message msg;
		int r = pgoutput_decode(&d, bytes, len, &msg);
		if (r == 0)
			pgoutput_message_print(&msg, file);
		else
			fprintf(file, "error: %s at byte %zu\n", pgoutput_error_to_string(r), d.error_offset);
	}
	capture_fini(&capture);
	return fclose(file) == 0 ? 0 : -1;
}

static int text_write(const char *path, const char *text, size_t len)
{
	FILE *file = fopen(path, "wb");
	bool ok = file && fwrite(text, 1, len, file) == len;
	if (file && fclose(file) != 0)
		ok = false;
	if (!ok)
		fprintf(stderr, "%s: cannot be written\n", path);
	return ok ? 0 : -1;
}

/* says the first line that differs */
static int text_compare(const char *path, const char *text, size_t len)
{
	FILE *file = fopen(path, "rb");
	if (!file) {
		fprintf(stderr, "%s: missing; --update writes it\n", path);
		return -1;
	}
	size_t line = 1, start = 0, i = 0;
	bool equal = true;
	while (equal) {
		int c = getc(file);
		if (c == EOF && i == len)
			break;
		equal = c != EOF && i < len && c == (unsigned char)text[i];
		if (equal && text[i++] == '\n') {
			line++;
			start = i;
		}
	}
	fclose(file);
	if (!equal)
		fprintf(stderr, "%s:%zu: differs from what is decoded now:\n%.*s\n", path, line,
			(int)strcspn(text + start, "\n"), text + start);
	return equal ? 0 : -1;
}

static int run_case(const char *path, bool update)
{
	char text_path[PATH_MAX];
	char *text = NULL;
	size_t len;

	snprintf(text_path, sizeof(text_path), "%.*s.txt", (int)(strlen(path) - 4), path);
	int r = render(path, &text, &len);
	if (r == 0)
		r = update ? text_write(text_path, text, len) : text_compare(text_path, text, len);
	free(text);
	return r;
}

/* a text whose capture was renamed or removed would never be compared again */
static int check_orphan(const char *dir, const char *text_name, char **cases)
{
	char path[PATH_MAX];
	int stem = snprintf(path, sizeof(path), "%s/%s", dir, text_name) - 4;

	for (char **it = cases; *it; it++)
		if (strlen(*it) == (size_t)stem + 4 && strncmp(*it, path, (size_t)stem) == 0)
			return 0;
	fprintf(stderr, "%s: no capture of this name\n", path);
	return -1;
}

static int run_directory(char *dir, bool update)
{
	struct dirent **texts = NULL;
	char **cases = capture_paths(1, &dir);
	int n_texts = scandir(dir, &texts, is_text, alphasort), n_cases = 0, failed = 0;

	if (!cases)
		return 1;
	for (; cases[n_cases]; n_cases++)
		if (run_case(cases[n_cases], update) < 0)
			failed++;
	for (int i = 0; i < n_texts; i++) {
		if (check_orphan(dir, texts[i]->d_name, cases) < 0)
			failed++;
		free(texts[i]);
	}
	free(texts);
	capture_paths_free(cases);
	printf("%s: %d captures, %d failures\n", dir, n_cases, failed);
	return failed;
}

int main(int argc, char **argv)
{
	bool update = argc > 1 && strcmp(argv[1], "--update") == 0;
	int first = update ? 2 : 1, failed = 0;

	if (first >= argc) {
		fprintf(stderr, "usage: %s [--update] DIRECTORY...\n", argv[0]);
		return 2;
	}
	for (int i = first; i < argc; i++)
		failed += run_directory(argv[i], update);
	return failed ? 1 : 0;
}
