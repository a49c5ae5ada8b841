package decoder

import (
	"fmt"
	"testing"
	"time"
)

// A rule that rejects 50,000 connections a second.
func BenchmarkRejectedConnections(b *testing.B) {
	stage, now := NewResets(), time.Unix(1000, 0)
	events := make([]Event, 0, 2*20000)
	for i := range 20000 {
		client := fmt.Sprintf("10.244.%d.%d:40000", 1+i/250, 1+i%250)
		reset := Event{Packet: bare("tcp", flowOf(resetServer, client), "R"), Body: Hop{}}
		dropped := Event{Packet: bare("tcp", flowOf(client, resetServer), "S"), Body: Drop{Reason: reasonNetfilter}}
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
