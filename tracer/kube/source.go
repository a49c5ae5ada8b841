// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"sync"
	"time"

	"ktrace/decoder/event"
)

// answerWithin is the timeout for an answer of the container runtime, and for the first of every source. Nothing else
// waits.
const answerWithin = 300 * time.Millisecond

// SourceState is whether a source of facts answers.
type SourceState struct {
	Name     string    `json:"source"`          // log, cri, api
	Where    string    `json:"where,omitempty"` // a socket, a server, a directory
	Answered time.Time `json:"answered,omitzero"`
	Error    string    `json:"error,omitempty"`  // why it does not answer now
	Impact   string    `json:"impact,omitempty"` // what is not known without it
}

// source queries, in a goroutine of its own, a component that may be slow, wrong or gone. Its facts are read without waiting.
type source struct {
	facts chan []event.Fact
	kick  chan struct{} // there is something new to ask about
	tried chan struct{} // closed after the first attempt

	mu    sync.Mutex
	state SourceState
	once  sync.Once
}

func newSource(name, impact string) *source {
	return &source{
		facts: make(chan []event.Fact, 64),
		kick:  make(chan struct{}, 1),
		tried: make(chan struct{}),
		state: SourceState{Name: name, Impact: impact},
	}
}

// note keeps how an attempt ended.
func (s *source) note(where string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Where = where
	if err != nil {
		s.state.Error = err.Error()
	} else {
		s.state.Answered, s.state.Error = time.Now(), ""
	}
}

// answered notes an attempt and sends its facts. After the first, tried is closed.
func (s *source) answered(ctx context.Context, where string, facts []event.Fact, err error) {
	s.note(where, err)
	s.pass(ctx, facts)
	s.once.Do(func() { close(s.tried) })
}

// pass sends facts, when there is room.
func (s *source) pass(ctx context.Context, facts []event.Fact) {
	if len(facts) == 0 {
		return
	}
	select {
	case s.facts <- facts:
	case <-ctx.Done():
	}
}

func (s *source) stateNow() SourceState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// wake asks for a look soon.
func (s *source) wake() {
	select {
	case s.kick <- struct{}{}:
	default: // one is due already
	}
}
