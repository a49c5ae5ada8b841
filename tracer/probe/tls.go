// SPDX-License-Identifier: Apache-2.0

package probe

import "ktrace/bpf"

// TLS is the name of the probe that copies TLS handshakes at sockets.
const TLS = "tls"

// HookTLS is the hook of the tls object.
const HookTLS = "TLS handshakes"

func tlsProbe() Probe {
	return Probe{
		Name: TLS,
		Load: bpf.LoadTls,
		Hooks: []Hook{{
			Name:     HookTLS,
			Variants: []Variant{{Name: "cgroup_skb", Programs: []string{"tls_out", "tls_in"}}},
			Optional: true,
			Without:  "TLS handshakes that fail are not explained",
		}},
	}
}
