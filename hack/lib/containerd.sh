# shellcheck shell=bash
# A containerd of our own: its own configuration, data, state and socket, so that one the machine runs already is
# left alone. Sourced by hack/local-up-cluster.sh and by the node tests.
#
#   containerd_config DIR CNI_CONF_DIR [SANDBOX_IMAGE]   prints config.toml
#   containerd_start  DIR CNI_CONF_DIR [SANDBOX_IMAGE]   starts it, waits for its socket, sets CONTAINERD_PID
#   containerd_import DIR ARCHIVE...                     loads image archives (build/make-image.sh) for CRI
#   containerd_stop   DIR                                removes every pod and container, then stops it
#
# The socket is DIR/containerd.sock. A unix socket's path has room for 107 bytes; keep DIR short.

containerd_cni_bin_dir() {
  local dir
  for dir in /opt/cni/bin /usr/lib/cni; do
    [ -x "$dir/bridge" ] && [ -x "$dir/loopback" ] && { echo "$dir"; return; }
  done
  echo "no CNI plugins in /opt/cni/bin or /usr/lib/cni: apt-get install containernetworking-plugins" >&2
  return 1
}

# overlayfs where the data directory's file system can carry it, else plain copies.
containerd_snapshotter() {
  local dir=$1 probe
  probe=$(mktemp -d "$dir/probe.XXXXXX")
  mkdir "$probe/lower" "$probe/upper" "$probe/work" "$probe/merged"
  if mount -t overlay overlay -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work" "$probe/merged" 2>/dev/null; then
    umount "$probe/merged"
    echo overlayfs
  else
    echo native
  fi
  rm -rf "$probe"
}

containerd_config() {
  local dir=$1 cni=$2 sandbox=${3:-registry.k8s.io/pause:3.10.1} bin snapshotter
  bin=$(containerd_cni_bin_dir) || return 1
  snapshotter=$(containerd_snapshotter "$dir")
  # restrict_oom_score_adj: without CAP_SYS_RESOURCE nobody may go below the daemon's own score, and every container
  # would fail to start. max_concurrent_downloads etc. stay at their defaults. cgroupfs is what our kubelet is
  # configured with; both sides must name the same driver, for containerd 1.6 cannot be asked.
  cat <<EOF
version = 2
root = "$dir/root"
state = "$dir/state"
oom_score = 0

[grpc]
  address = "$dir/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
  path = "$dir/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$sandbox"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$bin"
    conf_dir = "$cni"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$snapshotter"
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
EOF
}

containerd_start() {
  local dir=$1 tries
  mkdir -p "$dir"
  command -v containerd >/dev/null || { echo "no containerd: apt-get install containerd runc" >&2; return 1; }
  containerd_config "$@" >"$dir/config.toml" || return 1
  containerd --config "$dir/config.toml" >>"$dir/containerd.log" 2>&1 &
  CONTAINERD_PID=$!
  echo "$CONTAINERD_PID" >"$dir/containerd.pid"
  for ((tries = 0; tries < 200; tries++)); do
    ctr --address "$dir/containerd.sock" version >/dev/null 2>&1 && return 0
    kill -0 "$CONTAINERD_PID" 2>/dev/null || break
    sleep 0.05
  done
  echo "containerd did not start; the end of $dir/containerd.log:" >&2
  tail -n 5 "$dir/containerd.log" >&2
  return 1
}

containerd_import() {
  local dir=$1 archive
  shift
  for archive in "$@"; do
    ctr --address "$dir/containerd.sock" -n k8s.io images import --no-unpack "$archive" >/dev/null || return 1
  done
}

# Kills what still runs and unmounts what is left: a shim outlives containerd on purpose, so it has to be told.
containerd_stop() {
  local dir=$1 id pid ctr
  ctr=(ctr --address "$dir/containerd.sock" -n k8s.io)
  for id in $("${ctr[@]}" tasks ls -q 2>/dev/null); do
    "${ctr[@]}" tasks kill -s SIGKILL "$id" >/dev/null 2>&1 || true
  done
  for id in $("${ctr[@]}" tasks ls -q 2>/dev/null); do
    "${ctr[@]}" tasks rm -f "$id" >/dev/null 2>&1 || true
  done
  for id in $("${ctr[@]}" containers ls -q 2>/dev/null); do
    "${ctr[@]}" containers rm "$id" >/dev/null 2>&1 || true
  done
  if pid=$(cat "$dir/containerd.pid" 2>/dev/null); then
    kill "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    rm -f "$dir/containerd.pid"
  fi
  awk -v dir="$dir/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r mount; do
    umount "$mount" 2>/dev/null || umount -l "$mount"
  done
}
