# shellcheck shell=bash
# Helpers of the cluster tests: each check is a function whose name says what holds.

passed=0
failed=0
K=${KUBECTL:-kubectl}

# check NAME COMMAND...: runs a check and counts it.
check() {
  local name=$1 started=$SECONDS output
  shift
  # SKIP: functions that are left out, with a word of it.
  case " ${SKIP:-} " in *" $1 "*) printf 'skip  %s\n' "$name"; return ;; esac
  if output=$("$@" 2>&1); then
    passed=$((passed + 1))
    printf 'ok    %s (%s s)\n' "$name" "$((SECONDS - started))"
  else
    failed=$((failed + 1))
    printf 'FAIL  %s (%s s)\n' "$name" "$((SECONDS - started))"
    printf '%s\n' "$output" | tail -n 25 | sed 's/^/        /'
  fi
}

# eventually SECONDS COMMAND...: tries a command until it succeeds.
eventually() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/tmp/ferrokube-e2e.out 2>&1; do
    if ((SECONDS >= deadline)); then
      echo "not in time: $*"
      cat /tmp/ferrokube-e2e.out
      return 1
    fi
    sleep 0.2
  done
}

# same WANTED GOT: equal texts.
same() { [ "$1" = "$2" ] || { echo "wanted <$1>, got <$2>"; return 1; }; }

jsonpath() { "$K" get "$@"; }
