/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Lists among the settings; their strings are never NULL.
 */

#include <stdint.h>

struct string_list {
	char **items;
	uint32_t n;
};

/* NAME: VALUE pairs; values may be secrets and are never printed */
struct property_list {
	char **names, **values;
	uint32_t n;
};
