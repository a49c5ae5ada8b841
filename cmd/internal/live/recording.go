// SPDX-License-Identifier: Apache-2.0

package live

import (
	"bufio"
	"errors"
	"sync"
	"time"

	"ktrace/cmd/internal/flags"
	"ktrace/cmd/internal/outfile"
	"ktrace/decoder/event"
	"ktrace/decoder/record"
)

// recording is a file that raw records go to; nil if there is none. What came is in the file a second later at the
// latest, even if nothing more comes or the run waits for a reader of its output.
type recording struct {
	mu    sync.Mutex
	file  *outfile.File
	buf   *bufio.Writer
	to    *record.Writer
	begun bool // there is a record: until then what the file held before stays
	stop  chan struct{}
	idle  sync.WaitGroup
}

// writeEvery is how much a recording that is killed may lose.
const writeEvery = time.Second

// newRecording begins the file of --record.
func newRecording(f flags.Flags, guard *outfile.Guard) (*recording, error) {
	if f.Record == "" {
		return nil, nil
	}
	file, err := guard.CreateLive("--record", f.Record)
	if err != nil {
		return nil, err
	}
	r := &recording{file: file, buf: bufio.NewWriterSize(file, 1<<20), stop: make(chan struct{})}
	if r.to, err = record.NewWriter(r.buf); err != nil {
		return nil, errors.Join(err, file.Discard())
	}
	r.idle.Go(r.write)
	return r, nil
}

// write hands over what is collected, every second. An error is that of the next record, or of Close.
func (r *recording) write() {
	every := time.NewTicker(writeEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			r.mu.Lock()
			if r.begun {
				r.buf.Flush() // keeps its error
			}
			r.mu.Unlock()
		case <-r.stop:
			return
		}
	}
}

// Record implements decoder.Recorder.
func (r *recording) Record(raw []byte, _ event.Event) error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.to.Record(raw)
	if !r.begun {
		r.begun = true
		err = errors.Join(err, r.buf.Flush())
	}
	return err
}

// Close completes the file. If nothing could be written, what it held before stays.
func (r *recording) Close() error {
	if r == nil {
		return nil
	}
	close(r.stop)
	r.idle.Wait()
	if !r.begun {
		return r.file.Discard()
	}
	if err := r.buf.Flush(); err != nil {
		return errors.Join(err, r.file.Discard())
	}
	return r.file.Close()
}
