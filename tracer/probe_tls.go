// SPDX-License-Identifier: Apache-2.0

package tracer

import "ktrace/bpf"

// TLSProbe is the name of the probe that copies TLS handshakes at sockets.
const TLSProbe = "tls"

// HookTLS is the hook of the tls object.
const HookTLS = "TLS handshakes"

func tlsProbe() Probe {
	return Probe{
		Name: TLSProbe,
		Load: bpf.LoadTls,
		Hooks: []Hook{{
			Name:     HookTLS,
			Variants: []Variant{{Name: "cgroup_skb", Programs: []string{"tls_out", "tls_in"}}},
			Optional: true,
			Without:  "TLS handshakes that fail are not explained",
		}},
	}
}
