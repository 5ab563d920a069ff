#!/usr/bin/env bash
# Makes a container image of every component from static binaries, with no registry: build/images.sh [FOLDER], default _output/images.
#   PROGRAMS   a folder with programs built already
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=hack/lib/build.sh
source hack/lib/build.sh
out=${1:-_output/images}
components=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kube-dns kubectl)
[ -n "${PROGRAMS:-}" ] || build_programs "${components[@]}" pause
build/make-image.sh -t registry.k8s.io/pause:3.10.1 -o "$out/pause.tar" -e /pause -u 65535:65535 "$PROGRAMS/pause:/pause"
for name in "${components[@]}"; do
  build/make-image.sh -t "registry.k8s.io/$name:v1.36.2" -o "$out/$name.tar" -e "/usr/local/bin/$name" "$PROGRAMS/$name:/usr/local/bin/$name"
  echo "$out/$name.tar"
done
