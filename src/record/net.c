/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The reduction. One open-addressing table over (relation, key bytes) finds the slot of a key; a slot holds what is known
 * of it so far:
 *
 *            insert          update          delete
 *   (none)   INSERTED        UPDATED         DELETED
 *   INSERTED boundary        INSERTED+merge  GONE
 *   UPDATED  boundary        UPDATED+merge   DELETED
 *   DELETED  REPLACED        boundary        boundary
 *   REPLACED boundary        REPLACED+merge  DELETED
 *   GONE     INSERTED        boundary        boundary
 *
 * REPLACED is a delete and an insert, not an update: the target may have columns that the source does not know, and
 * these must not survive. A merge that has to fill absent columns copies the values into the reducer's arena: the
 * records stay as they are, since a failed run is replayed from them. No memory is taken per row in steady state.
 */

#include <stdlib.h>

#include <sluice/net.h>

#define SORT_SETS 32

enum slot_state { SLOT_INSERTED, SLOT_UPDATED, SLOT_DELETED, SLOT_REPLACED, SLOT_GONE };

struct slot {
	uint64_t hash;
	struct table *table;
	struct value *key, *row;
	const struct record *rec;
	enum slot_state state;
	bool partial; /* the row has absent columns */
};

struct table {
	struct net_table out;
	uint32_t n_slots; /* upper bound of its rows */
	uint32_t *key_columns;
};

struct net {
	struct arena arena; /* of the run */
	struct slot *slots; /* in the order of first appearance */
	uint32_t n_slots, cap_slots;
	uint32_t *index; /* slot + 1, 0 = free; a power of two, at most half full */
	uint32_t cap_index;
	struct table **tables;
	uint32_t n_tables, cap_tables;
	struct table *last;
};

struct net *net_new(void)
{
	struct net *net = calloc(1, sizeof(*net));

	if (!net)
		abort();
	return net;
}

struct net *net_free(struct net *net)
{
	if (!net)
		return NULL;
	arena_reset(&net->arena);
	free(net->slots);
	free(net->index);
	free(net->tables);
	free(net);
	return NULL;
}

struct net_at net_at_begin(const struct apply_group *group)
{
	return (struct net_at){ 0, group->n_spans ? group->spans[0].from : 0 };
}

struct record *net_at_record(const struct apply_group *group, struct net_at *at)
{
	while (at->span < group->n_spans) {
		const struct span *span = &group->spans[at->span];

		if (at->record < span->to)
			return &span->batch->records[at->record];
		at->span++;
		if (at->span < group->n_spans)
			at->record = group->spans[at->span].from;
	}
	return NULL;
}

static void *grow(void *items, uint32_t *cap, size_t size)
{
	*cap = *cap ? *cap * 2 : 256;
	items = realloc(items, *cap * size);
	if (!items)
		abort();
	return items;
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
	return hash ^ (hash >> 29);
}

static uint64_t hash_value(uint64_t hash, const struct value *value)
{
	const uint8_t *p = value->data;
	uint32_t left = value->state == VALUE_PRESENT ? value->len : 0;
	uint64_t word;

	hash = mix(hash, (uint64_t)value->state << 32 | value->len);
	for (; left >= 8; left -= 8, p += 8) {
		memcpy(&word, p, 8);
		hash = mix(hash, word);
	}
	if (left) {
		word = 0;
		memcpy(&word, p, left);
		hash = mix(hash, word);
	}
	return hash;
}

static bool same_key(const struct value *a, const struct value *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (a[i].state != b[i].state || a[i].len != b[i].len ||
			(a[i].len && memcmp(a[i].data, b[i].data, a[i].len) != 0))
			return false;
	}
	return true;
}

static bool has_key(const struct relation *rel)
{
	return rel->n_keys && rel->identity != IDENTITY_FULL && rel->identity != IDENTITY_NOTHING;
}

static struct table *table_of(struct net *net, struct relation *rel)
{
	struct table *table;
	uint32_t n = 0;

	if (net->last && net->last->out.rel == rel)
		return net->last;
	for (uint32_t i = net->n_tables; i > 0; i--) {
		if (net->tables[i - 1]->out.rel == rel)
			return net->last = net->tables[i - 1];
	}
	table = arena_alloc(&net->arena, sizeof(*table));
	*table = (struct table){ .out = { .rel = rel } };
	table->key_columns = arena_alloc(&net->arena, (rel->n_keys + 1u) * sizeof(uint32_t));
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		if (rel->columns[i].key)
			table->key_columns[n++] = i;
	}
	if (net->n_tables == net->cap_tables)
		net->tables = grow(net->tables, &net->cap_tables, sizeof(*net->tables));
	if (net->n_tables)
		net->tables[net->n_tables - 1]->out.next = &table->out;
	net->tables[net->n_tables++] = table;
	return net->last = table;
}

