// SPDX-License-Identifier: Apache-2.0

// Package tls reads what the beginning of a TLS connection says in the clear: the name that the client asks for, the
// certificate up to TLS 1.2, and why a side gave up. It decrypts nothing.
//
// Input is hostile: nothing here panics on it, and what is kept of a connection is bounded.
package tls
