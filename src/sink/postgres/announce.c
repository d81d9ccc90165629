/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * Dead letters told to others: the letter itself is written in the data's transaction (letters.c) and is safe before
 * anybody hears of it. Here those that the table holds and others have not heard of are handed on, and marked after that.
 *
 * Invariants:
 *   1. A mark is written after the letter was durable where it was announced: killed in between, it is announced again,
 *      never left out. The mark names the state and the attempts that were announced, so that a letter which a command
 *      changes meanwhile differs from its mark and is announced as it is then.
 *   2. One announcer of a stream at a time, by an advisory lock that ends with the transaction: the server ends
 *      that of a process that was stopped (idle_in_transaction_session_timeout), so its successor does not wait for ever.
 *   3. No row is locked while others are told: the commands and the applier never wait for a broker.
 *
 * A loss of the session is an error of the attempt like that of every other session at the target.
 */

#include <stdio.h>

#include <sluice/fault.h>

#include "letter_row.h"
#include "sink.h"

#define LETTERS	     16 /* at a time */
#define LETTERS_TEXT "16"

#define LETTERS_NEW " FROM sluice.dead_letters WHERE stream = $1 AND " LETTER_UNPUBLISHED

static int announce_open(struct sink_postgres *sink, struct error *err)
{
	return sink->announcing ? 0 : session_open(sink, "letters", &sink->announcing, NULL, err);
}

/* Return: 1 = there are some, 0, negative */
static int announce_any(struct sink_postgres *sink, struct error *err)
{
	const char *values[] = { sink->stream };
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (pg_exec_params(sink->announcing, "SELECT 1" LETTERS_NEW " LIMIT 1", 1, values, &res, err) < 0)
		return -1;
	return PQntuples(res);
}

/* Return: 1 = we are the one, 0 = another is, negative */
static int announce_lock(struct sink_postgres *sink, struct error *err)
{
	const char *values[] = { sink->stream };
	_cleanup_(PQclearp) PGresult *res = NULL;

	if (pg_exec(sink->announcing, "BEGIN", NULL, err) < 0 ||
		pg_exec_params(sink->announcing,
			"SELECT pg_catalog.pg_try_advisory_xact_lock("
			"pg_catalog.hashtextextended('sluice dead letters ' || $1, 0))",
			1, values, &res, err) < 0)
		return -1;
	return *PQgetvalue(res, 0, 0) == 't';
}

static int announce_mark(struct sink_postgres *sink, const struct dead_letter *letter, struct error *err)
{
	char id[24], mark[48];
	const char *values[] = { sink->stream, id, mark };

	if (SLUICE_FAULT_POINT("sink.pg.announced"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point sink.pg.announced");
	snprintf(id, sizeof(id), "%lld", (long long)letter->id);
	snprintf(mark, sizeof(mark), "%s/%lld", letter->state, (long long)letter->attempts);
	return pg_exec_params(sink->announcing,
		"UPDATE sluice.dead_letters SET published = $3 WHERE stream = $1 AND id = $2", 3, values,
		NULL, err);
}

/* inside the transaction. Return: 0, SINK_MORE, negative */
static int announce_some(struct sink_postgres *sink, const struct announcement *to, struct error *err)
{
	char max[24];
	const char *values[] = { sink->stream, max };
	_cleanup_(PQclearp) PGresult *res = NULL;
	struct dead_letter letters[LETTERS];
	bool done[LETTERS] = { false };
	int n, marked = 0;

	snprintf(max, sizeof(max), "%zu", to->max_record);
	if (pg_exec_params(sink->announcing,
		    "SELECT " LETTER_FIELDS
		    ", CASE WHEN pg_catalog.octet_length(record::text) <= $2::bigint THEN record::text END" LETTERS_NEW
		    " ORDER BY id LIMIT " LETTERS_TEXT,
		    2, values, &res, err) < 0)
		return -1;
	n = PQntuples(res);
	for (int i = 0; i < n; i++)
		letters[i] = letter_of(res, i, true);
	if (n)
		to->publish(to->arg, letters, (uint32_t)n, done);
	for (int i = 0; i < n; i++) {
		if (done[i] && announce_mark(sink, &letters[i], err) < 0)
			return -1;
		marked += done[i];
	}
	return marked && (n == LETTERS || marked < n) ? SINK_MORE : 0;
}

int announce_letters(struct sink_postgres *sink, const struct announcement *to, struct error *err)
{
	int r = announce_open(sink, err), ours;

	if (r == 0)
		r = announce_any(sink, err);
	if (r <= 0)
		return r;
	ours = announce_lock(sink, err);
	if (ours < 0)
		return -1;
	r = ours ? announce_some(sink, to, err) : 0;
	if (r < 0)
		return -1;
	return pg_exec(sink->announcing, "COMMIT", NULL, err) < 0 ? -1 : r;
}
