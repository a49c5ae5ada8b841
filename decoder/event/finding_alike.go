// SPDX-License-Identifier: Apache-2.0

package event

import (
	"cmp"
	"fmt"
	"strings"
)

// maxAlike is how many causes with one id are apart for one who meets them. There are as many servers, ports and names as somebody tries,
// so those after them are one finding, which counts them and says whom they hit on the way to whom.
const maxAlike = 20

// alike is what causes have in common that differ by their subjects alone.
type alike struct {
	id    string
	whose account
}

// Gather returns a finding as its cause is to be counted: under a subject for all that are alike if there are many of them already, and
// this one is new.
func (f *Folder) Gather(x Finding) Finding {
	if _, known := f.found[x.Key()]; known {
		return x
	}
	whose := x.whose()
	if f.alike[alike{x.ID, whose}] < maxAlike {
		return x
	}
	who := cmp.Or(whose.pod, fmt.Sprintf("netns %d", whose.Netns))
	if whose.pod == "" && whose.Addr.IsValid() {
		who = fmt.Sprintf("%v in %s", whose.Addr, who)
	}
	x.Subject = fmt.Sprintf("others that %s meets", who)
	x.Title = fmt.Sprintf("%s: so at more than %d others.", strings.TrimSuffix(x.Title, "."), maxAlike)
	return x
}

// count has causes count, or count no more.
func (f *Folder) count(x Finding, n int) {
	k := alike{x.ID, x.account}
	if f.alike == nil {
		f.alike = map[alike]int{}
	}
	if f.alike[k] += n; f.alike[k] <= 0 {
		delete(f.alike, k)
	}
}
