# shellcheck shell=bash
# A cluster on one machine: every node is a network namespace with a containerd, a kubelet and a kube-proxy of its own; the first one has the control
# plane as well. Nothing listens outside of these namespaces. Sourced by hack/local-up-cluster.sh and hack/local-down-cluster.sh.
#
#            host: bridge fkbr0 10.89.0.1/24
#              |                      |
#   fk-node1: 10.89.0.11     fk-node2: 10.89.0.12 ...      pods 10.244.N.0/24, services 10.96.0.0/16

CLUSTER_DIR=${FERROKUBE_DIR:-/var/lib/ferrokube}
BRIDGE=fkbr0
NODE_PREFIX=fk-node
NETWORK=10.89.0
HOST_ADDRESS=$NETWORK.1
SERVICE_CIDR=10.96.0.0/16
POD_CIDR=10.244.0.0/16
DNS_ADDRESS=10.96.0.10
CGROUP=ferrokube

say() { printf '%s %s\n' "$(date +%T)" "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

node_address() { echo "$NETWORK.$((10 + $1))"; }
node_dir() { echo "$CLUSTER_DIR/node$1"; }
# Runs a command in a node's network, with the machine's files and mounts.
in_node() { nsenter --net="/run/netns/$NODE_PREFIX$1" "${@:2}"; }

network_up() {
  local nodes=$1 n
  ip link show "$BRIDGE" >/dev/null 2>&1 && fail "there is a link $BRIDGE already: is a cluster running? hack/local-down-cluster.sh removes what is left of one"
  ip link add "$BRIDGE" type bridge || fail "cannot make a bridge: the kernel needs bridge and veth devices"
  ip address add "$HOST_ADDRESS/24" dev "$BRIDGE"
  ip link set "$BRIDGE" up
  for ((n = 1; n <= nodes; n++)); do
    ip netns add "$NODE_PREFIX$n"
    ip link add "fkveth$n" type veth peer name eth0 netns "$NODE_PREFIX$n"
    ip link set "fkveth$n" master "$BRIDGE" up
    ip -n "$NODE_PREFIX$n" link set lo up
    ip -n "$NODE_PREFIX$n" address add "$(node_address "$n")/24" dev eth0
    ip -n "$NODE_PREFIX$n" link set eth0 up
    ip -n "$NODE_PREFIX$n" route add default via "$HOST_ADDRESS"
    in_node "$n" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
  done
  # The host reaches services through the first node, as it would through a router.
  ip route add "$SERVICE_CIDR" via "$(node_address 1)"
}

network_down() {
  local link name
  for name in $(ip netns list 2>/dev/null | awk -v prefix="$NODE_PREFIX" 'index($1, prefix) == 1 { print $1 }'); do
    ip netns delete "$name"
  done
  for link in $(ip -o link show 2>/dev/null | awk -F': ' '$2 ~ /^fkveth/ { sub(/@.*/, "", $2); print $2 }'); do
    ip link delete "$link" 2>/dev/null || true
  done
  ip link delete "$BRIDGE" 2>/dev/null || true
}

# A routed link per pod: traffic between pods of a node passes the node's rules, whatever the bridge module of the kernel can do.
cni_config() {
  cat <<EOF
{
  "cniVersion": "0.4.0",
  "name": "ferrokube",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": true,
      "mtu": 1500,
      "ipam": {
        "type": "host-local",
        "dataDir": "$2/ipam",
        "ranges": [[{"subnet": "$1"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
EOF
}

# start NAME [NODE] -- COMMAND...: a program in the first node's network (or another's), its log in logs/NAME.log, its number in run/NAME.pid.
start() {
  local name=$1 node=1
  shift
  if [ "$1" != -- ]; then node=$1; shift; fi
  shift
  mkdir -p "$CLUSTER_DIR/logs" "$CLUSTER_DIR/run"
  # exec all the way, so that the number is the program's own; a session of its own, so that Ctrl-C is for the script alone.
  (exec nsenter --net="/run/netns/$NODE_PREFIX$node" setsid "$@") >>"$CLUSTER_DIR/logs/$name.log" 2>&1 </dev/null &
  echo $! >"$CLUSTER_DIR/run/$name.pid"
  # So that the command can be run again: hack/local-up-cluster.sh restart NAME.
  { printf '%q ' "$node" "$@"; echo; } >"$CLUSTER_DIR/run/$name.command"
}

is_running() { kill -0 "$(cat "$CLUSTER_DIR/run/$1.pid" 2>/dev/null || echo none)" 2>/dev/null; }

# until_true SECONDS WHAT PROGRAM COMMAND...: waits for a command to succeed; stops early if the program ends.
until_true() {
  local seconds=$1 what=$2 program=$3 deadline
  shift 3
  deadline=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    if [ -n "$program" ] && ! is_running "$program"; then
      tail -n 12 "$CLUSTER_DIR/logs/$program.log" >&2
      fail "$program ended; the lines above are the end of $CLUSTER_DIR/logs/$program.log"
    fi
    if ((SECONDS >= deadline)); then
      fail "$what: not within $seconds s. The logs are in $CLUSTER_DIR/logs"
    fi
    sleep 0.1
  done
}

stop_program() {
  local pid name=$1 waited
  pid=$(cat "$CLUSTER_DIR/run/$name.pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || true
  for ((waited = 0; waited < 100; waited++)); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
  done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$CLUSTER_DIR/run/$name.pid"
}

cgroups_down() {
  local mount
  awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/mounts | while read -r mount; do
    [ -d "$mount/$CGROUP" ] && find "$mount/$CGROUP" -depth -type d -exec rmdir {} \; 2>/dev/null
  done
  return 0
}

cgroups_up() {
  local mount
  awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/mounts | while read -r mount; do
    mkdir -p "$mount/$CGROUP/node$1" 2>/dev/null || true
    # cpuset groups start without a processor to run on.
    if [ -e "$mount/$CGROUP/cpuset.cpus" ] && [ -e "$mount/cpuset.mems" ]; then
      cat "$mount/cpuset.cpus" >"$mount/$CGROUP/cpuset.cpus"
      cat "$mount/cpuset.mems" >"$mount/$CGROUP/cpuset.mems"
      cat "$mount/cpuset.cpus" >"$mount/$CGROUP/node$1/cpuset.cpus"
      cat "$mount/cpuset.mems" >"$mount/$CGROUP/node$1/cpuset.mems"
    fi
  done
}

# Stops everything and removes all of it but the logs. Safe to call in any state.
cluster_down() {
  local file name n
  for name in kube-proxy kube-scheduler kube-controller-manager; do
    for file in "$CLUSTER_DIR"/run/$name*.pid; do [ -e "$file" ] && stop_program "$(basename "$file" .pid)"; done
  done
  for file in "$CLUSTER_DIR"/run/kubelet*.pid; do [ -e "$file" ] && stop_program "$(basename "$file" .pid)"; done
  for ((n = 1; n < 10; n++)); do
    [ -d "$(node_dir "$n")/containerd" ] && containerd_stop "$(node_dir "$n")/containerd"
  done
  for file in "$CLUSTER_DIR"/run/*.pid; do [ -e "$file" ] && stop_program "$(basename "$file" .pid)"; done
  awk -v dir="$CLUSTER_DIR/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r file; do
    umount "$file" 2>/dev/null || umount -l "$file"
  done
  network_down
  cgroups_down
  rm -rf "$CLUSTER_DIR"/node[0-9] "$CLUSTER_DIR/run" "$CLUSTER_DIR/pki" "$CLUSTER_DIR/data" "$CLUSTER_DIR/etcd" "$CLUSTER_DIR"/*.conf
}
