// SPDX-License-Identifier: Apache-2.0

// Package outfile opens the files that ktrace writes, so that nothing is lost by it: no input, no other output, and not
// what a file held before, until what takes its place is there.
package outfile

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
)

// Guard knows the files that a run reads and writes, and refuses to write one that has another use already, whatever
// name it goes by. A nil Guard knows none.
type Guard struct {
	// Done is closed when the run is to end: then a pipe that nobody reads is not waited for. Nil waits for ever.
	Done <-chan struct{}

	mu   sync.Mutex
	uses []*use
}

// use is what a file is used for. A file that takes another's place is both.
type use struct {
	what  string
	files []os.FileInfo
}

// ErrUsed is returned for a file that the run reads, or writes as something else, or that another run writes.
var ErrUsed = errors.New("the file has another use")

// Reads has the guard keep an input.
func (g *Guard) Reads(what string, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	g.add(&use{what, []os.FileInfo{info}})
	return nil
}

// ReadsNamed has the guard keep an input that another package opens. One that is not there is no concern of the guard's.
func (g *Guard) ReadsNamed(what, name string) {
	if info, err := os.Stat(name); name != "" && err == nil {
		g.add(&use{what, []os.FileInfo{info}})
	}
}

// Writes has the guard keep an output that is open already, as standard output is.
func (g *Guard) Writes(what string, file *os.File) error {
	if _, err := g.claim(what, file); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// claim keeps an open output, unless the file is in use.
func (g *Guard) claim(what string, file *os.File) (*use, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	mine := &use{what, []os.FileInfo{info}}
	if g == nil || !holds(info) {
		return mine, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, u := range g.uses {
		if slices.ContainsFunc(u.files, func(other os.FileInfo) bool { return os.SameFile(other, info) }) {
			return nil, fmt.Errorf("%w: it is %s too; name another one", ErrUsed, u.what)
		}
	}
	g.uses = append(g.uses, mine)
	return mine, nil
}

func (g *Guard) add(u *use) {
	if g == nil || !holds(u.files[0]) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.uses = append(g.uses, u)
}

// extend notes that a use goes on in another file.
func (g *Guard) extend(u *use, info os.FileInfo) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	u.files = append(u.files, info)
}

// release ends a use.
func (g *Guard) release(u *use) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.uses = slices.DeleteFunc(g.uses, func(other *use) bool { return other == u })
}

// holds reports whether what is written to a file can be in the way of what else is read or written there. A terminal
// and /dev/null may well be several things.
func holds(info os.FileInfo) bool {
	kind := info.Mode().Type()
	return kind == 0 || kind == os.ModeDevice || kind == os.ModeNamedPipe
}
