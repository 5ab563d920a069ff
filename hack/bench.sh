#!/usr/bin/env bash
# What the programs cost, first version: time until kube-apiserver is ready on an empty store, resident memory of every daemon of a fresh cluster, and the time
# a Deployment of 30 pods takes. Needs root and a machine to itself. PROFILE=release for numbers worth quoting; PROGRAMS names programs built already.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=hack/lib/build.sh
source hack/lib/build.sh
[ -n "${PROGRAMS:-}" ] || build_programs kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kube-dns kubectl kubeadm pause || exit 1
export PROGRAMS FERROKUBE_DIR=${FERROKUBE_DIR:-/var/lib/ferrokube-bench}
# shellcheck source=hack/lib/cluster.sh
source hack/lib/cluster.sh
work=$(mktemp -d)
trap 'hack/local-down-cluster.sh >/dev/null; rm -rf "$work"' EXIT
milliseconds() { echo $(($(date +%s%N) / 1000000)); }

echo "kube-apiserver, start to /readyz ok on an empty store (ms):"
"$PROGRAMS/kubeadm" init phase certs sa --cert-dir "$work/pki" >/dev/null || exit 1
for ((run = 0; run < 5; run++)); do
  begin=$(milliseconds)
  "$PROGRAMS/kube-apiserver" --data-dir "$work/data$run" --bind-address 127.0.0.1 --secure-port 16443 --advertise-address 127.0.0.2 \
    --authorization-mode RBAC --service-account-issuer https://bench --service-account-signing-key-file "$work/pki/sa.key" \
    --service-account-key-file "$work/pki/sa.pub" --service-cluster-ip-range 10.96.0.0/16 >"$work/log" 2>&1 &
  pid=$!
  for ((i = 0; i < 2000; i++)); do
    curl -fsk -o /dev/null https://127.0.0.1:16443/readyz 2>/dev/null && break
    kill -0 $pid 2>/dev/null || { cat "$work/log"; exit 1; }
    sleep 0.002
  done
  echo "  $(($(milliseconds) - begin))"
  kill $pid
  wait $pid 2>/dev/null
done

DETACH=1 hack/local-up-cluster.sh >"$work/up" 2>&1 || { tail -n 5 "$work/up"; exit 1; }
sleep 10
echo "resident memory of an idle cluster (MiB):"
for file in "$CLUSTER_DIR"/run/*.pid; do
  printf '  %-26s %s\n' "$(basename "$file" .pid)" "$(awk '/^VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$(cat "$file")/status")"
done
export KUBECONFIG=$CLUSTER_DIR/admin.conf
"$PROGRAMS/kubectl" create deployment warm --image=busybox:1.36 -- sleep 100000 >/dev/null
"$PROGRAMS/kubectl" rollout status deployment/warm --timeout=60s >/dev/null
echo "Deployment of 30 pods, create to all ready (ms):"
for ((run = 0; run < 3; run++)); do
  begin=$(milliseconds)
  "$PROGRAMS/kubectl" create deployment "thirty$run" --image=busybox:1.36 --replicas=30 -- sleep 100000 >/dev/null
  "$PROGRAMS/kubectl" rollout status "deployment/thirty$run" --timeout=120s >/dev/null
  echo "  $(($(milliseconds) - begin))"
  "$PROGRAMS/kubectl" delete deployment "thirty$run" >/dev/null
  sleep 5
done
