// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"context"
	"errors"
	"io"
	"testing"

	"ktrace/decoder/event"
	"ktrace/decoder/wire"
	"ktrace/decoder/wire/wiretest"
)

type records [][]byte

func (r *records) Next(context.Context) ([]byte, error) {
	if len(*r) == 0 {
		return nil, io.EOF
	}
	raw := (*r)[0]
	*r = (*r)[1:]
	return raw, nil
}

// TestNamespacesAreAnnouncedByTheKernelHalf as headers, whichever number had been another's before is reported as replaced.
func TestNamespacesAreAnnouncedByTheKernelHalf(t *testing.T) {
	announce := func(inode uint32, id uint64) []byte {
		return wiretest.RawRecord(t, wire.Header{Size: 64, Kind: uint16(wire.KindNetns), Netns: inode, Journey: id})
	}
	s := Stream{Frames: &records{announce(7, 1), announce(8, 2), announce(7, 1), announce(7, 3), announce(7, 3), announce(7, 1<<63|5)}}
	want := []bool{false, false, false, true, false, true}
	for i := 0; ; i++ {
		e, err := s.Next(context.Background())
		if errors.Is(err, io.EOF) {
			if i != len(want) {
				t.Errorf("%d facts", i)
			}
			return
		}
		f, ok := e.Body.(event.Fact)
		if err != nil || !ok || f.Identity == nil || f.Identity.Replaced != want[i] || e.Journey != 0 {
			t.Fatalf("%d: %v, %+v", i, err, e)
		}
		if _, cookie := f.Identity.Cookie(); cookie != (i < 5) {
			t.Errorf("%d: a cookie: %t", i, cookie)
		}
	}
}
