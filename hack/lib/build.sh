# shellcheck shell=bash
# How programs are built here: statically, so that one build serves hosts, images and tests. Sourced by the scripts in hack/ and build/.
#
#   PROFILE        cargo profile: ci (default: quick to build), release (quick to run), dev
#   build_programs NAME...   builds the programs and sets PROGRAMS, the folder they are in

PROFILE=${PROFILE:-ci}
host_triple() { rustc -vV | sed -n 's/^host: //p'; }

# With a target named, cargo applies these flags to what runs on the machine and not to build scripts, which cannot be static.
export CARGO_BUILD_TARGET=${CARGO_BUILD_TARGET:-$(host_triple)}
build_flags='-C target-feature=+crt-static'
if command -v mold >/dev/null; then build_flags+=' -C link-arg=-fuse-ld=mold'; fi
export RUSTFLAGS=${RUSTFLAGS:-$build_flags}

programs_folder() {
  local folder=${CARGO_TARGET_DIR:-target}
  case "$PROFILE" in dev) echo "$folder/$CARGO_BUILD_TARGET/debug" ;; *) echo "$folder/$CARGO_BUILD_TARGET/$PROFILE" ;; esac
}

build_programs() {
  local arguments=() name
  for name in "$@"; do arguments+=(--bin "$name"); done
  cargo build --profile "$PROFILE" "${arguments[@]}" || return 1
  # shellcheck disable=SC2034 # for those who source this
  PROGRAMS=$(cd "$(programs_folder)" && pwd)
}
