# shellcheck shell=bash disable=SC2034
# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0
#
# Sourced by run.sh: the parts that need a broker, and Debezium beside us. Every run has a broker of its own, begun empty and
# as cold as the other's. How Debezium is tuned stands here and nowhere else: large batches and queues, lz4, a heap of
# 1 GB; for latency polling every 5 ms and no lingering; records flat at the source where its JDBC sink reads them.

KAFKA=${KAFKA:-3.9.1}
DEBEZIUM=${DEBEZIUM:-3.7.0.Final}
DEBEZIUM_JDBC=${DEBEZIUM_JDBC:-3.6.0.Final}
LAYOUTS=${LAYOUTS:-stream}              # of kafka-apply: stream, tables
PARTITIONS=${PARTITIONS:-4}             # of each topic in layout tables; as many appliers in the part `tables`
RATE=${RATE:-1000}                      # transactions a second of `latency`
LATENCY_SECONDS=${LATENCY_SECONDS:-30}
WARM_SECONDS=${WARM_SECONDS:-10}        # of the same load before it is measured
WARM_MESSAGES=${WARM_MESSAGES:-1000000} # of 500 bytes that a broker has taken before it is measured
LIMIT_SECONDS=${LIMIT_SECONDS:-600}     # a run that takes longer is given up

