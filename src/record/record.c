/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Names of the record's enums. */

#include <sluice/record.h>

const char *record_op_to_string(enum record_op op)
{
	switch (op) {
	case RECORD_BEGIN:
		return "begin";
	case RECORD_INSERT:
		return "insert";
	case RECORD_UPDATE:
		return "update";
	case RECORD_DELETE:
		return "delete";
	case RECORD_TRUNCATE:
		return "truncate";
	case RECORD_READ:
		return "read";
	case RECORD_SCHEMA:
		return "schema";
	case RECORD_MESSAGE:
		return "message";
	case RECORD_END:
		return "end";
	case RECORD_ABORT:
		return "abort";
	case RECORD_HEARTBEAT:
		return "heartbeat";
	case RECORD_FENCE:
		return "fence";
	case RECORD_CHUNK:
		return "chunk";
	}
	return "unknown";
}

const char *value_state_to_string(enum value_state state)
{
	switch (state) {
	case VALUE_ABSENT:
		return "absent";
	case VALUE_NULL:
		return "null";
	case VALUE_PRESENT:
		return "present";
	}
	return "unknown";
}
