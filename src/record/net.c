/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The reduction. One open-addressing table over (relation, key bytes) finds the slot of a key; a slot holds
 * what is known of it so far:
 *
 *            insert          update          delete
 *   (none)   INSERTED        UPDATED         DELETED
 *   INSERTED boundary        INSERTED+merge  GONE
 *   UPDATED  boundary        UPDATED+merge   DELETED
 *   DELETED  REPLACED        boundary        boundary
 *   REPLACED boundary        REPLACED+merge  DELETED
 *   GONE     INSERTED        boundary        boundary
 *
 * Invariants:
 *   1. REPLACED is a delete and an insert, not an update: the target may have columns that the source does
 *      not know, and these must not survive.
 *   2. A merge that has to fill absent columns copies the values into the reducer's arena: the records stay
 *      as they are, since a failed run is replayed from them.
 *   3. One description per table and run: where a relation is replaced, the run ends, so a key has one slot.
 *   4. Rows of a copy (READ) and other rows of their table are never in one run: the former have no slot by key.
 *   5. In steady state no memory is taken and nothing is cleared: vectors and blocks are kept, and entries of
 *      the hash tables carry the number of the run that wrote them.
 */

#include <stdlib.h>

#include <sluice/net.h>

#define KEEP_BYTES    ((size_t)16 * 1024 * 1024) /* blocks kept between runs */
#define MAX_KEYS      32u			 /* columns of a key; PostgreSQL's own limit */
#define EXACT_COLUMNS 63u			 /* a set of more columns is named by a hash */

enum slot_state { SLOT_INSERTED, SLOT_UPDATED, SLOT_DELETED, SLOT_REPLACED, SLOT_GONE };

struct slot {
	uint64_t hash;
	struct table *table;
	struct value *key, *row;
	const struct record *rec;
	uint8_t state; /* enum slot_state */
	bool partial;  /* the row has absent columns */
	bool owned;    /* the row's values are the reducer's, not a record's */
	bool indexed;  /* found by its key */
};

struct table {
	struct net_table out;
	uint64_t name_hash;
	bool partial; /* an update has absent columns */
	bool gather;  /* the key's columns do not stand side by side */
	bool rows;    /* has any */
	bool read;    /* has rows of a copy, which no slot is found by */
	uint32_t key_columns[];
};

/* an entry of a hash table; free unless run is the current one */
struct entry {
	uint32_t run, at;
};

struct net {
	struct block_pool *pool;
	struct arena arena; /* of the run */
	uint32_t run;
	struct slot *slots; /* in the order of first appearance */
	uint32_t n_slots, cap_slots;
	struct entry *index; /* of slots by key; a power of two, at most half full */
	uint32_t cap_index;
	struct table **tables; /* in the order of first appearance */
	uint32_t n_tables, cap_tables;
	struct entry *table_index; /* of tables by relation; as index */
	uint32_t cap_table_index;
	struct table *last;
	struct net_row *rows; /* what is handed out */
	uint32_t cap_rows;
};

struct net *net_new(void)
{
	struct net *net = calloc(1, sizeof(*net));

	if (!net)
		abort();
	net->pool = block_pool_new(KEEP_BYTES, -1);
	net->arena = ARENA_INIT(net->pool);
	return net;
}

struct net *net_free(struct net *net)
{
	if (!net)
		return NULL;
	arena_reset(&net->arena);
	block_pool_free(net->pool);
	free(net->slots);
	free(net->index);
	free(net->tables);
	free(net->table_index);
	free(net->rows);
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

static struct entry *entries_new(struct entry *old, uint32_t *cap)
{
	struct entry *entries;

	free(old);
	*cap = *cap ? *cap * 2 : 1024;
	entries = calloc(*cap, sizeof(*entries));
	if (!entries)
		abort();
	return entries;
}

static void entry_put(struct entry *entries, uint32_t cap, uint64_t hash, struct entry entry)
{
	uint32_t i = (uint32_t)hash & (cap - 1);

	while (entries[i].run == entry.run)
		i = (i + 1) & (cap - 1);
	entries[i] = entry;
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
	return hash ^ (hash >> 29);
}

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t word;

	hash = mix(hash, len);
	for (; len >= 8; len -= 8, p += 8) {
		memcpy(&word, p, 8);
		hash = mix(hash, word);
	}
	if (len) {
		word = 0;
		memcpy(&word, p, len);
		hash = mix(hash, word);
	}
	return hash;
}

static bool has_key(const struct relation *rel)
{
	return rel->n_keys && rel->n_keys <= MAX_KEYS && rel->identity != IDENTITY_FULL &&
	       rel->identity != IDENTITY_NOTHING;
}

