/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * sluice config-reference: the manual of all settings.
 */

#include <sluice/cleanup.h>
#include <sluice/config_load.h>

#include "cli.h"

int config_reference_command(struct cli *cli, int argc, char **argv)
{
	_cleanup_(buf_freep) struct buf text = BUF_INIT;

	config_reference(&text);
	fputs(buf_str(&text), stdout);
	return EXIT_OK;
}
