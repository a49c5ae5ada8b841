// SPDX-License-Identifier: Apache-2.0

//go:build !amd64

package confine

// deniedHere are those that only some architectures have.
func deniedHere() []uint32 { return nil }
