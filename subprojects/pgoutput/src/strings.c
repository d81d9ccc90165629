/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The names of the enums. The switches have no default, so that the compiler finds the member that is missing
 * here; what comes from outside and is none of them falls out at the bottom.
 */

#include <pgoutput.h>

const char *pgoutput_error_to_string(int error)
{
	switch ((enum pgoutput_error)error) {
	case PGOUTPUT_OK:
		return "ok";
	case PGOUTPUT_ERROR_TRUNCATED:
		return "message ends inside a field";
	case PGOUTPUT_ERROR_TRAILING:
		return "bytes behind the last field";
	case PGOUTPUT_ERROR_KIND:
		return "unknown message kind in this protocol version";
	case PGOUTPUT_ERROR_SEQUENCE:
		return "message not allowed at this point of the stream";
	case PGOUTPUT_ERROR_FLAGS:
		return "unknown flags";
	case PGOUTPUT_ERROR_COUNT:
		return "impossible number of items";
	case PGOUTPUT_ERROR_TUPLE_KIND:
		return "unknown tuple kind";
	case PGOUTPUT_ERROR_COLUMN_KIND:
		return "unknown column kind";
	case PGOUTPUT_ERROR_IDENTITY:
		return "unknown replica identity";
	case PGOUTPUT_ERROR_UNTERMINATED:
		return "string without end";
	case PGOUTPUT_ERROR_ZERO:
		return "LSN or transaction id is zero";
	case PGOUTPUT_ERROR_SIZE:
		return "message too long";
	case PGOUTPUT_ERROR_VERSION:
		return "unsupported protocol version or option";
	}
	return "unknown";
}

const char *pgoutput_kind_to_string(enum pgoutput_kind kind)
{
	switch (kind) {
	case PGOUTPUT_BEGIN:
		return "begin";
	case PGOUTPUT_COMMIT:
		return "commit";
	case PGOUTPUT_ORIGIN:
		return "origin";
	case PGOUTPUT_RELATION:
		return "relation";
	case PGOUTPUT_TYPE:
		return "type";
	case PGOUTPUT_INSERT:
		return "insert";
	case PGOUTPUT_UPDATE:
		return "update";
	case PGOUTPUT_DELETE:
		return "delete";
	case PGOUTPUT_TRUNCATE:
		return "truncate";
	case PGOUTPUT_MESSAGE:
		return "message";
	case PGOUTPUT_STREAM_START:
		return "stream-start";
	case PGOUTPUT_STREAM_STOP:
		return "stream-stop";
	case PGOUTPUT_STREAM_COMMIT:
		return "stream-commit";
	case PGOUTPUT_STREAM_ABORT:
		return "stream-abort";
	case PGOUTPUT_BEGIN_PREPARE:
		return "begin-prepare";
	case PGOUTPUT_PREPARE:
		return "prepare";
	case PGOUTPUT_COMMIT_PREPARED:
		return "commit-prepared";
	case PGOUTPUT_ROLLBACK_PREPARED:
		return "rollback-prepared";
	case PGOUTPUT_STREAM_PREPARE:
		return "stream-prepare";
	}
	return "unknown";
}

const char *pgoutput_column_kind_to_string(enum pgoutput_column_kind kind)
{
	switch (kind) {
	case PGOUTPUT_COLUMN_NULL:
		return "null";
	case PGOUTPUT_COLUMN_UNCHANGED:
		return "unchanged";
	case PGOUTPUT_COLUMN_TEXT:
		return "text";
	case PGOUTPUT_COLUMN_BINARY:
		return "binary";
	}
	return "unknown";
}

const char *pgoutput_tuple_kind_to_string(enum pgoutput_tuple_kind kind)
{
	switch (kind) {
	case PGOUTPUT_TUPLE_NONE:
		return "none";
	case PGOUTPUT_TUPLE_KEY:
		return "key";
	case PGOUTPUT_TUPLE_OLD:
		return "old";
	case PGOUTPUT_TUPLE_NEW:
		return "new";
	}
	return "unknown";
}

const char *pgoutput_identity_to_string(enum pgoutput_identity identity)
{
	switch (identity) {
	case PGOUTPUT_IDENTITY_DEFAULT:
		return "default";
	case PGOUTPUT_IDENTITY_NOTHING:
		return "nothing";
	case PGOUTPUT_IDENTITY_FULL:
		return "full";
	case PGOUTPUT_IDENTITY_INDEX:
		return "index";
	}
	return "unknown";
}
