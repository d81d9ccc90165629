/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

/*
 * The walsender session: CopyBoth messages in, standby status updates out.
 *
 * Invariants:
 *   1. `flush` in a status update is what confirm() was told, nothing else; 0 until then, which tells the server
 *      nothing. It never decreases. The server believes whatever we say.
 *   2. Status updates come from a timer, at the server's request, and soon after confirm(); also while no batch is free,
 *      so that a blocked target never looks like a dead client.
 *   3. Resume points handed out never decrease: after a start the server reports walEnds from restart_lsn on, far
 *      below what is stored; those are ignored.
 *   4. A walsender sends every message by itself: a segment, its acknowledgement and a wake-up for some hundred bytes, and
 *      most of its time goes into them as long as the receiver keeps up. Where messages come fast they are left to
 *      gather. On the same machine a receive window that stays small fills at once, and what comes behind it joins
 *      in the sender's buffer, which is large, and travels in a few big segments when the window opens. Over a network
 *      the window has to be as large as the kernel finds it, so there only our own wake-ups are saved.
 *   5. One copy per message, from libpq's buffer into the batch; records point into that.
 */

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <sluice/fault.h>

#include "postgres.h"

#define WAL_HEADER_BYTES 25 /* 'w', start, end, time */
#define KEEPALIVE_BYTES	 18 /* 'k', end, time, reply now */
#define CONFIRM_MS	 100
#define HEARTBEAT_MS	 200
#define GATHER_MS	 2
#define GATHER_BYTES	 (24 * 1024)
#define GATHER_LOCAL_MS	 5
#define LOCAL_RTT_US	 300
#define LOCAL_WINDOW	 (64 * 1024) /* a segment of the loopback device (65,483 bytes) has to fit */
#define GATHER_WINDOW_MS 5
#define GATHER_MESSAGES	 100 /* in a window: 20,000 a second */

static uint64_t read_u64(const char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap64(v);
}

static void write_u64(char *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof(v));
}

