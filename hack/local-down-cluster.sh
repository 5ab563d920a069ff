#!/usr/bin/env bash
# Removes all that hack/local-up-cluster.sh made, also after a crash: processes, containers, mounts, network namespaces, links, cgroups. Logs stay.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=hack/lib/containerd.sh
source hack/lib/containerd.sh
# shellcheck source=hack/lib/cluster.sh
source hack/lib/cluster.sh
[ "$(id -u)" = 0 ] || fail "must be root"
cluster_down
say "nothing is left of the cluster but $CLUSTER_DIR/logs"
