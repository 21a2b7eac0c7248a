# Sourced by the other scripts: goes to the repository's root, finds the toolchain, installs what is missing.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Where rustup and `cargo install` put programs; a fresh shell may not have it on its path yet.
cargo_bin="${CARGO_HOME:-${HOME:-/root}/.cargo}/bin"
export PATH="$PATH:$cargo_bin"

say() { printf '\n== %s\n' "$*"; }

fail() {
  printf '%s: %s\n' "$0" "$1" >&2
  shift
  if (($# > 0)); then printf '  %s\n' "$@" >&2; fi
  exit 1
}

need_rust() {
  local wanted found
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
  if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
    fail "there is no Rust toolchain on this machine" \
      "Syncline needs Rust $wanted or later, with cargo." \
      "Install it as https://www.rust-lang.org/tools/install describes and run this again;" \
      "if it is installed already, put the folder that holds cargo on PATH."
  fi
  found=$(rustc --version) || fail "rustc is there but does not run" "With rustup: rustup default stable"
  found=$(cut -d ' ' -f 2 <<<"$found")
  if [[ "$(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)" != "$wanted" ]]; then
    fail "Rust $found is too old" "Syncline needs Rust $wanted or later. With rustup: rustup update stable"
  fi
  # SQLite is compiled from its C source.
  if ! command -v cc >/dev/null && ! command -v gcc >/dev/null && ! command -v clang >/dev/null; then
    fail "there is no C compiler on this machine" "Install one (Debian: apt-get install build-essential) and run this again."
  fi
  # So is jemalloc, by its own makefile.
  if ! command -v make >/dev/null; then
    fail "there is no make on this machine" "Install it (Debian: apt-get install build-essential) and run this again."
  fi
}

# need_component NAME: a part of the Rust toolchain that is not always installed with it.
need_component() {
  local command=$1
  if [[ "$command" == rustfmt ]]; then command=fmt; fi
  cargo "$command" --version >/dev/null 2>&1 || fail "cargo $command is not installed" "With rustup: rustup component add $1"
}

# need_tool NAME VERSION: a cargo subcommand; any installed version will do, VERSION is the one that is installed if none is.
need_tool() {
  if cargo "${1#cargo-}" --version >/dev/null 2>&1; then return; fi
  say "installing $1 $2, once; this takes some minutes"
  cargo install "$1" --locked --version "$2" || fail "could not install $1" "Install it by hand and run this again: cargo install $1 --locked"
}

# need_package COMMAND PACKAGE: installs a Debian package if the command is missing and we may; false if it stays missing.
need_package() {
  if command -v "$1" >/dev/null; then return; fi
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then return 1; fi
  say "installing $2, once" >&2
  # RUNLEVEL=1: what is installed is not started.
  {
    apt-get update -q && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$2"
  } </dev/null >&2 || return 1
  command -v "$1" >/dev/null
}
