/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/* The chain of transforms; see transform.h. */

#include <sluice/transform.h>

int transform_chain_apply(struct transform *chain, struct batch *batch, struct error *err)
{
	for (struct transform *tf = chain; tf; tf = tf->next) {
		int r = tf->ops->apply(tf, batch, err);

		if (r < 0)
			return r;
	}
	return 0;
}

struct transform *transform_chain_free(struct transform *chain)
{
	while (chain) {
		struct transform *next = chain->next;

		chain->ops->free(chain);
		chain = next;
	}
	return NULL;
}
