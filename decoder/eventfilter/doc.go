// SPDX-License-Identifier: Apache-2.0

// Package eventfilter says which events, and which captured packets, pass a user's pcap-filter expression: the same that
// the filter in the kernel passes.
package eventfilter
