# shellcheck shell=bash
# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0
#
# Sourced by run.sh: two private servers, loads, and measuring of one process. T0 is when the measured work began.

ROWS=${ROWS:-1000000}           # rows inserted, then updated, by the backlog
PER_TX=${PER_TX:-1000}          # rows in a transaction of it
HOT_TX=${HOT_TX:-400000}        # one-row transactions over HOT_KEYS keys
HOT_KEYS=${HOT_KEYS:-1000}
COPY_ROWS=${COPY_ROWS:-8000000} # rows of the table that is copied
CODEC_ROWS=${CODEC_ROWS:-1000000} # rows that each codec encodes and decodes in a round
ROUNDS=${ROUNDS:-}              # A and B take turns this often (3; with Kafka 1); the medians are compared
MARKERS=${MARKERS:-1}           # rows behind the backlog that tell its end: with several partitions one in each
DB=bench
declare -A SEEN_CPU SEEN_RSS
exec {NEVER}<> <(:)             # nothing ever comes from it
HZ=$(getconf CLK_TCK)
SLUICE=${SLUICE:-$ROOT/build/sluice}
PGBIN=${PG_BINDIR:-$(dirname "$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -t/ -k5 -n | tail -n 1)")}

as_server() { # PostgreSQL refuses to run as root
	if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}
free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
sql() { # blue|green STATEMENT...
	local port=$BLUE_PORT args=() s
	[ "$1" = blue ] || port=$GREEN_PORT
	shift
	for s in "$@"; do args+=(-c "$s"); done
	PGOPTIONS="-c client_min_messages=warning" "$PGBIN/psql" -X -q -At -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" -U postgres -d $DB "${args[@]}"
}
uri() { # blue|green
	local port=$BLUE_PORT
	[ "$1" = blue ] || port=$GREEN_PORT
	echo "postgresql://postgres@127.0.0.1:$port/$DB?sslmode=disable"
}

server() { # NAME PORT: durable, as in production; log_statement and the like stay off
	as_server mkdir "$WORK/$1"
	as_server "$PGBIN/initdb" -D "$WORK/$1" -A trust -U postgres -E UTF8 --locale=C.UTF-8 > /dev/null
	as_server tee -a "$WORK/$1/postgresql.conf" > /dev/null <<-C
		port = $2
		listen_addresses = '127.0.0.1'
		unix_socket_directories = '$WORK'
		wal_level = logical
		shared_buffers = 512MB
		max_wal_size = 8GB
		max_replication_slots = 20
		max_wal_senders = 20
		wal_retrieve_retry_interval = 100ms
	C
	as_server "$PGBIN/pg_ctl" -D "$WORK/$1" -l "$WORK/$1.log" -w start > /dev/null
	"$PGBIN/psql" -X -q -h 127.0.0.1 -p "$2" -U postgres -d postgres -c "create database $DB"
}

servers_start() {
	WORK=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/sluice-bench.XXXXXX")
	chmod 755 "$WORK"
	[ "$(id -u)" != 0 ] || chown postgres "$WORK"
	BLUE_PORT=$(free_port) GREEN_PORT=$(free_port)
	trap servers_stop EXIT
	trap 'exit 130' INT TERM
	server blue "$BLUE_PORT"
	server green "$GREEN_PORT"
	cat > "$WORK/sluice.yaml" <<-Y
		name: bench
		source: {uri: "$(uri blue)"}
		target: {uri: "$(uri green)"}
		http: {listen: "127.0.0.1:0"}
	Y
	sed 's/^target:.*/target: {type: discard}/' "$WORK/sluice.yaml" > "$WORK/reader.yaml"
}
servers_stop() {
	local side
	# shellcheck disable=SC2046 # a list of processes: what is still running of those that this shell has started
	kill -9 $(jobs -pr) 2> /dev/null || true
	for side in blue green; do
		[ ! -d "$WORK/$side" ] || as_server "$PGBIN/pg_ctl" -D "$WORK/$side" -m immediate stop > /dev/null 2>&1 || true
	done
	rm -rf "$WORK"
}

PAYLOAD="rpad(md5(g::text) || md5((g + 1)::text), 100, 'x')"

fresh_table() {
	sql green "drop schema if exists sluice cascade" "drop table if exists t" "create table t(id bigint primary key, v int, payload text)"
	sql blue "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active" \
		"drop publication if exists p" "drop table if exists t" "create table t(id bigint primary key, v int, payload text)" \
		"create publication p for table t" > /dev/null
}
markers() { echo "insert into t select -g, 0, 'end' from generate_series(1, $MARKERS) g"; }
# inserts, then updates of all rows, then the markers; all of it in the slot `base`, which every run gets a copy of
load_backlog() {
	fresh_table
	sql blue "select pg_create_logical_replication_slot('base', 'pgoutput')" > /dev/null
	sql blue "set synchronous_commit = off" "do \$\$ declare i bigint := 0; begin
		while i < $ROWS loop insert into t select g, 0, $PAYLOAD from generate_series(i + 1, i + $PER_TX) g; commit; i := i + $PER_TX; end loop;
		i := 0;
		while i < $ROWS loop update t set v = v + 1 where id between i + 1 and i + $PER_TX; commit; i := i + $PER_TX; end loop; end \$\$"
	sql blue "$(markers)" "vacuum analyze t" checkpoint
}
load_hot() {
	fresh_table
	sql blue "insert into t select g, 0, $PAYLOAD from generate_series(1, $HOT_KEYS) g" \
		"select pg_create_logical_replication_slot('base', 'pgoutput')" > /dev/null
	printf '\\set k random(1, %s)\nupdate t set v = v + 1 where id = :k;\n' "$HOT_KEYS" > "$WORK/hot.sql"
	chmod 644 "$WORK/hot.sql"
	PGOPTIONS="-c synchronous_commit=off" "$PGBIN/pgbench" -n -M prepared -f "$WORK/hot.sql" -c 8 -j 2 -t $((HOT_TX / 8)) \
		-h 127.0.0.1 -p "$BLUE_PORT" -U postgres $DB > /dev/null 2>&1
	sql blue "$(markers)" checkpoint
}
slot_copy() { # NAME
	sql blue "select pg_copy_logical_replication_slot('base', '$1')" > /dev/null
}
slot_drop() { # NAME: as soon as nobody holds it
	until sql blue "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '$1'" > /dev/null 2>&1; do
		sleep 0.1
	done
}

