#!/bin/sh
# Makes a bare Debian or Ubuntu machine ready, then runs one of:
#   bootstrap.sh quickstart [ARGUMENT...]   lock, build and boot images/debian-minimal.yaml
#   bootstrap.sh test                       types, lint, format, unit and integration tests
#   bootstrap.sh bench NAME [ARGUMENT...]   a benchmark of bench/
#
# Runs under any POSIX shell and whatever Node.js the system has; npm brings the one that is used.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$root"
packages_file=scripts/debian-packages.txt
stamp=node_modules/.ingot-lock-hash

say() { printf '%s\n' "$*" >&2; }

# needed GROUP...: names of the Debian packages of these groups
needed() {
  for group in "$@"; do
    awk -v group="$group" '$1 == group { print $2 }' "$packages_file"
  done
}

# missing GROUP...: those that are not installed
missing() {
  for package in $(needed "$@"); do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || printf '%s\n' "$package"
  done
}

is_debian_family() {
  [ -r /etc/os-release ] && command -v apt-get >/dev/null && command -v dpkg-query >/dev/null || return 1
  # shellcheck source=/dev/null
  (. /etc/os-release && case " ${ID:-} ${ID_LIKE:-} " in *' debian '* | *' ubuntu '*) true ;; *) false ;; esac)
}

# quietly LABEL COMMAND...: shows a command's output only when it fails
quietly() {
  label=$1
  shift
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then
    rm -f "$log"
    return 0
  fi
  say "$label failed:"
  tail -n 25 "$log" >&2
  rm -f "$log"
  return 1
}

apt_install() {
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
    -o DPkg::Lock::Timeout=120 "$@"
}

install_debian_packages() {
  if ! is_debian_family; then
    say "This is not Debian or Ubuntu. Ingot needs what these Debian packages hold:"
    needed "$@" | sed 's/^/  /' >&2
    say "Use a Debian 12 (or later) machine, virtual machine or container with root."
    exit 1
  fi
  absent=$(missing "$@")
  [ -n "$absent" ] || return 0
  # One line, for the eye and for apt.
  absent=$(printf '%s' "$absent" | tr '\n' ' ')
  if [ "$(id -u)" -ne 0 ]; then
    say "These Debian packages are missing, and only root can install them: $absent"
    say "  sudo apt-get install $absent"
    exit 1
  fi
  say "Installing Debian packages: $absent"
  # The package lists may be absent or old; they are fetched only when the first try says so.
  # shellcheck disable=SC2086 # one word per package
  if ! apt_install $absent >/dev/null 2>&1; then
    quietly 'apt-get update' apt-get update -o DPkg::Lock::Timeout=120 || exit 1
    # shellcheck disable=SC2086
    quietly 'apt-get install' apt_install $absent || exit 1
  fi
}

install_npm_packages() {
  if ! command -v npm >/dev/null; then
    say "npm is not installed: apt-get install npm"
    exit 1
  fi
  hash=$(sha256sum package-lock.json | cut -d ' ' -f 1)
  if [ -x node_modules/.bin/node ]; then
    [ "$(cat "$stamp" 2>/dev/null)" != "$hash" ] || return 0
    # Installed by hand, after the last change of the lock.
    if [ ! -f "$stamp" ] && [ node_modules/.package-lock.json -nt package-lock.json ]; then
      printf '%s\n' "$hash" >"$stamp"
      return 0
    fi
  fi
  say 'Installing npm packages'
  quietly 'npm ci' npm ci --no-audit --no-fund || exit 1
  printf '%s\n' "$hash" >"$stamp"
}

require_root() {
  [ "$(id -u)" -eq 0 ] && return 0
  say 'Building images needs root: run the same command with sudo.'
  exit 1
}

results=
started=
checks_passed=0
checks_failed=0

# start LABEL COMMAND...: a step that passes or fails as a whole, beside the others
start() {
  label=$1
  shift
  "$@" >"$results/$label" 2>&1 &
  started="$started $label:$!"
}

# finish: waits for what was started, and shows it one after the other
finish() {
  for step in $started; do
    label=${step%:*}
    say "== $label"
    if wait "${step#*:}"; then
      checks_passed=$((checks_passed + 1))
      cat "$results/$label" >&2
    else
      checks_failed=$((checks_failed + 1))
      cat "$results/$label" >&2
      say "== $label FAILED"
    fi
  done
  started=
}

# Programs in the background do not hear Ctrl-C.
stop_started() {
  for step in $started; do
    kill "${step#*:}" 2>/dev/null || true
  done
}

# vitest_project NAME: a step that counts its own tests, in a file that the summary reads
vitest_project() {
  say "== $1 tests"
  vitest run --project "$1" --reporter=default --reporter=json --outputFile.json="$results/$1.json" >&2 || true
}

run_tests() {
  results=$(mktemp -d)
  trap 'stop_started; rm -rf "$results"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  start lint eslint .
  start types tsc --noEmit
  start format prettier --check --log-level warn .
  finish
  vitest_project unit
  vitest_project integration
  # Prints the last line, and fails when anything did.
  node scripts/summarize-tests.ts "$checks_passed" "$checks_failed" "$results/unit.json" "$results/integration.json"
}

mode=${1:-}
[ $# -eq 0 ] || shift
case $mode in
  quickstart)
    install_debian_packages product
    require_root
    install_npm_packages
    PATH=$root/node_modules/.bin:$PATH
    exec node src/main.ts quickstart "$@"
    ;;
  test)
    install_debian_packages product test
    require_root
    install_npm_packages
    PATH=$root/node_modules/.bin:$PATH
    run_tests
    ;;
  bench)
    install_debian_packages product bench
    require_root
    install_npm_packages
    PATH=$root/node_modules/.bin:$PATH
    exec node bench/main.ts "$@"
    ;;
  *)
    say 'usage: bootstrap.sh quickstart|test|bench'
    exit 2
    ;;
esac
