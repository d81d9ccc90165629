/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a thread can do while it waits for somebody else. Who waits calls it between two looks at what he waits for, and nowhere
 * else.
 */

#include <stdbool.h>

struct meanwhile {
	/* a fraction of a millisecond. Thread: the one that waits. Return: false = there is nothing to do at the moment */
	bool (*work)(void *arg); /* NULL: nothing, ever */
	void *arg;
};
