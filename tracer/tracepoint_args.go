package tracer

import "github.com/cilium/ebpf/btf"

// kfreeSkbReason is whether this kernel passes to tracepoint kfree_skb why it drops: since 5.17, and since stable kernels
// have taken that over.
type kfreeSkbReason bool

func (r kfreeSkbReason) globals() map[string]any {
	return map[string]any{"kfree_skb_has_reason": bool(r)}
}

// kfreeSkbSocket is whether it passes the receiving socket, too: since 6.11.
type kfreeSkbSocket bool

func (s kfreeSkbSocket) globals() map[string]any {
	return map[string]any{"kfree_skb_has_rx_sk": bool(s)}
}

// packetAndPlace are the arguments that tracepoint kfree_skb has always had, and the first of every tracepoint's function.
const packetAndPlace = 3

func kfreeSkbHasReason(kernel *btf.Spec) kfreeSkbReason {
	return tracepointArguments(kernel, "kfree_skb") > packetAndPlace
}

func kfreeSkbHasSocket(kernel *btf.Spec) kfreeSkbSocket {
	return tracepointArguments(kernel, "kfree_skb") > packetAndPlace+1
}

// tracepointArguments counts the parameters of a tracepoint's function, 0 if this kernel does not describe it.
func tracepointArguments(kernel *btf.Spec, name string) int {
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
