#!/usr/bin/env bash
# Build times: cold release, cold ci profile, and `cargo check` after touching one controller. docs/build-times.md keeps what was measured.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
measure() {
  local begin=$SECONDS
  CARGO_TARGET_DIR=$folder/$1 "${@:3}" >/dev/null 2>&1
  printf '%-44s %s s\n' "$2" "$((SECONDS - begin))"
}
measure release "cold release build" cargo build --release --workspace --bins
measure ci "cold ci build" cargo build --profile ci --workspace --bins
measure check "cold cargo check" cargo check --workspace
touch pkg/controller/src/replicaset.rs
measure check "cargo check after touching one controller" cargo check --workspace
