// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// counters are the protocols' counters by the names that nstat gives them.
type counters map[string]uint64

// netstat reads the counters of the namespace that the thread is in.
func netstat() (counters, error) {
	all := counters{}
	for _, file := range []string{"netstat", "snmp", "snmp6"} {
		text, err := os.ReadFile("/proc/thread-self/net/" + file)
		if errors.Is(err, os.ErrNotExist) { // without IPv6
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("counters: %w", err)
		}
		all.parse(string(text))
	}
	return all, nil
}

// parse reads both forms: a line of names and one of numbers, each after the protocol's name, or one name and number a line.
func (c counters) parse(text string) {
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && !strings.HasSuffix(f[0], ":"):
			c.set(f[0], f[1])
		case len(names) == len(f) && len(f) > 0 && f[0] == names[0]:
			for i, n := range f[1:] {
				c.set(strings.TrimSuffix(f[0], ":")+names[i+1], n)
			}
			names = nil
		default:
			names = f
		}
	}
}

// set takes a number; those below zero are no counters.
func (c counters) set(name, number string) {
	if n, err := strconv.ParseUint(number, 10, 64); err == nil {
		c[name] = n
	}
}

// rose is what is higher than before.
func (c counters) rose(before counters) map[string]uint64 {
	up := map[string]uint64{}
	for name, n := range c {
		if old := before[name]; n > old {
			up[name] = n - old
		}
	}
	return up
}
