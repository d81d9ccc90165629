/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The two halves of the binary codec; see binary_format.h. */

#include <sluice/binary_format.h>
#include <sluice/codec.h>

/** binary_read() - see codec_ops.decode. */
int binary_read(struct codec *codec, const struct message *msg, struct batch *batch, struct record *rec,
	struct error *err);
/** binary_check_frame() - length, magic, version and checksum of a message's value. Return: 0; negative: DATA "BINARY-…". */
int binary_check_frame(const struct message *msg, uint8_t magic, uint8_t version, struct error *err);
