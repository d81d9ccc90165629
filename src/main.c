/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The process before anything else. A message on its way to Kafka is a dozen small blocks of librdkafka's, freed when its
 * ack comes, tens of thousands at a time and the next ones between them. The allocator keeps such blocks apart by size
 * ("fast bins") and sorts all of them back whenever a large piece becomes free, which is with nearly every message: half of
 * a reader's CPU went there. Without those bins they are joined as they come.
 */

#include <malloc.h>

#include "cli/cli.h"

int main(int argc, char **argv)
{
	mallopt(M_MXFAST, 0);
	return cli_main(argc, argv);
}
