// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"testing"

	"ktrace/decoder"
	"ktrace/decoder/event"
)

func TestTheNextFileBeginsWithWhatStillIs(t *testing.T) {
	records := stream(t)[:1]
	service := func(name string, gone bool, ports ...event.ServicePort) {
		records = append(records, factRecord(t, 2, event.Fact{Service: &event.ServiceFact{
			Source: "api", Namespace: "shop", Name: name, Addrs: []netip.Addr{netip.MustParseAddr("10.96.0.9")}, Ports: ports, Gone: gone,
		}}))
	}
	device := func(gone bool) {
		records = append(records, factRecord(t, 3, event.Fact{Device: &event.Device{Netns: podNetns, Ifindex: 2, Name: "eth0", Gone: gone}}))
	}
	for port := range uint16(100) {
		service("web", false, event.ServicePort{Proto: "tcp", Port: port})
	}
	for _, system := range []string{"iptables-legacy", "iptables-nft"} { // what one leaves behind is beside the other's
		records = append(records, factRecord(t, 2, event.Fact{Service: &event.ServiceFact{Source: "iptables", System: system, Netns: nodeNetns, Name: "web"}}))
	}
	service("gone", false)
	service("gone", true)
	device(false)
	device(true)

	var file bytes.Buffer
	w := NewWriter(Options{Snap: 262144})
	for _, raw := range records {
		if err := w.RecordRaw(raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Begin(&file), w.Close()); err != nil {
		t.Fatal(err)
	}
	var ports []uint16
	var systems []string
	s := decoder.Stream{Frames: NewReader(&file, ReaderOptions{})}
	for {
		e, err := s.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch f, _ := e.Body.(event.Fact); {
		case f.Device != nil && f.Device.Netns == podNetns:
			t.Errorf("the file has %+v, which is no more", f.Device)
		case f.Service != nil && f.Service.System != "":
			systems = append(systems, f.Service.System)
		case f.Service != nil && f.Service.Name == "web" && len(f.Service.Ports) == 1:
			ports = append(ports, f.Service.Ports[0].Port)
		case f.Service != nil:
			t.Errorf("the file has %+v", f.Service)
		}
	}
	if len(systems) != 2 {
		t.Errorf("rules are reported of %v, want those of both systems", systems)
	}
	if len(ports) != 1 || ports[0] != 99 {
		t.Errorf("the service has ports %v, want the latest, 99, alone", ports)
	}
}
