/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Dead letters for the commands: listed, shown, tried again, given up. A retry is one transaction: the
 * letter is locked, its record goes the same way as in the stream (source order, same checks), and the
 * letter is marked. A letter behind an older one of the same key is refused, so the order per key is kept.
 * The running applier only reads what is pending; a letter that is resolved under it unblocks the key some
 * seconds later.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/dead_letter.h>
#include <sluice/fault.h>

#include "apply.h"
#include "letter_json.h"
#include "letter_row.h"

/* an older pending letter with one of the same key hashes (16 bytes each, one or two) */
#define LETTER_BEHIND                                                                                                \
	"EXISTS (SELECT 1 FROM sluice.dead_letters o WHERE o.stream = l.stream AND o.state = 'pending'"              \
	" AND o.id < l.id AND (substr(o.key_hash, 1, 16) IN (substr(l.key_hash, 1, 16), substr(l.key_hash, 17, 16))" \
	" OR (length(o.key_hash) > 16 AND"                                                                           \
	" substr(o.key_hash, 17, 16) IN (substr(l.key_hash, 1, 16), substr(l.key_hash, 17, 16)))))"

/* a sink without a claim: it applies nothing of the stream */
static int letter_open(const struct context *ctx, struct sink_postgres **ret, struct error *err)
{
	struct sink_postgres *sink = (struct sink_postgres *)sink_postgres_new(ctx);

	if (session_open(sink, "check", &sink->conn, &sink->replica_role, err) < 0 ||
		layout_prepare(sink->conn, err) < 0) {
		sink_free(&sink->base);
		return -1;
	}
	queue_init(&sink->queue, sink->conn, &sink->base.meanwhile);
	sink->apply = apply_new(sink);
	*ret = sink;
	return 0;
}

int dead_letter_list(const struct context *ctx, bool all,
	void (*each)(void *arg, const struct dead_letter *letter), void *arg, struct error *err)
{
	const char *values[] = { ctx->cfg->name, all ? "t" : "f" };
	_cleanup_(PQclearp) PGresult *res = NULL;
	struct sink_postgres *sink;
	int r;

	if (letter_open(ctx, &sink, err) < 0)
		return -1;
	r = pg_exec_params(sink->conn,
		"SELECT " LETTER_FIELDS " FROM sluice.dead_letters WHERE stream = $1"
		" AND ($2::bool OR state = 'pending') ORDER BY id",
		2, values, &res, err);
	for (int i = 0; r == 0 && i < PQntuples(res); i++) {
		struct dead_letter letter = letter_of(res, i, false);

		each(arg, &letter);
	}
	sink_free(&sink->base);
	return r;
}

int dead_letter_show(const struct context *ctx, int64_t id,
	void (*each)(void *arg, const struct dead_letter *letter), void *arg, struct error *err)
{
	char number[24];
	const char *values[] = { ctx->cfg->name, number };
	_cleanup_(PQclearp) PGresult *res = NULL;
	struct sink_postgres *sink;
	int r;

	snprintf(number, sizeof(number), "%lld", (long long)id);
	if (letter_open(ctx, &sink, err) < 0)
		return -1;
	r = pg_exec_params(sink->conn,
		"SELECT " LETTER_FIELDS ", record FROM sluice.dead_letters WHERE stream = $1 AND id = $2", 2,
		values, &res, err);
	if (r == 0 && PQntuples(res)) {
		struct dead_letter letter = letter_of(res, 0, true);

		each(arg, &letter);
	} else if (r == 0) {
		r = DEAD_LETTER_MISSING;
	}
	sink_free(&sink->base);
	return r;
}

/* the letter, locked, as a record in batch; holds the progress row so that no claim comes in between */
static int letter_take(struct sink_postgres *sink, const char *id, struct batch *batch, struct error *err)
{
	const char *values[] = { sink->stream, id };
	_cleanup_(PQclearp) PGresult *res = NULL;
	uint8_t *position;
	size_t len;

	if (pg_exec(sink->conn, "BEGIN; SET LOCAL synchronous_commit = on", NULL, err) < 0 ||
		pg_exec_params(sink->conn, "SELECT 1 FROM sluice.progress WHERE stream = $1 FOR KEY SHARE", 1,
			values, NULL, err) < 0 ||
		pg_exec_params(sink->conn,
			"SELECT record, " LETTER_BEHIND
			", position FROM sluice.dead_letters l WHERE l.stream = $1 AND l.id = $2"
			" AND l.state = 'pending' FOR UPDATE OF l",
			2, values, &res, err) < 0)
		return -1;
	if (!PQntuples(res))
		return DEAD_LETTER_MISSING;
	if (*PQgetvalue(res, 0, 1) == 't')
		return DEAD_LETTER_BEHIND;
	if (letter_json_read(PQgetvalue(res, 0, 0), batch, err) < 0)
		return -1;
	position = PQunescapeBytea((const unsigned char *)PQgetvalue(res, 0, 2), &len);
	if (!position)
		abort();
	position_decode(&batch->records[0].pos, position, (uint32_t)len);
	PQfreemem(position);
	return 0;
}