# the jars of broker, Connect and connectors; tools of ours
kafka_tools() {
	local dir=${SLUICE_CACHE_DIR:-$ROOT/.cache}/debezium-$DEBEZIUM-$DEBEZIUM_JDBC-$KAFKA plugin build
	JARS=$dir/libs PLUGINS=$dir/plugins
	build=$(dirname "$SLUICE")
	ninja -C "$build" tests/bench/log-watch > /dev/null || { echo "$build cannot build tests/bench/log-watch" >&2; exit 1; }
	WATCH=$build/tests/bench/log-watch
	[ ! -e "$dir/complete" ] || return 0
	rm -rf "$dir"
	mkdir -p "$PLUGINS"
	echo "fetching Kafka $KAFKA and Debezium $DEBEZIUM"
	cat > "$dir/pom.xml" <<-X
		<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
		<groupId>sluice</groupId><artifactId>bench</artifactId><version>1</version><packaging>pom</packaging><dependencies>
		<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$KAFKA</version></dependency>
		<dependency><groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId><version>$KAFKA</version></dependency>
		<dependency><groupId>org.apache.kafka</groupId><artifactId>connect-json</artifactId><version>$KAFKA</version></dependency>
		<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId><version>1.7.36</version></dependency>
		</dependencies></project>
	X
	mvn -q -B -Dstyle.color=never -f "$dir/pom.xml" dependency:copy-dependencies -DoutputDirectory="$JARS"
	for plugin in "postgres:$DEBEZIUM" "jdbc:$DEBEZIUM_JDBC"; do
		mvn -q -B -Dstyle.color=never -f "$dir/pom.xml" dependency:copy -DoutputDirectory="$dir" \
			-Dartifact="io.debezium:debezium-connector-$plugin:tar.gz:plugin"
		tar -xzf "$dir/debezium-connector-${plugin/:/-}-plugin.tar.gz" -C "$PLUGINS"
	done
	rm -f "$dir"/*.tar.gz
	touch "$dir/complete"
}

java_start() { # LOG HEAP CLASS ARGUMENTS...: sets PID
	local log=$1 heap=$2
	shift 2
	java "-Xms$heap" "-Xmx$heap" -XX:+UseG1GC "-Dlog4j.configuration=file:$WORK/log4j.properties" -cp "$JARS/*" "$@" \
		> "$WORK/$log.log" 2>&1 < /dev/null &
	PID=$!
}
stop() { # PID...
	kill -TERM "$@" 2> /dev/null || true
	wait "$@" 2> /dev/null || true
}

# brokers run for weeks: what one that has just begun spends on compiling itself is nobody's cost here
broker_warm() {
	local before=0 after
	"$WATCH" warm "127.0.0.1:$BROKER_PORT" warm "$WARM_MESSAGES" "$LIMIT_SECONDS" || { echo "the broker cannot be warmed up" >&2; exit 1; }
	until after=$(cpu_of "$BROKER_PID"); [ $((after - before)) -lt 10 ]; do
		before=$after
		sleep 1
	done
}
broker_start() { # one for all runs; each has topics of its own
	local controller
	[ -z "${BROKER_PID:-}" ] || return 0
	BROKER_PORT=$(free_port) controller=$(free_port)
	printf '%s\n' 'log4j.rootLogger=WARN, out' 'log4j.logger.kafka.server.KafkaRaftServer=INFO' \
		'log4j.appender.out=org.apache.log4j.ConsoleAppender' \
		'log4j.appender.out.layout=org.apache.log4j.PatternLayout' \
		'log4j.appender.out.layout.ConversionPattern=%d %p %m%n' > "$WORK/log4j.properties"
	cat > "$WORK/broker.properties" <<-P
		process.roles=broker,controller
		node.id=1
		controller.quorum.voters=1@127.0.0.1:$controller
		listeners=PLAINTEXT://127.0.0.1:$BROKER_PORT,CONTROLLER://127.0.0.1:$controller
		advertised.listeners=PLAINTEXT://127.0.0.1:$BROKER_PORT
		controller.listener.names=CONTROLLER
		listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
		log.dirs=$WORK/broker
		offsets.topic.replication.factor=1
		offsets.topic.num.partitions=1
		transaction.state.log.replication.factor=1
		transaction.state.log.min.isr=1
		group.initial.rebalance.delay.ms=0
	P
	java_start format 128m kafka.tools.StorageTool format -t AAAAAAAAAAAAAAAAAAAAAQ -c "$WORK/broker.properties"
	wait "$PID" || { cat "$WORK/format.log" >&2; exit 1; }
	java_start broker 1g kafka.Kafka "$WORK/broker.properties"
	BROKER_PID=$PID PID=""
	until grep -q 'Kafka Server started' "$WORK/broker.log"; do
		kill -0 "$BROKER_PID" || { tail "$WORK/broker.log" >&2; exit 1; }
		sleep 0.1
	done
	broker_warm
}
# topics with nothing in them, by another prefix; the config of ours that uses it
topics_fresh() {
	RUN=$((${RUN:-0} + 1)) PREFIX=bench$RUN
	cat "$WORK/sluice.yaml" - > "$WORK/kafka.yaml" <<-Y
		transport: {type: kafka, kafka: {bootstrap_servers: "127.0.0.1:$BROKER_PORT", prefix: $PREFIX}}
	Y
}

# Debezium's worker: one JVM, source and sink in it
connect_start() { # SOURCE|LATENCY|FLAT, SLOT TABLE: sets PID
	local kind=$1 slot=$2 table=$3 more=() rest
	rest=$(free_port)
	rm -f "$WORK/offsets"
	{
		cat <<-P
			bootstrap.servers=127.0.0.1:$BROKER_PORT
			listeners=http://127.0.0.1:$rest
			plugin.path=$PLUGINS
			offset.storage.file.filename=$WORK/offsets
			offset.flush.interval.ms=10000
			key.converter=org.apache.kafka.connect.json.JsonConverter
			value.converter=org.apache.kafka.connect.json.JsonConverter
			key.converter.schemas.enable=$([ "$kind" = FLAT ] && echo true || echo false)
			value.converter.schemas.enable=$([ "$kind" = FLAT ] && echo true || echo false)
			producer.compression.type=lz4
		P
		if [ "$kind" = LATENCY ]; then
			echo producer.linger.ms=0
		else
			printf 'producer.%s\n' linger.ms=20 batch.size=524288 buffer.memory=67108864 max.request.size=8388608
		fi
		[ "$kind" != FLAT ] || printf 'consumer.%s\n' max.poll.records=5000 fetch.min.bytes=1048576 fetch.max.wait.ms=100 \
			max.partition.fetch.bytes=16777216
	} > "$WORK/worker.properties"
	{
		cat <<-P
			name=source
			connector.class=io.debezium.connector.postgresql.PostgresConnector
			tasks.max=1
			plugin.name=pgoutput
			database.hostname=127.0.0.1
			database.port=$BLUE_PORT
			database.user=postgres
			database.password=
			database.dbname=$DB
			topic.prefix=$PREFIX
			table.include.list=public.$table
			slot.name=$slot
			publication.name=p
			publication.autocreate.mode=disabled
			snapshot.mode=no_data
		P
		if [ "$kind" = LATENCY ]; then
			echo poll.interval.ms=5
		else
			printf '%s\n' max.batch.size=16384 max.queue.size=65536 poll.interval.ms=50
		fi
		[ "$kind" != FLAT ] || printf '%s\n' transforms=unwrap \
			transforms.unwrap.type=io.debezium.transforms.ExtractNewRecordState
	} > "$WORK/source.properties"
	[ "$kind" != FLAT ] || more=("$WORK/sink.properties")
	cat > "$WORK/sink.properties" <<-P
		name=sink
		connector.class=io.debezium.connector.jdbc.JdbcSinkConnector
		tasks.max=1
		topics=$PREFIX.public.$table
		connection.url=jdbc:postgresql://127.0.0.1:$GREEN_PORT/$DB?reWriteBatchedInserts=true
		connection.username=postgres
		connection.password=
		insert.mode=upsert
		delete.enabled=true
		primary.key.mode=record_key
		schema.evolution=none
		collection.name.format=$table
		batch.size=5000
		use.reduction.buffer=true
		dialect.postgres.unnest.insert.enabled=true
	P
	java_start connect 1g org.apache.kafka.connect.cli.ConnectStandalone "$WORK/worker.properties" \
		"$WORK/source.properties" "${more[@]}"
}

# the marker's arrival in a topic, seen by a process beside
watch_marker() { # TOPIC COUNT
	: > "$WORK/seen"
	"$WATCH" marker "127.0.0.1:$BROKER_PORT" "$1" "$2" "$LIMIT_SECONDS" > "$WORK/seen" &
	WATCHER=$!
}
marker_seen() {
	[ ! -s "$WORK/seen" ] || return 0
	kill -0 "$WATCHER" 2> /dev/null || { echo "the last message has not come within $LIMIT_SECONDS s" >&2; exit 1; }
	return 1
}

# ---- kafka: the slot into a topic, against Debezium
kafka_sluice() {
	topics_fresh
	slot_copy kf
	# with every transaction a BEGIN and an END; before them FENCE and CONTINUE
	watch_marker "$PREFIX.changes" $((2 * ROWS + 1 + 4 * (ROWS / PER_TX)))
	T0=$EPOCHREALTIME
	CONFIG=kafka sluice kafka --set snapshot.mode=none --set source.postgresql.slot=kf --set source.postgresql.publication=p reader
	measured "$PID" marker_seen
	result kafka sluice
	kill -TERM "$PID"
	must_end_well kafka
	slot_drop kf
}
kafka_other() {
	topics_fresh
	slot_copy kf
	watch_marker "$PREFIX.public.t" $((2 * ROWS + 1))
	T0=$EPOCHREALTIME
	connect_start SOURCE kf t
	measured "$PID" marker_seen
	result kafka debezium
	stop "$PID"
	PID=""
	slot_drop kf
}

# ---- kafka-apply: the slot through the log into the target, against Debezium with its JDBC sink and our own direct way
kafka_apply_sluice() { # LAYOUT FORMAT
	local layout=$1 format=$2 reader applier sets=()
	empty_target apply
	topics_fresh
	slot_copy ka
	sets=(--set snapshot.mode=none --set snapshot.schema=existing --set source.postgresql.slot=ka --set source.postgresql.publication=p
		--set "transport.kafka.layout=$layout" --set "transport.kafka.format=$format")
	[ "$layout" = stream ] || sets+=(--set "transport.kafka.partitions=$PARTITIONS")
	T0=$EPOCHREALTIME
	CONFIG=kafka sluice kafka-reader "${sets[@]}" reader
	reader=$PID
	CONFIG=kafka sluice kafka-applier "${sets[@]}" applier
	applier=$PID
	measured_applied "$reader $applier"
	result kafka-apply "sluice $layout $format"
	kill -TERM "$reader" "$applier"
	PID=$applier
	must_end_well kafka-applier
	PID=$reader
	must_end_well kafka-reader
	same_sums kafka-apply "sluice $layout $format"
	slot_drop ka
}
kafka_apply_debezium() {
	empty_target apply
	topics_fresh
	slot_copy ka
	T0=$EPOCHREALTIME
	connect_start FLAT ka t
	measured_applied "$PID"
	result kafka-apply debezium
	stop "$PID"
	PID=""
	same_sums kafka-apply debezium
	slot_drop ka
}
kafka_apply() {
	local i layout
	broker_start
	for layout in $LAYOUTS; do uncounted kafka_apply_sluice "$layout" json; done
	for ((i = 0; i < ROUNDS; i++)); do
		for layout in $LAYOUTS; do
			kafka_apply_sluice "$layout" json
			kafka_apply_sluice "$layout" binary
		done
		apply_sluice kafka-apply direct
		kafka_apply_debezium
	done
	for layout in $LAYOUTS; do
		summary kafka-apply debezium $((2 * ROWS)) "sluice $layout json"
		summary kafka-apply debezium $((2 * ROWS)) "sluice $layout binary"
		summary kafka-apply direct $((2 * ROWS)) "sluice $layout binary"
	done | tee -a "$WORK/summary"
}

# ---- latency: a row's clock at the source → in a consumer's hands, beside Debezium tuned for it
latency_load() { # SECONDS
	"$PGBIN/pgbench" -n -M prepared -f "$WORK/latency.sql" -c 8 -j 1 -R "$RATE" -T "$1" -h 127.0.0.1 -p "$BLUE_PORT" -U postgres \
		"$DB" > "$WORK/pgbench.log" 2>&1 || { cat "$WORK/pgbench.log" >&2; exit 1; }
}
latency_table() {
	sql blue "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active" \
		"drop publication if exists p" "drop table if exists l" \
		"create table l(id bigserial primary key, row_us bigint, payload text)" "create publication p for table l" > /dev/null
	sql blue "select pg_create_logical_replication_slot('lt', 'pgoutput')" > /dev/null
	printf '%s\n' "insert into l(row_us, payload) values ((extract(epoch from clock_timestamp()) * 1e6)::bigint, repeat('x', 100));" \
		> "$WORK/latency.sql"
	chmod 644 "$WORK/latency.sql"
}
cpu_of() { # PID: ticks
	local line fields
	read -r line < "/proc/$1/stat"
	read -ra fields <<< "${line##*) }"
	echo $((fields[11] + fields[12]))
}
latency_measured() { # WHO TOPIC: the process PID under load
	local before n p50 p95 p99 most
	until [ "$(sql blue "select active from pg_replication_slots where slot_name = 'lt'")" = t ]; do
		kill -0 "$PID" || { tail "$WORK"/latency.log "$WORK"/connect.log >&2; exit 1; }
		sleep 0.1
	done
	latency_load "$WARM_SECONDS"
	"$WATCH" latency "127.0.0.1:$BROKER_PORT" "$2" $((LATENCY_SECONDS - 1)) row_us > "$WORK/latencies" &
	WATCHER=$!
	before=$(cpu_of "$PID")
	latency_load "$LATENCY_SECONDS"
	CPU=$(($(cpu_of "$PID") - before))
	wait "$WATCHER" || { echo "latency: nothing arrived in $2" >&2; exit 1; }
	[ "${COUNTED:-yes}" = yes ] || return 0
	read -r n p50 p95 p99 most < "$WORK/latencies"
	awk -v who="$1" -v n="$n" -v a="$p50" -v b="$p95" -v c="$p99" -v d="$most" -v cpu="$CPU" -v hz="$HZ" -v s="$LATENCY_SECONDS" 'BEGIN {
		printf "latency: %-8s p50 %.1f ms, p95 %.1f ms, p99 %.1f ms, most %.0f ms of %d rows; %.1f %% of a core\n",
			who, a, b, c, d, n, 100 * cpu / hz / s }' | tee -a "$WORK/summary"
}
latency_sluice() {
	latency_table
	topics_fresh
	CONFIG=kafka sluice latency --set snapshot.mode=none --set source.postgresql.slot=lt --set source.postgresql.publication=p reader
	latency_measured sluice "$PREFIX.changes"
	kill -TERM "$PID"
	must_end_well latency
}
latency() {
	local i
	broker_start
	uncounted latency_sluice # small requests are work of another kind for the broker, too
	for ((i = 0; i < ROUNDS; i++)); do
		latency_sluice
		latency_table
		topics_fresh
		connect_start LATENCY lt l
		latency_measured debezium "$PREFIX.public.l"
		stop "$PID"
		PID=""
	done
}

# ---- tables: a log of several partitions applied by one, then by as many appliers
tables_appliers() { # HOW MANY
	local i pids=() ports=() sets=(--set snapshot.mode=none --set snapshot.schema=existing --set transport.kafka.layout=tables)
	empty_target apply
	for ((i = 0; i < $1; i++)); do ports+=("$(free_port)"); done
	T0=$EPOCHREALTIME
	for ((i = 0; i < $1; i++)); do
		CONFIG=kafka sluice "applier$i" "${sets[@]}" --set "http.listen=127.0.0.1:${ports[i]}" applier
		pids+=("$PID")
	done
	measured_applied "${pids[*]}"
	result tables "$1 appliers"
	for ((i = 0; i < $1; i++)); do
		echo "    applier $((i + 1)): $(metric "${ports[i]}" 'sluice_applied_records_total') records"
	done
	kill -TERM "${pids[@]}"
	for ((i = 0; i < $1; i++)); do
		PID=${pids[i]}
		must_end_well "applier$i"
	done
	same_sums tables "$1 appliers"
	sql green "select format('    partition %s: applied up to offset %s', partition, \"offset\") from sluice.progress
		where topic like '%.public.t' order by partition"
}
metric() { # PORT NAME: the sum over its labels
	python3 - "$1" "$2" <<-'P'
		import sys, urllib.request
		text = urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics", timeout=10).read().decode()
		print(int(sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(sys.argv[2]))))
	P
}
tables() {
	local i
	broker_start
	topics_fresh
	slot_copy tb
	CONFIG=kafka sluice tables-reader --set snapshot.mode=none --set source.postgresql.slot=tb --set source.postgresql.publication=p \
		--set transport.kafka.layout=tables --set "transport.kafka.partitions=$PARTITIONS" reader --until-synced
	must_end_well tables-reader
	slot_drop tb
	for ((i = 0; i < ROUNDS; i++)); do
		tables_appliers 1
		tables_appliers "$PARTITIONS"
	done
	summary tables "1 appliers" $((2 * ROWS)) "$PARTITIONS appliers" | tee -a "$WORK/summary"
}
