#!/usr/bin/env bash
# All tests: source checks, unit and integration tests, and (as root) the cluster tests of test/e2e. This is what CI runs.
#
#   SKIP_CLUSTER=1   leave the cluster tests out
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=hack/lib/packages.sh
source hack/lib/packages.sh
need protoc:protobuf-compiler mold:mold cc:gcc python3:python3 nft:nftables ip:iproute2 conntrack:conntrack busybox:busybox-static curl:curl nsenter:util-linux \
  etcd:etcd-server kubectl:kubernetes-client containerd:containerd runc:runc /usr/lib/cni/ptp:containernetworking-plugins iptables:iptables
# shellcheck source=hack/lib/build.sh
source hack/lib/build.sh

step() { printf '\n=== %s (%s)\n' "$*" "$(date +%T)"; }

step "sources"
cargo fmt --all --check || { echo "mend it with: cargo fmt --all" >&2; exit 1; }
hack/verify-crate-direction

step "unit and integration tests"
cargo test --profile "$PROFILE" --workspace --locked --no-fail-fast

step "generated code"
hack/verify-codegen

if [ -n "${SKIP_CLUSTER:-}" ] || [ "$(id -u)" != 0 ]; then
  echo "the cluster tests were left out: they need root and a machine to themselves"
else
  step "cluster"
  test/e2e/run.sh
fi
echo
echo "all tests passed"
