/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A place in a log of partitions (Kafka): where an applier stands, and under whose reign what it read was written.
 * A reign is a reader's rule over the partitions it writes; a higher number ends the lower, the random id
 * tells apart two that took the same number.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOPIC_MAX 250 /* with the NUL; Kafka's own limit is 249 */

struct reign {
	uint64_t number; /* from 1 on; 0 = none yet */
	uint64_t id;	 /* random */
};

#define REIGN_NONE ((struct reign){ 0, 0 })
#define REIGN_TEXT 40

static inline bool reign_equal(struct reign a, struct reign b)
{
	return a.number == b.number && a.id == b.id;
}

/** reign_format() - "12-00a1b2c3d4e5f607", as in headers and in the target's progress; "" for none. Returns buf. */
char *reign_format(struct reign reign, char buf[REIGN_TEXT]);
/** reign_parse() - the same back; len bytes, no NUL needed; false = not one. */
bool reign_parse(struct reign *ret, const char *s, size_t len);

/* one partition; immutable, owned by the transport, valid until the transport is freed */
struct partition {
	const char *topic;
	int32_t id;
};