wall_since_start() { WALL=$(awk -v a="$T0" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }'); }
# sampled PID...: CPU and RSS of processes, as sums; 1 = one of them has ended. What was seen last of each is kept
sampled() {
	local pid line fields name n alive=0
	for pid; do
		{ read -r line < "/proc/$pid/stat"; } 2> /dev/null || { alive=1; continue; }
		read -ra fields <<< "${line##*) }"
		[ "${fields[0]}" != Z ] || { alive=1; continue; }
		SEEN_CPU[$pid]=$((fields[11] + fields[12]))
		while read -r name n _; do
			[ "$name" != VmHWM: ] || { SEEN_RSS[$pid]=$n; break; }
		done 2> /dev/null < "/proc/$pid/status"
	done
	CPU=0 RSS=0
	for pid; do CPU=$((CPU + ${SEEN_CPU[$pid]:-0})) RSS=$((RSS + ${SEEN_RSS[$pid]:-0})); done
	return $alive
}
# measured "PID..." ENDED...: waits until the command ENDED is true (or a process ends), sampling; sets WALL CPU RSS
measured() {
	local pids
	# shellcheck disable=SC2034 # for who ends the process
	PID=$1
	read -ra pids <<< "$1"
	shift
	SEEN_CPU=() SEEN_RSS=()
	while sampled "${pids[@]}"; do
		if [ $# -gt 0 ] && "$@"; then
			sampled "${pids[@]}" || true
			break
		fi
		read -r -t 0.05 -u "$NEVER" || true # sleeps without a process
	done
	wall_since_start
}
# measured_applied "PID...": until the markers are visible on the target. They are asked for in short statements, since a long one
# would hold the target's xmin back, over one connection and by the index: nobody has analyzed the table, and reading all of it
# 15 times a second takes a quarter of two cores from what is measured
measured_applied() {
	local asker
	coproc ASK {
		PGOPTIONS="-c enable_seqscan=off -c enable_bitmapscan=off" \
			exec "$PGBIN/psql" -X -q -At -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$GREEN_PORT" -U postgres -d $DB
	}
	# shellcheck disable=SC2153 # coproc sets it
	asker=$ASK_PID
	measured "$1" marker_arrived
	echo '\q' >&"${ASK[1]}"
	wait "$asker"
}
marker_arrived() {
	local n
	echo "select count(*) from t where id < 0;" >&"${ASK[1]}"
	read -r n <&"${ASK[0]}" || { echo "the target does not answer" >&2; exit 1; }
	[ "$n" = "$MARKERS" ]
}
# what a run that has its time for the first time has to make ready, in a broker, is nobody's cost
uncounted() { COUNTED=no "$@"; } # COMMAND...
result() { # BENCH WHO
	local cpu mb
	[ "${COUNTED:-yes}" = yes ] || return 0
	cpu=$(awk -v t="$CPU" -v h="$HZ" 'BEGIN { printf "%.2f", t / h }')
	mb=$(awk -v k="$RSS" 'BEGIN { printf "%.0f", k / 1024 }')
	printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$WALL" "$cpu" "$mb" >> "$WORK/results"
	printf '  %-9s %-28s %7.2f s wall %7.2f s cpu %6d MB peak\n' "$1" "$2" "$WALL" "$cpu" "$mb"
}
# summary BENCH OTHER UNITS [WHO]: medians of both, and the ratios
summary() {
	awk -F'\t' -v bench="$1" -v other="$2" -v units="$3" -v who="${4:-sluice}" '
		function median(a, n,   i, j, t) {
			for (i = 2; i <= n; i++)
				for (j = i; j > 1 && a[j] < a[j - 1]; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
			return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
		}
		$1 == bench && $2 == who { n++; w[n] = $3; c[n] = $4; m[n] = $5 }
		$1 == bench && $2 == other { k++; ow[k] = $3; oc[k] = $4; om[k] = $5 }
		END {
			a = median(w, n); b = median(ow, k)
			ca = median(c, n); cb = median(oc, k)
			printf "%s: %s %.2f s (%.0f per second, cpu %.2f s, %d MB), %s %.2f s (%.0f per second, cpu %.2f s, %d MB), ratio %.2f, of cpu %.2f\n",
				bench, who, a, units / a, ca, median(m, n), other, b, units / b, cb, median(om, k), b / a, (ca > 0 ? cb / ca : 0)
		}' "$WORK/results"
}
