/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The settings of readiness and of the cutover. Those of fence, hooks and the way back are read and checked,
 * so that a complete config is accepted; this version does not use them.
 */

#include <sluice/config.h>
#include <sluice/option.h>

#define SECOND	  1000.0
#define MINUTE	  (60 * SECOND)
#define HOUR	  (60 * MINUTE)
#define AT(m)	  offsetof(struct config, cutover.m)
#define LATER	  " Checked, but not used by this version."
#define HOOK_ARGV "Program and arguments, started without a shell." LATER
#define HOOK_TIME "How long it may take." LATER

/* in the order of enum fence_method; "" = none given */
static const char *const methods[] = { "", "revoke", "read_only", "block_writes", "hook", NULL };

static const struct option options[] = {
	{ "cutover.max_lag", OPTION_DURATION, AT(max_lag_ms), "1s", 0, HOUR, NULL, 0,
		"A cutover may begin only while the target is at most this far behind." },
	{ "cutover.max_lag_bytes", OPTION_SIZE, AT(max_lag_bytes), "64MiB", 0, 1e15, NULL, 0,
		"The same in bytes of the source's WAL." },
	{ "cutover.hold", OPTION_DURATION, AT(hold_ms), "30s", 0, HOUR, NULL, 0,
		"How long both limits must have held." },
	{ "cutover.verify", OPTION_BOOL, AT(verify), "true", 0, 0, NULL, 0,
		"Whether a comparison of both sides is part of being ready." },
	{ "cutover.fence.method", OPTION_ENUM, AT(fence.method), NULL, 0, 0, methods, 0,
		"How writes to the source are ended at the cutover." LATER },
	{ "cutover.fence.roles", OPTION_LIST, AT(fence.roles), NULL, 0, 0, NULL, 0, "Whose writes." LATER },
	{ "cutover.fence.timeout", OPTION_DURATION, AT(fence.timeout_ms), "10s", SECOND, HOUR, NULL, 0,
		"How long the fence may take." LATER },
	{ "cutover.hooks.fence.argv", OPTION_LIST, AT(hook_fence.argv), NULL, 0, 0, NULL, 0, HOOK_ARGV },
	{ "cutover.hooks.fence.timeout", OPTION_DURATION, AT(hook_fence.timeout_ms), "10s", SECOND, HOUR,
		NULL, 0, HOOK_TIME },
	{ "cutover.hooks.unfence.argv", OPTION_LIST, AT(hook_unfence.argv), NULL, 0, 0, NULL, 0, HOOK_ARGV },
	{ "cutover.hooks.unfence.timeout", OPTION_DURATION, AT(hook_unfence.timeout_ms), "10s", SECOND, HOUR,
		NULL, 0, HOOK_TIME },
	{ "cutover.hooks.switch.argv", OPTION_LIST, AT(hook_switch.argv), NULL, 0, 0, NULL, 0, HOOK_ARGV },
	{ "cutover.hooks.switch.timeout", OPTION_DURATION, AT(hook_switch.timeout_ms), "10s", SECOND, HOUR,
		NULL, 0, HOOK_TIME },
	{ "cutover.reverse", OPTION_BOOL, AT(reverse), "true", 0, 0, NULL, 0,
		"Whether changes flow back to the source after the cutover, so that one can go back." LATER },
};

const struct option_table options_cutover = { "Cutover", options, sizeof(options) / sizeof(*options) };
