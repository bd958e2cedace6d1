#!/bin/sh
# What stamps cost: the processor time of a server per command, plain, as a function, and as a script, in microseconds,
# and how often the plain command's time that is. Random keys among 100,000; by default every call waits for its answer.
set -eu
reknit=${REKNIT:-target/release/reknit}
calls=${CALLS:-100000}
pipeline=${PIPELINE:-1}
dir=$(mktemp -d)
trap 'redis-cli -s "$dir/socket" SHUTDOWN NOSAVE >/dev/null 2>&1 || true; rm -rf "$dir"' EXIT
redis-server --port 0 --unixsocket "$dir/socket" --dir "$dir" --save "" --daemonize yes >/dev/null
cli() { redis-cli -s "$dir/socket" "$@"; }
until cli PING >/dev/null 2>&1; do sleep 0.05; done
"$reknit" functions show us | cli -x FUNCTION LOAD >/dev/null

cpu() { cli INFO cpu | tr -d '\r' | awk -F: '/^used_cpu_(user|sys):/ { sum += $2 } END { printf "%.6f", sum }'; }

# Microseconds of the server per call of these words, over data that is already there.
cost() {
  before=$(cpu)
  redis-benchmark -s "$dir/socket" -n "$calls" -r 100000 -P "$pipeline" -c 4 -q "$@" >/dev/null
  awk -v before="$before" -v after="$(cpu)" -v calls="$calls" 'BEGIN { printf "%.2f", (after - before) * 1e6 / calls }'
}

measure() {
  name=$1
  shift
  cli FLUSHALL >/dev/null
  sha=$("$reknit" functions show us --script "$name" | cli -x SCRIPT LOAD)
  cost FCALL "reknit_$name" 1 "$@" >/dev/null
  plain=$(cost "$name" "$@")
  fcall=$(cost FCALL "reknit_$name" 1 "$@")
  evalsha=$(cost EVALSHA "$sha" 1 "$@")
  awk -v name="$name" -v a="$plain" -v b="$fcall" -v c="$evalsha" \
    'BEGIN { printf "| `%s` | %.2f | %.2f (%.1f×) | %.2f (%.1f×) |\n", name, a, b, b / a, c, c / a }'
}

echo "| command | plain | FCALL | EVALSHA |"
echo "|---|---|---|---|"
measure set key:__rand_int__ value
measure del key:__rand_int__
measure hset key:__rand_int__ field value
measure hdel key:__rand_int__ field
measure sadd key:__rand_int__ member
measure srem key:__rand_int__ member
measure zadd key:__rand_int__ 1 member
measure zrem key:__rand_int__ member
measure incrby key:__rand_int__ 1
