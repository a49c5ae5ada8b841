// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"fmt"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/event/eventtest"
	"ktrace/decoder/packet"
)

// A rule that rejects 50,000 connections a second.
func BenchmarkRejectedConnections(b *testing.B) {
	stage, now := NewResets(), time.Unix(1000, 0)
	events := make([]event.Event, 0, 2*20000)
	for i := range 20000 {
		client := fmt.Sprintf("10.244.%d.%d:40000", 1+i/250, 1+i%250)
		reset := event.Event{Packet: packet.OfFlow("tcp", eventtest.Flow(resetServer, client), "R"), Body: event.Hop{}}
		dropped := event.Event{Packet: packet.OfFlow("tcp", eventtest.Flow(client, resetServer), "S"), Body: event.Drop{Reason: event.ReasonNetfilter}}
		events = append(events, reset, dropped)
	}
	for i := 0; b.Loop(); i++ {
		e := events[i%len(events)]
		now = now.Add(10 * time.Microsecond)
		e.Time = now
		stage.Observe(e)
		if i%2000 == 0 {
			stage.Flush(now, false)
		}
	}
}
