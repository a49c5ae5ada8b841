// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf/link"
)

// How often iterators run: at the start, at the end, and in between as long as that takes no more than a small part of the time.
const (
	iterateEvery = 5 * time.Second
	iterateShare = 100
)

// iterations are the runs of the objects' iterators: programs that the kernel calls for all things of a kind.
type iterations struct {
	last time.Time
	took time.Duration
}

func (i iterations) due(every time.Duration) bool {
	return time.Since(i.last) >= max(cmp.Or(every, iterateEvery), iterateShare*i.took)
}

// iterate runs all iterators once. Their records come through the ring.
func (t *Tracer) iterate() error {
	began := time.Now()
	var errs []error
	for _, o := range t.objects {
		for _, l := range o.links {
			if i, ok := l.(*link.Iter); ok {
				if err := runIterator(i); err != nil {
					errs = append(errs, fmt.Errorf("%s: iterator: %w", o.probe.Name, err))
				}
			}
		}
	}
	t.iterated = iterations{last: time.Now(), took: time.Since(began)}
	return errors.Join(errs...)
}

func runIterator(i *link.Iter) error {
	r, err := i.Open()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}
