# MongoDB, as SYNCLINE_TEST_MONGODB_URL; sourced by scripts/services, which says what the two functions do.
#
# In this order: the replica set the environment names; mongo:8 in a container; a MongoDB-compatible server, which is compiled
# once and kept outside of the repository. docs/mongodb.md says where that one differs.
# shellcheck shell=bash disable=SC2154

mongodb_server="0.5.3-beta.196"
mongodb_cache="${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/syncline-tests"
mongodb_compose="$PWD/scripts/services.d/mongodb.compose.yml"

mongodb_up() {
  if [[ -n "${SYNCLINE_TEST_MONGODB_URL:-}" ]]; then
    mongodb_say "$SYNCLINE_TEST_MONGODB_URL"
  elif docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; then
    mongodb_container
  elif mongodb_have_server; then
    mongodb_start
  fi
}

mongodb_down() {
  if [[ -f "$service_dir/container" ]]; then
    MONGODB_PORT=$(<"$service_dir/container") docker compose -p "$(mongodb_project)" -f "$mongodb_compose" down -v
  fi
  if mongodb_runs; then end_process "$(<"$service_dir/pid")"; fi
}

mongodb_say() { printf 'export SYNCLINE_TEST_MONGODB_URL=%q\n' "$1"; }

# --- a container ---------------------------------------------------------------------------------------------------

# Its name: one for each working copy.
mongodb_project() { printf 'syncline-mongodb-%s' "$(<"$service_dir/container")"; }

mongodb_container() {
  if [[ ! -f "$service_dir/container" ]]; then free_port >"$service_dir/container"; fi
  local port
  port=$(<"$service_dir/container")
  MONGODB_PORT=$port docker compose -p "$(mongodb_project)" -f "$mongodb_compose" up -d --wait >&2 || return 1
  mongodb_say "mongodb://127.0.0.1:$port/?replicaSet=rs0"
}

# --- a compatible server -------------------------------------------------------------------------------------------

# Whether the process that was started is still that server.
mongodb_runs() {
  local pid name
  pid=$(cat "$service_dir/pid" 2>/dev/null) || return 1
  name=$(cat "/proc/$pid/comm" 2>/dev/null || ps -o comm= -p "$pid" 2>/dev/null) || return 1
  [[ "$name" == *secantusd-rs* ]]
}

mongodb_start() {
  if ! mongodb_runs; then
    rm -rf "$service_dir/data"
    mongodb_launch 0
  fi
  mongodb_await
}

# Starts it at a port; 0: it chooses a free one.
mongodb_launch() {
  local allocator
  rm -f "$service_dir/log"
  # MongoDB brings an allocator that is made for many threads; this server uses the system's unless there is another one.
  allocator=$(compgen -G '/usr/lib/*/libjemalloc.so.2' | head -n 1) || true
  # In a session of its own, so that Ctrl-C at the tests does not take it down before its time. It says at which port it
  # listens. Every commit goes to the disk.
  LD_PRELOAD="$allocator" setsid "$mongodb_cache/bin/secantusd-rs" --host 127.0.0.1 --port "$1" --storage-path "$service_dir/data" --cache-size 1G \
    --log-level WARNING --sync-on-commit >"$service_dir/log" 2>&1 </dev/null &
  printf '%s' "$!" >"$service_dir/pid"
}

# Killed as if the power had failed, and started again with what is on its disk.
mongodb_restart() {
  if [[ -f "$service_dir/container" ]]; then
    MONGODB_PORT=$(<"$service_dir/container") docker compose -p "$(mongodb_project)" -f "$mongodb_compose" restart -t 0
    mongodb_container
    return
  fi
  kill -KILL "$(<"$service_dir/pid")" || return 1
  while alive "$(<"$service_dir/pid")"; do sleep 0.05; done
  mongodb_launch "$(<"$service_dir/port")"
  mongodb_await
}

# Waits until it listens, and says where.
mongodb_await() {
  local port
  for _ in {1..1200}; do
    port=$(sed -n 's/.*listening on .*:\([0-9]\{1,\}\).*/\1/p' "$service_dir/log" 2>/dev/null | head -n 1)
    if [[ -n "$port" ]]; then
      printf '%s' "$port" >"$service_dir/port"
      mongodb_say "mongodb://127.0.0.1:$port"
      return
    fi
    # By its number only: it may not bear its name yet.
    alive "$(<"$service_dir/pid")" || break
    sleep 0.1
  done
  printf 'the MongoDB-compatible server did not start:\n' >&2
  tail -n 5 "$service_dir/log" >&2
  return 1
}

# Compiles the server if it is not there; false if that can't be done here.
mongodb_have_server() {
  if [[ "$("$mongodb_cache/bin/secantusd-rs" --version 2>/dev/null)" == *"$mongodb_server"* ]]; then return; fi
  local own="set SYNCLINE_TEST_MONGODB_URL to a replica set of your own"
  if ! need_package cmake cmake || ! mongodb_have_zlib; then
    no_service "the MongoDB-compatible server needs CMake and zlib's headers" "Debian: apt-get install cmake zlib1g-dev; or $own"
    return 1
  fi
  need_rust
  say "compiling a MongoDB-compatible server, once; this takes some minutes" >&2
  mkdir -p "$mongodb_cache"
  # Compiled outside of the repository, which has nothing to do with its sources and its licence.
  if ! (cd "$mongodb_cache" && CARGO_TARGET_DIR=$mongodb_cache/build cargo install secantus-mdb --version "$mongodb_server" \
    --ignore-rust-version --root "$mongodb_cache" --force) </dev/null >&2; then
    no_service "the MongoDB-compatible server can't be compiled" "Look at what cargo says above; or $own"
    return 1
  fi
  rm -rf "$mongodb_cache/build"
}

mongodb_have_zlib() {
  local header='#include <zlib.h>'
  if cc -E - <<<"$header" >/dev/null 2>&1; then return; fi
  # There is no command to look for.
  need_package syncline-no-such-command zlib1g-dev || true
  cc -E - <<<"$header" >/dev/null 2>&1
}
