/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * librdkafka's own settings, as operators may pass them through: which of them would break a promise, which are secrets.
 */

#include <stdbool.h>
#include <stddef.h>

/* of message.max.bytes: how far a reader looks back at its start rests on it, and how much memory it takes */
#define KAFKA_MESSAGE_BYTES_MAX (64 * 1024 * 1024)

/**
 * kafka_property_check() - whether a property may be passed through.
 * @why: filled with the reason when it may not; never holds the value.
 * Thread: any. Blocks: never. Return: true = it may.
 */
bool kafka_property_check(const char *name, const char *value, char *why, size_t size);

/** kafka_property_is_secret() - its value is never shown, and not taken from a command line. */
bool kafka_property_is_secret(const char *name);
