package kube

import (
	"context"
	"sync"
	"time"

	"ktrace/decoder"
)

// answerWithin is how long any answer of a container runtime, and the first of every source, is waited for. Nothing
// else waits.
const answerWithin = 300 * time.Millisecond

// SourceState is how a source of facts fares.
type SourceState struct {
	Name     string    `json:"source"`          // log, cri, api
	Where    string    `json:"where,omitempty"` // a socket, a server, a directory
	Answered time.Time `json:"answered,omitzero"`
	Error    string    `json:"error,omitempty"` // why it does not answer now
	Costs    string    `json:"costs,omitempty"` // what is not known without it
}

// source asks somebody who may be slow, wrong or gone, beside the tracing. What it learns is fetched without waiting.
type source struct {
	news  chan []decoder.Fact
	kick  chan struct{} // there is something new to ask about
	tried chan struct{} // closed after the first attempt

	mu    sync.Mutex
	state SourceState
	once  sync.Once
}

func newSource(name, costs string) *source {
	return &source{
		news:  make(chan []decoder.Fact, 64),
		kick:  make(chan struct{}, 1),
		tried: make(chan struct{}),
		state: SourceState{Name: name, Costs: costs},
	}
}

// answered notes an attempt: facts, or why there are none.
func (s *source) answered(ctx context.Context, where string, facts []decoder.Fact, err error) {
	s.mu.Lock()
	s.state.Where = where
	if err != nil {
		s.state.Error = err.Error()
	} else {
		s.state.Answered, s.state.Error = time.Now(), ""
	}
	s.mu.Unlock()
	if len(facts) > 0 {
		select {
		case s.news <- facts:
		case <-ctx.Done():
		}
	}
	s.once.Do(func() { close(s.tried) })
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

// firstAnswer waits a little for the first attempt to end.
func (s *source) firstAnswer() {
	select {
	case <-s.tried:
	case <-time.After(answerWithin):
	}
}
