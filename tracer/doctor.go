// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"

	"ktrace/tracer/host"
)

// Environment checks all that decides whether programs load and which facts of the node can be read. It needs no
// privileges and never fails: an error is a check with the error's text.
func Environment(btfFile string) []host.Check {
	checks := append([]host.Check{host.Kernel()}, checkTypes(btfFile)...)
	return append(checks, host.Checks()...)
}

// checkTypes checks for BTF of this kernel, and for what is known by BTF only.
func checkTypes(file string) []host.Check {
	c := host.Check{Name: "kernel types (BTF)", Found: "the kernel's own", OK: true}
	if file != "" {
		c.Found = file
	}
	kernel, err := kernelTypes(file)
	if err != nil {
		return []host.Check{{
			Name: c.Name, Found: errors.Unwrap(err).Error(), Impact: "no program loads: no verb works but read",
			Remedy: "give a file with this kernel's BTF (pahole or bpftool make one) by --btf, or use a kernel with CONFIG_DEBUG_INFO_BTF",
		}}
	}
	return []host.Check{c, checkReasons(kernel)}
}

// checkReasons checks whether the kernel has drop reasons.
func checkReasons(kernel types) host.Check {
	const name = "drop reasons"
	drops, _, err := reasonNames(kernel.Spec)
	switch {
	case err != nil:
		return host.CannotTell(name, err)
	case len(drops) == 0:
		return host.Check{
			Name: name, Found: "none: this kernel does not say why it drops packets",
			Impact: "drops are named by the function that drops, and by the node's counters and rules",
			Remedy: "kernels from 5.17 on have them",
		}
	}
	return host.Check{Name: name, Found: fmt.Sprintf("%d", len(drops)), OK: true}
}
