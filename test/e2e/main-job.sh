#!/usr/bin/env bash
# The main job: what a user does with a cluster, on a cluster that hack/local-up-cluster.sh made. Any kubectl will do: KUBECTL names it.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=test/e2e/lib.sh
source test/e2e/lib.sh
# shellcheck source=hack/lib/cluster.sh
source hack/lib/cluster.sh
export KUBECONFIG=${KUBECONFIG:-$CLUSTER_DIR/admin.conf}
NS=e2e-$RANDOM
k() { "$K" -n "$NS" "$@"; }
address=$(node_address 1)

in_client() { timeout 10 "$K" -n "$NS" exec client -- "$@"; }
# Asks http://NAME/PATH from the client pod: the name is looked up at the cluster's DNS, then the address asked, with tools that do not need the C library's
# own lookup, which a static busybox cannot do in an image of its own.
ASK='ask() {
  ip=$(nslookup "$1" | sed -n "/^Name:/,\$ s/^Address[^:]*: *//p" | head -n 1)
  [ -n "$ip" ] || return 1
  answer=$(printf "GET /%s HTTP/1.0\r\n\r\n" "$2" | nc -w 2 "$ip" "${3:-80}" | tr -d "\r" | sed "1,/^$/d")
  [ -n "$answer" ] && echo "$answer"
};'
ask_pod() { in_client sh -c "$ASK ask $1.$NS.svc.cluster.local $2"; }
web_pods() { k get pods -l app=web --field-selector=status.phase=Running -o 'jsonpath={.items[*].metadata.name}'; }
ready() { same "$2" "$(k get "$1" -o 'jsonpath={.status.readyReplicas}')"; }

applies() { "$K" create namespace "$NS" && eventually 10 k get serviceaccount default && k apply -f test/e2e/manifests/web.yaml && k rollout status deployment/web --timeout=90s && k wait --for=condition=Ready pod/client --timeout=60s; }
cluster_ip_answers_by_name() { eventually 10 ask_pod web index.html; }
every_replica_answers() {
  local from=$1 wanted found
  wanted=$(web_pods | tr ' ' '\n' | sort)
  found=$(for ((i = 0; i < 30; i++)); do "$from" || break; done | sort -u)
  same "$wanted" "$found"
}
ask_from_pod() { ask_pod web index.html; }
ask_from_host() { curl -fsS -m 2 "http://$(k get service web -o 'jsonpath={.spec.clusterIP}')/index.html"; }
ask_node_port() { curl -fsS -m 2 "http://$address:30080/index.html"; }
environment_and_volumes() {
  same "hello s3cret" "$(ask_pod web env)" && same made-by-init "$(ask_pod web init)" &&
    ask_pod web token | grep -q '^ey.*\..*\.'
}
killed_container_restarts() {
  local pod started
  pod=$(web_pods | cut -d' ' -f1)
  # Its main process, from outside: the shell's child would be restarted by nobody.
  k exec "$pod" -- sh -c 'kill -9 $(pidof httpd); kill -TERM 1' || true
  started=$SECONDS
  eventually 10 test "$(k get pod "$pod" -o 'jsonpath={.status.containerStatuses[0].restartCount}')" -ge 0
  eventually 15 restarted "$pod" 1 && eventually 15 ready deployment/web 3 && echo "after $((SECONDS - started)) s"
}
restarted() { same "$2" "$(k get pod "$1" -o 'jsonpath={.status.containerStatuses[0].restartCount}')"; }
deleted_pod_is_replaced() {
  local pod
  pod=$(web_pods | cut -d' ' -f2)
  k delete pod "$pod" --wait=false && eventually 30 ready deployment/web 3 && eventually 40 gone pod "$pod"
}
gone() { ! k get "$1" "$2" >/dev/null 2>&1; }
readiness_takes_out() {
  local pod ip
  pod=$(web_pods | cut -d' ' -f1)
  ip=$(k get pod "$pod" -o 'jsonpath={.status.podIP}')
  k exec "$pod" -- mv /www/index.html /www/hidden
  # Liveness looks at the same file; readiness is quicker.
  eventually 10 not_in_endpoints "$ip"
  local result=$?
  k exec "$pod" -- mv /www/hidden /www/index.html 2>/dev/null || true
  eventually 40 ready deployment/web 3
  return $result
}
not_in_endpoints() { ! k get endpointslices -l kubernetes.io/service-name=web -o 'jsonpath={range .items[*].endpoints[?(@.conditions.ready==true)]}{.addresses[0]} {end}' | grep -qw "$1"; }

