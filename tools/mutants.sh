#!/usr/bin/env bash
# Puts small faults into the pure crates, one at a time, and runs the fast tests against each: a fault that no test notices
# is a survivor. A seeded sample of all that cargo-mutants can think of; what survives is in tools/mutants-survivors.txt
# with the reason why it may, or fails this run. Builds cargo-mutants into the cache folder when the machine has none.
#   COUNT=200    size of the sample
#   SKIP=0       leave out that many of its first ones (to go on where an earlier run ended)
#   ONLY=FILE    no sample: those that the file names, one a line as this script prints survivors
#                (target/mutants/out/missed.txt has those of the last run)
#   SEED=1       another sample
#   MINUTES=60   what is not done by then fails the run
#   PACKAGES="planner analysis audit traffic"
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C CARGO_TERM_COLOR=never

version=27.1.0
count="${COUNT:-200}" skip="${SKIP:-0}" seed="${SEED:-1}" minutes="${MINUTES:-60}"
packages="${PACKAGES:-planner analysis audit traffic}"
only=$(sed -E 's/^ +//; /^$/d' ${ONLY:+"$ONLY"} </dev/null | sort -u)
survivors=tools/mutants-survivors.txt
here="$PWD"
work="$here/target/mutants"
tree="$work/tree"
cache="${SERIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/serin}"

tool=$(command -v cargo-mutants || true)
if [ -z "$tool" ]; then
  tool="$cache/cargo-mutants-$version/bin/cargo-mutants"
  if [ ! -x "$tool" ]; then
    echo "building cargo-mutants $version (once, several minutes)"
    cargo install cargo-mutants --locked --version "$version" --root "$cache/cargo-mutants-$version"
  fi
fi

# A copy of the sources with a target folder of its own: mutated in place, so that each fault costs one incremental build.
# Only files that differ are written: cargo looks at times, and an older time than that of the last build means "known".
copy_sources() {
  mkdir -p "$tree"
  git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    [ -f "$file" ] || continue
    cmp -s "$file" "$tree/$file" || { mkdir -p "$tree/$(dirname "$file")"; cp "$file" "$tree/$file"; touch "$tree/$file"; }
  done
  (cd "$tree" && find . -type f -not -path './.cargo/*' -printf '%P\n') | while IFS= read -r file; do
    [ -f "$file" ] || rm -f "$tree/$file"
  done
  mkdir -p "$tree/.cargo"
  # What is built once and run often is optimised; what is built for every fault is, a little.
  cat >"$tree/.cargo/config.toml" <<TOML
[build]
target-dir = "$work/build"
incremental = true
[profile.dev]
debug = false
opt-level = 1
[profile.dev.package."*"]
opt-level = 2
[profile.dev.package.serin-api]
opt-level = 2
[profile.dev.package.serin-recordings]
opt-level = 2
TOML
}

mutants() {
  (cd "$tree" && CARGO_TARGET_DIR="$work/build" PROPTEST_CASES="${PROPTEST_CASES:-24}" \
    timeout --signal=INT --kill-after=60 "${left:-600}" "$tool" mutants "$@")
}

# Names without line and column, so that the list of survivors outlives edits around them: "file: what is replaced", and
# " #2" for the second of the same name in a file.
names() {
  sed -E 's/^([^:]+):[0-9]+:[0-9]+: /\1: /' | awk '{ n = ++seen[$0]; print (n > 1 ? $0 " #" n : $0) }'
}

copy_sources
for package in $packages; do
  [ -d "$tree/crates/$package" ] || { echo "no crates/$package: left out"; packages=${packages/$package/}; }
done
rm -rf "$work/out"
mkdir -p "$work/out"
all="$work/out/all.txt"
mutants --list --no-config --workspace >"$work/out/every.txt" 2>"$work/out/list.log" || { cat "$work/out/list.log"; exit 1; }
: >"$all"
for package in $packages; do
  grep "^crates/$package/src/" "$work/out/every.txt" >>"$all" || true
done
paste -d '\t' "$all" <(names <"$all") >"$work/out/named.txt"

# The order depends on the seed and the names alone: a fault more or less leaves the others in the sample.
head -c 65536 < <(yes "$seed") >"$work/out/salt"
if [ -n "${ONLY:-}" ]; then
  cut -f 2 "$work/out/named.txt" | sort | comm -12 - <(printf '%s\n' "$only") >"$work/out/sample.txt"
  gone=$(comm -13 "$work/out/sample.txt" <(printf '%s\n' "$only"))
  [ -z "$gone" ] || { echo "no fault of today's code, and left out:"; sed 's/^/  /' <<<"$gone"; }
