// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"time"
)

// replaceWithin is how long the kernel may take to clean up a namespace, and whoever gets its number to give it up again.
const replaceWithin = 20 * time.Second

// Replace removes a namespace, in which no process may be, and makes others until one has its inode number: the kernel gives
// out the lowest that is free, once it has cleaned up. It returns that one.
func (n *Net) Replace(ns *NS) *NS {
	n.t.Helper()
	inode, begin := ns.Inode(), time.Now()
	if err := removeNetns(ns.Path()); err != nil {
		n.t.Fatal(err)
	}
	for name, s := range n.spaces {
		if s == ns {
			delete(n.spaces, name)
		}
	}
	for i := 0; ; i++ { // those that are made on the way stay, so that their numbers are not given out again
		next := n.Namespace(fmt.Sprint("next", i))
		switch {
		case next.Inode() == inode:
			return next
		case time.Since(begin) > replaceWithin:
			n.t.Fatalf("no namespace has the number %d again", inode)
		}
		time.Sleep(20 * time.Millisecond) // that the kernel has cleaned up is no event to wait for
	}
}
