/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A capture: the messages of one connection in their order, as the tests and the fuzzer read them.
 *
 *	.bin   Byte1  protocol version, | 0x80 for parallel streaming
 *	       then per message Int32 length and the bytes
 *	.hex   the same by hand:
 *	         # comment
 *	         version 4 parallel
 *	         "I" 00004001 "N" 0001        a message: hex digits and "text", spaces are free
 *	           "t" 00000002 "hi"          goes on where the line begins with a blank
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pgoutput.h>

#define CAPTURE_PARALLEL 0x80

struct capture {
	uint8_t *data; /* in the .bin form, from malloc() */
	size_t len;
};

/** capture_load() - reads a file, .hex by its name, .bin else. Return: 0, or -1 after a line on stderr. */
int capture_load(const char *path, struct capture *ret_capture);
void capture_fini(struct capture *capture);

/**
 * capture_paths() - the captures named by args: a directory stands for all in it, sorted.
 * Return: a list that ends in NULL, from malloc() as its items are; NULL after a line on stderr where a
 * directory has none.
 */
char **capture_paths(int n_args, char **args);
void capture_paths_free(char **paths);

/**
 * capture_decoder() - the decoder that the capture's first byte asks for.
 * Return: false where there is none.
 */
bool capture_decoder(const uint8_t *data, size_t len, struct pgoutput_decoder *ret_decoder);

/**
 * capture_next() - the next message; *pos is 0 at first.
 * A length beyond the end, as the fuzzer makes them, is cut. Return: false at the end.
 */
bool capture_next(const uint8_t *data, size_t len, size_t *pos, const uint8_t **ret_message, size_t *ret_len);
