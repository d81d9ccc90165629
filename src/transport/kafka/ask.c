/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Questions to brokers. The client's calls wait for their whole time and cannot be interrupted, and with no broker there that is
 * all they do. So each is made again and again for a part of the time: a short one while there is nobody to ask, a longer one
 * each time that somebody was asked and was too slow, so an answer is heard that takes up to 4 s. Between them a request to stop is
 * heard, and after one nothing is asked a second time.
 */

#include "kafka.h"

#define ASK_FIRST_MS 500

struct asking {
	const struct context *ctx;
	struct mono until;
	int slice_ms;
};

static struct asking asking_begin(const struct context *ctx)
{
	return (struct asking){ ctx, mono_add_ms(mono_now(), KAFKA_REQUEST_MS), ASK_FIRST_MS };
}

/* how long the next call may take */
static int asking_slice(const struct asking *asking)
{
	int left_ms = mono_until_ms(asking->until, mono_now());

	return left_ms < asking->slice_ms ? left_ms : asking->slice_ms;
}

/* whether a call that ended so is worth another */
static bool asking_again(struct asking *asking, rd_kafka_resp_err_t code)
{
	if (code == RD_KAFKA_RESP_ERR__TIMED_OUT)
		asking->slice_ms *= 2;
	else if (code != RD_KAFKA_RESP_ERR__TRANSPORT && code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
		return false; /* also a broker that is about to be connected counts as down */
	return !context_stopping(asking->ctx) && asking_slice(asking) > 0;
}

rd_kafka_resp_err_t kafka_metadata(rd_kafka_t *rk, const struct context *ctx, bool all,
	rd_kafka_topic_t *topic, const struct rd_kafka_metadata **ret)
{
	struct asking asking = asking_begin(ctx);
	rd_kafka_resp_err_t code;

	do
		code = rd_kafka_metadata(rk, all, topic, ret, asking_slice(&asking));
	while (asking_again(&asking, code));
	return code;
}

rd_kafka_event_t *kafka_answer(const struct context *ctx, rd_kafka_queue_t *queue)
{
	struct mono until = mono_add_ms(mono_now(), KAFKA_REQUEST_MS);
	rd_kafka_event_t *event;

	do
		event = rd_kafka_queue_poll(queue, ASK_FIRST_MS);
	while (!event && !context_stopping(ctx) && mono_until_ms(until, mono_now()) > 0);
	return event;
}

rd_kafka_resp_err_t kafka_offset(
	rd_kafka_t *rk, const char *topic, int32_t partition, int64_t which, int timeout_ms, int64_t *ret)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_resp_err_t code;

	rd_kafka_topic_partition_list_add(list, topic, partition)->offset = which;
	code = rd_kafka_offsets_for_times(rk, list, timeout_ms);
	if (!code)
		code = list->elems[0].err;
	if (!code)
		*ret = list->elems[0].offset;
	rd_kafka_topic_partition_list_destroy(list);
	return code;
}

int kafka_partitions(
	rd_kafka_t *rk, const struct context *ctx, const char *topic, uint32_t *ret, struct error *err)
{
	rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
	const struct rd_kafka_metadata *meta = NULL;
	rd_kafka_resp_err_t code;

	if (!handle)
		return kafka_error(err, rd_kafka_last_error(), "opening topic %s", topic);
	code = kafka_metadata(rk, ctx, false, handle, &meta);
	if (!code && meta->topic_cnt == 1) {
		code = meta->topics[0].err;
		*ret = (uint32_t)meta->topics[0].partition_cnt;
	}
	if (meta)
		rd_kafka_metadata_destroy(meta);
	rd_kafka_topic_destroy(handle);
	if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)
		return 1;
	return code ? kafka_error(err, code, "asking for topic %s", topic) : 0;
}

static rd_kafka_resp_err_t ask_offset(rd_kafka_t *rk, const struct context *ctx, const char *topic,
	int32_t partition, int64_t which, int64_t *ret)
{
	struct asking asking = asking_begin(ctx);
	rd_kafka_resp_err_t code;

	do
		code = kafka_offset(rk, topic, partition, which, asking_slice(&asking), ret);
	while (asking_again(&asking, code));
	return code;
}

int kafka_bounds(rd_kafka_t *rk, const struct context *ctx, const char *topic, int32_t partition,
	int64_t *ret_low, int64_t *ret_high, struct error *err)
{
	uint32_t n = 0;
	rd_kafka_resp_err_t code = ask_offset(rk, ctx, topic, partition, RD_KAFKA_OFFSET_BEGINNING, ret_low);

	if (!code)
		code = ask_offset(rk, ctx, topic, partition, RD_KAFKA_OFFSET_END, ret_high);
	if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
		code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION) {
		/* a broker that starts does not know its partitions at once: only a topic that nobody names is none */
		int r = kafka_partitions(rk, ctx, topic, &n, err);

		if (r != 0)
			return r;
		if (n <= (uint32_t)partition)
			return 1;
	}
	return code ? kafka_error(err, code, "asking for the ends of topic %s partition %d", topic, partition)
		    : 0;
}
