#!/usr/bin/env bash
# Runs every suite, shows what it does, adds up what the suites themselves counted, and ends with "N passed, N failed".
# A suite that counts nothing, or ends badly with nothing failed in its count, is a failure of its own.
#   tools/test.sh          one of each kind; at most 40 minutes on two cores, everything built from nothing
#   tools/test.sh --long   repetitions, long runs, more random cases, both demos
set -euo pipefail
cd "$(dirname "$0")/.."

long=""
case "${1:-}" in
  "") ;;
  --long) long=yes ;;
  *) echo "usage: $0 [--long]" >&2; exit 2 ;;
esac

logs="${CARGO_TARGET_DIR:-target}/test"
bin="${CARGO_TARGET_DIR:-target}/debug"
mkdir -p "$logs"
rm -f "$logs"/*
export CARGO_TERM_COLOR=never
SECONDS=0
passed=0
failed=0
table=""

# --- counting -------------------------------------------------------------------------------------------------------

# cargo test: the sum of its "test result:" lines. A test program that was started and gave none counts as one failure.
count_cargo() {
  awk '
    /^ +(Running|Doc-tests) / { started++ }
    /^test result: / {
      ended++
      for (i = 2; i <= NF; i++) {
        if ($i == "passed;") passed += $(i - 1)
        if ($i == "failed;") failed += $(i - 1)
      }
    }
    END { print passed + 0, failed + (started > ended ? started - ended : 0) }
  ' "$1"
}

# Programs of ours: their last line "N passed, N failed".
count_plain() {
  awk '/^[0-9]+ passed, [0-9]+ failed$/ { passed = $1; failed = $3 } END { print passed + 0, failed + 0 }' "$1"
}

# A check that either holds or does not: nothing is counted but its end.
count_check() {
  echo "1 0"
}

# result KIND LOG CODE: "passed failed", in which a bad end is at least one failure and so is an empty count.
result() {
  local p f
  read -r p f <<<"$("count_$1" "$2")"
  if [ "$1" = check ] && [ "$3" -ne 0 ]; then p=0; f=1; fi
  if [ "$f" -eq 0 ] && { [ "$3" -ne 0 ] || [ "$p" -eq 0 ]; }; then f=1; fi
  echo "$p $f"
}

# The counting itself, on outputs whose counts are known.
check_counting() {
  local file="$logs/counting.txt" wrong=0
  try() { # KIND CODE EXPECTED TEXT
    printf '%b' "$4" >"$file"
    local got
    got=$(result "$1" "$file" "$2")
    if [ "$got" != "$3" ]; then echo "$1, exit code $2: $got instead of $3 for: $4"; wrong=1; fi
  }
  local run='     Running unittests src/lib.rs (a)\n' ok='test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n'
  try cargo 0 "6 0" "$run$ok   Doc-tests a\n$ok"
  try cargo 101 "3 2" "$run$ok${run}test result: FAILED. 0 passed; 2 failed; 0 ignored\n"
  try cargo 101 "3 1" "$run$ok${run}error: test failed, SIGSEGV\n"
  try cargo 101 "0 1" "error: could not compile\n"
  try cargo 0 "0 1" ""
  try plain 0 "7 0" "5 passed, 0 failed so far\n7 passed, 0 failed\n"
  try plain 1 "7 2" "7 passed, 2 failed\n"
  try plain 1 "7 1" "7 passed, 0 failed\n"
  try plain 0 "0 1" "all is well\n"
  try check 0 "1 0" ""
  try check 1 "0 1" ""
  rm -f "$file"
  return "$wrong"
}

# --- running --------------------------------------------------------------------------------------------------------

say() {
  printf '\n=== %02d:%02d  %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"
}

# suite NAME KIND COMMAND...: runs it in sight, counts, goes on whatever the end was.
suite() {
  local name="$1" kind="$2" code=0 begin=$SECONDS p f
  shift 2
  say "$name"
  "$@" 2>&1 </dev/null | tee "$logs/$name.log" || code=$?
  read -r p f <<<"$(result "$kind" "$logs/$name.log" "$code")"
  passed=$((passed + p))
  failed=$((failed + f))
  table+=$(printf '%-22s %6d passed %5d failed %6d s' "$name" "$p" "$f" $((SECONDS - begin)))$'\n'
  if [ "$f" -ne 0 ]; then
    table+=$(failures "$name" "$code")$'\n'
  fi
}

# What to look at after a failure: the names of failed tests if there are such, else the last words.
failures() {
  local log="$logs/$1.log" names
  names=$(grep -E '^test .*(FAILED|failed)$|^(FAILED|failed|FAIL|error)[:[ ]|^Diff in ' "$log" | head -n 20 || true)
  if [ -z "$names" ]; then names=$(grep -v '^ *$' "$log" | tail -n 3 || true); fi
  [ -z "$names" ] || sed 's/^/    /' <<<"$names"
  printf '    exit code %s, log: %s' "$2" "$log"
}

finish() {
  say "all suites"
  printf '%s' "$table"
  printf '%s passed, %s failed\n' "$passed" "$failed" >"$logs/result"
  cat "$logs/result"
  [ "$failed" -eq 0 ]
}

# A build that everything else needs. Its failure is one failed check, and the end.
build() {
  local name="$1" code=0
  shift
  say "$name"
  "$@" 2>&1 </dev/null | tee "$logs/$name.log" || code=$?
  if [ "$code" -ne 0 ]; then
    failed=$((failed + 1))
    table+=$(printf '%-22s did not build' "$name")$'\n'$(failures "$name" "$code")$'\n'
    finish
    exit 1
  fi
}

suite counting check check_counting

# The cluster's parts (Go, downloads) come while cargo builds and checks: neither keeps two cores busy to its end.
build build-cluster cargo build --workspace --bin serin-cluster
# They have a process group of their own, to be ended with all that they started when something else goes wrong here.
setsid "$bin/serin-cluster" fetch >"$logs/fetch.log" &
fetch=$!
trap 'kill -- "-$fetch" 2>/dev/null || true' EXIT

suite fmt check cargo fmt --all --check -- --color never
suite clippy check cargo clippy --workspace --all-targets --keep-going -- -D warnings
build build-programs cargo build --workspace --bins
build build-tests cargo test --workspace --no-run

say "waiting for the cluster's parts"
fetched=0
wait "$fetch" || fetched=$?
trap - EXIT
parts() {
  cat "$logs/fetch.log"
  return "$fetched"
}
suite parts check parts

# The shipped recording rules, by Prometheus' own tool: it comes with the package that the cluster's Prometheus is from.
rules() {
  local promtool
  promtool="$(sed -n 's/.*"prometheus": "\(.*\)prometheus",.*/\1promtool/p' "$logs/fetch.log")"
  "$promtool" test rules analysis-templates/tests/recording-rules_test.yaml
}
suite recording-rules check rules

