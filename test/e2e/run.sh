#!/usr/bin/env bash
# Brings up a cluster, does the main job on it, takes it down, and looks at what is left on the machine.
#
#   CLUSTERS="embedded etcd"   the stores to do it with (default: embedded)
#   KUBECTLS="kubectl own"     whose kubectl does it: the distribution's (default), this project's, or one after the other
#   NODES=2                    on two nodes
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=hack/lib/build.sh
source hack/lib/build.sh
if [ -z "${PROGRAMS:-}" ]; then
  build_programs kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kube-dns kubectl kubeadm pause || exit 1
fi
export PROGRAMS FERROKUBE_DIR=${FERROKUBE_DIR:-/var/lib/ferrokube-e2e}

# What a cluster could leave behind.
leftovers() {
  ip -o link show | awk -F': ' '{ print "link", $2 }' | sort
  ip netns list | awk '{ print "netns", $1 }' | sort
  awk -v dir="$FERROKUBE_DIR/" 'index($5, dir) == 1 { print "mount", $5 }' /proc/self/mountinfo
  nft list tables 2>/dev/null | sort
  find /sys/fs/cgroup -maxdepth 2 -name 'ferrokube*' -o -maxdepth 2 -name 'kubepods*' 2>/dev/null | sort
  ps -eo args | grep -F "$FERROKUBE_DIR" | grep -v grep | sort
}

result=0
for store in ${CLUSTERS:-embedded}; do
  echo "--- cluster on $store"
  before=$(leftovers)
  if STORE=$store DETACH=1 hack/local-up-cluster.sh; then
    for client in ${KUBECTLS:-kubectl}; do
      echo "--- with $client"
      if [ "$client" = own ]; then
        # `kubectl cp` is not there yet (ARCHITECTURE.md).
        KUBECTL=$PROGRAMS/kubectl SKIP=copies test/e2e/main-job.sh || result=1
      else
        KUBECTL=$client test/e2e/main-job.sh || result=1
      fi
    done
  else
    result=1
  fi
  hack/local-down-cluster.sh
  after=$(leftovers)
  if [ "$before" != "$after" ]; then
    echo "FAIL  something is left on the machine:"
    diff <(echo "$before") <(echo "$after")
    result=1
  fi
done
exit $result
