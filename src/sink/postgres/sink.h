/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The PostgreSQL sink's private centre: what its files share. Four kinds of session exist, each owned by
 * one thread: the applier's (conn, and flush.conn beside it), the state's (a mutex of its own, any thread),
 * and one per snapshot worker (session_open()).
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <sluice/context.h>
#include <sluice/postgres.h>
#include <sluice/sink.h>
#include <sluice/state.h>

#include "queue.h"

#define SINK_SCHEMA	"sluice"
#define LAYOUT_VERSION	1 /* what this binary writes */
#define LAYOUT_OLDEST	1 /* the oldest binary that can use what this binary writes */
#define APPLICATION_MAX 72

struct apply;

enum queue_tag { TAG_CONTROL, TAG_PROGRESS, TAG_DATA, TAG_DEFERRED };

/* behind <sluice/state.h>; its own session, every call under the mutex */
struct state_postgres {
	struct state base;
	pthread_mutex_t lock;
	PGconn *conn;
	const char *stream;
	uint64_t epoch; /* 0 = not claimed yet: set() and remove() are refused */
};

/* what the next compare-and-swap expects */
struct progress_version {
	char ctid[32]; /* address of the row's newest version; "" = go by key */
	bool has_position;
	uint8_t position[POSITION_BYTES];
};

/* the progress row as this sink last left it */
struct progress_row {
	struct progress_version committed;
	struct progress_version current; /* as the open transaction sees it */
	struct resume_box resume;	 /* as claim() found it; handed out in struct progress */
	char identity[96];
	uint8_t next[POSITION_BYTES];	/* parameter of the statement under way */
	uint32_t by_ctid, by_key_every; /* see progress_by_key() */
	unsigned long block;		/* of the row, when it was last looked up by key */
};

struct sink_postgres {
	struct sink base;
	const struct config *cfg;
	const char *stream; /* cfg->name */
	int server_version; /* 150008 */
	bool replica_role;  /* session_replication_role = replica is allowed */
	uint64_t epoch;	    /* ours; constant between claim() and the end; 0 before */
	PGconn *conn;	    /* the applier's session */
	struct queue queue; /* statements on their way on conn */
	struct {
		PGconn *conn; /* made by the first flush */
		bool under_way;
	} flush;
	struct state_postgres state;
	struct progress_row progress;
	struct apply *apply; /* everything that applying needs: tables, statements, buffers */
};

/**
 * session_open() - a session for one part ("apply", "load", "check" …): pg_connect() as PG_TARGET, then
 * read committed, synchronous_commit=off, replica role when allowed, nested loops over indexes. Refuses
 * (CONFIG) a standby, a read-only server and a pooler. @ret_replica_role: whether
 * session_replication_role=replica holds; may be NULL. Thread: any; the session is the caller's. Blocks: up
 * to the connect time-out. Return: 0; negative.
 */
int session_open(const struct sink_postgres *sink, const char *part, PGconn **ret, bool *ret_replica_role,
	struct error *err);
/** session_application() - "sluice_<name>/<part>" in buf; returns buf. */
const char *session_application(const char *name, const char *part, char buf[APPLICATION_MAX]);

/** layout_prepare() - creates the schema `sluice` with its tables, or checks its version (newer: CONFIG, 78). */
int layout_prepare(PGconn *conn, struct error *err);

/** state_postgres_init() - makes sink->state usable on a session of its own; fini closes it. */
int state_postgres_init(struct sink_postgres *sink, struct error *err);
void state_postgres_fini(struct state_postgres *state);

/** progress_claim() - see sink_ops.claim. */
int progress_claim(struct sink_postgres *sink, const char *identity, struct progress *ret, struct error *err);
struct progress_next {
	struct position position;
	struct resume resume; /* none: the stored one stays */
	struct wall commit_time;
};
/**
 * progress_put() - queues the compare-and-swap that every stream transaction begins with (and a long one
 * ends with): the row moves to `next` iff epoch and position are as we left them, else the statement fails
 * (tag TAG_PROGRESS, division by zero) and with it the transaction. progress_settle() says how the
 * transaction ended.
 */
/** progress_prepare() - prepares its statements; done by progress_claim(), again after DEALLOCATE ALL. */
int progress_prepare(struct sink_postgres *sink, struct error *err);
int progress_put(struct sink_postgres *sink, const struct progress_next *next, struct error *err);
void progress_settle(struct sink_postgres *sink, bool committed);
/** progress_fenced() - the error of a failed compare-and-swap. Returns -1. */
int progress_fenced(struct error *err);
int progress_store_resume(struct sink_postgres *sink, struct resume resume, struct error *err);

/** flush_commits() - see sink_ops.flush. Thread: the applier's. flush_fini() ends its session. */
int flush_commits(struct sink_postgres *sink, bool wait, struct error *err);
void flush_fini(struct sink_postgres *sink);

/** the initial copy (load.c): made at connect, freed with the sink; both accept a sink that is half-built */
struct snapshot_sink *load_new(struct sink_postgres *sink);
struct snapshot_sink *load_free(struct snapshot_sink *snap); /* NULL is allowed; returns NULL */

/** sink_error() - pg_error() with the sink's own view: 40xxx and lost connections TRANSIENT, permission with the exact
 * GRANT. `what` and `where` hold names and positions only. Returns -1. */
int sink_error(PGconn *conn, const PGresult *res, const char *what, struct error *err);
