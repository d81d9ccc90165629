/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Runs the fuzzer's target over files, without the fuzzer and so with any compiler: over the captures as a
 * test, and over a finding to see it again. Then every message is run by itself with each of its first bytes
 * changed in a few ways, which is a small, repeatable part of what the fuzzer would do.
 *
 * `--export DIRECTORY` writes the captures in the fuzzer's form instead, to begin its corpus with.
 */

#include "capture.h"
#include "fuzz-decode.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUTATED_BYTES_MAX 256 /* beyond are values, and each run costs the whole message */

static void replay_message(uint8_t version, const uint8_t *bytes, size_t len)
{
	static const uint8_t masks[] = { 0x01, 0x20, 0x80, 0xff };
	size_t n = len < MUTATED_BYTES_MAX ? len : MUTATED_BYTES_MAX;
	uint8_t *alone = malloc(len + 5);

	if (!alone)
		abort();
	alone[0] = version;
	for (int i = 0; i < 4; i++)
		alone[1 + i] = (uint8_t)(len >> (24 - 8 * i));
	memcpy(alone + 5, bytes, len);
	for (size_t i = 5; i < 5 + n; i++)
		for (size_t m = 0; m < sizeof(masks); m++) {
			alone[i] ^= masks[m];
			LLVMFuzzerTestOneInput(alone, len + 5);
			alone[i] ^= masks[m];
		}
	free(alone);
}

static void replay(const struct capture *capture)
{
	size_t pos = 0, len;

	LLVMFuzzerTestOneInput(capture->data, capture->len);
	for (const uint8_t *bytes; capture_next(capture->data, capture->len, &pos, &bytes, &len);)
		replay_message(capture->data[0], bytes, len);
}

static int export(const struct capture *capture, const char *dir, const char *path)
{
	char to[PATH_MAX];
	const char *slash = strrchr(path, '/');

	snprintf(to, sizeof(to), "%s/%s", dir, slash ? slash + 1 : path);
	FILE *file = fopen(to, "wb");
	bool ok = file && fwrite(capture->data, 1, capture->len, file) == capture->len;
	if (file && fclose(file) != 0)
		ok = false;
	if (!ok)
		fprintf(stderr, "%s: cannot be written\n", to);
	return ok ? 0 : -1;
}

int main(int argc, char **argv)
{
	const char *dir = argc > 2 && strcmp(argv[1], "--export") == 0 ? argv[2] : NULL;
	int first = dir ? 3 : 1, n = 0, failed = 0;
	char **paths = first < argc ? capture_paths(argc - first, argv + first) : NULL;

	if (!paths) {
		fprintf(stderr, "usage: %s [--export DIRECTORY] FILE_OR_DIRECTORY...\n", argv[0]);
		return 2;
	}
	for (char **path = paths; *path; path++, n++) {
		struct capture capture;
		if (capture_load(*path, &capture) < 0) {
			failed++;
			continue;
		}
		if (!dir)
			replay(&capture);
		else if (export(&capture, dir, *path) < 0)
			failed++;
		capture_fini(&capture);
	}
	capture_paths_free(paths);
	printf("%d files, %d failures\n", n, failed);
	return failed ? 1 : 0;
}
