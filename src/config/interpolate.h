/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * ${NAME}, ${NAME:-default}, ${file:/path} and $${ in a value of the file.
 */

#include <stddef.h>

#include <sluice/buf.h>

/**
 * interpolate() - replaces every reference; what comes in is not looked at again: a password may hold "${".
 * @ret: cleared; holds secrets perhaps: the caller wipes it.
 * @why: filled on failure; names variables and paths, never their content; at least 256 bytes.
 * Thread: main (reads the environment). Blocks: to read files. Return: 0; -1.
 */
int interpolate(const char *text, struct buf *ret, char *why, size_t size);