static void index_put(struct net *net, uint64_t hash, uint32_t slot)
{
	uint32_t mask = net->cap_index - 1, i = (uint32_t)hash & mask;

	while (net->index[i])
		i = (i + 1) & mask;
	net->index[i] = slot + 1;
}

static void index_grow(struct net *net)
{
	free(net->index);
	net->cap_index = net->cap_index ? net->cap_index * 2 : 1024;
	net->index = calloc(net->cap_index, sizeof(*net->index));
	if (!net->index)
		abort();
	for (uint32_t i = 0; i < net->n_slots; i++) {
		if (net->slots[i].key)
			index_put(net, net->slots[i].hash, i);
	}
}

static struct slot *slot_find(
	struct net *net, const struct table *table, uint64_t hash, const struct value *key)
{
	uint32_t mask = net->cap_index - 1;

	if (!net->cap_index)
		return NULL;
	for (uint32_t i = (uint32_t)hash & mask; net->index[i]; i = (i + 1) & mask) {
		struct slot *slot = &net->slots[net->index[i] - 1];

		if (slot->hash == hash && slot->table == table &&
			same_key(slot->key, key, table->out.rel->n_keys))
			return slot;
	}
	return NULL;
}

static struct slot *slot_add(struct net *net, struct table *table, uint64_t hash, struct value *key)
{
	if (net->n_slots == net->cap_slots)
		net->slots = grow(net->slots, &net->cap_slots, sizeof(*net->slots));
	if (key && (net->n_slots + 1) * 2 > net->cap_index)
		index_grow(net);
	net->slots[net->n_slots] = (struct slot){ .hash = hash, .table = table, .key = key };
	if (key)
		index_put(net, hash, net->n_slots);
	table->n_slots++;
	return &net->slots[net->n_slots++];
}

/* later's columns, the absent ones from the row that is known */
static void merge(struct net *net, struct slot *slot, const struct record *rec)
{
	uint32_t n = rec->rel->n_columns;
	struct value *row = rec->after;

	slot->rec = rec;
	if (rec->flags & RECORD_TOAST) {
		row = arena_dup(&net->arena, rec->after, n * sizeof(*row));
		slot->partial = false;
		for (uint32_t i = 0; i < n; i++) {
			if (row[i].state == VALUE_ABSENT)
				row[i] = slot->row[i];
			slot->partial = slot->partial || row[i].state == VALUE_ABSENT;
		}
	} else {
		slot->partial = false;
	}
	slot->row = row;
}

static void slot_begin(struct slot *slot, const struct record *rec)
{
	slot->rec = rec;
	slot->row = rec->op == RECORD_DELETE ? NULL : rec->after;
	slot->partial = rec->flags & RECORD_TOAST;
	slot->state = rec->op == RECORD_INSERT	 ? SLOT_INSERTED
		      : rec->op == RECORD_UPDATE ? SLOT_UPDATED
						 : SLOT_DELETED;
}

static bool slot_insert(struct slot *slot, const struct record *rec)
{
	switch (slot->state) {
	case SLOT_DELETED:
		slot_begin(slot, rec);
		slot->state = SLOT_REPLACED;
		return true;
	case SLOT_GONE:
		slot_begin(slot, rec);
		return true;
	case SLOT_INSERTED:
	case SLOT_UPDATED:
	case SLOT_REPLACED:
		return false;
	}
	return false;
}

static bool slot_delete(struct slot *slot, const struct record *rec)
{
	switch (slot->state) {
	case SLOT_INSERTED:
		slot->state = SLOT_GONE;
		break;
	case SLOT_UPDATED:
	case SLOT_REPLACED:
		slot->state = SLOT_DELETED;
		break;
	case SLOT_DELETED:
	case SLOT_GONE:
		return false;
	}
	slot->rec = rec;
	slot->row = NULL;
	return true;
}

/* the next event of a key that is known; false = it cannot follow */
static bool slot_next(struct net *net, struct slot *slot, const struct record *rec)
{
	if (rec->op == RECORD_INSERT)
		return slot_insert(slot, rec);
	if (rec->op == RECORD_DELETE)
		return slot_delete(slot, rec);
	if (slot->state == SLOT_DELETED || slot->state == SLOT_GONE)
		return false;
	merge(net, slot, rec);
	return true;
}

