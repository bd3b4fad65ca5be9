#!/usr/bin/env bash
# The whole way of a feature, on real flights: from dbt into Redis, and back out. Run by `make demo`.
# Its Redis has a port of its own, so that a Redis already running here is never touched; where that is taken, the next.
set -euo pipefail
cd "$(dirname "$0")/.."

export PATH="$PWD/.venv/bin:$PATH"

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

# dbt says a line per model and test; the last one is enough while all is well.
build() {
    printf '\n$ dbt build\n'
    dbt build >.run/build.log 2>&1 || { cat .run/build.log >&2; exit 1; }
    tail -n 1 .run/build.log | sed 's/^[0-9:]* *//'
}

mkdir -p .run
trap 'kill "$redis" 2>/dev/null && wait "$redis" || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for port in {6390..6489}; do
    : >.run/redis.log # there before it is looked into, and without the last words of another
    syncer redis --port "$port" >.run/redis.log 2>&1 &
    redis=$!
    until grep -q 'is ready at' .run/redis.log || ! kill -0 "$redis" 2>/dev/null; do sleep 0.1; done
    grep -q "^Error: Port $port is taken" .run/redis.log || break
done
kill -0 "$redis" 2>/dev/null || { cat .run/redis.log >&2; exit 1; }
printf '$ syncer redis --port %s &\n' "$port"
head -n 1 .run/redis.log
export SYNCER_REDIS_URL="redis://127.0.0.1:$port"

export NO_COLOR=1 DBT_USE_COLORS=false
build
run syncer check
run syncer sync
run syncer verify
run syncer get departure_delay tailnum=N11184 carrier=EV origin=EWR dest=CLT \
    scheduled_departure_at=2013-02-01T00:04:00Z

printf '\nThe training set, each flight with what was known at its scheduled departure: %s\n' departure_delay.parquet

run syncer report
