# A Python with pika, as SYNCLINE_TEST_PYTHON, for the adapter in examples/python; sourced by scripts/services.
# shellcheck shell=bash

python_cache="${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/syncline-tests/python"

python_up() {
  local python="${SYNCLINE_TEST_PYTHON:-$python_cache/bin/python}"
  if ! "$python" -c 'import pika' >/dev/null 2>&1; then
    python_make || return 0
    python="$python_cache/bin/python"
  fi
  printf 'export SYNCLINE_TEST_PYTHON=%q\n' "$python"
}

# An environment of its own, outside of the repository.
python_make() {
  local remedy="Debian: apt-get install python3-venv; or name a Python 3.10 with pika by SYNCLINE_TEST_PYTHON."
  if ! need_package python3 python3; then
    no_service "there is no Python here" "$remedy"
    return 1
  fi
  if ! python3 -m venv "$python_cache" >&2; then
    need_package syncline-no-such-command python3-venv || true
    if ! python3 -m venv "$python_cache" >&2; then
      no_service "Python can't make an environment" "$remedy"
      return 1
    fi
  fi
  if ! "$python_cache/bin/python" -m pip install --quiet --disable-pip-version-check 'pika==1.3.2' </dev/null >&2; then
    no_service "pika can't be installed" "$remedy"
    return 1
  fi
}

python_down() { :; }
