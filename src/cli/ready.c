/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * sluice ready: the answer that a person or a Job waits for before a cutover. Waiting ends early when a reason is among
 * those that only a person can cure.
 */

#include <stdio.h>

#include "cli.h"
#include "service.h"

int ready_command(struct cli *cli, int argc, char **argv)
{
	struct service_options opt = {
		.url = cli_value(cli, "url"),
		.token_file = cli_value(cli, "token-file"),
		.json = cli_has(cli, "json"),
		.out = stdout,
	};
	struct error err = ERROR_INIT;
	int rc = cli_duration(cli, "wait", 0, &opt.wait_ms);

	if (rc == 0 && !service_url_given(&opt)) {
		rc = cli_config(cli);
		opt.cfg = cli->cfg;
	}
	if (rc != 0)
		return rc;
	rc = service_ready(&opt, &err);
	return err.class == ERROR_NONE ? rc : cli_error(&err);
}
