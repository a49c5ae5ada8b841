package tracer

import "github.com/cilium/ebpf/btf"

// kfreeSkbArguments tells the path object what this kernel passes to tracepoint kfree_skb: beside the packet and the
// place the reason since 5.17, which stable kernels have taken over, and the receiving socket since 6.11.
func kfreeSkbArguments(kernel *btf.Spec) map[string]any {
	const packetAndPlace = 3 // and the first, which every tracepoint's function has
	n := tracepointArguments(kernel, "kfree_skb")
	return map[string]any{
		"kfree_skb_has_reason": n > packetAndPlace,
		"kfree_skb_has_rx_sk":  n > packetAndPlace+1,
	}
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
