# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, kaiwudb.kubernetes contributors
# shellcheck shell=bash
# What the lab's scripts share: where things are, how they speak, one lock, and the Docker engine. Sourced, never run.
set -Eeuo pipefail
trap 'echo "lab: ${0##*/} failed at line $LINENO: $BASH_COMMAND" >&2' ERR

kind_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$kind_dir/../../.." && pwd)
lab=$repo/.lab                                    # everything the lab makes in the checkout; ignored by git
bin=$lab/bin                                      # kube (one binary, many names) and the links to it
cluster=${KAIWUDB_LAB_CLUSTER:-kaiwudb}
kubeconfig=$lab/kubeconfig                        # the lab's own; ~/.kube/config is never touched
engine_dir=/var/lib/kaiwudb-lab                   # what a Docker engine started by the lab needs on the host
label=kaiwudb.lab=1                               # on every image the lab builds, so that `down` finds them
kubernetes=1.34.4                                 # newest line that runs on cgroup v1 hosts without a flag
# kind's configuration here is for kubeadm's v1beta3, which kind uses below Kubernetes 1.36.
pulled_image=${KAIWUDB_LAB_NODE_IMAGE:-kindest/node:v1.34.0}

export PATH=$bin:$PATH DOCKER_CLI_HINTS=false
export DOCKER_BUILDKIT=0                          # every FROM is local; Docker 20.10 with a newer client has no other way
mkdir -p "$bin" "$lab/log"

context=kind-$cluster
k() { kubectl --kubeconfig "$kubeconfig" --context "$context" --request-timeout 10s "$@"; }

say() { printf 'lab: %s\n' "$*" >&2; }
die() { printf 'lab: %s\n' "$*" >&2; exit 1; }

# One lab command at a time on this machine, whichever checkout it comes from; a killed one frees the lock by dying.
lock() {
  exec 9>"${TMPDIR:-/tmp}/kaiwudb-lab-$cluster-$UID.lock"
  flock -n 9 || { say "another lab command is at work; waiting for it (up to 20 min)"; flock -w 1200 9; } ||
    die "another lab command held the lock for 20 minutes; is it stuck?"
}

# packages COMMAND=PACKAGE...: installs the packages whose command is missing.
packages() {
  local wanted=() pair
  for pair; do command -v "${pair%%=*}" >/dev/null 2>&1 || wanted+=("${pair#*=}"); done
  [ ${#wanted[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die "missing: ${wanted[*]}. Install these packages, or run as root."
  say "installing Debian packages: ${wanted[*]}"
  # The index is refreshed only when it is older than a day, or when the packages are not found in it.
  [ -n "$(find /var/lib/apt/lists -name '*Packages*' -mmin -1440 -print -quit 2>/dev/null)" ] || apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}" >"$lab/log/apt.log" 2>&1 9>&- ||
    { apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${wanted[@]}" >"$lab/log/apt.log" 2>&1 9>&-; } ||
    { tail -5 "$lab/log/apt.log" >&2; die "apt-get could not install ${wanted[*]}"; }
}

docker_answers() { timeout 15 docker info >/dev/null 2>&1; }

# A Docker engine: the one that answers, else Debian's, started here and remembered in .lab/dockerd.pid.
docker_engine() {
  docker_answers && return 0
  [ -z "${KAIWUDB_LAB_NO_DOCKER:-}" ] ||
    die "no Docker engine answers, and KAIWUDB_LAB_NO_DOCKER forbids to start one. Start one, or unset the variable."
  [ "$(id -u)" = 0 ] || die "no Docker engine answers, and only root may start one. Start one, or run as root."
  [ -z "${DOCKER_HOST:-}" ] || die "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST. Start it, or unset the variable."
  packages dockerd=docker.io docker=docker.io containerd=containerd runc=runc iptables=iptables python3=python3
  docker_answers && return 0                      # where an init system runs, the package has started its service
  say "no Docker engine answers: starting Debian's dockerd (KAIWUDB_LAB_NO_DOCKER=1 forbids it; log: .lab/log/dockerd.log)"
  install -D -m 755 "$kind_dir/runc-capped" "$engine_dir/runc-capped"   # the engine may outlive this checkout
  setsid nohup dockerd --add-runtime capped="$engine_dir/runc-capped" --default-runtime capped \
    >"$lab/log/dockerd.log" 2>&1 </dev/null 9>&- &
  echo $! >"$lab/dockerd.pid"
  local _
  for _ in $(seq 60); do
    docker_answers && return 0
    kill -0 "$(cat "$lab/dockerd.pid")" 2>/dev/null || break
    sleep 0.5
  done
  tail -5 "$lab/log/dockerd.log" >&2
  die "dockerd did not come up within 30 s"
}

# The kind nodes of this cluster, one a line, running or not; none is no error.
nodes() { docker ps -a --filter "label=io.x-k8s.kind.cluster=$cluster" --format '{{.Names}}' | sort; }

# kindnet is in no package registry: one ptp network a node, and a route to every other node's pods.
connect_pods() {
  local table node cidr peer peer_cidr peer_ip routes
  table=$(k get nodes -o jsonpath='{range .items[*]}{.metadata.name} {.spec.podCIDR} {.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}')
  while read -r node cidr _; do
    routes=
    while read -r peer peer_cidr peer_ip; do
      [ "$peer" = "$node" ] || routes+="ip route replace $peer_cidr via $peer_ip; "
    done <<<"$table"
    docker exec -i "$node" sh -ec "$routes cat >/etc/cni/net.d/10-pods.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipMasq": true, "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam-state", "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "$cidr"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
  done <<<"$table"
}
