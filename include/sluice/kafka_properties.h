/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * librdkafka's own settings, as operators may pass them through: which of them would break a promise, which are secrets.
 */

#include <stdbool.h>
#include <stddef.h>

/**
 * kafka_property_check() - whether a property may be passed through.
 * @why: filled with the reason when it may not; never holds the value.
 * Thread: any. Blocks: never. Return: true = it may.
 */
bool kafka_property_check(const char *name, const char *value, char *why, size_t size);

/** kafka_property_is_secret() - its value is never shown, and not taken from a command line. */
bool kafka_property_is_secret(const char *name);
