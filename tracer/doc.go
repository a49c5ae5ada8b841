// SPDX-License-Identifier: Apache-2.0

// Package tracer loads the BPF objects, attaches for every hook the best variant that this kernel supports, reads their ring
// buffer, and accounts for every lost record. Package decoder knows what the records mean.
//
//	Probes() ──► load maps ──► attach hooks ──► ring buffer ──► Tracer.Next ──► decoder.Stream
//
// A new probe is bpf/X.bpf.c, tracer/probe_X.go with its Probe value, and a row in Probes.
package tracer
