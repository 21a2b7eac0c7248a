# Sourced by scripts/services: a MongoDB replica set for tests.
#
# mongodb_up prints `export SYNCLINE_TEST_MONGODB_URL=…` and nothing else on stdout; mongodb_down ends what mongodb_up started.
# It takes, in this order: the server SYNCLINE_TEST_MONGODB_URL names; mongo:8 in a container; a MongoDB-compatible server,
# compiled once. docs/mongodb.md says where that one differs.
# shellcheck shell=bash

mongodb_server_version="0.5.3-beta.196"
mongodb_cache="${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/syncline-tests"
mongodb_state="${SYNCLINE_SERVICES_STATE:-$mongodb_cache/state}/mongodb"
mongodb_compose="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/mongodb.compose.yml"

mongodb_up() {
  if [[ -n "${SYNCLINE_TEST_MONGODB_URL:-}" ]]; then
    printf 'export SYNCLINE_TEST_MONGODB_URL=%q\n' "$SYNCLINE_TEST_MONGODB_URL"
    return
  fi
  mkdir -p "$mongodb_state"
  if docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; then
    mongodb_up_container
  else
    mongodb_up_server
  fi
}

mongodb_down() {
  if [[ -f "$mongodb_state/container.port" ]]; then
    MONGODB_PORT=$(<"$mongodb_state/container.port") docker compose -p syncline-tests-mongodb -f "$mongodb_compose" down -v >&2
    rm -f "$mongodb_state/container.port"
  fi
  if mongodb_server_runs; then
    local pid
    pid=$(<"$mongodb_state/pid")
    kill "$pid"
    for _ in {1..100}; do
      mongodb_server_runs || break
      sleep 0.1
    done
    if mongodb_server_runs; then kill -9 "$pid"; fi
  fi
  rm -rf "$mongodb_state"
}

# --- a container ---------------------------------------------------------------------------------------------------

mongodb_up_container() {
  local port
  if [[ -f "$mongodb_state/container.port" ]]; then
    port=$(<"$mongodb_state/container.port")
  else
    port=$(mongodb_free_port)
    printf '%s' "$port" >"$mongodb_state/container.port"
  fi
  MONGODB_PORT=$port docker compose -p syncline-tests-mongodb -f "$mongodb_compose" up -d --wait >&2 ||
    fail "the MongoDB container did not start" "Look at: docker compose -p syncline-tests-mongodb logs"
  printf 'export SYNCLINE_TEST_MONGODB_URL=%q\n' "mongodb://127.0.0.1:$port/?replicaSet=rs0"
}

# A port nobody listens on.
mongodb_free_port() {
  local port
  for _ in {1..50}; do
    port=$((20000 + RANDOM % 20000))
    if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      printf '%s' "$port"
      return
    fi
  done
  fail "no free port was found between 20000 and 40000"
}

# --- a compatible server -------------------------------------------------------------------------------------------

# Whether the process whose number was kept is still that server.
mongodb_server_runs() {
  local pid name
  pid=$(cat "$mongodb_state/pid" 2>/dev/null) || return 1
  name=$(cat "/proc/$pid/comm" 2>/dev/null || ps -o comm= -p "$pid" 2>/dev/null) || return 1
  [[ "$name" == *secantusd-rs* ]]
}

mongodb_up_server() {
  if ! mongodb_server_runs; then
    mongodb_install_server
    rm -rf "$mongodb_state"
    mkdir -p "$mongodb_state/data"
    # It chooses a free port itself and says which. Every commit goes to the disk, as tests kill it.
    nohup "$mongodb_cache/bin/secantusd-rs" --host 127.0.0.1 --port 0 --storage-path "$mongodb_state/data" --cache-size 1G \
      --log-level WARNING --sync-on-commit >"$mongodb_state/log" 2>&1 </dev/null &
    printf '%s' "$!" >"$mongodb_state/pid"
  fi
  local port=""
  for _ in {1..300}; do
    port=$(sed -n 's/.*listening on .*:\([0-9]\{1,\}\).*/\1/p' "$mongodb_state/log" | head -n 1)
    if [[ -n "$port" ]]; then break; fi
    mongodb_server_runs || fail "the MongoDB-compatible server did not start" "$(tail -n 5 "$mongodb_state/log")"
    sleep 0.1
  done
  if [[ -z "$port" ]]; then
    fail "the MongoDB-compatible server does not answer" "Its output: $mongodb_state/log"
  fi
  printf 'export SYNCLINE_TEST_MONGODB_URL=%q\n' "mongodb://127.0.0.1:$port"
}

mongodb_install_server() {
  if [[ "$("$mongodb_cache/bin/secantusd-rs" --version 2>/dev/null)" == *"$mongodb_server_version"* ]]; then return; fi
  mongodb_need_builder
  say "compiling the MongoDB-compatible test server, once; this takes some minutes" >&2
  # Compiled outside of the repository, which needs neither its sources nor its licence.
  local target="$mongodb_cache/build"
  local arguments=(secantus-mdb --version "$mongodb_server_version" --ignore-rust-version --root "$mongodb_cache" --force)
  (cd "$mongodb_cache" && CARGO_TARGET_DIR=$target cargo install "${arguments[@]}" >&2) ||
    fail "could not compile the MongoDB-compatible test server" \
      "Name a replica set of your own instead: SYNCLINE_TEST_MONGODB_URL=mongodb://… scripts/test"
  rm -rf "$target"
}

# CMake and zlib's headers, which its storage engine is compiled with.
mongodb_need_builder() {
  mkdir -p "$mongodb_cache"
  if command -v cmake >/dev/null && [[ -n "$(find /usr/include /usr/local/include -name zlib.h -print -quit 2>/dev/null)" ]]; then return; fi
  if [[ "$(id -u)" == 0 ]] && command -v apt-get >/dev/null; then
    say "installing cmake and zlib1g-dev" >&2
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends cmake zlib1g-dev; } >&2 </dev/null && return
  fi
  fail "the MongoDB-compatible test server needs CMake and zlib's headers to be compiled" \
    "Install them (Debian: apt-get install cmake zlib1g-dev), or name a replica set: SYNCLINE_TEST_MONGODB_URL=mongodb://…"
}
