#!/bin/bash
# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0
#
# Moves a small shop of about a million rows between two private PostgreSQL servers while it is written to, and compares
# both sides. Installs and builds what is missing; leaves nothing behind. DEMO_SCALE=0.1 makes it smaller.
set -eu
cd "$(dirname "$0")/.."
ROOT=$PWD
SCALE=${DEMO_SCALE:-1}
. deploy/install.sh

install_packages build || { echo "demo: packages are missing and cannot be installed" >&2; exit 1; }
BIN=$(dirname "$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -t/ -k5 -n | tail -n 1)")
WORK=$(mktemp -d "${TMPDIR:-/tmp}/sluice-demo.XXXXXX")
SLUICE_PID="" LOAD_PID=""

as_server() { # PostgreSQL refuses to run as root
	if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}
cleanup() {
	local pid
	for pid in $LOAD_PID $SLUICE_PID; do kill "$pid" 2> /dev/null && wait "$pid" 2> /dev/null; done
	for side in blue green; do
		[ ! -d "$WORK/$side" ] || as_server "$BIN/pg_ctl" -D "$WORK/$side" -m immediate stop > /dev/null 2>&1
	done
	rm -rf "$WORK"
	return 0
}
trap cleanup EXIT
trap 'exit 130' INT TERM

free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
q() { psql -X -q -A -t -v ON_ERROR_STOP=1 -h 127.0.0.1 -U postgres "$@"; }
blue() { q -p "$BLUE_PORT" -d shop "$@"; }
green() { q -p "$GREEN_PORT" -d shop "$@"; }
now_ms() { date +%s%3N; }
step() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }

server() { # NAME PORT
	as_server mkdir "$WORK/$1"
	as_server "$BIN/initdb" -D "$WORK/$1" -A trust -U postgres -E UTF8 --no-locale -N > /dev/null
	as_server tee -a "$WORK/$1/postgresql.conf" > /dev/null <<-C
		port = $2
		listen_addresses = '127.0.0.1'
		unix_socket_directories = '$WORK'
		wal_level = logical
		shared_buffers = 256MB
		max_wal_size = 4GB
		max_connections = 60
	C
	as_server "$BIN/pg_ctl" -D "$WORK/$1" -l "$WORK/$1.log" -w start > /dev/null
	q -p "$2" -d postgres -c "create database shop"
}

step "building"
[ -f build/build.ninja ] || meson setup build --buildtype=release -Dtests=false > "$WORK/build.log" 2>&1 || { cat "$WORK/build.log"; exit 1; }
ninja -C build > "$WORK/build.log" 2>&1 || { tail -n 40 "$WORK/build.log"; exit 1; }

chmod 755 "$WORK"
[ "$(id -u)" != 0 ] || chown postgres "$WORK"
BLUE_PORT=$(free_port) GREEN_PORT=$(free_port) HTTP_PORT=$(free_port)
step "starting two PostgreSQL servers ($("$BIN/postgres" --version | sed 's/.*) //'))"
server blue "$BLUE_PORT"
server green "$GREEN_PORT"

step "loading the shop"
blue -v scale="$SCALE" <<'SQL'
create table customer (id bigserial primary key, email text not null unique, name text not null, created timestamptz not null default now());
create table product (id bigserial primary key, sku text not null unique, title text not null, manual text, price numeric(10,2) not null);
alter table product alter manual set storage external;
create table orders (id bigserial primary key, customer_id bigint not null references customer, placed timestamptz not null default now(), state text not null);
create table order_item (order_id bigint not null references orders, line int not null, product_id bigint not null references product,
	quantity int not null, price numeric(10,2) not null, primary key (order_id, line));
create index on orders (customer_id);
create index on order_item (product_id);
create table click (at timestamptz not null, customer_id bigint, page text);
alter table click replica identity full;
create sequence invoice_number start 1000;
insert into customer (email, name) select 'c' || g || '@example.org', 'Customer ' || g from generate_series(1, (100000 * :scale)::int) g;
insert into product (sku, title, manual, price)
	select 'SKU-' || g, 'Product ' || g, repeat(md5(g::text), 100), (g % 1000) + 0.99 from generate_series(1, (10000 * :scale)::int) g;
insert into orders (customer_id, state) select 1 + g % (100000 * :scale)::int, 'paid' from generate_series(1, (250000 * :scale)::int) g;
insert into order_item select 1 + g / 2, 1 + g % 2, 1 + g % (10000 * :scale)::int, 1 + g % 5, (g % 1000) + 0.99
	from generate_series(0, (500000 * :scale)::int - 1) g;
