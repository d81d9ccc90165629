/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** LLVMFuzzerTestOneInput() - decodes a capture (capture.h) of any bytes; aborts where an invariant is broken. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