/* takes one row record; false = it ends the run */
static bool take(struct net *net, const struct record *rec)
{
	struct table *table = table_of(net, rec->rel);
	const struct value *from = rec->before ? rec->before : rec->after;
	uint32_t n = rec->rel->n_keys;
	struct value key[32], *stored;
	struct slot *slot;
	uint64_t hash;

	if (!has_key(rec->rel) || n > 32) {
		if (rec->op != RECORD_INSERT)
			return false;
		slot_begin(slot_add(net, table, 0, NULL), rec);
		return true;
	}
	if (rec->flags & RECORD_KEY_CHANGED)
		return false;
	hash = (uint64_t)(uintptr_t)table;
	for (uint32_t i = 0; i < n; i++) {
		key[i] = from[table->key_columns[i]];
		if (key[i].state != VALUE_PRESENT)
			return false;
		hash = hash_value(hash, &key[i]);
	}
	slot = slot_find(net, table, hash, key);
	if (slot)
		return slot_next(net, slot, rec);
	stored = arena_dup(&net->arena, key, n * sizeof(*key));
	slot_begin(slot_add(net, table, hash, stored), rec);
	return true;
}

static uint64_t present_set(const struct slot *slot)
{
	uint64_t hash = 1;

	if (!slot->partial)
		return 0;
	for (uint32_t i = 0; i < slot->table->out.rel->n_columns; i++)
		hash = mix(hash, slot->row[i].state != VALUE_ABSENT);
	return hash ? hash : 1;
}

static void put_row(struct slot *slot, enum net_op op)
{
	struct net_table *out = &slot->table->out;

	out->rows[op][out->n_rows[op]++] = (struct net_row){
		.key = slot->key,
		.row = op == NET_DELETE ? NULL : slot->row,
		.present = op == NET_DELETE ? 0 : present_set(slot),
		.rec = slot->rec,
	};
}

/* brings updates of equal column sets together, sets in first-come order; rows of any set beyond the first SORT_SETS stay
 * in their order behind those: each is then a statement of its own, which is slower and as right */
static void sort_updates(struct net *net, struct net_table *out)
{
	struct net_row *rows = out->rows[NET_UPDATE], *sorted;
	uint32_t n = out->n_rows[NET_UPDATE], done = 0, n_sets = 0;
	uint64_t sets[SORT_SETS];

	for (uint32_t i = 0; i < n && n_sets < SORT_SETS; i++) {
		uint32_t k = 0;

		while (k < n_sets && sets[k] != rows[i].present)
			k++;
		if (k == n_sets)
			sets[n_sets++] = rows[i].present;
	}
	if (n_sets < 2)
		return;
	sorted = arena_alloc(&net->arena, n * sizeof(*sorted));
	for (uint32_t k = 0; k < n_sets; k++) {
		for (uint32_t i = 0; i < n; i++) {
			if (rows[i].present == sets[k])
				sorted[done++] = rows[i];
		}
	}
	for (uint32_t i = 0; i < n && done < n; i++) {
		uint32_t k = 0;

		while (k < n_sets && sets[k] != rows[i].present)
			k++;
		if (k == n_sets)
			sorted[done++] = rows[i];
	}
	out->rows[NET_UPDATE] = sorted;
}

/* slots into the tables' rows */
static void emit(struct net *net)
{
	for (uint32_t i = 0; i < net->n_tables; i++) {
		for (int op = 0; op < NET_OPS; op++)
			net->tables[i]->out.rows[op] =
				arena_alloc(&net->arena, net->tables[i]->n_slots * sizeof(struct net_row));
	}
	for (uint32_t i = 0; i < net->n_slots; i++) {
		struct slot *slot = &net->slots[i];

		switch (slot->state) {
		case SLOT_INSERTED:
			put_row(slot, NET_INSERT);
			break;
		case SLOT_UPDATED:
			put_row(slot, NET_UPDATE);
			break;
		case SLOT_DELETED:
			put_row(slot, NET_DELETE);
			break;
		case SLOT_REPLACED:
			put_row(slot, NET_DELETE);
			put_row(slot, NET_INSERT);
			break;
		case SLOT_GONE:
			break;
		}
	}
	for (uint32_t i = 0; i < net->n_tables; i++)
		sort_updates(net, &net->tables[i]->out);
}

static void reset(struct net *net)
{
	arena_reset(&net->arena);
	net->n_slots = net->n_tables = 0;
	net->last = NULL;
	if (net->cap_index)
		memset(net->index, 0, net->cap_index * sizeof(*net->index));
}

int net_build(
	struct net *net, const struct apply_group *group, struct net_at *at, struct net_table **ret_tables)
{
	struct record *rec;
	int r = 0;

	reset(net);
	while ((rec = net_at_record(group, at))) {
		bool row = rec->op == RECORD_INSERT || rec->op == RECORD_UPDATE || rec->op == RECORD_DELETE ||
			   rec->op == RECORD_READ;

		if (rec->op == RECORD_TRUNCATE || (row && !take(net, rec))) {
			r = NET_BOUNDARY;
			break;
		}
		at->record++;
	}
	emit(net);
	*ret_tables = net->n_tables ? &net->tables[0]->out : NULL;
	return r;
}
