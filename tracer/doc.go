// Package tracer is the live half: it loads the BPF objects, picks for every hook the best variant that this
// kernel takes, attaches it, reads the ring and keeps the books. What the records mean is package decoder's.
package tracer
