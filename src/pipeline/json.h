/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Members of a JSON object in one call each, over yajl_gen. Numbers are written as the text given, so that none passes
 * through a double that is not one; what is unknown becomes null.
 */

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <yajl/yajl_gen.h>

#include <sluice/clock.h>

static inline void json_text(yajl_gen g, const char *s)
{
	char ascii[512];
	size_t len = strlen(s);

	if (yajl_gen_string(g, (const unsigned char *)s, len) != yajl_gen_invalid_string)
		return;
	/* a name or message cut in the middle of a character */
	for (len = 0; s[len] && len < sizeof(ascii); len++)
		ascii[len] = (char)((unsigned char)s[len] < 0x80 ? s[len] : '?');
	yajl_gen_string(g, (const unsigned char *)ascii, len);
}

static inline void json_key(yajl_gen g, const char *key)
{
	yajl_gen_string(g, (const unsigned char *)key, strlen(key));
}

static inline void json_null(yajl_gen g, const char *key)
{
	json_key(g, key);
	yajl_gen_null(g);
}

/* NULL and "" are unknown */
static inline void json_string(yajl_gen g, const char *key, const char *s)
{
	json_key(g, key);
	if (s && *s)
		json_text(g, s);
	else
		yajl_gen_null(g);
}

static inline void json_bool(yajl_gen g, const char *key, bool value)
{
	json_key(g, key);
	yajl_gen_bool(g, value);
}

/* a number in its text form; "" is unknown */
static inline void json_number(yajl_gen g, const char *key, const char *text)
{
	json_key(g, key);
	if (*text)
		yajl_gen_number(g, text, strlen(text));
	else
		yajl_gen_null(g);
}

static inline void json_u64(yajl_gen g, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	json_number(g, key, text);
}

/* negative is unknown */
static inline void json_i64(yajl_gen g, const char *key, int64_t value)
{
	if (value < 0)
		json_null(g, key);
	else
		json_u64(g, key, (uint64_t)value);
}

/* NAN is unknown */
static inline void json_double(yajl_gen g, const char *key, double value, int decimals)
{
	char text[64];

	text[0] = 0;
	if (isfinite(value))
		snprintf(text, sizeof(text), "%.*f", decimals, value);
	json_number(g, key, text);
}

static inline void json_time(yajl_gen g, const char *key, struct wall t)
{
	char text[40];

	json_string(g, key, t.us ? wall_format(t, text, sizeof(text)) : "");
}

static inline void json_open(yajl_gen g, const char *key)
{
	json_key(g, key);
	yajl_gen_map_open(g);
}
