#!/usr/bin/env bash
# Plays every step of docs/tutorial.md against a binary and checks the answers: examples/tutorial/run.sh target/release/syncline
# Works in a temporary folder, on a port of its own (TUTORIAL_PORT, else 7391), and ends what it started.
set -euo pipefail

if (($# != 1)); then
  echo "usage: $0 PATH-OF-THE-SYNCLINE-BINARY" >&2
  exit 64
fi
binary=$(realpath "$1")
config=$(realpath "$(dirname "${BASH_SOURCE[0]}")")/syncline.toml
url=http://127.0.0.1:${TUTORIAL_PORT:-7391}
folder=$(mktemp -d)
pid=
answer=

stop() {
  if [[ -n "$pid" ]]; then
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    pid=
  fi
}
trap 'stop; rm -rf "$folder"' EXIT

fail() {
  printf 'FAILED: %s\nThe answer was:\n%s\nThe log says:\n' "$1" "$answer" >&2
  tail -n 20 "$folder/log" >&2
  exit 1
}

# expect TEXT…: the last answer contains each of these.
expect() {
  local text
  for text in "$@"; do
    [[ "$answer" == *"$text"* ]] || fail "expected: $text"
  done
}

# start PUSH: runs the orchestrator, with push_updates as said.
start() {
  SYNCLINE__ORCHESTRATION__PUSH_UPDATES=$1 SYNCLINE__HTTP__LISTEN=${url#http://} \
    "$binary" run --config "$config" --store "$folder/data" 2>>"$folder/log" &
  pid=$!
  local tries
  for ((tries = 0; tries < 100; tries++)); do
    if curl -fs "$url/readyz" >/dev/null; then return; fi
    sleep 0.1
  done
  answer=
  fail "it did not become ready"
}

# syncline ARGUMENTS…: a command about the running orchestrator.
syncline() {
  printf '\n$ syncline %s\n' "$*"
  answer=$("$binary" --url "$url" "$@") || fail "syncline $* did not succeed"
  printf '%s\n' "$answer"
}

# systems TEXT…: the rows of the table of systems, without its width and without the lag, which nobody knows beforehand.
systems() {
  syncline systems
  answer=$(tr -s ' ' <<<"$answer" | sed -E 's/ [0-9]+s / /')
  expect "$@"
}

# send ENVELOPE: hands a message in, and waits until it is decided.
send() {
  printf '\n$ send %s\n' "$1"
  answer=$(curl -sS "$url/v1/updates" -H 'content-type: application/json' -d "$1")
  printf '%s\n' "$answer"
  expect '"status":"queued"'
  local tries
  for ((tries = 0; tries < 200; tries++)); do
    if [[ "$(curl -sS "$url/v1/status")" == *'"inbound":0'* ]]; then return; fi
    sleep 0.05
  done
  fail "it was not decided"
}

# lease SYSTEM: what waits for a system.
lease() {
  printf '\n$ lease %s\n' "$1"
  answer=$(curl -sS "$url/v1/systems/$1/lease" -H 'content-type: application/json' -d '{ "wait_ms": 5000 }')
  printf '%s\n' "$answer"
}

# nothing SYSTEM: nothing waits for a system.
nothing() {
  "$binary" --url "$url" status --wait-idle 20s >/dev/null || fail "it did not come to rest"
  syncline receive --system "$1"
  expect "nothing waits for $1"
}

# The canonical id of the message of this native type and op in the last answer.
canonical_id() {
  grep -o '"canonical_id":"[^"]*"' <<<"$answer" | head -n 1 | cut -d '"' -f 4
}

part() { printf '\n== %s\n' "$*"; }

part "The configuration"
syncline check --config "$config"
expect "ok: "

part "Push off: who is who, and why"
start false
send '{ "id": "s1", "system": "shop", "type": "customer", "native_id": "17", "entity": { "email": "ada@example.org", "name": "Ada", "phone": null } }'
send '{ "id": "c1", "system": "crm", "type": "customer", "native_id": "P-9", "entity": { "mail": "Ada@Example.org", "full_name": "Ada Lovelace", "phone": "555-0100" } }'
syncline decisions
expect "accepted           customer shop:17  a new record from shop" "partially accepted customer crm:P-9  the same thing as in shop: crm joins it"
syncline decision crm:c1
expect "crm sent customer P-9 (upsert)." "name and phone became canonical; email did not go through as sent." "Version 1 → 2." \
  "Conflict on email: shop's 'ada@example.org' stayed, crm said 'Ada@Example.org' (first_contact: fill)." \
  "Conflict on name: crm's 'Ada Lovelace' won, shop had 'Ada' (source_priority)."
syncline entity customer shop:17
expect "version 2" "name = 'Ada Lovelace'   (crm, version 2)" "phone = '555-0100'   (crm, version 2)" "crm P-9: nothing was ever sent there"
syncline why customer crm:P-9 name
expect "name is 'Ada Lovelace'. crm said so on" "decided by rule source_priority. shop holds 'Ada' instead."
syncline compare --system shop
expect "customer 17: name is 'Ada' there, 'Ada Lovelace' here; phone is nothing there, '555-0100' here"
syncline compare --system crm
expect "customer P-9: email is 'Ada@Example.org' there, 'ada@example.org' here"
nothing shop
nothing crm
stop

part "Push on: what was decided is sent"
start true
nothing shop
syncline resync --system shop --dry-run
expect "shop would be sent 0 creates and 1 update, 1 of them replaces a value it holds"
syncline resync --system shop
expect "shop is being sent 0 creates and 1 update"
syncline resync --system crm
expect "crm is being sent 0 creates and 1 update"
lease crm
expect '"op":"update"' '"native_id":"P-9"' '"rev":1' '"full_name":"Ada Lovelace"' '"changed":["mail"]'
systems "crm catching up customer, order 1 0 1 0 1 none seen"
send '{ "id": "c2", "system": "crm", "type": "customer", "op": "receipt", "native_id": "P-9", "rev": 1, "status": "applied" }'
lease shop
expect '"native_id":"17"' '"rev":1' '"name":"Ada Lovelace"' '"changed":["name","phone"]'
send '{ "id": "s2", "system": "shop", "type": "customer", "op": "receipt", "native_id": "17", "rev": 1, "status": "applied" }'
systems "crm in sync customer, order 0 0 0 0 0 receipts" "shop in sync customer, order 0 0 0 0 0 receipts"
syncline compare --system crm
expect "crm holds everything as it should"

part "A new record: find or create"
send '{ "id": "s3", "system": "shop", "type": "customer", "native_id": "18", "entity": { "email": "grace@example.org", "name": "Grace", "phone": "555-0200" } }'
lease crm
expect '"op":"create"' '"native_id":null' '"rev":1' '"full_name":"Grace"'
grace=$(canonical_id)
send '{ "id": "c3", "system": "crm", "type": "customer", "op": "receipt", "native_id": "P-10", "canonical_id": "'"$grace"'", "rev": 1, "status": "applied" }'
syncline entity customer crm:P-10
expect "customer $grace, version 1" "shop 18: nothing was ever sent there" "crm P-10: rev 1 applied"

part "An echo"
send '{ "id": "c4", "system": "crm", "type": "customer", "native_id": "P-10", "entity": { "mail": "grace@example.org", "full_name": "Grace", "phone": "555-0200" } }'
syncline decision crm:c4
expect "It only repeats what we sent to that system; nothing to do."
nothing shop
nothing crm

part "A conflict"
send '{ "id": "c5", "system": "crm", "type": "customer", "native_id": "P-10", "entity": { "mail": "grace@example.org", "full_name": "Grace Hopper", "phone": "555-0200" } }'
send '{ "id": "s4", "system": "shop", "type": "customer", "native_id": "18", "entity": { "email": "grace@example.org", "name": "Grace H.", "phone": "555-0200" } }'
syncline decision shop:s4
expect "It changed name, and none of it became canonical." "Conflict on name: crm's 'Grace Hopper' stayed, shop said 'Grace H.' (source_priority)."
syncline why customer shop:18 name
expect "name is 'Grace Hopper'. crm said so on" "shop holds 'Grace H.' instead; rev 1 with 'Grace Hopper' was sent"
lease shop
expect '"native_id":"18"' '"rev":1' '"name":"Grace Hopper"' '"changed":["name"]'
send '{ "id": "s5", "system": "shop", "type": "customer", "op": "receipt", "native_id": "18", "rev": 1, "status": "applied" }'

part "A stale record undoes nothing"
send '{ "id": "s6", "system": "shop", "type": "customer", "native_id": "17", "entity": { "email": "ada@example.org", "name": "Ada Lovelace", "phone": "555-0111" } }'
send '{ "id": "c6", "system": "crm", "type": "customer", "native_id": "P-9", "entity": { "mail": "ada@example.org", "full_name": "Countess Lovelace", "phone": "555-0100" } }'
syncline decision crm:c6
expect "All of it became canonical: name." "taken: name; not applied: phone '555-0100', had not seen rev 2." "Sent on to shop."
lease crm
expect '"native_id":"P-9"' '"rev":2' '"phone":"555-0111"' '"changed":["phone"]'
send '{ "id": "c7", "system": "crm", "type": "customer", "op": "receipt", "native_id": "P-9", "rev": 2, "status": "applied" }'
lease shop
expect '"native_id":"17"' '"rev":2' '"name":"Countess Lovelace"' '"changed":["name"]'
send '{ "id": "s7", "system": "shop", "type": "customer", "op": "receipt", "native_id": "17", "rev": 2, "status": "applied" }'
syncline entity customer crm:P-9
expect "version 4" "name = 'Countess Lovelace'   (crm, version 4)" "phone = '555-0111'   (shop, version 3)" "shop 17: rev 2 applied" "crm P-9: rev 2 applied"

part "A child before its parent"
send '{ "id": "s8", "system": "shop", "type": "order", "native_id": "500", "entity": { "number": "A-500", "total": 49.90, "customer_id": "19" } }'
syncline parked
expect "shop:s8  missing reference since"
syncline decision shop:s8
expect "It waits." "waiting for shop's customer 19 (customer_id), not known yet."
send '{ "id": "s9", "system": "shop", "type": "customer", "native_id": "19", "entity": { "email": "alan@example.org", "name": "Alan", "phone": null } }'
lease crm
expect '"op":"create"' '"type":"customer"' '"full_name":"Alan"'
alan=$(canonical_id)
syncline parked
expect "nothing waits"
syncline history order shop:500
expect "v0 → v1" "accepted           order shop:500  a new record from shop"
send '{ "id": "c8", "system": "crm", "type": "customer", "op": "receipt", "native_id": "P-11", "canonical_id": "'"$alan"'", "rev": 1, "status": "applied" }'
lease crm
expect '"op":"create"' '"type":"order"' '"contact":"P-11"'
order=$(canonical_id)
send '{ "id": "c9", "system": "crm", "type": "order", "op": "receipt", "native_id": "ORD-1", "canonical_id": "'"$order"'", "rev": 1, "status": "applied" }'

part "The end"
syncline status --wait-idle 10s
expect "at rest: nothing to decide, nothing to send"
for system in shop crm; do
  syncline compare --system "$system"
  expect "$system holds everything as it should"
done
stop
printf '\n$ syncline verify\n'
answer=$("$binary" verify --config "$config" --store "$folder/data") || fail "the store is not in order"
printf '%s\n\nEvery answer was as told.\n' "$answer"
expect "ok: 4 records"
