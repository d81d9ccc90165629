/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What of a group is applied, and its net effect.
 */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/arena.h>
#include <sluice/error.h>
#include <sluice/sink.h>

struct apply;

struct group_scan {  /* what a group holds */
	bool idle;   /* nothing to write but progress */
	bool aborts; /* a transaction that its ABORT takes back */
	bool chunks; /* a copy's marks, or rows between them */
};

/* which records of a group are not applied; one byte each */
struct group_cut {
	uint8_t *dropped; /* NULL = none are */
	uint32_t n;
};

/** group_scan() - counts, where progress goes, what kind of group it is: apply->result, next, scan. */
int group_scan(struct apply *apply, const struct apply_group *group, struct error *err);
/** group_cut_new() - nothing is dropped yet; in the arena. */
struct group_cut group_cut_new(struct arena *arena, const struct apply_group *group);
/** group_cut_aborts() - pure: drops each transaction that its ABORT takes back. Return: true when the first of them began
 * before the group. */
bool group_cut_aborts(struct group_cut *cut, const struct apply_group *group);
/** group_without() - pure: the group without what is dropped; spans in the arena. */
struct apply_group group_without(
	struct arena *arena, const struct apply_group *group, const struct group_cut *cut);

/** reduced_group() - queues the group's net effect. Return: 0, APPLY_AGAIN, negative. */
int reduced_group(struct apply *apply, const struct apply_group *group, struct error *err);
