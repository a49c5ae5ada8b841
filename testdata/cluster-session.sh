#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cluster-session.sh: records the README's sessions of a real cluster again, on one of its control plane nodes, as root.
# It fails if a name is wrong, and removes what it created.
#   KUBECONFIG  how to reach it                         NODE_NAME  what it calls this node, if that is not its host name
#   KTRACE      the binary, by default ./ktrace         IMAGE      with sh, nslookup and wget; by default busybox
#   ETCD        etcd's data, by default /var/lib/etcd   OUT        where the recordings go, by default testdata/records
set -euo pipefail
cd "$(dirname "$0")/.."
ktrace=${KTRACE:-./ktrace} out=${OUT:-testdata/records} etcd=${ETCD:-/var/lib/etcd}
export NODE_NAME=${NODE_NAME:-$(hostname)}
dir=$(mktemp -d)
pod=ktrace-session
cleanup() {
	kubectl delete pod $pod --now --ignore-not-found >/dev/null
	kubectl delete configmap $pod --ignore-not-found >/dev/null
	rm -rf "$dir"
}
trap cleanup EXIT

fail() { echo "cluster-session.sh: $*" >&2; exit 1; }

# record NAME VERB...: runs ktrace until stop, and waits until it is attached
record() {
	local name=$1
	shift
	rm -f "$dir/ready"
	"$ktrace" "$@" --kubeconfig "$KUBECONFIG" --record "$out/$name.rec" -o json --ready-file "$dir/ready" >"$dir/$name.json" &
	until [ -e "$dir/ready" ]; do
		kill -0 $! 2>/dev/null || fail "ktrace $* failed"
		sleep .05
	done
}
stop() { kill -INT $! && wait $!; }

# want WHAT COUNT FILTER NAME: fails unless at least COUNT lines of a recording match the filter
want() {
	local n
	n=$(count "$3" "$4")
	echo "$1: $n"
	[ "$n" -ge "$2" ] || fail "want $2 at least: $(tail -3 "$dir/$4.json")"
}
none() { [ "$(count "$2" "$3")" = 0 ] || fail "$1"; }
count() { jq -c "select($1)" "$dir/$2.json" | wc -l; }

kubectl run $pod --image="${IMAGE:-busybox}" --image-pull-policy=IfNotPresent --restart=Never \
	--overrides="{\"spec\":{\"nodeName\":\"$NODE_NAME\"}}" --command -- sleep 600 >/dev/null
kubectl wait --for=condition=Ready pod/$pod --timeout=60s >/dev/null

# lookups of one pod, named at both ends
record dns-cluster dns --pod "default/$pod" --slow 1s
kubectl exec $pod -- sh -c 'nslookup kubernetes.default.svc.cluster.local.; nslookup nowhere.default.svc.cluster.local.' >/dev/null || true
stop
want "lookups named at both ends" 4 ".kind==\"dns\" and .pod.name==\"$pod\" and .peer.service==\"kube-system/kube-dns\"" dns-cluster
none "a lookup of another pod" ".kind==\"dns\" and .pod.name!=\"$pod\"" dns-cluster

# the pod's requests to the API server, which is on the host network, go through a service
record nat-cluster nat --pod "default/$pod"
kubectl exec $pod -- sh -c 'timeout 2 wget -qO- http://kubernetes.default.svc.cluster.local.:443/' >/dev/null 2>&1 || true
stop
want "translation to the API server" 1 '.type=="summary" and any(.nat.flows[]?; .service=="default/kubernetes:443" and .state=="hit")' nat-cluster

# each write to the API is a sync of etcd's log
record fsync-cluster fsync --path "$etcd"
for i in {1..20}; do
	kubectl create configmap $pod --from-literal=n=$i >/dev/null
	kubectl delete configmap $pod >/dev/null
done
stop
want "the slowest syncs, all of etcd's pod" 1 '.type=="summary" and ([.fsync.slowest[]?.pod.name|startswith("etcd-")]|length>0 and all)' fsync-cluster
