#!/usr/bin/env bash
# Brings up a cluster of this project's daemons on this machine and stays until Ctrl-C, which removes all of it.
#
#   hack/local-up-cluster.sh                 one node, the API server's embedded store
#   STORE=etcd NODES=2 hack/local-up-cluster.sh
#
#   NODES          number of nodes (default 1); each is a network namespace
#   STORE          embedded (default) or etcd
#   PROFILE        cargo profile of the programs: ci (default) or release
#   PROGRAMS       a folder with programs that are built already
#   FERROKUBE_DIR  where state and logs are (default /var/lib/ferrokube)
#   DETACH=1       leave the cluster running and return
#   KEEP=1         leave everything as it is when something fails
#   RESTART=NAME   with a running cluster: stop one of its programs and start it again (kube-apiserver, kubelet1, ...)
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=hack/lib/packages.sh
source hack/lib/packages.sh
# shellcheck source=hack/lib/containerd.sh
source hack/lib/containerd.sh
# shellcheck source=hack/lib/cluster.sh
source hack/lib/cluster.sh

NODES=${NODES:-1}
STORE=${STORE:-embedded}
[ "$(id -u)" = 0 ] || fail "must be root: containers and network namespaces need it. Try: sudo $0"
case "$STORE" in embedded | etcd) ;; *) fail "STORE=$STORE: must be embedded or etcd" ;; esac
case "$NODES" in [1-9]) ;; *) fail "NODES=$NODES: must be a number from 1 to 9" ;; esac

if [ -n "${RESTART:-}" ]; then
  [ -r "$CLUSTER_DIR/run/$RESTART.command" ] || fail "there is no program $RESTART in $CLUSTER_DIR/run"
  eval "words=($(cat "$CLUSTER_DIR/run/$RESTART.command"))"
  # shellcheck disable=SC2154 # set by the line above
  stop_program "$RESTART"
  start "$RESTART" "${words[0]}" -- "${words[@]:1}"
  exit 0
fi

free=$(df -Pk "$(dirname "$CLUSTER_DIR")" | awk 'NR == 2 { print $4 }')
[ "$free" -gt 2000000 ] || fail "less than 2 GB free below $(dirname "$CLUSTER_DIR"): images and logs need room. Set FERROKUBE_DIR to a folder on another disk"

say "looking for what is needed"
wanted=(containerd:containerd runc:runc /usr/lib/cni/ptp:containernetworking-plugins nft:nftables iptables:iptables conntrack:conntrack ip:iproute2 nsenter:util-linux
  busybox:busybox-static curl:curl)
[ "$STORE" = etcd ] && wanted+=(etcd:etcd-server)
[ -n "${PROGRAMS:-}" ] || wanted+=(protoc:protobuf-compiler mold:mold cc:gcc)
need "${wanted[@]}" || exit 1

if [ -z "${PROGRAMS:-}" ]; then
  command -v cargo >/dev/null || fail "no cargo: install Rust from https://rustup.rs"
  say "building (the first time takes some minutes)"
  # shellcheck source=hack/lib/build.sh
  source hack/lib/build.sh
  build_programs kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kube-dns kubectl kubeadm pause || fail "the build failed"
fi
KUBECTL=${KUBECTL:-$PROGRAMS/kubectl}

