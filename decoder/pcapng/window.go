// SPDX-License-Identifier: Apache-2.0

package pcapng

import "io"

// window is the part of the input that is in memory. It grows only once what it holds is full, so a
// length that the input claims but does not deliver costs nothing.
type window struct {
	src    io.Reader
	buf    []byte
	start  int   // of what is unread
	end    int   // of what is read from src
	offset int64 // of buf[start] in the input
	err    error // of src, reported once the bytes before it are used up

	unzipped bool
}

const (
	windowSize    = 64 << 10 // at first
	emptyReadsMax = 100      // of a src that returns neither bytes nor an error
)

// peek returns the next n bytes without taking them. With fewer left it returns those, and io.EOF
// if there are none, io.ErrUnexpectedEOF if there are some, or the error of the source. The bytes
// are valid until the next peek.
func (w *window) peek(n int) ([]byte, error) {
	if w.end-w.start < n {
		if err := w.fill(n); err != nil {
			return w.buf[w.start:w.end], err
		}
	}
	return w.buf[w.start : w.start+n : w.start+n], nil
}

// take moves on by n bytes that were peeked at.
func (w *window) take(n int) {
	w.start += n
	w.offset += int64(n)
}

// fill reads until n bytes are there, and no longer: a live pipe has no more to give.
func (w *window) fill(n int) error {
	if w.start > 0 {
		w.end = copy(w.buf, w.buf[w.start:w.end])
		w.start = 0
	}
	for empty := 0; w.end < n; {
		if w.err != nil {
			if w.err == io.EOF && w.end > 0 {
				return io.ErrUnexpectedEOF
			}
			return w.err
		}
		if w.end == len(w.buf) {
			w.grow()
		}
		var got int
		got, w.err = w.src.Read(w.buf[w.end:])
		w.end += got
		if got > 0 {
			empty = 0
		} else if empty++; empty == emptyReadsMax && w.err == nil {
			w.err = io.ErrNoProgress
		}
	}
	return nil
}

func (w *window) grow() {
	grown := make([]byte, max(windowSize, 2*len(w.buf)))
	copy(grown, w.buf[:w.end])
	w.buf = grown
}

// Read hands out what is in memory and then what src has: a window can be put under a decompressor.
func (w *window) Read(b []byte) (int, error) {
	if w.start == w.end {
		if w.err != nil {
			return 0, w.err
		}
		return w.src.Read(b)
	}
	n := copy(b, w.buf[w.start:w.end])
	w.take(n)
	return n, nil
}
