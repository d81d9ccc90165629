# SPDX-FileCopyrightText: the sluice authors
# SPDX-License-Identifier: Apache-2.0
#
# Sourced by deploy/demo.sh and tests/run.sh: installs what is missing on Debian or Ubuntu, as root or with sudo.

PACKAGES_BUILD="gcc meson ninja-build pkg-config libc6-dev libpq-dev libyaml-dev libmicrohttpd-dev libyajl-dev uuid-dev librdkafka-dev python3"
PACKAGES_TEST="libcmocka-dev clang clang-format pgbouncer python3 python3-venv python3-pip shellcheck"

_as_root() {
	set -- env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 "$@"
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

_installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2> /dev/null)" = installed ]
}

# the server and client programs of some PostgreSQL from 14 on
_has_postgresql() {
	local p
	for p in /usr/lib/postgresql/*/bin/initdb; do
		[ -x "$p" ] && [ -x "${p%initdb}pgbench" ] && return 0
	done
	return 1
}

# install_packages [build] [test]: returns 1 when something is missing and cannot be installed
install_packages() {
	local missing="" p wanted=""
	case " $* " in *" build "*) wanted="$wanted $PACKAGES_BUILD" ;; esac
	case " $* " in *" test "*) wanted="$wanted $PACKAGES_TEST" ;; esac
	for p in $wanted; do _installed "$p" || missing="$missing $p"; done
	case " $* " in *" test "*)
		# clang's sanitizer runtime has clang's major version in its name
		p=$(ls -d /usr/lib/clang/*/lib/linux/libclang_rt.fuzzer-* 2> /dev/null | head -n 1)
		[ -n "$p" ] || missing="$missing libclang-rt"
		# fetches the servers of other versions
		command -v mvn > /dev/null || missing="$missing maven"
	;; esac
	_has_postgresql || missing="$missing postgresql"
	[ -n "$missing" ] || return 0
	echo "installing:$missing"
	_as_root apt-get -qq update || return 1
	# packages would start servers of their own; nobody asked for them
	if ! [ -e /etc/postgresql-common/createcluster.conf ]; then
		_as_root mkdir -p /etc/postgresql-common
		echo "create_main_cluster = false" | _as_root tee /etc/postgresql-common/createcluster.conf > /dev/null
	fi
	p=${missing/ libclang-rt/}
	# shellcheck disable=SC2086 # a list of package names
	[ -z "$p" ] || _as_root apt-get -qq install -y --no-install-recommends $p > /dev/null || return 1
	case "$missing" in *libclang-rt*)
		p=$(clang --version | sed -n 's/.*version \([0-9]*\)\..*/\1/p' | head -n 1)
		_as_root apt-get -qq install -y --no-install-recommends "libclang-rt-$p-dev" > /dev/null || return 1
	;; esac
	_has_postgresql
}

# make_venv DIR: pytest and psycopg in a virtual environment
make_venv() {
	[ -x "$1/bin/python" ] || python3 -m venv "$1" || return 1
	"$1/bin/python" -c 'import pytest, psycopg, xdist, pytest_timeout, confluent_kafka' 2> /dev/null && return 0
	"$1/bin/python" -m pip -q --disable-pip-version-check install pytest 'psycopg[binary]' pytest-xdist pytest-timeout confluent-kafka
}
