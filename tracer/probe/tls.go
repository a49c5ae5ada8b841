// SPDX-License-Identifier: Apache-2.0

package probe

// TLS is the name of the probe that copies TLS handshakes at sockets.
const TLS = "tls"

// HookTLS is the hook of the tls object.
const HookTLS = "TLS handshakes"

func tlsProbe() Probe {
	return Probe{
		Name: TLS,
		Hooks: []Hook{{
			Name:     HookTLS,
			Optional: true,
			Without:  "TLS handshakes that fail are not explained",
		}},
	}
}
