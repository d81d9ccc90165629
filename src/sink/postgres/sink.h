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

#include "progress.h"
#include "queue.h"

#define SINK_SCHEMA	"sluice"
#define LAYOUT_VERSION	2 /* what this binary writes */
#define LAYOUT_OLDEST	1 /* the oldest binary that can use what this binary writes */
#define APPLICATION_MAX 72

/* what announce.c marks a letter with, and the letters that differ from their mark */
#define LETTER_MARK	   "(state || '/' || attempts::text)"
#define LETTER_UNPUBLISHED "published IS DISTINCT FROM " LETTER_MARK

struct apply;

enum queue_tag { TAG_CONTROL, TAG_PROGRESS, TAG_DATA, TAG_DEFERRED };

/* behind <sluice/state.h>; its own session, every call under the mutex */
struct state_postgres {
	struct state base;
	pthread_mutex_t lock;
	PGconn *conn;
	const char *stream;
	const struct progress_row *rows; /* all that are held; none: set() and remove() are refused */
};

struct sink_postgres {
	struct sink base;
	const struct config *cfg;
	const char *stream; /* cfg->name */
	int server_version; /* 150008 */
	bool replica_role;  /* session_replication_role = replica is allowed */
	uint64_t epoch;	    /* without a log: ours, constant between claim() and the end; else 0 */
	PGconn *conn;	    /* the applier's session */
	struct queue queue; /* statements on their way on conn */
	struct {
		PGconn *conn; /* made by the first flush */
		bool under_way;
	} flush;
	PGconn *announcing; /* the announcer's session, made by its first call */
	struct state_postgres state;
	struct progress_row *rows; /* that are held; changed under state.lock, by the applier's thread only */
	bool prepared;		   /* progress's statements, on conn */
	struct apply *apply;	   /* everything that applying needs: tables, statements, buffers */
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

/** passed_exchange() - see sink_ops.passed. */
int passed_exchange(struct sink_postgres *sink, const struct sink_passed *own, uint32_t n,
	struct sink_passed *ret, struct error *err);
/** layout_prepare() - creates the schema `sluice` with its tables, or checks its version (newer: CONFIG, 78). */
int layout_prepare(PGconn *conn, struct error *err);

/** state_postgres_init() - makes sink->state usable on a session of its own; fini closes it. */
int state_postgres_init(struct sink_postgres *sink, struct error *err);
void state_postgres_fini(struct state_postgres *state);

/** flush_commits() - see sink_ops.flush. Thread: the applier's. flush_fini() ends its session. */
int flush_commits(struct sink_postgres *sink, bool wait, struct error *err);
void flush_fini(struct sink_postgres *sink);

/** announce_letters() - see sink_ops.announce. Thread: the announcer's; ends its session at the free of the sink. */
int announce_letters(struct sink_postgres *sink, const struct announcement *to, struct error *err);

/** the initial copy (load.c): made at connect, freed with the sink; both accept a sink that is half-built */
struct snapshot_sink *load_new(struct sink_postgres *sink);
struct snapshot_sink *load_free(struct snapshot_sink *snap); /* NULL is allowed; returns NULL */

/** catalog_new() - what the target's tables are like, on a session of its own; connects when it is asked first. */
struct catalog *catalog_new(const struct sink_postgres *sink);
struct catalog *catalog_free(struct catalog *catalog); /* NULL is allowed; returns NULL */

/** sink_error() - pg_error() with the sink's own view: 40xxx and lost connections TRANSIENT, permission with the exact
 * GRANT. `what` and `where` hold names and positions only. Returns -1. */
int sink_error(PGconn *conn, const PGresult *res, const char *what, struct error *err);