# A request every 50 ms over a new connection each, no retries; failures go to a file.
loop_start() {
  local ip
  ip=$(k get service web -o 'jsonpath={.spec.clusterIP}')
  rm -f /tmp/ferrokube-e2e.loop*
  (while [ ! -e /tmp/ferrokube-e2e.loop-stop ]; do curl -fsS -m 2 -o /dev/null "http://$ip/index.html" 2>>/tmp/ferrokube-e2e.loop-host || echo "$(date +%T.%N) failed" >>/tmp/ferrokube-e2e.loop-host; echo >>/tmp/ferrokube-e2e.loop-count; sleep 0.05; done) &
  LOOP=$!
  k exec client -- sh -c 'rm -f /tmp/stop /tmp/bad; '"$ASK"' while [ ! -e /tmp/stop ]; do ask web.'"$NS"'.svc.cluster.local index.html >/dev/null 2>>/tmp/bad || echo "$(date) failed" >>/tmp/bad; usleep 50000; done' >/dev/null 2>&1 &
  POD_LOOP=$!
}
loop_end() {
  touch /tmp/ferrokube-e2e.loop-stop
  in_client touch /tmp/stop
  wait "$LOOP" "$POD_LOOP" 2>/dev/null
  [ "$(wc -l </tmp/ferrokube-e2e.loop-count)" -gt 20 ] || { echo "the loop hardly ran"; return 1; }
  if [ -s /tmp/ferrokube-e2e.loop-host ]; then echo "from the host:"; head -n 10 /tmp/ferrokube-e2e.loop-host; return 1; fi
  if in_client test -s /tmp/bad; then echo "from a pod:"; in_client head -n 10 /tmp/bad; return 1; fi
}
rolls_without_a_failed_request() {
  loop_start
  local result=0
  k set env deployment/web ROUND=2 && k rollout status deployment/web --timeout=120s || result=1
  k rollout undo deployment/web && k rollout status deployment/web --timeout=120s || result=1
  k scale deployment/web --replicas=10 && eventually 60 ready deployment/web 10 || result=1
  loop_end && return $result
}
scales_to_nothing() { k scale deployment/web --replicas=0 && eventually 60 no_web_pods && k scale deployment/web --replicas=3 && eventually 60 ready deployment/web 3; }
no_web_pods() { same "" "$(k get pods -l app=web -o name)"; }

others_apply() { k apply -f test/e2e/manifests/others.yaml; }
stateful_set() {
  eventually 90 ready statefulset/db 3 && same "db-0 db-1 db-2" "$(k get pods -l app=db --sort-by=.metadata.name -o 'jsonpath={.items[*].metadata.name}')" &&
    same db-1 "$(eventually 15 ask_pod db-1.db index.html >/dev/null && ask_pod db-1.db index.html)" &&
    k delete pod db-1 && eventually 60 ready statefulset/db 3 && eventually 20 ask_pod db-1.db index.html
}
daemon_set() { eventually 60 daemon_ready; }
daemon_ready() { same "$("$K" get nodes -o name | wc -l)" "$(k get daemonset agent -o 'jsonpath={.status.numberReady}')"; }
job() { k wait --for=condition=complete job/five --timeout=90s && same 5 "$(k get job five -o 'jsonpath={.status.succeeded}')"; }
cron_job() { eventually 75 cron_fired; }
cron_fired() { [ -n "$(k get cronjob tick -o 'jsonpath={.status.lastScheduleTime}')" ]; }

