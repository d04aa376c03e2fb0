#!/usr/bin/env bash
# Runs cargo-deny by deny.toml; builds it into the cache folder when the machine has none. Advisories are checked where
# their database can be reached; the other checks need no network.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
cache="${SERIN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/serin}"
deny=$(command -v cargo-deny || true)
if [ -z "$deny" ]; then
  deny="$cache/cargo-deny-$version/bin/cargo-deny"
  if [ ! -x "$deny" ]; then
    echo "building cargo-deny $version (once, several minutes)"
    cargo install cargo-deny --locked --version "$version" --root "$cache/cargo-deny-$version"
  fi
fi
"$deny" --workspace --locked check licenses bans sources
