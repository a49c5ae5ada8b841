// SPDX-License-Identifier: Apache-2.0

// Package bpf holds the BPF programs: one C file per source of signals, and the object and Go file that bpf2go makes of
// it. Only this file and the C are written by hand. The objects are committed, so that a build needs no clang; "make
// generate" compiles every *.bpf.c.
package bpf

//go:generate go run ./gowire -out ../decoder/wire/wire.go
