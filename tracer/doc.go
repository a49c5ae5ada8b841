// SPDX-License-Identifier: Apache-2.0

// Package tracer loads the BPF objects, attaches for every hook the best variant that this kernel supports, reads their ring
// buffer, and accounts for every lost record. Package decoder knows what the records mean.
//
//	probe.All() ──► load maps ──► attach hooks ──► ring buffer ──► Tracer.Next ──► decoder.Stream
//
// What it loads is a table: see package probe.
package tracer
