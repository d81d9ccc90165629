/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Numbers with units as people write them. Pure. The parsers of durations and sizes are public:
 * config_load.h.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/config_load.h>

/** units_parse_uint() - digits only; false when it is none or too large. */
bool units_parse_uint(const char *s, uint64_t *ret);
/** units_parse_double() - a decimal number without exponent or sign. */
bool units_parse_double(const char *s, double *ret);
/** units_format_duration(), units_format_size() - exact, in the largest unit that fits; buf: 32 bytes. */
char *units_format_duration(double ms, char *buf, size_t size);
char *units_format_size(double bytes, char *buf, size_t size);
