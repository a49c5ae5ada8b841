#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# demo.sh: a pod, a node and a DNS server in network namespaces; a fault; ktrace naming it. Everything is removed
# again. Called by "make demo", as root, with ./ktrace built. With RECORD=DIR it keeps the recordings that the golden
# outputs and the README are made of.
set -euo pipefail
cd "$(dirname "$0")/.."
ns=ktdemo$$
pod=$ns-pod node=$ns-node server=$ns-server
tmp=$(mktemp -d)

cleanup() {
	set +e
	for n in "$pod" "$node" "$server"; do
		ip netns pids "$n" 2>/dev/null | xargs -r kill -KILL
		ip netns del "$n" 2>/dev/null
		rm -rf "/etc/netns/$n"
	done
	wait 2>/dev/null
	rm -rf "$tmp"
}
trap cleanup EXIT

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
at() { ip netns exec "$@"; }

say "a pod (10.244.1.2), its node, and a DNS server (10.9.0.2, port 5353) beyond the node"
for n in "$pod" "$node" "$server"; do
	ip netns add "$n"
	ip -n "$n" link set lo up
done
ip link add eth0 netns "$pod" type veth peer name veth1 netns "$node"
ip link add uplink netns "$node" type veth peer name eth0 netns "$server"
ip -n "$pod" addr add 10.244.1.2/24 dev eth0
ip -n "$node" addr add 10.244.1.1/24 dev veth1
ip -n "$node" addr add 10.9.0.1/24 dev uplink
ip -n "$server" addr add 10.9.0.2/24 dev eth0
ip -n "$pod" link set eth0 up
ip -n "$node" link set veth1 up
ip -n "$node" link set uplink up
ip -n "$server" link set eth0 up
ip -n "$pod" route add default via 10.244.1.1
ip -n "$node" route add default via 10.9.0.2
ip -n "$server" route add 10.244.0.0/16 via 10.9.0.1
at "$node" sysctl -qw net.ipv4.ip_forward=1
mkdir -p "/etc/netns/$pod"
printf 'search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5 timeout:1 attempts:2\n' >"/etc/netns/$pod/resolv.conf"
at "$server" dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --port=5353 \
	--address=/web.default.svc.cluster.local/10.96.0.20 >"$tmp/dnsmasq" 2>&1 &

dnat=(-p udp -d 10.96.0.10 --dport 53 -m comment --comment "kube-system/kube-dns:dns cluster IP" -j DNAT --to-destination 10.9.0.2:5353)
say "the node translates the service address, as kube-proxy would: 10.96.0.10:53 -> 10.9.0.2:5353"
at "$node" iptables -t nat -A PREROUTING "${dnat[@]}"

watch() { # SECONDS NAME ARGS...: ktrace in the background, ready when this returns
	local seconds=$1
	rm -f "$tmp/ready"
	./ktrace "${@:3}" --netns "$pod" -d "${seconds}s" --ready-file "$tmp/ready" ${RECORD:+--record "$RECORD/$2.rec"} &
	ktrace=$!
	until [ -e "$tmp/ready" ]; do
		kill -0 $ktrace || exit 1
		read -rt 0.05 <> <(:) || true
	done
}

say "healthy: \$ ktrace dns --netns $pod -d 3s     while the pod looks up web"
watch 3 dns-healthy dns
at "$pod" getent ahostsv4 web || true
wait $ktrace

say "now the node's nat table is flushed; the same again:"
at "$node" iptables -t nat -F PREROUTING
at "$node" conntrack -F >/dev/null 2>&1 || true
watch 4 dns-service-dnat-miss dns --wait 1s
at "$pod" getent ahostsv4 web || true
wait $ktrace || true

say "the rules are back, but a firewall on the node drops what goes to the server; once more:"
at "$node" iptables -t nat -A PREROUTING "${dnat[@]}"
at "$node" nft 'add table inet firewall; add chain inet firewall forward { type filter hook forward priority 0; }'
at "$node" nft add rule inet firewall forward ip daddr 10.9.0.2 udp dport 5353 counter drop comment '"no DNS today"'
watch 4 dns-netfilter-drop dns --wait 1s
at "$pod" getent ahostsv4 web || true
wait $ktrace || true

say "done; the namespaces are removed"