else
  cut -f 2 "$work/out/named.txt" | sort -R --random-source="$work/out/salt" |
    awk -v skip="$skip" -v count="$count" 'NR > skip && NR <= count' | sort >"$work/out/sample.txt"
fi
echo "$(wc -l <"$all") possible faults, $(wc -l <"$work/out/sample.txt") of them tried (${ONLY:-seed $seed})"

SECONDS=0
: >"$work/out/results.txt"
for package in $packages; do
  grep -q "^crates/$package/" "$work/out/sample.txt" || continue
  # All but the sample counts as caught by an earlier run. (Its option to name the wanted ones forgets fields of structs.)
  mkdir -p "$work/out/$package/mutants.out"
  awk -F '\t' 'NR == FNR { wanted[$1]; next } !($2 in wanted) { print $1 }' "$work/out/sample.txt" "$work/out/named.txt" \
    >"$work/out/$package/mutants.out/caught.txt"
  left=$((minutes * 60 - SECONDS))
  [ "$left" -gt 0 ] || break
  code=0
  mutants --no-config --in-place --iterate --package "serin-$package" --output "$work/out/$package" --colors never \
    --timeout-multiplier 5 --minimum-test-timeout 60 --build-timeout 600 -- --tests || code=$?
  # 0: all caught, 2: some were missed, 3: some ran into the time limit, 124: the time is up.
  case "$code" in
    0 | 2 | 3 | 124) ;;
    *) echo "cargo-mutants ended with code $code on serin-$package"; exit 1 ;;
  esac
  # An interrupted run may leave parts behind that no longer fit together: no fault would make a program.
  if grep -qs 'error: linking with' "$work/out/$package/mutants.out/log/"*; then
    echo "the build folder is broken, remove it: $work/build"
    exit 1
  fi
  for end in caught missed timeout unviable; do
    sed "s/^/$end\t/" "$work/out/$package/mutants.out/$end.txt" >>"$work/out/results.txt"
  done
done

# --- what came of it ------------------------------------------------------------------------------------------------

awk -F '\t' 'NR == FNR { name[$1] = $2; next } { print $1 "\t" name[$2] }' "$work/out/named.txt" "$work/out/results.txt" \
  >"$work/out/ends.txt"
listed() { # names on the list of survivors
  grep -v -e '^#' -e '^ ' -e '^$' "$survivors" || true
}
count_ends() { # per crate, or of all of them when given a name for that
  awk -F '\t' -v all="${1:-}" '
    { split($2, part, "/"); p = all ? all : part[2]; n[p, $1]++; seen[p] }
    END {
      for (p in seen) {
        killed = n[p, "caught"] + n[p, "timeout"]
        judged = killed + n[p, "missed"]
        printf "%-10s %6d %8d %8d %10d %7s\n", p, killed, n[p, "missed"], n[p, "timeout"], n[p, "unviable"],
          judged ? sprintf("%.1f%%", 100 * killed / judged) : "-"
      }
    }' "$work/out/ends.txt"
}
printf '%-10s %6s %8s %8s %10s %7s\n' crate killed survived "by time" "no program" score
count_ends | sort
count_ends all

failed=0
sed -n 's/^missed\t//p' "$work/out/ends.txt" | sort >"$work/out/missed.txt"
unlisted=$(comm -23 "$work/out/missed.txt" <(listed | sort))
if [ -n "$unlisted" ]; then
  echo "survived, and is not in $survivors:"
  sed 's/^/  /' <<<"$unlisted"
  failed=1
fi
stale=$(comm -12 <(grep -v '^missed' "$work/out/ends.txt" | cut -f 2 | sort) <(listed | sort))
if [ -n "$stale" ]; then
  echo "is in $survivors, and does not survive:"
  sed 's/^/  /' <<<"$stale"
  failed=1
fi
done_count=$(wc -l <"$work/out/ends.txt")
if [ "$done_count" -lt "$(wc -l <"$work/out/sample.txt")" ]; then
  echo "only $done_count of $(wc -l <"$work/out/sample.txt") were tried in $minutes minutes"
  failed=1
fi
printf 'in %d:%02d minutes\n' $((SECONDS / 60)) $((SECONDS % 60))
exit "$failed"
