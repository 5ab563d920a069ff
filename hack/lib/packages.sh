# shellcheck shell=bash
# Installs Debian packages that are missing. Sourced by scripts in hack/.
#
#   need COMMAND:PACKAGE...   installs each package whose command (or file) is missing

need() {
  local pair missing=()
  for pair in "$@"; do
    local thing=${pair%%:*} package=${pair#*:}
    case "$thing" in
      /*) [ -e "$thing" ] || missing+=("$package") ;;
      *) PATH=$PATH:/usr/sbin:/sbin command -v "$thing" >/dev/null || missing+=("$package") ;;
    esac
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  [ "$(id -u)" = 0 ] || { echo "error: these packages are missing, and only root can install them: ${missing[*]}" >&2; return 1; }
  command -v apt-get >/dev/null || { echo "error: these are missing and there is no apt-get here; install them by hand: ${missing[*]}" >&2; return 1; }
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # Services that packages bring would take ports and sockets; none is wanted.
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d.ferrokube
  chmod +x /usr/sbin/policy-rc.d.ferrokube
  local kept=
  if [ ! -e /usr/sbin/policy-rc.d ]; then cp /usr/sbin/policy-rc.d.ferrokube /usr/sbin/policy-rc.d; kept=1; fi
  { apt-get install -y --no-install-recommends "${missing[@]}" || { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; }; } >/tmp/ferrokube-apt.log 2>&1
  local result=$?
  [ -z "$kept" ] || rm -f /usr/sbin/policy-rc.d
  rm -f /usr/sbin/policy-rc.d.ferrokube
  [ $result -eq 0 ] || { tail -n 5 /tmp/ferrokube-apt.log >&2; echo "error: apt-get could not install ${missing[*]}" >&2; }
  return $result
}
