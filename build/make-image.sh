#!/usr/bin/env bash
# Makes a container image from files, with no registry and no builder: one layer, in the archive format that
# `ctr images import`, `docker load` and `podman load` read. The same files give the same bytes.
set -euo pipefail

usage() {
  cat >&2 <<'EOF'
usage: build/make-image.sh -t IMAGE -o FILE [options] [SOURCE:TARGET]...
  -t IMAGE     name and tag, such as registry.k8s.io/pause:3.10.1
  -o FILE      where to write the archive
  -e WORD      a word of the entrypoint; repeat it for arguments
  -c WORD      a word of the default command
  -E NAME=VAL  an environment variable
  -u USER      user or user:group to run as (default: root)
  -w DIR       working directory (default: /)
  -b BUSYBOX   add a static busybox and links for all its applets below /bin
  -d DIR       an empty directory to create (mode 1777 for /tmp, else 0755)
  -a ARCH      architecture (default: this machine's)
SOURCE is a file on this machine, TARGET its absolute path in the image; the mode is kept.
EOF
  exit 2
}

fail() { echo "make-image: $*" >&2; exit 1; }

case "$(uname -m)" in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) arch=$(uname -m) ;; esac
image='' out='' user='' workdir=/ busybox=''
entrypoint=() command=() env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") dirs=()
while getopts 't:o:e:c:E:u:w:b:d:a:h' option; do
  case "$option" in
    t) image=$OPTARG ;;
    o) out=$OPTARG ;;
    e) entrypoint+=("$OPTARG") ;;
    c) command+=("$OPTARG") ;;
    E) env+=("$OPTARG") ;;
    u) user=$OPTARG ;;
    w) workdir=$OPTARG ;;
    b) busybox=$OPTARG ;;
    d) dirs+=("$OPTARG") ;;
    a) arch=$OPTARG ;;
    *) usage ;;
  esac
done
shift $((OPTIND - 1))
[ -n "$image" ] && [ -n "$out" ] || usage

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir "$root"

for dir in ${dirs[@]+"${dirs[@]}"}; do
  mkdir -p "$root$dir"
  [ "$dir" != /tmp ] || chmod 1777 "$root/tmp"
done
if [ -n "$busybox" ]; then
  [ -x "$busybox" ] || fail "no busybox at $busybox: apt-get install busybox-static"
  mkdir -p "$root/bin" "$root/etc" "$root/root" "$root/tmp" "$root/var/spool/mail"
  chmod 1777 "$root/tmp"
  install -m 0755 "$busybox" "$root/bin/busybox"
  "$busybox" --list | while read -r applet; do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
  done
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n' >"$root/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
fi
for pair in "$@"; do
  source=${pair%%:*} target=${pair#*:}
  [ -f "$source" ] || fail "no file $source"
  case "$target" in /*) ;; *) fail "$target is not an absolute path" ;; esac
  mkdir -p "$root$(dirname "$target")"
  cp "$source" "$root$target"
done

tar_plain() { tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu "$@"; }

# JSON strings: the words come from our own scripts, yet quotes and backslashes must not break the document.
json_list() {
  local separator='' word
  printf '['
  for word in "$@"; do
    word=${word//\\/\\\\}
    printf '%s"%s"' "$separator" "${word//\"/\\\"}"
    separator=,
  done
  printf ']'
}

tar_plain -C "$root" -cf "$work/layer.tar" .
layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
mv "$work/layer.tar" "$work/$layer.tar"

config=$work/config.json
{
  printf '{"architecture":"%s","os":"linux","created":"1970-01-01T00:00:00Z","config":{' "$arch"
  printf '"User":"%s","WorkingDir":"%s","Env":%s' "$user" "$workdir" "$(json_list "${env[@]}")"
  [ ${#entrypoint[@]} -eq 0 ] || printf ',"Entrypoint":%s' "$(json_list "${entrypoint[@]}")"
  [ ${#command[@]} -eq 0 ] || printf ',"Cmd":%s' "$(json_list "${command[@]}")"
  printf '},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},' "$layer"
  printf '"history":[{"created":"1970-01-01T00:00:00Z","created_by":"build/make-image.sh"}]}'
} >"$config"
digest=$(sha256sum "$config" | cut -d' ' -f1)
mv "$config" "$work/$digest.json"
printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["%s.tar"]}]' "$digest" "$image" "$layer" >"$work/manifest.json"

mkdir -p "$(dirname "$out")"
tar_plain -C "$work" -cf "$out.partial" "$digest.json" "$layer.tar" manifest.json
mv "$out.partial" "$out"
