# Chromium and its driver, as SYNCLINE_TEST_CHROMIUM and SYNCLINE_TEST_CHROMEDRIVER, for the console; sourced by scripts/services.
# shellcheck shell=bash

browser_up() {
  local chromium="${SYNCLINE_TEST_CHROMIUM:-}" driver="${SYNCLINE_TEST_CHROMEDRIVER:-}"
  if [[ -z "$chromium" || -z "$driver" ]]; then
    if ! need_package chromium chromium || ! need_package chromedriver chromium-driver; then
      no_service "there is no Chromium with its driver here" \
        "Debian: apt-get install chromium chromium-driver; or name both by SYNCLINE_TEST_CHROMIUM and SYNCLINE_TEST_CHROMEDRIVER."
      return 0
    fi
    chromium=$(command -v chromium)
    driver=$(command -v chromedriver)
  fi
  printf 'export SYNCLINE_TEST_CHROMIUM=%q\n' "$chromium"
  printf 'export SYNCLINE_TEST_CHROMEDRIVER=%q\n' "$driver"
}

browser_down() { :; }