if [ -n "$long" ]; then
  export PROPTEST_CASES="${PROPTEST_CASES:-5000}"
fi
suite tests cargo cargo test --workspace --no-fail-fast
suite e2e-simulated plain "$bin/serin-e2e" --simulated ${long:+--long}
suite e2e plain "$bin/serin-e2e" ${long:+--long}
# kubesim and the real API server: the generated cases, and random sequences of requests.
sequences=100
[ -z "$long" ] || sequences=1000
suite conformance plain "$bin/serin-conformance" compare --sequences "$sequences"

# PromQL evaluated in memory beside the real Prometheus: every query is a test.
random=300
[ -z "$long" ] || random=5000
suite promql cargo env SERIN_PROMQL_RANDOM="$random" "$bin/serin-promql-differential"

# Whole releases with faults, from seeds. From 2,000 on every kind of fault at every kind of step, and a crash between every
# pair of writes, must have been reached.
sim="${CARGO_TARGET_DIR:-target}/simulation/serin-simulation"
build build-simulation cargo build --profile simulation --package serin-simulation
seeds=2000
if [ -n "$long" ]; then seeds=20000; fi
suite simulation plain "$sim" run --seeds "$seeds" --require 20
# The same seed, the same trace, byte for byte and from one process to the next.
same_traces() {
  local seed
  for seed in $(seq 0 83 2000); do
    "$sim" replay "$seed" >"$logs/trace-1.txt" 2>/dev/null || true
    "$sim" replay "$seed" >"$logs/trace-2.txt" 2>/dev/null || true
    [ -s "$logs/trace-1.txt" ] || { echo "seed $seed has no trace"; return 1; }
    cmp "$logs/trace-1.txt" "$logs/trace-2.txt" || { echo "seed $seed"; return 1; }
  done
}
suite simulation-traces check same_traces
if [ -n "$long" ]; then
  suite demo check tools/demo.sh
  suite demo-cluster check tools/demo.sh --cluster
  # 1 says that releases did not end as they should; anything else that the demo itself is broken.
  demo_without_faults_fails() {
    local code=0
    FAULT=none tools/demo.sh "$@" || code=$?
    [ "$code" -eq 1 ]
  }
  suite demo-without-faults check demo_without_faults_fails
  suite demo-cluster-without-faults check demo_without_faults_fails --cluster
fi

finish
