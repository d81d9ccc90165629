/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Every local owner carries _cleanup_(x_freep); success steals by `x = NULL; (a comment says by whom)`.
 */

#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))

static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* defines `static inline void NAMEp(TYPE **p)` for a destructor NAME(TYPE *) that accepts NULL */
#define CLEANUP_DEFINE(type, fn)                                                                             \
	static inline void fn##p(type **p)                                                                   \
	{                                                                                                    \
		if (*p)                                                                                      \
			fn(*p);                                                                              \
	}
