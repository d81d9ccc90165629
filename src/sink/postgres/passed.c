/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * How far each partition of a log is applied, where several appliers share them: none of them knows by itself whether the target
 * as a whole is in step, or free of dead letters. What is written here was true when its writer applied it and stays true, so an
 * applier that lost a partition does no harm by writing late; it does not have to be durable either.
 */

#include <stdio.h>
#include <stdlib.h>

#include <sluice/fault.h>

#include "sink.h"

static int passed_store(
	struct sink_postgres *sink, const struct sink_passed *own, uint32_t n, struct error *err)
{
	_cleanup_(buf_freep) struct buf topics = BUF_INIT;
	_cleanup_(buf_freep) struct buf ids = BUF_INIT;
	_cleanup_(buf_freep) struct buf majors = BUF_INIT;
	_cleanup_(buf_freep) struct buf clears = BUF_INIT;
	const char *values[5] = { sink->stream };

	for (uint32_t i = 0; i < n; i++) {
		/* names of topics have no character that an array's text would have to quote */
		buf_printf(&topics, "%c%s", i ? ',' : '{', own[i].partition->topic);
		buf_printf(&ids, "%c%d", i ? ',' : '{', (int)own[i].partition->id);
		buf_printf(&majors, "%c%llu", i ? ',' : '{', (unsigned long long)own[i].major);
		buf_printf(&clears, "%c%lld", i ? ',' : '{', (long long)own[i].clear.us);
	}
	buf_putc(&topics, '}');
	buf_putc(&ids, '}');
	buf_putc(&majors, '}');
	buf_putc(&clears, '}');
	values[1] = buf_str(&topics);
	values[2] = buf_str(&ids);
	values[3] = buf_str(&majors);
	values[4] = buf_str(&clears);
	return pg_exec_params(sink->conn,
		"INSERT INTO sluice.passed AS p (stream, topic, partition, passed, clear_us, at)"
		" SELECT $1, t, i, m, c, pg_catalog.now() FROM"
		" ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::int[]),"
		" pg_catalog.unnest($4::numeric[]), pg_catalog.unnest($5::bigint[])) AS u (t, i, m, c)"
		" ON CONFLICT (stream, topic, partition) DO UPDATE SET"
		" passed = GREATEST(p.passed, EXCLUDED.passed), clear_us = GREATEST(p.clear_us, EXCLUDED.clear_us),"
		" at = EXCLUDED.at",
		5, values, NULL, err);
}

int passed_exchange(struct sink_postgres *sink, const struct sink_passed *own, uint32_t n,
	struct sink_passed *ret, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	char prefix[TOPIC_MAX + 2];
	const char *values[] = { sink->stream, prefix };

	*ret = (struct sink_passed){ 0 };
	if (SLUICE_FAULT_POINT("sink.pg.passed"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.passed");
	if (n && passed_store(sink, own, n, err) < 0)
		return -1;
	/* a log of another prefix was another log */
	snprintf(prefix, sizeof(prefix), "%s.", sink->cfg->transport.kafka.prefix);
	if (pg_exec_params(sink->conn,
		    "SELECT count(*), coalesce(min(passed), 0), coalesce(min(clear_us), 0),"
		    " (SELECT count(*) FROM sluice.dead_letters WHERE stream = $1 AND state = 'pending')"
		    " FROM sluice.passed WHERE stream = $1 AND pg_catalog.starts_with(topic, $2)",
		    2, values, &res, err) < 0)
		return -1;
	ret->partitions = (uint32_t)strtoul(PQgetvalue(res, 0, 0), NULL, 10);
	ret->major = strtoull(PQgetvalue(res, 0, 1), NULL, 10);
	ret->clear.us = strtoll(PQgetvalue(res, 0, 2), NULL, 10);
	metric_set(&sink->base.ctx->metrics->dead_letters_pending, strtoull(PQgetvalue(res, 0, 3), NULL, 10));
	return 0;
}
