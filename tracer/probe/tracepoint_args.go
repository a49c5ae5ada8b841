// SPDX-License-Identifier: Apache-2.0

package probe

import "github.com/cilium/ebpf/btf"

// kfreeSkbReason is whether tracepoint kfree_skb has the argument reason: since 5.17, and in stable kernels with the
// backport.
type kfreeSkbReason bool

func (r kfreeSkbReason) Values() map[string]any {
	return map[string]any{"kfree_skb_has_reason": bool(r)}
}

// kfreeSkbSocket is whether tracepoint kfree_skb has the argument rx_sk: since 6.11.
type kfreeSkbSocket bool

func (s kfreeSkbSocket) Values() map[string]any {
	return map[string]any{"kfree_skb_has_rx_sk": bool(s)}
}

// packetAndPlace counts what tracepoint kfree_skb has on all kernels: skb, location, and the context that btf_trace_ functions
// have first.
const packetAndPlace = 3

func kfreeSkbHasReason(kernel *btf.Spec) kfreeSkbReason {
	return TracepointArguments(kernel, "kfree_skb") > packetAndPlace
}

func kfreeSkbHasSocket(kernel *btf.Spec) kfreeSkbSocket {
	return TracepointArguments(kernel, "kfree_skb") > packetAndPlace+1
}

// TracepointArguments counts the parameters of a tracepoint's btf_trace_ function, 0 if BTF has none.
func TracepointArguments(kernel *btf.Spec, name string) int {
	var t *btf.Typedef
	if err := kernel.TypeByName("btf_trace_"+name, &t); err != nil {
		return 0
	}
	pointer, ok := t.Type.(*btf.Pointer)
	if !ok {
		return 0
	}
	proto, ok := pointer.Target.(*btf.FuncProto)
	if !ok {
		return 0
	}
	return len(proto.Params)
}
