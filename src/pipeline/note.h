/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What one half tells the other, as text: "sluice1 at=… head=… passed=…". Members that a reader does not know are skipped, those that
 * are missing are unknown. Pure; texts come from outside.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/status.h>

struct note {
	struct wall at;	    /* the source's clock when this was so */
	uint64_t head;	    /* the reader's: the source's end, as position.major; 0 = unknown */
	uint64_t passed;    /* everything before is in the log; the applier's: is applied */
	uint64_t durable;   /* the applier's: is durable at the target */
	int64_t lag_us;	    /* age of the oldest that has not passed; < 0 = unknown */
	int64_t prepared;   /* the reader's: prepared transactions at the source; < 0 = unknown */
	int64_t new_tables; /* the reader's; < 0 = unknown */
	enum phase phase;   /* the applier's */
};

/** note_write() - Return: false when it does not fit. */
bool note_write(const struct note *note, char *text, size_t size);
/** note_read() - Return: false when it is no note, or of a form that this version cannot read. */
bool note_read(const char *text, struct note *ret);
