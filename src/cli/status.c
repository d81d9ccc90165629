/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * sluice status: where the migration stands. With a URL only the service there is asked and no config is read, so that
 * the command works from anywhere; without one the config says where the service answers, and which databases to
 * read when it does not.
 */

#include <stdio.h>

#include "cli.h"
#include "service.h"

int status_command(struct cli *cli, int argc, char **argv)
{
	struct service_options opt = {
		.url = cli_value(cli, "url"),
		.token_file = cli_value(cli, "token-file"),
		.json = cli_has(cli, "json"),
		.watch = cli_has(cli, "watch"),
		.out = stdout,
	};
	struct error err = ERROR_INIT;
	int rc;

	if (!service_url_given(&opt)) {
		rc = cli_config(cli);
		if (rc != 0)
			return rc;
		opt.cfg = cli->cfg;
	}
	rc = service_status(&opt, &err);
	return err.class == ERROR_NONE ? rc : cli_error(&err);
}