logs_follow() { k logs job/five --tail=1 | grep -q done && k run talker --image=busybox:1.36 --restart=Never -- sh -c 'for i in 1 2 3; do echo line $i; sleep 1; done' && eventually 20 pod_started talker && same 3 "$(timeout 20 "$K" -n "$NS" logs -f talker | grep -c line)"; }
pod_started() { k get pod "$1" -o 'jsonpath={.status.phase}' | grep -qE 'Running|Succeeded'; }
exec_streams() {
  local code=0
  same hello "$(echo hello | k exec -i client -- cat)" || return 1
  k exec client -- sh -c 'exit 7' >/dev/null 2>&1 || code=$?
  same 7 $code
}
exec_moves_100_mb() {
  local sum
  head -c 100000000 /dev/urandom >/tmp/ferrokube-e2e.big
  sum=$(sha256sum </tmp/ferrokube-e2e.big)
  same "$sum" "$(k exec -i client -- cat </tmp/ferrokube-e2e.big | sha256sum)"
}
copies() { head -c 3000000 /dev/urandom >/tmp/ferrokube-e2e.file && k cp /tmp/ferrokube-e2e.file client:/tmp/file && k cp client:/tmp/file /tmp/ferrokube-e2e.back >/dev/null && cmp /tmp/ferrokube-e2e.file /tmp/ferrokube-e2e.back; }
port_forward() {
  local forward result=0
  k port-forward service/web 28080:80 --address 127.0.0.1 >/tmp/ferrokube-e2e.forward 2>&1 &
  forward=$!
  eventually 10 grep -q Forwarding /tmp/ferrokube-e2e.forward || result=1
  curl -fsS -m 3 http://127.0.0.1:28080/index.html -o /tmp/ferrokube-e2e.one &
  curl -fsS -m 3 http://127.0.0.1:28080/index.html -o /tmp/ferrokube-e2e.two || result=1
  wait $! || result=1
  kill $forward
  wait $forward 2>/dev/null
  [ $result = 0 ] && cmp /tmp/ferrokube-e2e.one /tmp/ferrokube-e2e.two
}

container_ids() { k get pods -o 'jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[*].containerID}{"\n"}{end}' | grep -E '^(web|client|db|agent)' | sort; }
survives_kill_of_the_api_server() {
  local names=() i created=0
  for ((i = 0; i < 200; i++)); do
    if k create configmap "burst-$i" --from-literal=i=$i >/dev/null 2>&1; then names+=("burst-$i"); created=$((created + 1)); else sleep 0.1; fi
    if [ $i = 60 ]; then kill -9 "$(cat "$CLUSTER_DIR/run/kube-apiserver.pid")"; RESTART=kube-apiserver hack/local-up-cluster.sh & fi
  done
  wait
  eventually 15 k get configmaps >/dev/null || return 1
  [ "$created" -gt 100 ] || { echo "only $created creates were acknowledged"; return 1; }
  local there
  there=$(k get configmaps -o name | grep -c burst-)
  for i in "${names[@]}"; do k get configmap "$i" >/dev/null || { echo "$i was acknowledged and is lost ($there there)"; return 1; }; done
}
survives_restarts() {
  local before after program
  before=$(container_ids)
  for program in kubelet1 kube-controller-manager kube-scheduler kube-proxy1; do
    kill -9 "$(cat "$CLUSTER_DIR/run/$program.pid")"
    RESTART=$program hack/local-up-cluster.sh
  done
  k scale deployment/web --replicas=4 && eventually 60 ready deployment/web 4 && k scale deployment/web --replicas=3 && eventually 60 ready deployment/web 3 || return 1
  eventually 20 ask_from_host || return 1
  after=$(container_ids)
  # Everything that was there before and still is has its old containers.
  while read -r line; do
    grep -qxF "$line" <<<"$after" || { grep -q "^${line%% *} " <<<"$after" && { echo "changed: $line"; return 1; }; }
  done <<<"$before"
  return 0
}
namespace_goes() { "$K" delete namespace "$NS" --timeout=120s && ! "$K" get namespace "$NS" >/dev/null 2>&1; }

check "apply, and the rollout completes" applies
check "a pod asks the Service by name" cluster_ip_answers_by_name
check "every replica answers a pod" every_replica_answers ask_from_pod
check "every replica answers the host" every_replica_answers ask_from_host
check "every replica answers on the node port" every_replica_answers ask_node_port
check "environment, init container, token" environment_and_volumes
check "a killed container is restarted" killed_container_restarts
check "a deleted pod is replaced" deleted_pod_is_replaced
check "a failing readiness probe leaves the endpoints" readiness_takes_out
check "rolling update, undo and scaling fail no request" rolls_without_a_failed_request
check "scale to zero and back" scales_to_nothing
check "stateful set, daemon set, job and cron job apply" others_apply
check "a stateful set keeps names" stateful_set
check "a daemon set is on every node" daemon_set
check "a job of five completes" job
check "logs follow" logs_follow
check "exec: input, exit code" exec_streams
check "exec: 100 MB both ways" exec_moves_100_mb
check "cp both ways" copies
check "port-forward: two connections at once" port_forward
check "kill -9 of kube-apiserver loses nothing" survives_kill_of_the_api_server
check "restarts of every other daemon touch no container" survives_restarts
check "a cron job fires" cron_job
check "a deleted namespace goes with all in it" namespace_goes
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
