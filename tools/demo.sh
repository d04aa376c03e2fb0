#!/usr/bin/env bash
# Builds what the demo needs and plays it, on `serin playground` or with --cluster on a real cluster. FAULT=none plays the bad releases without their faults (and must fail);
# KEEP=1 leaves everything up until Ctrl-C. Ends with 0 when all went as it should, with 1 when a release did not, with
# anything else when the demo could not be played.
set -euo pipefail
cd "$(dirname "$0")/.."

cluster=""
case "${1:-}" in
  "") ;;
  --cluster) cluster=yes ;;
  *) echo "usage: $0 [--cluster]" >&2; exit 2 ;;
esac
out="${CARGO_TARGET_DIR:-target}"

echo "Building the demo and Serin (minutes the first time, seconds afterwards)"
# The program around it as the tests build it, so that both share the work; Serin itself as people run it.
cargo build --workspace --bin serin-demo
# The ground's parts (downloads, for a cluster Go) are fetched while cargo goes on: neither keeps two cores busy to its end.
# It has a process group of its own, to be ended with all that it started when something else goes wrong here.
setsid "$out/debug/serin-demo" fetch ${cluster:+--cluster} &
fetch=$!
trap 'kill -- "-$fetch" 2>/dev/null || true' EXIT
cargo build --release --bin serin
wait "$fetch" || exit 2
trap - EXIT

# The terminal's width, which a program can otherwise only learn by system calls.
if [ -t 1 ] && [ -z "${COLUMNS:-}" ]; then COLUMNS=$(tput cols 2>/dev/null || echo 110); export COLUMNS; fi
exec "$out/debug/serin-demo" play --serin "$out/release/serin" --fault "${FAULT:-real}" ${KEEP:+--keep} ${cluster:+--cluster}
