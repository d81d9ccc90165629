/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * A dead letter as JSON, the same wherever it is shown: by the commands and in the log's topic. What is empty is null;
 * the record stands as the target keeps it.
 */

#include <string.h>

#include <sluice/dead_letter.h>

static void put_text(struct buf *out, const char *key, const char *value)
{
	buf_printf(out, ",\"%s\":", key);
	if (value && *value)
		buf_json_string(out, value, strlen(value));
	else
		buf_puts(out, "null");
}

void dead_letter_json(const struct dead_letter *letter, struct buf *out)
{
	buf_printf(out, "{\"id\":%lld", (long long)letter->id);
	put_text(out, "at", letter->at);
	put_text(out, "table", letter->table);
	put_text(out, "op", letter->op);
	put_text(out, "position", letter->position);
	put_text(out, "error_class", letter->error_class);
	put_text(out, "error_code", letter->error_code);
	put_text(out, "message", letter->message);
	buf_printf(out, ",\"attempts\":%lld", (long long)letter->attempts);
	put_text(out, "state", letter->state);
	put_text(out, "reason", letter->reason);
	if (letter->record)
		buf_printf(out, ",\"record\":%s", letter->record);
	buf_puts(out, "}");
}
