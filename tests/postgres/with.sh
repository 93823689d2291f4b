#!/usr/bin/env bash
# Runs a command with a PostgreSQL server of its own: `with.sh BIN COMMAND...`, where BIN is the directory of `postgres`.
# The server listens on a free port, keeps its files in a directory that is gone afterwards, and never waits for the disk.
# SCRIP_TEST_DATABASE tells the command where it is.
set -euo pipefail
bin=$(readlink -f "$1")
shift
home=$(mktemp -d "${TMPDIR:-/tmp}/scrip-postgres-XXXXXX")
# In memory where there is room for it: a disk's file system takes its time over the files of databases made and dropped.
data=$home/data
if [ "$(df --output=avail /dev/shm 2>/dev/null | tail -1 | tr -d ' ')" -gt 2000000 ] 2>/dev/null; then
  data=$(mktemp -d /dev/shm/scrip-postgres-XXXXXX)
fi

# PostgreSQL refuses to run as root.
as=()
if [ "$(id -u)" -eq 0 ]; then
  user=postgres
  id "$user" >/dev/null 2>&1 || user=nobody
  as=(setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups)
  chown "$user" "$home"
  [ ! -d "$data" ] || chown "$user" "$data"
fi
# The other user may not be able to read where the programs are.
if ! "${as[@]}" test -x "$bin/postgres"; then
  cp -r "$(dirname "$bin")" "$home/programs"
  chmod -R go+rX "$home/programs"
  bin="$home/programs/$(basename "$bin")"
fi

stop() {
  (cd / && "${as[@]}" "$bin/pg_ctl" stop -D "$data" -m immediate -s) >/dev/null 2>&1 || true
  rm -rf "$home" "$data"
}
trap stop EXIT
trap 'exit 130' INT TERM

start() {
  local port=$((20000 + RANDOM % 10000))
  local options="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$home -c fsync=off -c max_connections=300"
  "${as[@]}" "$bin/pg_ctl" start -D "$data" -w -s -l "$home/log" -o "$options" || return 1
  export SCRIP_TEST_DATABASE="postgres://postgres@127.0.0.1:$port/postgres"
}

# Elsewhere the other user may not be allowed to be.
here=$PWD
cd /
"${as[@]}" "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C >"$home/init"
# A port that is taken is not taken twice in a row.
start || start || { cat "$home/log" >&2; exit 1; }
cd "$here"
"$@"
