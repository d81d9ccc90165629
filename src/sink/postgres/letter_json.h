/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A record as JSON, whole, and back: the form in which a dead letter keeps it. Pure.
 *
 *   {"op": "update", "schema": "public", "table": "t", "identity": "d", "flags": 0,
 *    "columns": [{"name": "id", "type": 23, "modifier": -1, "key": true}, …],
 *    "before": {"id": "1"} | null, "after": {"id": "1", "v": null, "b": {"hex": "00ff"}} | null}
 *
 * A column that was not sent is left out; null is NULL; text is the type's text form; binary values, and
 * text that is not UTF-8, stand as hexadecimal digits ("hex": binary form, "bytes": text form).
 */

#include <sluice/batch.h>
#include <sluice/buf.h>
#include <sluice/error.h>

void letter_json_put(struct buf *out, const struct record *rec);
/** letter_json_read() - adds the record to the batch, with a relation of its own. Return: 0, negative (DATA). */
int letter_json_read(const char *json, struct batch *batch, struct error *err);
