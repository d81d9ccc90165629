/* SPDX-FileCopyrightText: the sluice authors
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the running process knows about itself, for /status, `sluice status`, readiness and the progress bar. One
 * mutex, taken a few times a second by each thread, never per row. Strings are copied in; what is unknown stays
 * empty or negative and is rendered as null.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <sluice/clock.h>
#include <sluice/error.h>
#include <sluice/halves.h>

enum phase { /* of the migration; stored in the target */
	PHASE_PREPARE,
	PHASE_SNAPSHOT,
	PHASE_CATCHING_UP,
	PHASE_IN_SYNC,
	PHASE_READY,
	PHASE_FENCING,
	PHASE_DRAINING,
	PHASE_VERIFYING,
	PHASE_SWITCHED,
	PHASE_FINISHED,
	PHASE_ROLLED_BACK,
	PHASE_COUNT,
};
enum run_state { /* of this process */
	STATE_STARTING,
	STATE_STANDBY,
	STATE_RUNNING,
	STATE_RETRYING,
	STATE_PAUSED,
	STATE_BLOCKED,
	STATE_DRAINING,
	STATE_FINISHED,
	STATE_COUNT,
};

const char *phase_to_string(enum phase phase); /* "catching-up" … */
int phase_from_string(const char *s, enum phase *ret);
const char *run_state_to_string(enum run_state state);

struct status_peer {
	char type[16], identity[96], version[32], host[128], database[72]; /* no password, no user */
	char position[40];
	bool connected;
	struct wall last_contact;
};

struct status_table {
	char name[136]; /* schema.table */
	char state[16]; /* waiting copying copied streaming blocked */
	uint64_t rows, inserts, updates, deletes, dead_letters;
	int64_t rows_estimated;
};

struct status_alarm {
	char code[24], message[304], remedy[176];
};

#define STATUS_ALARMS 32

/* what the counters were, once a second, for rates over the last 10 s; kept by status_sample() of report.h */
struct status_sample {
	struct mono at;
	uint64_t records, transactions, snapshot_bytes;
	double lag_seconds; /* < 0 = unknown, as below */
	int64_t lag_bytes;
};

#define STATUS_SAMPLES 11

struct status {
	pthread_mutex_t lock; /* guards everything below */
	enum phase phase;
	enum run_state state;
	struct wall state_since;
	char state_reason[304], state_remedy[176];
	char state_code[24];
	struct wall next_retry_at;
	struct status_peer source, target;
	/* lag */
	double lag_seconds; /* < 0 = unknown */
	int64_t lag_bytes;  /* < 0 = unknown */
	struct mono lag_measured;
	/* applied */
	char applied_position[40];
	struct wall applied_commit_time;
	/* snapshot */
	uint64_t snapshot_tables_total, snapshot_tables_done, snapshot_rows_done, snapshot_bytes_done;
	uint64_t snapshot_bytes_estimated, snapshot_rows_estimated;
	struct mono snapshot_started;
	bool snapshot_running;
	struct mono snapshot_transaction_started; /* .us 0 = none open */
	/* slot */
	char slot_name[64], slot_wal_status[16];
	int64_t slot_retained_bytes, slot_safe_bytes; /* < 0 = unknown or unlimited */
	int64_t prepared_transactions;		      /* open on the source; < 0 unknown */
	uint64_t new_tables;			      /* match include, not in the publication */
	/* barrier: a marker written at the source once the limits were met */
	bool barrier_applied;
	struct mono limits_met_since; /* .us 0 = not met */
	bool sequences_mapped;
	struct error last_error;
	struct wall last_error_at;
	char last_error_where[200];
	struct status_alarm alarms[STATUS_ALARMS];
	uint32_t n_alarms;
	struct status_table *tables; /* heap, grown by status_table_get() */
	uint32_t n_tables, cap_tables;
	struct log_lag *log_lags; /* heap; see log_lag.h */
	uint32_t n_log_lags;
	struct halves halves;			      /* where a log joins them */
	struct status_sample samples[STATUS_SAMPLES]; /* oldest first */
	uint32_t n_samples;
	/* main loop's heartbeat, for /livez */
	struct mono main_turn;
};

void status_init(struct status *st);
void status_fini(struct status *st);
void status_state(
	struct status *st, enum run_state state, const char *code, const char *reason, const char *remedy);
void status_phase(struct status *st, enum phase phase);
void status_error(struct status *st, const struct error *err, const char *where);
/** status_alarm_raise() - sets or replaces the alarm of this code; status_alarm_clear() takes it away. */
void status_alarm_raise(struct status *st, const char *code, const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void status_alarm_clear(struct status *st, const char *code);
/** status_table_get() - finds or makes the entry of schema.table; the lock must be held. */
struct status_table *status_table_get(struct status *st, const char *schema, const char *name);

static inline void status_lock(struct status *st)
{
	pthread_mutex_lock(&st->lock);
}

static inline void status_unlock(struct status *st)
{
	pthread_mutex_unlock(&st->lock);
}