ip link show "$BRIDGE" >/dev/null 2>&1 && fail "a cluster seems to be running (link $BRIDGE). hack/local-down-cluster.sh removes what is left of one"
cleanup() {
  trap - EXIT INT TERM
  if [ -n "${KEEP:-}" ]; then
    say "left as it is; hack/local-down-cluster.sh removes it"
    return
  fi
  say "removing the cluster"
  cluster_down
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p "$CLUSTER_DIR"
rm -rf "$CLUSTER_DIR/logs" "$CLUSTER_DIR/run"

say "making images"
images=$CLUSTER_DIR/images
busybox=$(PATH=$PATH:/bin:/usr/bin command -v busybox)
build/make-image.sh -t registry.k8s.io/pause:3.10.1 -o "$images/pause.tar" -e /pause -u 65535:65535 "$PROGRAMS/pause:/pause" &&
  build/make-image.sh -t registry.k8s.io/kube-dns:v1.36.2 -o "$images/kube-dns.tar" -e /kube-dns "$PROGRAMS/kube-dns:/kube-dns" &&
  build/make-image.sh -t docker.io/library/busybox:1.36 -o "$images/busybox.tar" -b "$busybox" -d /tmp -c sh || fail "an image could not be made"

say "making the network: $NODES node(s)"
network_up "$NODES"
address=$(node_address 1)

say "making certificates and kubeconfigs"
pki=$CLUSTER_DIR/pki
log=$CLUSTER_DIR/logs/kubeadm.log
mkdir -p "$CLUSTER_DIR/logs"
kubeadm() { "$PROGRAMS/kubeadm" "$@" >>"$log" 2>&1 || { tail -n 5 "$log" >&2; fail "kubeadm $*"; }; }
kubeadm init phase certs all --cert-dir "$pki" --apiserver-advertise-address "$address" --service-cidr "$SERVICE_CIDR" --node-name node1
for what in admin super-admin controller-manager scheduler; do
  kubeadm init phase kubeconfig "$what" --cert-dir "$pki" --kubeconfig-dir "$CLUSTER_DIR" --apiserver-advertise-address "$address"
done
for ((n = 1; n <= NODES; n++)); do
  mkdir -p "$(node_dir "$n")"
  kubeadm init phase kubeconfig kubelet --cert-dir "$pki" --kubeconfig-dir "$(node_dir "$n")" --apiserver-advertise-address "$address" --node-name "node$n"
done

store=(--data-dir "$CLUSTER_DIR/data")
if [ "$STORE" = etcd ]; then
  say "starting etcd"
  start etcd -- etcd --data-dir "$CLUSTER_DIR/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster default=http://127.0.0.1:2380
  until_true 20 etcd etcd in_node 1 curl -fsS http://127.0.0.1:2379/health
  store=(--etcd-servers http://127.0.0.1:2379)
fi

say "starting kube-apiserver"
start kube-apiserver -- "$PROGRAMS/kube-apiserver" "${store[@]}" --advertise-address "$address" --secure-port 6443 --allow-privileged \
  --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --enable-bootstrap-token-auth --client-ca-file "$pki/ca.crt" \
  --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
  --kubelet-preferred-address-types InternalIP --kubelet-client-certificate "$pki/apiserver-kubelet-client.crt" --kubelet-client-key "$pki/apiserver-kubelet-client.key" \
  --requestheader-client-ca-file "$pki/front-proxy-ca.crt" --requestheader-allowed-names front-proxy-client \
  --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group --requestheader-extra-headers-prefix X-Remote-Extra- \
  --service-account-issuer https://kubernetes.default.svc.cluster.local --service-account-key-file "$pki/sa.pub" \
  --service-account-signing-key-file "$pki/sa.key" --service-cluster-ip-range "$SERVICE_CIDR"
until_true 30 "kube-apiserver ready" kube-apiserver curl -fsS --cacert "$pki/ca.crt" "https://$address:6443/readyz"
super() { KUBECONFIG=$CLUSTER_DIR/super-admin.conf "$KUBECTL" "$@"; }
until_true 10 "binding of the administrators' group" kube-apiserver super create -f hack/manifests/cluster-admins.yaml
export KUBECONFIG=$CLUSTER_DIR/admin.conf

say "starting kube-controller-manager and kube-scheduler"
start kube-controller-manager -- "$PROGRAMS/kube-controller-manager" --kubeconfig "$CLUSTER_DIR/controller-manager.conf" \
  --authentication-kubeconfig "$CLUSTER_DIR/controller-manager.conf" --authorization-kubeconfig "$CLUSTER_DIR/controller-manager.conf" \
  --bind-address 127.0.0.1 --root-ca-file "$pki/ca.crt" --service-account-private-key-file "$pki/sa.key" --use-service-account-credentials \
  --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" --allocate-node-cidrs --cluster-cidr "$POD_CIDR" \
  --service-cluster-ip-range "$SERVICE_CIDR"
start kube-scheduler -- "$PROGRAMS/kube-scheduler" --kubeconfig "$CLUSTER_DIR/scheduler.conf" --authentication-kubeconfig "$CLUSTER_DIR/scheduler.conf" \
  --authorization-kubeconfig "$CLUSTER_DIR/scheduler.conf" --bind-address 127.0.0.1

"$KUBECTL" apply -f hack/manifests/kube-proxy.yaml >/dev/null || fail "kube-proxy's account could not be made"

start_node() {
  local n=$1 dir cidr
  dir=$(node_dir "$n")
  mkdir -p "$dir/cni" "$dir/kubelet" "$dir/manifests"
  cgroups_up "$n"
  say "node$n: starting containerd"
  (in_node "$n" bash -c 'source hack/lib/containerd.sh; containerd_start "$1" "$2"' - "$dir/containerd" "$dir/cni") || fail "containerd did not start on node$n"
  containerd_import "$dir/containerd" "$images"/*.tar || fail "images could not be loaded on node$n"
  cat >"$dir/kubelet.yaml" <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP/node$n
clusterDomain: cluster.local
clusterDNS: [$DNS_ADDRESS]
containerRuntimeEndpoint: unix://$dir/containerd/containerd.sock
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 100 # Images come from this machine alone: one that is removed cannot be pulled again.
podLogsDir: $dir/pod-logs
staticPodPath: $dir/manifests
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $pki/ca.crt}
authorization: {mode: Webhook}
EOF
  say "node$n: starting kubelet"
  start "kubelet$n" "$n" -- "$PROGRAMS/kubelet" --config "$dir/kubelet.yaml" --kubeconfig "$dir/kubelet.conf" --hostname-override "node$n" \
    --node-ip "$(node_address "$n")" --root-dir "$dir/kubelet" --cert-dir "$dir/kubelet/pki"
  until_true 30 "node$n registered and was given a pod network" "kubelet$n" has_pod_cidr "$n"
  cidr=$("$KUBECTL" get node "node$n" -o 'jsonpath={.spec.podCIDR}')
  cni_config "$cidr" "$dir" >"$dir/cni/10-ferrokube.conflist"
  # Everybody else reaches the node's pods through the node.
  ip route replace "$cidr" via "$(node_address "$n")"
  for ((other = 1; other <= NODES; other++)); do
    [ "$other" = "$n" ] || ip -n "$NODE_PREFIX$other" route replace "$cidr" via "$(node_address "$n")"
  done
  say "node$n: starting kube-proxy"
  proxy_config "$n" >"$dir/kube-proxy.conf" || fail "kube-proxy could not be given a token"
  start "kube-proxy$n" "$n" -- "$PROGRAMS/kube-proxy" --kubeconfig "$dir/kube-proxy.conf" --hostname-override "node$n" --cluster-cidr "$POD_CIDR" \
    --proxy-mode nftables --conntrack-max-per-core 0
}
node_ready() { "$KUBECTL" get node "node$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' | grep -q True; }
has_pod_cidr() { [ -n "$("$KUBECTL" get node "node$1" -o 'jsonpath={.spec.podCIDR}' 2>/dev/null)" ]; }
proxy_config() {
  local token
  token=$("$KUBECTL" -n kube-system create token kube-proxy --duration 8760h) || return 1
  cat <<EOF
apiVersion: v1
kind: Config
clusters: [{name: local, cluster: {server: "https://$address:6443", certificate-authority: $pki/ca.crt}}]
users: [{name: kube-proxy, user: {token: $token}}]
contexts: [{name: local, context: {cluster: local, user: kube-proxy}}]
current-context: local
EOF
}
for ((n = 1; n <= NODES; n++)); do start_node "$n"; done

say "starting cluster DNS"
"$KUBECTL" apply -f hack/manifests/kube-dns.yaml >/dev/null || fail "the DNS add-on could not be applied"
for ((n = 1; n <= NODES; n++)); do
  until_true 60 "node$n Ready" "kubelet$n" node_ready "$n"
done
until_true 90 "DNS answers" "" in_node 1 busybox nslookup kubernetes.default.svc.cluster.local "$DNS_ADDRESS"

say "the cluster is up"
cat <<EOF

  export KUBECONFIG=$CLUSTER_DIR/admin.conf
  kubectl get nodes,pods -A

Programs and their logs: $CLUSTER_DIR/logs. The first node's address: $address.
Services ($SERVICE_CIDR) and pods answer from this machine too. Image with a shell: busybox:1.36.
EOF
if [ -n "${DETACH:-}" ]; then
  trap - EXIT INT TERM
  echo "It keeps running; hack/local-down-cluster.sh removes it."
  exit 0
fi
echo "Ctrl-C ends it."
while :; do
  for file in "$CLUSTER_DIR"/run/*.pid; do
    name=$(basename "$file" .pid)
    if ! is_running "$name"; then say "$name ended; see $CLUSTER_DIR/logs/$name.log. RESTART=$name $0 starts it again"; rm -f "$file"; fi
  done
  sleep 1
done
