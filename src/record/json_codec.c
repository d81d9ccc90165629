/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* The JSON codec: a writer and a reader that know nothing of each other but the format (json.h). */

#include <stdlib.h>

#include "json.h"

static void json_free(struct codec *codec)
{
	struct json_codec *json = (struct json_codec *)(void *)codec;

	json_writer_free(json->writer);
	json_read_free(json->reader);
	free(json);
}

static const struct codec_ops json_ops = {
	.encode = json_write,
	.decode = json_read,
	.free = json_free,
};

struct codec *codec_json_new(const struct codec_json_options *opt)
{
	struct json_codec *json = calloc(1, sizeof(*json));

	if (!json)
		abort();
	json->base.ops = &json_ops;
	json->writer = json_writer_new(opt);
	return &json->base;
}
