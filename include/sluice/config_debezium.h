/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The settings of a log that another program wrote.
 */

#include <stdbool.h>
#include <stdint.h>

struct config;

enum kafka_events { EVENTS_SLUICE, EVENTS_DEBEZIUM };
enum debezium_interval { DEBEZIUM_INTERVAL_NUMERIC, DEBEZIUM_INTERVAL_STRING };
enum debezium_truncate { DEBEZIUM_TRUNCATE_APPLY, DEBEZIUM_TRUNCATE_IGNORE };
enum debezium_start { DEBEZIUM_START_WHOLE, DEBEZIUM_START_OLDEST };

/* what Debezium's messages do not say; time, decimal and binary are enums of debezium.h */
struct config_debezium {
	unsigned time, decimal, binary;
	enum debezium_interval interval;
	uint32_t money_digits;
	char *unavailable;
	enum debezium_truncate truncate;
	enum debezium_start start;
};

/** config_reads_foreign() - another program wrote the log: there is an applier alone, and no source of ours. Pure. */
bool config_reads_foreign(const struct config *cfg);