static struct table *table_add(struct net *net, struct relation *rel, uint64_t hash, uint64_t name_hash)
{
	struct table *table = arena_alloc(&net->arena, sizeof(*table) + (rel->n_keys + 1) * sizeof(uint32_t));
	uint32_t n = 0;

	*table = (struct table){ .out = { .rel = rel }, .name_hash = name_hash };
	for (uint32_t i = 0; i < rel->n_columns; i++) {
		if (!rel->columns[i].key)
			continue;
		table->gather = table->gather || (n && table->key_columns[n - 1] + 1 != i);
		table->key_columns[n++] = i;
	}
	if (net->n_tables == net->cap_tables)
		net->tables = grow(net->tables, &net->cap_tables, sizeof(*net->tables));
	if (net->n_tables)
		net->tables[net->n_tables - 1]->out.next = &table->out;
	net->tables[net->n_tables++] = table;
	if (net->n_tables * 2 > net->cap_table_index) {
		net->table_index = entries_new(net->table_index, &net->cap_table_index);
		for (uint32_t i = 0; i + 1 < net->n_tables; i++)
			entry_put(net->table_index, net->cap_table_index,
				mix(0, (uintptr_t)net->tables[i]->out.rel), (struct entry){ net->run, i });
	}
	entry_put(
		net->table_index, net->cap_table_index, hash, (struct entry){ net->run, net->n_tables - 1 });
	return table;
}

/* NULL = this run knows the same table by another description */
static struct table *table_of(struct net *net, struct relation *rel)
{
	uint64_t hash = mix(0, (uintptr_t)rel), name_hash;
	uint32_t mask = net->cap_table_index - 1;

	if (net->last && net->last->out.rel == rel)
		return net->last;
	for (uint32_t i = (uint32_t)hash & mask; net->n_tables && net->table_index[i].run == net->run;
		i = (i + 1) & mask) {
		struct table *table = net->tables[net->table_index[i].at];

		if (table->out.rel == rel)
			return net->last = table;
	}
	name_hash = hash_bytes(hash_bytes(0, rel->schema, strlen(rel->schema)), rel->name, strlen(rel->name));
	for (uint32_t i = 0; i < net->n_tables; i++) {
		if (net->tables[i]->name_hash == name_hash)
			return NULL;
	}
	return net->last = table_add(net, rel, hash, name_hash);
}

static struct slot *slot_find(
	struct net *net, const struct table *table, uint64_t hash, const struct value *key)
{
	uint32_t mask = net->cap_index - 1, n = table->out.rel->n_keys, k;

	if (!net->cap_index)
		return NULL;
	for (uint32_t i = (uint32_t)hash & mask; net->index[i].run == net->run; i = (i + 1) & mask) {
		struct slot *slot = &net->slots[net->index[i].at];

		if (slot->hash != hash || slot->table != table)
			continue;
		for (k = 0; k < n && value_equal(&slot->key[k], &key[k]);)
			k++;
		if (k == n)
			return slot;
	}
	return NULL;
}

static struct slot *slot_add(struct net *net, struct table *table, uint64_t hash, struct value *key)
{
	if (net->n_slots == net->cap_slots)
		net->slots = grow(net->slots, &net->cap_slots, sizeof(*net->slots));
	if (key && (net->n_slots + 1) * 2 > net->cap_index) {
		net->index = entries_new(net->index, &net->cap_index);
		for (uint32_t i = 0; i < net->n_slots; i++) {
			if (net->slots[i].indexed)
				entry_put(net->index, net->cap_index, net->slots[i].hash,
					(struct entry){ net->run, i });
		}
	}
	net->slots[net->n_slots] = (struct slot){ .hash = hash, .table = table, .key = key, .indexed = key };
	if (key)
		entry_put(net->index, net->cap_index, hash, (struct entry){ net->run, net->n_slots });
	return &net->slots[net->n_slots++];
}

/* later's columns, the absent ones from the row that is known */
static void merge(struct net *net, struct slot *slot, const struct record *rec)
{
	uint32_t n = rec->rel->n_columns;
	const struct value *from = rec->after;
	struct value *row = slot->row;

	slot->rec = rec;
	if (!(rec->flags & RECORD_TOAST)) {
		slot->row = rec->after;
		slot->partial = slot->owned = false;
		return;
	}
	if (!slot->owned)
		slot->row = row = arena_dup(&net->arena, row, n * sizeof(*row));
	slot->owned = true;
	slot->partial = false;
	for (uint32_t i = 0; i < n; i++) {
		if (from[i].state != VALUE_ABSENT)
			row[i] = from[i];
		slot->partial = slot->partial || row[i].state == VALUE_ABSENT;
	}
}

