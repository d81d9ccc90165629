/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Lower-case hex digits by table: every message carries some hundred and fifty of them. Thread: any. Blocks: never. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** hex_put() - 2 * len digits to out, no NUL; returns the place behind them. */
char *hex_put(char *out, const void *data, size_t len);
/** hex_put_u64() - always 16 digits; returns the place behind them. */
char *hex_put_u64(char *out, uint64_t v);
/** hex_put_short() - without leading zeros, at least one digit. */
char *hex_put_short(char *out, uint64_t v);
/** hex_get() - digits / 2 bytes to out, which may hold some of them after a failure; false = an odd number of digits, or
 * one that is not 0-9, a-f. */
bool hex_get(uint8_t *out, const char *s, size_t digits);
/** hex_get_u64() - exactly 16 digits. */
bool hex_get_u64(uint64_t *ret, const char *s, size_t digits);
