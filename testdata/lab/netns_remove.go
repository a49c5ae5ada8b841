// SPDX-License-Identifier: Apache-2.0

package lab

// Remove removes a namespace, in which no process may be, before the test ends.
func (n *Net) Remove(ns *NS) {
	n.t.Helper()
	for name, s := range n.spaces {
		if s == ns {
			delete(n.spaces, name)
		}
	}
	if err := removeNetns(ns.Path()); err != nil {
		n.t.Fatal(err)
	}
}
