#!/bin/bash
# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0
#
# tests/run.sh [unit|lint|fuzz|integration|fault]... [-- PYTEST ARGS]
# Installs what is missing, builds with sanitizers, runs everything (or the parts named), ends with "N passed, N failed".
set -u
cd "$(dirname "$0")/.." || exit 1
ROOT=$PWD
BUILD=${SLUICE_BUILD_DIR:-$ROOT/build-tests}
FUZZ_SECONDS=${FUZZ_SECONDS:-60}
PASSED=0
FAILED=0

parts=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do parts+=("$1"); shift; done
[ "${1:-}" = -- ] && shift
[ ${#parts[@]} -gt 0 ] || parts=(unit lint fuzz integration fault)

say() { printf '\n== %s\n' "$*"; }
wants() { local p; for p in "${parts[@]}"; do [ "$p" = "$1" ] && return 0; done; return 1; }
count() { PASSED=$((PASSED + $1)); FAILED=$((FAILED + $2)); }
one() { # NAME COMMAND...: one check
	local name=$1; shift
	if "$@"; then echo "ok    $name"; count 1 0; else echo "FAIL  $name"; count 0 1; fi
}

# a cheap setup (ccache or not): each tree is configured once and only rebuilt
tree() { # DIR OPTIONS...
	local dir=$BUILD/$1; shift
	if [ -f "$dir/build.ninja" ]; then return 0; fi
	meson setup "$dir" "$ROOT" "$@" > "$BUILD/setup.log" 2>&1 || { cat "$BUILD/setup.log"; return 1; }
}

build_asan() {
	tree asan -Dwerror=true -Db_sanitize=address,undefined -Dfault_points=true -Doptimization=1 &&
		ninja -C "$BUILD/asan" > "$BUILD/build.log" 2>&1 || { tail -n 60 "$BUILD/build.log"; return 1; }
}

meson_tests() { # DIR
	local dir=$BUILD/$1 log=$BUILD/$1/meson-logs/testlog.json
	meson test -C "$dir" --print-errorlogs > "$dir/test.out" 2>&1 || tail -n 80 "$dir/test.out"
	count "$(grep -c '"result": "OK"' "$log")" "$(grep -vc '"result": "OK"' "$log")"
	grep -E '^(Ok|Fail|Timeout)' "$dir/test.out"
}

run_unit() {
	say "release build, warnings are errors"
	if tree release --buildtype=release -Dwerror=true -Dtests=false && ninja -C "$BUILD/release" > "$BUILD/build.log" 2>&1; then
		count 1 0
	else
		tail -n 40 "$BUILD/build.log"; count 0 1
	fi
	say "unit and golden tests, address and undefined behaviour sanitizers"
	meson_tests asan
	say "unit tests, thread sanitizer"
	if tree tsan -Db_sanitize=thread -Doptimization=1 && ninja -C "$BUILD/tsan" > "$BUILD/build.log" 2>&1; then
		meson_tests tsan
	else
		tail -n 40 "$BUILD/build.log"; count 0 1
	fi
}

run_lint() {
	say "lint"
	local out
	out=$(python3 tests/lint/lint.py "$BUILD/asan/sluice"); echo "$out"
	count "$(grep -c '^ok ' <<< "$out")" "$(grep -c '^FAIL' <<< "$out")"
}

# the targets share the time of all processors: each has its own corpus, which lasts, and begins with captures or with what our
# encoders write
run_fuzz() {
	local name at=tests/fuzz names=(binary debezium json pack schema stamp) targets=() seconds processors
	say "fuzzing, $FUZZ_SECONDS s"
	for name in "${names[@]}"; do targets+=("$at/fuzz-$name"); done
	if ! { CC=clang tree fuzz -Dfuzz=true -Dtests=true -Db_lundef=false -Db_sanitize=address,undefined -Db_pie=false &&
		ninja -C "$BUILD/fuzz" subprojects/pgoutput/tests/pgoutput-fuzz $at/fuzz-seeds "${targets[@]}" > "$BUILD/build.log" 2>&1; }; then
		tail -n 40 "$BUILD/build.log"; count 0 1; return
	fi
	rm -rf "$BUILD/seeds"; mkdir -p "$BUILD/seeds"
	"$BUILD/fuzz/$at/fuzz-seeds" "$BUILD/seeds" || { count 0 1; return; }
	processors=$(nproc)
	[ "$processors" -le $((${#names[@]} + 1)) ] || processors=$((${#names[@]} + 1))
	seconds=$((FUZZ_SECONDS / processors))
	fuzz pgoutput "$BUILD/fuzz/subprojects/pgoutput/tests/pgoutput-fuzz" "$seconds" subprojects/pgoutput/tests/corpus
	for name in "${names[@]}"; do
		fuzz "$name" "$BUILD/fuzz/$at/fuzz-$name" "$seconds" "$BUILD/seeds/$name"
	done
	for name in pgoutput "${names[@]}"; do
		one "fuzz-$name" wait "${fuzzers[$name]}"
		grep -E '^(ERROR|SUMMARY|==|stat::number_of_executed|artifact|    #)' "$BUILD/fuzz-$name.log"
	done
}
declare -A fuzzers=()
fuzz() { # NAME PROGRAM SECONDS SEEDS: in the background
	mkdir -p "$BUILD/corpus/$1"
	"$2" -max_total_time="$(($3 > 0 ? $3 : 1))" -timeout=30 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
		-artifact_prefix="$BUILD/" "$BUILD/corpus/$1" "$4" > "$BUILD/fuzz-$1.log" 2>&1 &
	fuzzers[$1]=$!
}

# the folders in one call: a worker that has no more of the one goes on with the other. Most tests wait for most of their
# time, so there are more workers than processors; conftest.py puts the long ones first
run_pytest() { # ARGS...
	local dirs=() report=$BUILD/pytest.xml
	wants integration && dirs+=(tests/integration)
	wants fault && dirs+=(tests/fault)
	[ ${#dirs[@]} -gt 0 ] || return 0
	say "${dirs[*]}"
	export SLUICE_BINARY=$BUILD/asan/sluice ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:exitcode=99 UBSAN_OPTIONS=halt_on_error=1
	"$ROOT/.venv/bin/python" -m pytest -q -n "${PYTEST_WORKERS:-4}" --timeout 600 \
		--durations 20 --junitxml "$report" -p no:cacheprovider "${dirs[@]}" "$@"
	local code=$?
	read -r tests failures skipped < <(python3 - "$report" <<-'P'
	import sys, xml.etree.ElementTree as t
	try:
	    s = t.parse(sys.argv[1]).getroot().find("testsuite").attrib
	    print(int(s["tests"]), int(s["failures"]) + int(s["errors"]), int(s["skipped"]))
	except Exception:
	    print(0, 1, 0)
	P
	)
	# a skipped test is a failed one
	count $((tests - failures - skipped)) $((failures + skipped))
	[ "$code" -eq 0 ] || [ $((failures + skipped)) -gt 0 ] || count 0 1
}

mkdir -p "$BUILD"
. deploy/install.sh
install_packages build test || { echo "packages are missing and cannot be installed"; exit 1; }
if wants integration || wants fault; then make_venv "$ROOT/.venv" || exit 1; fi

say "build"
if build_asan; then count 1 0; else count 0 1; parts=(); fi
wants unit && run_unit
wants lint && run_lint
wants fuzz && run_fuzz
run_pytest "$@"
printf '\n%d passed, %d failed\n' "$PASSED" "$FAILED"
[ "$FAILED" -eq 0 ] && [ "$PASSED" -gt 0 ]
