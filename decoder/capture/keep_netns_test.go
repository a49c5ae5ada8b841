// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"testing"

	"ktrace/decoder/event"
)

// TestTheNextFileForgetsANamespaceThatWasReplaced begins with which namespace has the number, and what is known of that one.
func TestTheNextFileForgetsANamespaceThatWasReplaced(t *testing.T) {
	w := NewWriter(Options{})
	identity := func(id uint64) event.Fact { return event.Fact{Identity: &event.NetnsIdentity{Inode: 7, ID: id}} }
	former := event.Sysctl{Netns: 7, Key: "net.ipv4.ip_forward", Value: "0"}
	other, device := event.Sysctl{Netns: 8, Key: "net.ipv4.ip_forward", Value: "0"}, event.Device{Netns: 7, Ifindex: 2, Name: "eth0"}
	for _, f := range []event.Fact{identity(1), {Sysctl: &former}, {Device: &device}, {Sysctl: &other}, identity(1), identity(2)} {
		if err := w.RecordRaw(factRecord(t, 2, f)); err != nil {
			t.Fatal(err)
		}
	}
	all := begins(t, w)
	if len(all) != 2 || all[0].Sysctl == nil || *all[0].Sysctl != other || all[1].Identity == nil || all[1].Identity.ID != 2 {
		t.Errorf("the file begins with %+v", all)
	}
}
