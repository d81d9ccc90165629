/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The fuzzer of debezium_decode(). An input:
 *   u8 modes of time and decimals | u8 modes of bytes and intervals | u8 relation, one of a few, or its text standing for a
 *   type of users | u16 length of the key, little-endian | the key | the message's value
 * Whatever is accepted is whole: every value has a state, every byte of it can be read, a key is there where one is needed.
 */

#include <sluice/debezium.h>

#include "fuzz.h"

struct input {
	struct debezium_options opt;
	struct relation *rel;
	uint8_t *key, *value; /* exact copies, so that the first byte read behind them is seen */
	struct message msg;
};

static struct relation *relation_of(void *ctx, const struct debezium_table *table, struct error *err)
{
	struct input *in = ctx;

	FUZZ_CHECK(table->schema && table->name);
	FUZZ_CHECK(!table->n_columns || table->columns[table->n_columns - 1]);
	FUZZ_CHECK(!table->n_keys || table->keys[table->n_keys - 1]);
	return in->rel;
}

static void type_of(void *ctx, uint32_t oid, struct debezium_type *ret)
{
	/* also domains over domains that never end */
	*ret = (struct debezium_type){ (enum debezium_type_class)(oid % (DEBEZIUM_TYPE_GEOMETRY + 1)),
		oid % 3 ? oid : 23, -1 };
}

static uint8_t *exact_copy(const uint8_t *data, size_t len)
{
	uint8_t *p = malloc(len ? len : 1);

	FUZZ_CHECK(p);
	if (len)
		memcpy(p, data, len);
	return p;
}

static struct relation *user_relation(uint8_t i)
{
	const struct column columns[] = { { "id", 23, -1, true }, { "a", 16384u + i, -1, false },
		{ "l", 17000u + i, -1, false } };

	return relation_new(&(struct relation_spec){ 16385, "public", "t", IDENTITY_FULL, 3, columns });
}

static bool read_input(struct input *in, const uint8_t *data, size_t size)
{
	size_t key_len;

	if (size < FUZZ_HEAD_BYTES)
		return false;
	key_len = (size_t)data[3] | (size_t)data[4] << 8;
	if (key_len > size - FUZZ_HEAD_BYTES)
		return false;
	in->opt = (struct debezium_options){ .time = (enum debezium_time)(data[0] % 7),
		.decimal = (enum debezium_decimal)(data[0] / 7 % 3),
		.binary = (enum debezium_binary)(data[1] % 4),
		.interval_string = data[1] & 4,
		.ignore_columns = data[1] & 8,
		.money_digits = (data[1] >> 4) - 1,
		.relation = relation_of,
		.type = type_of,
		.ctx = in };
	in->rel = data[2] < 128 ? fuzz_relation(data[2]) : user_relation(data[2] & 127);
	in->key = exact_copy(data + FUZZ_HEAD_BYTES, key_len);
	in->msg.key = key_len ? in->key : NULL;
	in->msg.key_len = key_len;
	in->msg.value_len = size - FUZZ_HEAD_BYTES - key_len;
	in->value = exact_copy(data + FUZZ_HEAD_BYTES + key_len, in->msg.value_len);
	in->msg.value = in->value;
	return true;
}

static unsigned sum_row(const struct value *values, uint32_t n)
{
	unsigned sum = 0;

	for (uint32_t i = 0; values && i < n; i++) {
		FUZZ_CHECK(values[i].state <= VALUE_PRESENT && values[i].format == VALUE_TEXT);
		FUZZ_CHECK(values[i].state == VALUE_PRESENT || !values[i].len);
		for (uint32_t k = 0; k < values[i].len; k++)
			sum += values[i].data[k];
	}
	return sum;
}

static void check_record(const struct record *rec)
{
	volatile unsigned sum = 0;

	if (rec->op == RECORD_TRUNCATE || rec->op == RECORD_MESSAGE) {
		FUZZ_CHECK(rec->ext && !rec->rel);
		return;
	}
	FUZZ_CHECK(rec->rel && memchr("IUDR", rec->op, 4));
	FUZZ_CHECK(rec->op == RECORD_DELETE ? rec->before && !rec->after : rec->after != NULL);
	sum = sum_row(rec->before, rec->rel->n_columns) + sum_row(rec->after, rec->rel->n_columns);
	(void)sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = ERROR_INIT;
	struct debezium_info info;
	struct input in = { 0 };
	struct debezium *dbz;

	if (!read_input(&in, data, size))
		return 0;
	dbz = debezium_new(&in.opt);
	/* twice: what is kept of the first time may not change the second */
	for (int i = 0; i < 2; i++) {
		struct batch *batch = batch_new(NULL);
		struct record rec = { 0 };
		int r = debezium_decode(dbz, &in.msg, batch, &rec, &info, &err);

		FUZZ_CHECK(r >= 0 || err.class == ERROR_DATA);
		if (r == DEBEZIUM_RECORD)
			check_record(&rec);
		batch_free(batch);
	}
	debezium_free(dbz);
	relation_unref(in.rel);
	free(in.key);
	free(in.value);
	return 0;
}
