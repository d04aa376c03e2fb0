#!/usr/bin/env bash
# Says in one line what is missing to build and test, and how to get it. Parts of the test cluster look after themselves.
set -euo pipefail

if [ "$(uname -s)" != Linux ]; then
  echo "Serin's tests and demo need Linux namespaces and this is $(uname -s): run them in a Linux virtual machine" >&2
  exit 1
fi
if ! command -v cargo >/dev/null; then
  echo "cargo is missing: install Rust 1.90 or newer (curl --proto '=https' -sSf https://sh.rustup.rs | sh)" >&2
  exit 1
fi
if ! command -v cc >/dev/null; then
  echo "a C compiler (cc), needed for linking and for TLS, is missing: apt-get install gcc libc6-dev" >&2
  exit 1
fi
