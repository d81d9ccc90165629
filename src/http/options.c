/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The settings of the HTTP server.
 */

#include <sluice/config.h>
#include <sluice/option.h>

static const struct option options[] = {
	{ "http.listen", OPTION_STRING, offsetof(struct config, http.listen), "127.0.0.1:8620", 0, 0, NULL, 0,
		"Where the service answers: `ADDRESS:PORT`, an IPv6 address in brackets; port 0 takes any free one." },
	{ "http.token", OPTION_STRING, offsetof(struct config, http.token), NULL, 0, 0, NULL, OPTION_SECRET,
		"Bearer token for the requests that change something. This version has none of these; the token is kept "
		"for them." },
};

const struct option_table options_http = { "HTTP", options, sizeof(options) / sizeof(*options) };
