#!/bin/bash
# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0
#
# tests/bench/run.sh [reader|apply|hot|snapshot|codec|kafka|kafka-apply|latency|tables]...     see README.md in this folder
set -euo pipefail
cd "$(dirname "$0")/../.."
export ROOT=$PWD
. tests/bench/common.sh
. tests/bench/kafka.sh

[ -x "$SLUICE" ] || { echo "$SLUICE is not there: meson setup build --buildtype=release -Dtests=false && ninja -C build" >&2; exit 1; }
[ $# -gt 0 ] || set -- reader apply hot snapshot codec kafka kafka-apply latency

sluice() { # LOG ARGUMENTS...: starts it, sets PID
	local log=$1
	shift
	"$SLUICE" -c "$WORK/${CONFIG:-sluice}.yaml" "$@" > "$WORK/$log.log" 2>&1 < /dev/null &
	PID=$!
}
must_end_well() { # LOG
	wait "$PID" || { echo "sluice ended with an error:"; tail -n 20 "$WORK/$1.log"; exit 1; }
	PID=""
}

# ---- reader: the slot into nothing, against pg_recvlogical
reader_sluice() {
	slot_copy rd
	T0=$EPOCHREALTIME
	CONFIG=reader sluice reader --set snapshot.mode=none --set source.postgresql.slot=rd \
		--set source.postgresql.publication=p run --until-synced
	measured "$PID"
	must_end_well reader
	result reader sluice
	slot_drop rd
}
reader_other() {
	local end
	slot_copy rd
	end=$(sql blue "select pg_current_wal_lsn()")
	T0=$EPOCHREALTIME
	"$PGBIN/pg_recvlogical" -h 127.0.0.1 -p "$BLUE_PORT" -U postgres -d $DB -S rd --start -f /dev/null -o proto_version=1 \
		-o publication_names=p --endpos "$end" --no-loop &
	PID=$!
	measured "$PID"
	wait "$PID" || true
	PID=""
	result reader pg_recvlogical
	slot_drop rd
}

# ---- apply and hot: the same backlog into the target, against PostgreSQL's own subscription
empty_target() { # cold|hot
	sql green "drop schema if exists sluice cascade" "truncate t"
	[ "$1" != hot ] || sql green "insert into t select g, 0, $PAYLOAD from generate_series(1, $HOT_KEYS) g" "vacuum analyze t"
	sql green checkpoint
}
same_sums() { # BENCH WHO
	local b g
	b=$(sql blue "select count(*), sum(v) from t") g=$(sql green "select count(*), sum(v) from t")
	[ "$b" = "$g" ] || { echo "$1 $2: blue has $b, green $g" >&2; exit 1; }
}
apply_sluice() { # BENCH [NAME IN THE RESULTS]
	local who=${2:-sluice}
	empty_target "$1"
	slot_copy ap
	T0=$EPOCHREALTIME
	sluice apply --set snapshot.mode=none --set snapshot.schema=existing --set source.postgresql.slot=ap \
		--set source.postgresql.publication=p run
	measured_applied "$PID"
	result "$1" "$who"
	kill -TERM "$PID"
	must_end_well apply
	same_sums "$1" "$who"
	slot_drop ap
}
apply_other() { # BENCH
	local pid
	empty_target "$1"
	slot_copy ap
	sql green "create subscription s connection 'host=127.0.0.1 port=$BLUE_PORT user=postgres dbname=$DB' publication p
		with (create_slot = false, slot_name = ap, copy_data = false, enabled = false)" 2> /dev/null
	T0=$EPOCHREALTIME
	sql green "alter subscription s enable"
	until pid=$(sql green "select pid from pg_stat_activity where backend_type = 'logical replication worker' limit 1") && [ -n "$pid" ]; do
		sleep 0.02
	done
	measured_applied "$pid"
	PID=""
	result "$1" subscription
	same_sums "$1" subscription
	sql green "alter subscription s disable" "alter subscription s set (slot_name = none)" "drop subscription s"
	slot_drop ap
}

# ---- snapshot: one large table with its key, 2 workers, against two psql COPY pipes and ADD PRIMARY KEY
load_big() {
	sql blue "drop table if exists t" "drop publication if exists p" "create table t(id bigint primary key, v int, payload text)" \
		"insert into t select g, 0, $PAYLOAD from generate_series(1, $COPY_ROWS) g" "vacuum analyze t" checkpoint
}
snapshot_sluice() {
	sql green "drop schema if exists sluice cascade" "drop table if exists t" checkpoint
	T0=$EPOCHREALTIME
	sluice snapshot --set snapshot.mode=only --set snapshot.workers=2 run
	measured "$PID"
	must_end_well snapshot
	result snapshot sluice
	[ "$(sql green "select count(*) from t")" = "$COPY_ROWS" ] || { echo "snapshot: rows are missing" >&2; exit 1; }
	slot_drop sluice_bench
	sql blue "drop publication if exists sluice_bench"
}
pipe() { # FROM TO
	"$PGBIN/psql" -X -q "$(uri blue)" -c "copy (select * from t where id > $1 and id <= $2) to stdout" |
		"$PGBIN/psql" -X -q "$(uri green)" -c "copy t from stdin"
}
snapshot_other() {
	local half=$((COPY_ROWS / 2)) one two
	sql green "drop schema if exists sluice cascade" "drop table if exists t" "create table t(id bigint, v int, payload text)" checkpoint
	T0=$EPOCHREALTIME
	pipe 0 $half & one=$!
	pipe $half "$COPY_ROWS" & two=$!
	measured $one
	wait $one $two
	sql green "alter table t add primary key (id)" "analyze t"
	wall_since_start
	PID=""
	result snapshot "psql COPY"
}

# ---- codec: both codecs on one core, in memory
codec() {
	local build
	build=$(dirname "$SLUICE")
	ninja -C "$build" tests/bench/bench-codec > /dev/null || { echo "$build cannot build tests/bench/bench-codec" >&2; exit 1; }
	"$build/tests/bench/bench-codec" "$CODEC_ROWS"
}

if [[ " $* " = *" codec "* ]]; then codec; fi
if [ "$*" = codec ]; then exit 0; fi
case " $* " in *" kafka "* | *" kafka-apply "* | *" latency "* | *" tables "*) kafka_tools ;; esac
asked=$ROUNDS
[[ " $* $LAYOUTS " != *" tables "* ]] || MARKERS=64
servers_start
: > "$WORK/results"
: > "$WORK/summary"
for bench in "$@"; do
	case $bench in
	kafka | kafka-apply | latency | tables) ROUNDS=${asked:-1} ;;
	*) ROUNDS=${asked:-3} ;;
	esac
	case $bench in
	codec) continue ;;
	reader) load_backlog; sluice_run=reader_sluice other_run=reader_other other=pg_recvlogical units=$((2 * ROWS)) ;;
	apply) load_backlog; sluice_run=apply_sluice other_run=apply_other other=subscription units=$((2 * ROWS)) ;;
	hot) load_hot; sluice_run=apply_sluice other_run=apply_other other=subscription units=$HOT_TX ;;
	snapshot) load_big; sluice_run=snapshot_sluice other_run=snapshot_other other="psql COPY" units=$COPY_ROWS ;;
	kafka) load_backlog; broker_start; uncounted kafka_sluice; sluice_run=kafka_sluice other_run=kafka_other other=debezium units=$((2 * ROWS)) ;;
	kafka-apply) load_backlog; kafka_apply; continue ;;
	latency) latency; continue ;;
	tables) load_backlog; tables; continue ;;
	*) echo "unknown: $bench" >&2; exit 64 ;;
	esac
	for ((i = 0; i < ROUNDS; i++)); do
		$sluice_run "$bench"
		$other_run "$bench"
	done
	summary "$bench" "$other" "$units" | tee -a "$WORK/summary"
done
echo
cat "$WORK/summary"
