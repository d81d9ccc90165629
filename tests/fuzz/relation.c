/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Relations for the fuzzers: one per type that a codec treats in a way of its own. */

#include "fuzz.h"

static const struct {
	uint32_t oid;
	int32_t modifier;
	uint32_t array_oid;
} types[] = {
	{ 16, -1, 1000 },		    /* bool */
	{ 17, -1, 1001 },		    /* bytea */
	{ 20, -1, 1016 },		    /* int8 */
	{ 23, -1, 1007 },		    /* int4 */
	{ 25, -1, 1009 },		    /* text */
	{ 600, -1, 1017 },		    /* point */
	{ 701, -1, 1022 },		    /* float8 */
	{ 790, -1, 791 },		    /* money */
	{ 1082, -1, 1182 },		    /* date */
	{ 1083, 3, 1183 },		    /* time */
	{ 1114, -1, 1115 },		    /* timestamp */
	{ 1184, -1, 1185 },		    /* timestamptz */
	{ 1186, -1, 1187 },		    /* interval */
	{ 1266, -1, 1270 },		    /* timetz */
	{ 1560, 7, 1561 },		    /* bit */
	{ 1700, -1, 1231 },		    /* numeric */
	{ 1700, (10 << 16 | 2) + 4, 1231 }, /* numeric(10,2) */
	{ 2950, -1, 2951 },		    /* uuid */
	{ 3802, -1, 3807 },		    /* jsonb */
};

struct relation *fuzz_relation(unsigned i)
{
	const unsigned t = i % (sizeof(types) / sizeof(*types));
	const struct column columns[] = { { "id", 20, -1, true },
		{ "a", types[t].oid, types[t].modifier, false }, { "l", types[t].array_oid, -1, false } };

	return relation_new(&(struct relation_spec){ 16385, "public", "t", IDENTITY_DEFAULT, 3, columns });
}