static int send_status(struct pg_source *src, struct error *err)
{
	struct pg_stream *st = &src->stream;
	char msg[34];
	int r;

	msg[0] = 'r';
	write_u64(msg + 1, st->received > st->confirmed ? st->received : st->confirmed);
	write_u64(msg + 9, st->confirmed);
	write_u64(msg + 17, st->confirmed);
	write_u64(msg + 25, (uint64_t)pg_time_from_wall(wall_now()));
	msg[33] = 0;
	if (SLUICE_FAULT_POINT("source.pg.confirm"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point source.pg.confirm");
	if (PQputCopyData(st->conn, msg, sizeof(msg)) < 0)
		return stream_error(src, NULL, err);
	r = PQflush(st->conn);
	if (r < 0)
		return stream_error(src, NULL, err);
	st->unsent = r > 0; /* the server reads nothing right now: the rest goes when the socket takes it */
	st->reported = st->confirmed;
	st->reply_now = false;
	st->last_status = mono_now();
	st->next_status = mono_add_ms(st->last_status, st->status_ms);
	return 0;
}

/* the next moment at which something has to be done without the server sending anything */
static struct mono next_timer(const struct pg_stream *st, bool heartbeats)
{
	struct mono next = st->next_status;

	if (st->confirmed > st->reported) {
		struct mono soon = mono_add_ms(st->last_status, CONFIRM_MS);

		next = soon.us < next.us ? soon : next;
	}
	if (st->heartbeat && heartbeats) {
		struct mono beat = mono_add_ms(st->last_heartbeat, HEARTBEAT_MS);

		next = beat.us < next.us ? beat : next;
	}
	return next;
}

static int serve_timers(struct pg_source *src, struct error *err)
{
	struct pg_stream *st = &src->stream;
	struct mono now = mono_now();
	bool confirm =
		st->confirmed > st->reported && mono_diff_us(now, st->last_status) >= CONFIRM_MS * 1000;

	if (st->reply_now || confirm || mono_until_ms(st->next_status, now) == 0)
		return send_status(src, err);
	return 0;
}

static void take_keepalive(struct pg_stream *st, const char *data)
{
	uint64_t end = read_u64(data + 1);

	if (end > st->received)
		st->received = end;
	if (data[17])
		st->reply_now = true;
	if (!st->decode.in_transaction && end > st->delivered) {
		st->heartbeat = end;
		st->heartbeat_at = pg_time_to_wall((int64_t)read_u64(data + 9));
	}
}

/* a step of its own for each kind, so that tests can stop at each */
static bool fault(uint8_t kind)
{
	switch (kind) {
	case PGOUTPUT_BEGIN:
		return SLUICE_FAULT_POINT("source.pg.begin");
	case PGOUTPUT_COMMIT:
		return SLUICE_FAULT_POINT("source.pg.commit");
	case PGOUTPUT_INSERT:
	case PGOUTPUT_UPDATE:
	case PGOUTPUT_DELETE:
		return SLUICE_FAULT_POINT("source.pg.row");
	default: /* a byte from the wire */
		return SLUICE_FAULT_POINT("source.pg.message");
	}
}

static int take_wal(
	struct pg_source *src, struct batch *batch, const char *data, size_t len, struct error *err)
{
	struct pg_stream *st = &src->stream;
	const uint8_t *body = (const uint8_t *)data + WAL_HEADER_BYTES;
	uint64_t end = read_u64(data + 1);

	len -= WAL_HEADER_BYTES;
	if (end > st->received)
		st->received = end;
	if (len && fault(*body))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point source.pg.message");
	if (!decode_wants(&st->decode, body, len))
		return 0;
	/* one that is refused for its size must not be copied first */
	if (len <= st->decode.record_bytes || !decode_refuses(&st->decode, body, len))
		body = arena_dup(&batch->arena, body, len);
	if (decode_message(&st->decode, batch, body, len, err) < 0)
		return -1;
	if (st->decode.in_transaction)
		st->heartbeat = 0; /* what it said is behind us once this one ends */
	else if (st->decode.resume > st->delivered)
		st->delivered = st->decode.resume;
	return 0;
}

static int take_copy_data(
	struct pg_source *src, struct batch *batch, const char *data, int len, struct error *err)
{
	if (len >= WAL_HEADER_BYTES && data[0] == 'w')
		return take_wal(src, batch, data, (size_t)len, err);
	if (len >= KEEPALIVE_BYTES && data[0] == 'k') {
		if (SLUICE_FAULT_POINT("source.pg.keepalive"))
			return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point source.pg.keepalive");
		take_keepalive(&src->stream, data);
		return 0;
	}
	return error_set(err, ERROR_FATAL, "PG-STREAM",
		"a message of %d bytes that the replication protocol does not know", len);
}

/* an idle keepalive becomes a record: everything before its walEnd has been delivered */
static void deliver_heartbeat(struct pg_stream *st, struct batch *batch)
{
	struct record_heartbeat *beat;
	struct record *rec;
	uint64_t wire = __builtin_bswap64(st->heartbeat);
	struct mono now = mono_now();

	if (!st->heartbeat || st->decode.in_transaction ||
		mono_diff_us(now, st->last_heartbeat) < HEARTBEAT_MS * 1000)
		return;
	if (st->heartbeat > st->delivered) {
		beat = arena_alloc(&batch->arena, sizeof(*beat));
		*beat = (struct record_heartbeat){
			.resume = { arena_dup(&batch->arena, &wire, sizeof(wire)), sizeof(wire) },
			.at = st->heartbeat_at,
		};
		rec = batch_add(batch);
		rec->op = RECORD_HEARTBEAT;
		rec->heartbeat = beat;
		rec->pos = (struct position){ st->heartbeat, 0 };
		st->delivered = st->heartbeat;
		st->last_heartbeat = now;
	}
	st->heartbeat = 0;
}

/* decodes what libpq holds; 1 = it holds no more, 0 = the batch is full */
static int drain(struct pg_source *src, struct batch *batch, struct error *err)
{
	struct pg_stream *st = &src->stream;

	while (!batch_is_full(batch)) {
		char *data = NULL;
		int len = PQgetCopyData(st->conn, &data, 1), r;

		if (len == 0)
			return 1;
		if (len < 0) {
			_cleanup_(PQclearp) PGresult *res = len == -1 ? PQgetResult(st->conn) : NULL;

			if (res && PQresultStatus(res) != PGRES_FATAL_ERROR)
				return error_set(err, ERROR_TRANSIENT, "PG-STREAM-END",
					"the source has ended the replication stream");
			return stream_error(src, res, err);
		}
		r = take_copy_data(src, batch, data, len, err);
		PQfreemem(data);
		if (r < 0)
			return r;
		st->messages++;
	}
	return 0;
}

/* whether the server has sent something, or hung up */
static bool wait_readable(struct pg_stream *st, bool socket, int timeout_ms)
{
	/* without a batch a heartbeat that is due cannot be delivered: nothing to wake up for */
	int timer_ms = mono_until_ms(next_timer(st, socket), mono_now());
	struct pollfd fds[2] = {
		{ .fd = st->wake_fd, .events = POLLIN },
		{ .fd = PQsocket(st->conn), .events = (short)(POLLIN | (st->unsent ? POLLOUT : 0)) },
	};
	eventfd_t n;

	if (poll(fds, socket ? 2 : 1, timer_ms < timeout_ms ? timer_ms : timeout_ms) <= 0)
		return false;
	if (fds[0].revents)
		eventfd_read(st->wake_fd, &n);
	return socket && fds[1].revents;
}

/*
 * What the socket holds right now, into the batch. An encrypted connection may hold the rest of a message where poll() does not
 * see it: libpq makes room for that message when it has seen its beginning, so the second try finds it.
 * Return: 1 = it holds no more, 0 = the batch is full or the time is over
 */
static int read_available(struct pg_source *src, struct batch *batch, struct mono until, struct error *err)
{
	struct pg_stream *st = &src->stream;
	uint64_t seen;
	uint32_t empty = 0;
	int r;

	do {
		seen = st->messages;
		r = drain(src, batch, err);
		if (r <= 0)
			return r;
		/* sends what is left of a status update, too */
		if (!PQconsumeInput(st->conn))
			return stream_error(src, NULL, err);
		r = drain(src, batch, err);
		if (r <= 0)
			return r;
		/* transactions that are skipped fill no batch: the server must hear of us, the caller get his turn */
		if (serve_timers(src, err) < 0)
			return -1;
		empty = st->messages == seen ? empty + 1 : 0;
	} while (empty < (st->plain ? 1 : 2) && mono_until_ms(until, mono_now()) > 0);
	return empty > 0;
}

/* how much the socket must hold before poll() calls it readable; where the system ignores that, it is readable at once */
static void set_low_water(const struct pg_stream *st, int bytes)
{
	setsockopt(PQsocket(st->conn), SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes));
}

/* a server on this machine: the window is kept where connections begin */
static void set_window(struct pg_stream *st)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	int bytes = LOCAL_WINDOW;

	st->local = getsockopt(PQsocket(st->conn), IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
		    info.tcpi_rtt <= LOCAL_RTT_US &&
		    setsockopt(PQsocket(st->conn), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) == 0;
}

/* after a read that emptied the socket: lets a fast stream gather */
static void gather(struct pg_stream *st, struct mono now)
{
	int64_t us = mono_diff_us(now, st->window);

	if (us >= GATHER_WINDOW_MS * 1000) {
		st->fast = (int64_t)(st->messages - st->window_messages) * GATHER_WINDOW_MS * 1000 >=
			   GATHER_MESSAGES * us;
		st->window = now;
		st->window_messages = st->messages;
	}
	if (st->fast && st->dry && st->local) {
		wait_readable(st, false, GATHER_LOCAL_MS);
	} else if (st->fast && st->dry) {
		/* by bytes, not by time: the server must never find its buffers full because we slept */
		set_low_water(st, GATHER_BYTES);
		wait_readable(st, true, GATHER_MS);
		set_low_water(st, 1);
	}
}

int stream_read(struct pg_source *src, struct batch *batch, int timeout_ms, struct error *err)
{
	struct pg_stream *st = &src->stream;
	uint32_t before = batch ? batch->n_records : 0;
	struct mono now = mono_now(), until = mono_add_ms(now, timeout_ms);
	int r;

	if (atomic_load(&src->lease_lost))
		return error_set(err, ERROR_TRANSIENT, "PG-LEASE-LOST",
			"the session that held the lease on the source has ended");
	if (serve_timers(src, err) < 0)
		return -1;
	if (!batch) {
		wait_readable(st, false, timeout_ms);
		return serve_timers(src, err) < 0 ? -1 : SOURCE_IDLE;
	}
	gather(st, now);
	/* a quiet stream's socket was found empty just now: poll() says when that changes */
	r = st->dry && !st->fast && st->plain ? 1 : read_available(src, batch, until, err);
	if (r == 1 && batch->n_records == before && wait_readable(st, true, timeout_ms))
		r = read_available(src, batch, until, err);
	if (r < 0)
		return r;
	st->dry = r == 1;
	deliver_heartbeat(st, batch);
	if (serve_timers(src, err) < 0)
		return -1;
	return batch->n_records > before ? 0 : SOURCE_IDLE;
}

void stream_confirm(struct pg_source *src, uint64_t lsn)
{
	if (lsn > src->stream.confirmed)
		src->stream.confirmed = lsn;
}

/* a third of the server's patience, at most 5 s */
static int read_timeout(struct pg_source *src, struct error *err)
{
	_cleanup_(PQclearp) PGresult *res = NULL;
	int64_t ms;

	if (pg_exec(src->sql,
		    "SELECT (setting::int8) FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'",
		    &res, err) < 0)
		return -1;
	ms = PQntuples(res) ? strtoll(PQgetvalue(res, 0, 0), NULL, 10) : 0;
	src->stream.status_ms = ms > 0 && ms / 3 < 5000 ? ms / 3 : 5000;
	return 0;
}

static void start_sql(const struct pg_source *src, struct buf *sql)
{
	_cleanup_(buf_freep) struct buf names = BUF_INIT;

	pg_put_ident(&names, src->publication);
	if (src->insert_only) {
		buf_puts(&names, ",");
		pg_put_ident(&names, src->publication_insert);
	}
	/* walsender's own grammar: names quoted, options as literals; 0/0 = from where the slot was confirmed */
	buf_puts(sql, "START_REPLICATION SLOT ");
	pg_put_ident(sql, src->slot);
	buf_puts(sql, " LOGICAL 0/0 (proto_version '1', messages 'true', publication_names ");
	buf_putc(sql, '\'');
	for (const char *p = buf_str(&names); *p; p++) {
		if (*p == '\'')
			buf_putc(sql, '\'');
		buf_putc(sql, *p);
	}
	buf_puts(sql, src->binary ? "', binary 'true')" : "')");
}

static int stream_describe(
	void *arg, const struct relation_spec *spec, struct relation **ret, struct error *err)
{
	struct pg_source *src = arg;

	/* src->sql is idle while the stream is read */
	if (visible_wait(src, src->sql, src->stream.decode.xid, err) < 0)
		return -1;
	return columns_describe(src->sql, spec, ret, err);
}

int stream_start(struct pg_source *src, uint64_t stored, int wake_fd, struct error *err)
{
	_cleanup_(buf_freep) struct buf sql = BUF_INIT;
	_cleanup_(PQclearp) PGresult *res = NULL;
	struct pg_stream *st = &src->stream;

	if (read_timeout(src, err) < 0 ||
		source_pg_connect(src->base.ctx, PG_SOURCE_REPLICATION, "stream", &st->conn, err) < 0)
		return -1;
	decode_init(&st->decode, stored, src->base.ctx->cfg->limits.record_bytes);
	if (src->base.ctx->cfg->apply.ddl == DDL_ADDITIVE) {
		st->decode.describe = stream_describe;
		st->decode.describe_arg = src;
	}
	st->decode.starts = src->starts;
	st->decode.n_starts = src->n_starts;
	src->starts = NULL; /* the decoder's now */
	src->n_starts = 0;
	st->wake_fd = wake_fd;
	st->delivered = stored;
	st->next_status = st->last_heartbeat = st->last_status = mono_now();
	start_sql(src, &sql);
	if (SLUICE_FAULT_POINT("source.pg.start"))
		return error_set(err, ERROR_TRANSIENT, "FAULT", "fault point source.pg.start");
	res = PQexec(st->conn, buf_str(&sql));
	if (PQresultStatus(res) != PGRES_COPY_BOTH)
		return stream_error(src, res, err);
	PQsetnonblocking(st->conn, 1);
	set_window(st);
	st->plain = !PQsslInUse(st->conn) && !PQgssEncInUse(st->conn);
	st->streaming = true;
	return 0;
}

void stream_fini(struct pg_source *src)
{
	struct pg_stream *st = &src->stream;
	struct error ignored;

	/* what was made durable last need not be sent again, and the slot is free sooner */
	if (st->conn && PQstatus(st->conn) == CONNECTION_OK && st->streaming) {
		if (st->confirmed > st->reported)
			send_status(src, &ignored);
		if (PQputCopyEnd(st->conn, NULL) > 0)
			PQflush(st->conn);
	}
	PQfinish(st->conn);
	src->stream.conn = NULL;
	decode_fini(&src->stream.decode);
}
