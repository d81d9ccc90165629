/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */

#pragma once

/*
 * The PostgreSQL source, split over source.c (connect, prepare), timeline.c (is it the history we know), catalog.c and
 * publication.c (the tables), columns.c (their columns), slot.c, stream.c (the walsender session), decode.c (messages to
 * records), lookup.c (what these do not say), visible.c (is the answer not older than they are), errors.c (what an end of the
 * stream means), monitor.c (health, barrier), check.c (findings).
 */

#include <sluice/check.h>
#include <sluice/lookup.h>
#include <sluice/postgres.h>
#include <sluice/source.h>

#include "catalog.h"
#include "decode.h"

struct pg_snapshot;

/* the walsender session; thread: the reader's */
struct pg_stream {
	PGconn *conn;
	struct decode decode;
	int wake_fd;		  /* borrowed */
	uint64_t received;	  /* newest LSN that the server has sent */
	uint64_t confirmed;	  /* durable downstream; never decreases */
	uint64_t reported;	  /* confirmed at the last status update */
	uint64_t heartbeat;	  /* walEnd of an idle keepalive that is not delivered yet; 0 = none */
	struct wall heartbeat_at; /* when the server sent it, by its clock */
	uint64_t messages;	  /* read so far */
	bool unsent;		  /* a part of a status update is still in libpq's buffer */
	uint64_t delivered;	  /* newest resume point given out */
	int64_t status_ms;	  /* longest time between status updates */
	struct mono next_status, last_status, last_heartbeat;
	bool reply_now;
	/* how fast messages come, and whether the last read emptied the socket */
	struct mono window;
	uint64_t window_messages;
	bool fast, dry;
	bool plain;	/* not encrypted: what poll() does not see is not there */
	bool local;	/* the server is on this machine */
	bool streaming; /* the server has accepted START_REPLICATION */
};

struct pg_source {
	struct source base;
	const struct config_source *cfg;
	char slot[64], publication[64], publication_insert[64];
	PGconn *sql; /* holds the lease; thread: the supervisor's, while streaming the reader's */
	int64_t lease_key;
	int lease_pid;		/* of its server process */
	atomic_bool lease_lost; /* seen by the monitor: read() ends the attempt */
	PGconn *monitor;	/* thread: the monitor's */
	struct lookup lookup;
	PGconn *lookup_conn;  /* thread: as lookup.h says */
	uint64_t visible_xid; /* see visible.c; thread: as lookup.h says */
	struct mono next_tables_check;
	uint64_t new_tables; /* at that check */
	double rate;	     /* bytes of WAL per second, of the last minute; the monitor's */
	bool rate_known;
	struct mono rate_since;
	uint64_t rate_head;
	bool binary;
	bool insert_only; /* the second publication exists */
	struct pg_stream stream;
	struct decode_start *starts; /* loaded by prepare(), moved into the stream's decoder by start() */
	uint32_t n_starts;
};

struct slot_info {
	bool exists, active, lost;
	char plugin[64], database[64], wal_status[16];
	int active_pid;
	uint64_t confirmed, restart;
	int64_t retained_bytes, safe_bytes; /* < 0 = unknown */
	bool temporary, logical;
};

/** slot_read() - what the server knows of the slot. Return: 0, negative. Blocks: a query. */
int slot_read(PGconn *conn, const char *name, struct slot_info *ret, struct error *err);
/** slot_drop() - drops it; a slot that is not there is fine. */
int slot_drop(PGconn *conn, const char *name, struct error *err);
/** slot_lost_error(), slot_missing_error() - fill err: RESYNC (80), with the remedy; slot_busy_error(): TRANSIENT.
 * Return -1. */
int slot_lost_error(const char *name, const char *wal_status, struct error *err);
int slot_missing_error(const char *name, struct error *err);
int slot_busy_error(const char *name, int pid, struct error *err);

enum stream_cause {
	STREAM_SLOT_LOST,
	STREAM_SLOT_MISSING,
	STREAM_SLOT_BUSY,
	STREAM_PUBLICATION,
	STREAM_ROW_SIZE,
	STREAM_ASK, /* the text is not known: the server has to be asked what became of the slot */
	STREAM_OTHER,
};
/** stream_cause() - pure: what a failure of the replication stream means. */
enum stream_cause stream_cause(const char *sqlstate, const char *text);

/** timeline_check() - refuses (RESYNC 80) a server whose history does not hold everything up to stored (0 = nothing yet),
 * and remembers its timeline. @copying: a copy is not finished. */
int timeline_check(
	struct pg_source *src, struct state *state, uint64_t stored, bool copying, struct error *err);
/** timeline_left() - pure: where a timeline was left, from the content of a history file; false = it does not say. */
bool timeline_left(const char *history, uint32_t timeline, uint64_t *ret_lsn);

/** stream_error() - a lost or ended stream: fills err; res NULL = the connection was lost. Returns -1. */
int stream_error(struct pg_source *src, const PGresult *res, struct error *err);
int stream_start(struct pg_source *src, uint64_t stored, int wake_fd, struct error *err);
int stream_read(struct pg_source *src, struct batch *batch, int timeout_ms, struct error *err);
void stream_confirm(struct pg_source *src, uint64_t lsn);
void stream_fini(struct pg_source *src);

extern const struct lookup_ops lookup_postgres_ops;

/**
 * visible_wait() - until a question that conn, a session of ours, asks next is answered from behind transaction xid of the stream (0
 * = none). Thread: as lookup.h says. Blocks: up to 5 s. Return: 0; negative (TRANSIENT).
 */
int visible_wait(struct pg_source *src, PGconn *conn, uint64_t xid, struct error *err);
/** snapshot_sees() - whether xid has ended for a snapshot in the text form "xmin:xmax:running,…" of the server. Pure. */
bool snapshot_sees(const char *text, uint32_t xid);

/** columns_describe() - the relation with its columns' facts, by one query to conn. Return: 0; negative (TRANSIENT …). */
int columns_describe(
	PGconn *conn, const struct relation_spec *spec, struct relation **ret, struct error *err);

int monitor_watch(struct pg_source *src, struct source_health *ret, struct error *err);
int monitor_head(struct pg_source *src, uint64_t *ret_head, struct wall *ret_time, struct error *err);
int monitor_barrier(struct pg_source *src, uint64_t *ret_major, struct error *err);

static inline struct pg_peer source_peer(const struct context *ctx)
{
	return (struct pg_peer){ ctx->cfg->source.uri, ctx->cfg->source.user, ctx->cfg->source.password };
}

/** source_pg_connect() - a session of ours on blue; part names it ("lease", "monitor"). */
int source_pg_connect(
	const struct context *ctx, enum pg_role role, const char *part, PGconn **ret, struct error *err);

static inline uint64_t resume_lsn(struct resume resume)
{
	uint64_t wire;

	if (resume.len != sizeof(wire))
		return 0;
	memcpy(&wire, resume.data, sizeof(wire));
	return __builtin_bswap64(wire);
}