static void slot_begin(struct slot *slot, const struct record *rec, enum record_op op)
{
	slot->rec = rec;
	slot->row = op == RECORD_DELETE ? NULL : rec->after;
	slot->owned = false;
	slot->partial = rec->flags & RECORD_TOAST;
	slot->state = op == RECORD_INSERT ? SLOT_INSERTED : op == RECORD_UPDATE ? SLOT_UPDATED : SLOT_DELETED;
}

static bool slot_insert(struct slot *slot, const struct record *rec)
{
	enum slot_state was = (enum slot_state)slot->state;

	if (was != SLOT_DELETED && was != SLOT_GONE)
		return false;
	slot_begin(slot, rec, RECORD_INSERT);
	if (was == SLOT_DELETED)
		slot->state = SLOT_REPLACED;
	return true;
}

static bool slot_update(struct net *net, struct slot *slot, const struct record *rec)
{
	if (slot->state == SLOT_DELETED || slot->state == SLOT_GONE)
		return false;
	merge(net, slot, rec);
	return true;
}

static bool slot_delete(struct slot *slot, const struct record *rec)
{
	if (slot->state == SLOT_DELETED || slot->state == SLOT_GONE)
		return false;
	slot->state = slot->state == SLOT_INSERTED ? SLOT_GONE : SLOT_DELETED;
	slot->rec = rec;
	slot->row = NULL;
	return true;
}

/* also what the source did not mark: a new key that is there and differs from the old one */
static bool key_changes(const struct table *table, const struct record *rec)
{
	if (rec->flags & RECORD_KEY_CHANGED)
		return true;
	if (!rec->before || !rec->after)
		return false;
	for (uint32_t i = 0; i < table->out.rel->n_keys; i++) {
		uint32_t column = table->key_columns[i];

		if (rec->after[column].state != VALUE_ABSENT &&
			!value_equal(&rec->before[column], &rec->after[column]))
			return true;
	}
	return false;
}

/* a copy's rows are all there are, each once: inserts that need not be found; false = rows of another kind came before */
static bool take_read(struct net *net, struct table *table, const struct record *rec)
{
	uint32_t n = rec->rel->n_keys;
	struct value *key = NULL;
	struct slot *slot;

	if (table->rows && !table->read)
		return false;
	table->rows = table->read = true;
	if (has_key(rec->rel) && !table->gather)
		key = rec->after + table->key_columns[0];
	if (has_key(rec->rel) && table->gather) {
		key = arena_alloc(&net->arena, n * sizeof(*key));
		for (uint32_t i = 0; i < n; i++)
			key[i] = rec->after[table->key_columns[i]];
	}
	slot = slot_add(net, table, 0, NULL);
	slot->key = key;
	slot_begin(slot, rec, RECORD_INSERT);
	return true;
}

/* takes one row record; false = it ends the run */
static bool take(struct net *net, const struct record *rec)
{
	struct table *table = table_of(net, rec->rel);
	struct value *from = rec->before ? rec->before : rec->after, gathered[MAX_KEYS], *key = gathered;
	enum record_op op = rec->op;
	uint32_t n = rec->rel->n_keys;
	struct slot *slot;
	uint64_t hash;

	if (!table || !from || (op != RECORD_DELETE && !rec->after))
		return false;
	if (op == RECORD_READ)
		return take_read(net, table, rec);
	if (table->read)
		return false;
	table->rows = true;
	if (!has_key(rec->rel)) {
		if (op != RECORD_INSERT)
			return false;
		slot_begin(slot_add(net, table, 0, NULL), rec, op);
		return true;
	}
	if (key_changes(table, rec))
		return false;
	if (!table->gather)
		key = from + table->key_columns[0];
	hash = (uint64_t)(uintptr_t)table;
	for (uint32_t i = 0; i < n; i++) {
		if (table->gather)
			key[i] = from[table->key_columns[i]];
		if (key[i].state != VALUE_PRESENT)
			return false;
		hash = hash_bytes(hash, key[i].data, key[i].len);
	}
	slot = slot_find(net, table, hash, key);
	if (slot)
		return op == RECORD_INSERT   ? slot_insert(slot, rec)
		       : op == RECORD_UPDATE ? slot_update(net, slot, rec)
					     : slot_delete(slot, rec);
	if (table->gather)
		key = arena_dup(&net->arena, key, n * sizeof(*key));
	slot_begin(slot_add(net, table, hash, key), rec, op);
	return true;
}

static uint64_t present_set(const struct slot *slot)
{
	uint32_t n = slot->table->out.rel->n_columns;
	uint64_t set = 0;

	if (!slot->partial)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		bool present = slot->row[i].state != VALUE_ABSENT;

		set = n <= EXACT_COLUMNS ? set | (uint64_t)present << i : mix(set, present);
	}
	return n <= EXACT_COLUMNS ? set | (uint64_t)1 << EXACT_COLUMNS : set ? set : 1;
}