static int letter_apply(struct sink_postgres *sink, const struct batch *batch, struct error *err)
{
	int r;

	if (tables_resolve(sink->apply, batch, err) < 0 || queue_enter(&sink->queue, err) < 0)
		return -1;
	r = ordered_single(sink->apply, &batch->records[0], err);
	if (r == 0 && queue_leave(&sink->queue, err) < 0)
		return -1;
	return r ? -1 : 0;
}

/* the attempt that failed is counted; that alone is worth a transaction of its own */
static int letter_count(
	struct sink_postgres *sink, const char *id, const struct error *why, struct error *err)
{
	const char *values[] = { sink->stream, id, why->code, why->message };

	if (queue_leave(&sink->queue, err) < 0 || pg_exec(sink->conn, "ROLLBACK", NULL, err) < 0)
		return -1;
	return pg_exec_params(sink->conn,
		"UPDATE sluice.dead_letters SET attempts = attempts + 1, error_code = $3, message = $4"
		" WHERE stream = $1 AND id = $2 AND state = 'pending'",
		4, values, NULL, err);
}

int dead_letter_retry(const struct context *ctx, int64_t id, struct error *err)
{
	char number[24];
	const char *values[] = { ctx->cfg->name, number };
	struct batch *batch;
	struct sink_postgres *sink;
	struct error lost = ERROR_INIT;
	int r;

	snprintf(number, sizeof(number), "%lld", (long long)id);
	if (letter_open(ctx, &sink, err) < 0)
		return -1;
	batch = batch_new(NULL);
	r = letter_take(sink, number, batch, err);
	if (r == 0)
		r = letter_apply(sink, batch, err);
	if (r != 0 && r != DEAD_LETTER_MISSING && r != DEAD_LETTER_BEHIND && err->class != ERROR_TRANSIENT)
		r = letter_count(sink, number, err, &lost) < 0 ? (*err = lost, -1) : DEAD_LETTER_FAILED;
	if (r == 0)
		r = pg_exec_params(sink->conn,
			"UPDATE sluice.dead_letters SET state = 'retried', resolved_at = now() WHERE stream = $1 AND id = $2",
			2, values, NULL, err);
	if (r == 0 && SLUICE_FAULT_POINT("sink.pg.letter.commit"))
		r = error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.letter.commit");
	if (r == 0)
		r = pg_exec(sink->conn, "COMMIT", NULL, err);
	batch_free(batch);
	sink_free(&sink->base);
	return r;
}

int dead_letter_discard(const struct context *ctx, int64_t id, const char *reason, struct error *err)
{
	char number[24];
	const char *values[] = { ctx->cfg->name, number, reason };
	_cleanup_(PQclearp) PGresult *res = NULL;
	struct sink_postgres *sink;
	int r;

	snprintf(number, sizeof(number), "%lld", (long long)id);
	if (letter_open(ctx, &sink, err) < 0)
		return -1;
	r = pg_exec_params(sink->conn,
		"WITH l AS (UPDATE sluice.dead_letters SET state = 'discarded', reason = $3, resolved_at = now()"
		" WHERE stream = $1 AND id = $2 AND state = 'pending' RETURNING id, table_name),"
		" a AS (INSERT INTO sluice.audit (stream, action, detail)"
		" SELECT $1, 'dead-letter discard', pg_catalog.format('%s %s: %s', id, table_name, $3::text) FROM l)"
		" SELECT id FROM l",
		3, values, &res, err);
	if (r == 0 && !PQntuples(res))
		r = DEAD_LETTER_MISSING;
	sink_free(&sink->base);
	return r;
}

struct dead_letter letter_of(const PGresult *res, int row, bool record)
{
	return (struct dead_letter){
		.id = strtoll(PQgetvalue(res, row, 0), NULL, 10),
		.at = PQgetvalue(res, row, 1),
		.position = PQgetvalue(res, row, 2),
		.table = PQgetvalue(res, row, 3),
		.op = PQgetvalue(res, row, 4),
		.error_class = PQgetvalue(res, row, 5),
		.error_code = PQgetvalue(res, row, 6),
		.message = PQgetvalue(res, row, 7),
		.state = PQgetvalue(res, row, 8),
		.reason = PQgetvalue(res, row, 9),
		.attempts = strtoll(PQgetvalue(res, row, 10), NULL, 10),
		.record = record && !PQgetisnull(res, row, 11) ? PQgetvalue(res, row, 11) : NULL,
	};
}