insert into click select now(), g, '/p/' || g % 100 from generate_series(1, (150000 * :scale)::int) g;
analyze;
SQL
ROWS=$(blue -c "select (select count(*) from customer) + (select count(*) from product) + (select count(*) from orders) +
	(select count(*) from order_item) + (select count(*) from click)")
step "loaded $ROWS rows in 5 tables"

cat > "$WORK/load.sql" <<SQL
\\set c random(1, int(100000 * $SCALE))
\\set p random(1, int(10000 * $SCALE))
\\set o random(1, int(250000 * $SCALE))
begin;
with o as (insert into orders (customer_id, state) values (:c, 'new') returning id)
	insert into order_item select id, 1, :p, 2, 9.99 from o;
update product set price = price + 0.01 where id = :p;
commit;
update orders set state = 'shipped' where id = :o;
insert into click values (now(), :c, '/buy/' || :p);
delete from order_item where order_id = :o and line = 2;
select nextval('invoice_number');
SQL
chmod 644 "$WORK/load.sql"

cat > "$WORK/sluice.yaml" <<Y
name: demo
source: {uri: "postgresql://postgres@127.0.0.1:$BLUE_PORT/shop?sslmode=disable"}
target: {uri: "postgresql://postgres@127.0.0.1:$GREEN_PORT/shop?sslmode=disable"}
cutover: {hold: 3s}
http: {listen: "127.0.0.1:$HTTP_PORT"}
Y
sluice() { "$ROOT/build/sluice" -c "$WORK/sluice.yaml" "$@"; }

step "checking"
sluice check || { echo "demo: check failed" >&2; exit 1; }
CHANGES=$(blue -c "select sum(n_tup_ins + n_tup_upd + n_tup_del) from pg_stat_user_tables")
step "writing to blue, running sluice"
"$BIN/pgbench" -n -h 127.0.0.1 -p "$BLUE_PORT" -U postgres -f "$WORK/load.sql" -c 2 -j 1 -R 150 -T 3600 shop > "$WORK/load.log" 2>&1 &
LOAD_PID=$!
if [ -t 1 ]; then
	build/sluice -c "$WORK/sluice.yaml" run 2> "$WORK/sluice.log" &
else
	build/sluice -c "$WORK/sluice.yaml" run &
fi
SLUICE_PID=$!
sluice ready --wait 10m || { echo "demo: not ready" >&2; tail -n 20 "$WORK/sluice.log" 2> /dev/null; exit 1; }

step "ready; stopping the load"
kill "$LOAD_PID" || { echo "demo: the load has ended by itself" >&2; tail -n 5 "$WORK/load.log" >&2; exit 1; }
wait "$LOAD_PID" 2> /dev/null || true
LOAD_PID=""
T0=$(now_ms)
POINT=$(blue -c "select pg_logical_emit_message(true, 'demo', 'end')")
until [ "$(green -c "select ('x' || encode(resume, 'hex'))::bit(64)::bigint > '$POINT'::pg_lsn - '0/0'::pg_lsn from sluice.progress
	where stream = 'demo'" 2> /dev/null)" = t ]; do
	kill -0 "$SLUICE_PID" || { echo "demo: sluice has ended" >&2; exit 1; }
	sleep 0.01
done
LAG=$(($(now_ms) - T0))
CHANGED=$(blue -c "select pg_stat_clear_snapshot(), sum(n_tup_ins + n_tup_upd + n_tup_del) - $CHANGES from pg_stat_user_tables" | cut -d'|' -f2)
sluice status
kill "$SLUICE_PID"
wait "$SLUICE_PID" || { echo "demo: sluice ended with an error" >&2; exit 1; }
SLUICE_PID=""

step "comparing both sides, row by row"
rows() { # SIDE: every row of every table as a line with its hash
	for t in customer product orders order_item click; do
		"$1" -c "set timezone = 'UTC'" -c "select '$t', md5(t::text) from $t t"
	done | LC_ALL=C sort
}
rows blue > "$WORK/blue.rows"
rows green > "$WORK/green.rows"
DIFFERENCES=$(LC_ALL=C comm -3 "$WORK/blue.rows" "$WORK/green.rows" | wc -l)
TOTAL=$(wc -l < "$WORK/green.rows")
echo "demo: $TOTAL rows, $CHANGED changes, $DIFFERENCES differences, lag $LAG ms"
[ "$DIFFERENCES" = 0 ]