/* brings rows of equal column sets together, sets and rows in first-come order; sorted has room for n rows */
static void sort_by_set(struct net *net, const struct net_row *rows, uint32_t n, struct net_row *sorted)
{
	uint32_t cap = 64, n_sets = 0, at = 0, *index,
		 *set_of = arena_alloc(&net->arena, n * sizeof(*set_of));
	struct set {
		uint64_t present;
		uint32_t n, at;
	} *sets = arena_alloc(&net->arena, n * sizeof(*sets));

	while (cap < n * 2)
		cap *= 2;
	index = arena_alloc(&net->arena, cap * sizeof(*index));
	memset(index, 0, cap * sizeof(*index));
	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = (uint32_t)mix(0, rows[i].present) & (cap - 1);

		while (index[k] && sets[index[k] - 1].present != rows[i].present)
			k = (k + 1) & (cap - 1);
		if (!index[k]) {
			sets[n_sets] = (struct set){ .present = rows[i].present };
			index[k] = ++n_sets;
		}
		set_of[i] = index[k] - 1;
		sets[set_of[i]].n++;
	}
	for (uint32_t k = 0; k < n_sets; k++) {
		sets[k].at = at;
		at += sets[k].n;
	}
	for (uint32_t i = 0; i < n; i++)
		sorted[sets[set_of[i]].at++] = rows[i];
}

static void put_row(struct slot *slot, enum net_op op)
{
	struct net_table *out = &slot->table->out;
	struct net_row *row = &out->rows[op][out->n_rows[op]++];

	*row = (struct net_row){ .key = slot->key, .rec = slot->rec };
	if (op != NET_DELETE) {
		row->row = slot->row;
		row->present = present_set(slot);
	}
}

/* calls for every row that a slot becomes */
static void slot_rows(struct slot *slot, void (*row)(struct slot *slot, enum net_op op))
{
	switch ((enum slot_state)slot->state) {
	case SLOT_INSERTED:
		row(slot, NET_INSERT);
		break;
	case SLOT_UPDATED:
		row(slot, NET_UPDATE);
		break;
	case SLOT_DELETED:
		row(slot, NET_DELETE);
		break;
	case SLOT_REPLACED:
		row(slot, NET_DELETE);
		row(slot, NET_INSERT);
		break;
	case SLOT_GONE:
		break;
	}
}

static void count_row(struct slot *slot, enum net_op op)
{
	slot->table->out.n_rows[op]++;
	slot->table->partial = slot->table->partial || (op == NET_UPDATE && slot->partial);
}

/* slots into the tables' rows */
static void emit(struct net *net)
{
	struct net_row *at;
	uint32_t n = 0;

	for (uint32_t i = 0; i < net->n_slots; i++)
		slot_rows(&net->slots[i], count_row);
	for (uint32_t i = 0; i < net->n_tables; i++) {
		const struct net_table *out = &net->tables[i]->out;

		n += out->n_rows[NET_DELETE] + out->n_rows[NET_INSERT];
		n += out->n_rows[NET_UPDATE] * (net->tables[i]->partial ? 2 : 1);
	}
	while (net->cap_rows < n)
		net->rows = grow(net->rows, &net->cap_rows, sizeof(*net->rows));
	if (!n)
		return;
	at = net->rows;
	for (uint32_t i = 0; i < net->n_tables; i++) {
		struct net_table *out = &net->tables[i]->out;

		for (int op = 0; op < NET_OPS; op++) {
			out->rows[op] = at;
			at += out->n_rows[op];
			out->n_rows[op] = 0;
		}
	}
	for (uint32_t i = 0; i < net->n_slots; i++)
		slot_rows(&net->slots[i], put_row);
	for (uint32_t i = 0; i < net->n_tables; i++) {
		struct net_table *out = &net->tables[i]->out;

		if (!net->tables[i]->partial)
			continue;
		sort_by_set(net, out->rows[NET_UPDATE], out->n_rows[NET_UPDATE], at);
		out->rows[NET_UPDATE] = at;
		at += out->n_rows[NET_UPDATE];
	}
}

static void begin_run(struct net *net)
{
	arena_reset(&net->arena);
	net->n_slots = net->n_tables = 0;
	net->last = NULL;
	if (++net->run)
		return;
	/* the number has wrapped: entries of old runs could look like this one's */
	if (net->cap_index)
		memset(net->index, 0, net->cap_index * sizeof(*net->index));
	if (net->cap_table_index)
		memset(net->table_index, 0, net->cap_table_index * sizeof(*net->table_index));
	net->run = 1;
}

int net_build(
	struct net *net, const struct apply_group *group, struct net_at *at, struct net_table **ret_tables)
{
	struct record *rec;
	int r = 0;

	begin_run(net);
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
