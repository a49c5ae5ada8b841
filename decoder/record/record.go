// SPDX-License-Identifier: Apache-2.0

// Package record keeps raw records in a file, so that a run can be repeated through the very same decoding.
//
// A file is the line "ktrace records 1\n", then the records end to end. A record begins with its own size
// (struct hdr, little-endian uint32), so none is needed around it.
package record

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Magic is what a recording begins with.
const Magic = "ktrace records 1\n"

// maxRecord bounds one record, bytes. The largest, the fact with a kernel's drop reasons, takes some 10 KiB.
const maxRecord = 16 << 20

var (
	// ErrFormat is returned for a file that is not a recording.
	ErrFormat = errors.New("not a recording of ktrace records")
	// ErrCut is returned, with io.ErrUnexpectedEOF, where a file that was read so far ends within a record.
	ErrCut = errors.New("cut short")
)

// Reader yields the records of a file.
type Reader struct {
	r      *bufio.Reader
	buf    []byte
	offset int64 // of the next record in the file
}

// NewReader checks the file's first line. It fails with ErrFormat if that is another's.
func NewReader(r io.Reader) (*Reader, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	head := make([]byte, len(Magic))
	if _, err := io.ReadFull(b, head); err != nil || string(head) != Magic {
		return nil, ErrFormat
	}
	return &Reader{r: b, offset: int64(len(Magic))}, nil
}

// Next implements decoder.Frames. It returns io.EOF at the end, and what wraps ErrCut if a record is cut short.
func (r *Reader) Next(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var size [4]byte
	if have, err := io.ReadFull(r.r, size[:]); err == io.EOF {
		return nil, err
	} else if err != nil {
		return nil, r.cut(err, have, len(size))
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n < uint32(len(size)) || n > maxRecord {
		return nil, fmt.Errorf("offset %d: record of %d bytes: %w", r.offset, n, ErrFormat)
	}
	return r.body(size[:], int(n))
}

// cut is the error of a record that ends too soon.
func (r *Reader) cut(err error, have, want int) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	cut := fmt.Errorf("%d of %d bytes are there: %w", have, want, err)
	if errors.Is(err, io.ErrUnexpectedEOF) && r.offset > int64(len(Magic)) {
		cut = fmt.Errorf("%w: %w", ErrCut, cut)
	}
	return fmt.Errorf("offset %d: %w", r.offset, cut)
}

// body reads the rest in steps, so that a file's claim alone allocates nothing.
func (r *Reader) body(size []byte, n int) ([]byte, error) {
	const step = 1 << 16
	r.buf = append(r.buf[:0], size...)
	for len(r.buf) < n {
		have := len(r.buf)
		r.buf = append(r.buf, make([]byte, min(step, n-have))...)
		if got, err := io.ReadFull(r.r, r.buf[have:]); err != nil {
			return nil, r.cut(err, have+got, n)
		}
	}
	r.offset += int64(n)
	return r.buf, nil
}

// Writer writes a recording.
type Writer struct{ w io.Writer }

// NewWriter begins the file on w. The caller buffers, flushes and closes w, whose errors say what file it is.
func NewWriter(w io.Writer) (*Writer, error) {
	if _, err := io.WriteString(w, Magic); err != nil {
		return nil, err
	}
	return &Writer{w: w}, nil
}

// Record writes a record.
func (w *Writer) Record(raw []byte) error {
	_, err := w.w.Write(raw)
	return err
}
