# The whole developer interface. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

OUT := $(or $(CARGO_TARGET_DIR),target)

.PHONY: help bench build test test-long demo cluster lint deny crds fmt clean need

help: ## print this list
	@printf 'make TARGET, where TARGET is one of\n'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

build: need ## build the program: target/release/serin
	cargo build --release --bin serin

test: need ## run every suite: lint, unit tests, doc tests, real cluster; ends with "N passed, N failed"
	@tools/test.sh

test-long: need ## run what takes long: repetitions, long runs, more random cases, both demos
	@tools/test.sh --long

.PHONY: simulate replay mutants simulate-mutants outcomes
simulate: need ## play SEEDS=2000 seeds of the simulation (ARGS='--table --from 5000'); ends with "N passed, N failed"
	@cargo build --quiet --profile simulation --package serin-simulation
	@exec $(OUT)/simulation/serin-simulation run --seeds $(or $(SEEDS),2000) $(ARGS)

replay: need ## play one seed, SEED=7, and print all that happened (ARGS=--timeline: one line per notable thing)
	@cargo build --quiet --profile simulation --package serin-simulation
	@exec $(OUT)/simulation/serin-simulation replay $(or $(SEED),$(error name the seed: make replay SEED=7)) $(ARGS)

simulate-mutants: need ## put ten deliberate bugs into the controller, one at a time, and see which seed of the simulation notices
	cargo run --quiet --profile simulation --package serin-simulation --features mutants -- mutants

mutants: need ## put small faults into the pure crates, a sample of 200, and see whether the fast tests notice: up to an hour
	@tools/mutants.sh

demo: need ## play three releases on `serin playground`: a minute (FAULT=none: without their faults; KEEP=1: leave all of it up)
	@tools/demo.sh

.PHONY: demo-cluster playground
demo-cluster: need ## the same on a real control plane with a real gateway
	@tools/demo.sh --cluster

playground: build ## Serin at work without a cluster, until Ctrl-C (ARGS='-f my-manifests/')
	@exec $(OUT)/release/serin playground $(ARGS)

cluster: need ## keep a test cluster with Serin's resource definitions running until Ctrl-C
	cargo build --workspace --bin serin-cluster --bin serin
	@exec $(OUT)/debug/serin-cluster up --crds deploy/crds --serin $(OUT)/debug/serin

bench: need ## measure a controller on a real API server (ARGS='--rollouts 100 --rest 10' for a quick look; minutes)
	cargo build --release --bin serin --bin serin-bench --package serin --package serin-bench
	@exec $(OUT)/release/serin-bench $(ARGS)

outcomes: need ## play a quarter of releases of 200 services, as Deployments and with Serin, and print what users met (ARGS='--services 20')
	@cargo build --quiet --profile simulation --package serin-outcomes
	@exec $(OUT)/simulation/serin-outcomes $(ARGS)

lint: need ## check formatting and clippy's warnings
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

deny: need ## check licences, sources and banned crates of all dependencies (builds cargo-deny the first time: minutes)
	@tools/deny.sh

crds: need ## generate deploy/crds from the types
	cargo run --quiet --package serin-api --example crds -- --write deploy/crds

fmt: need ## format all code
	cargo fmt --all

clean: ## remove what was built here (the test cluster's parts stay in their cache folder)
	cargo clean

need:
	@tools/need.sh
