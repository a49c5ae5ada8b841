// SPDX-License-Identifier: Apache-2.0

// Package bench measures what ktrace costs the traffic that it watches. Loads run through one pod, a node that translates a
// service's address, and a server beyond it, once with each watcher in turn, round by round, so that what else the machine
// does meets all of them alike. Only ratios of one run mean something: each is the median, over the rounds, of a rate divided
// by that of the same round with nothing attached.
//
// An empty program at the same hooks runs along: what it takes is the kernel's part. In one more round, of which no rate
// counts, the kernel measures each program's time (kernel.bpf_stats_enabled, since 5.1), which itself takes some 80 ns a run:
// the empty program's time is subtracted.
package bench
