// SPDX-License-Identifier: Apache-2.0

// Package ring reads the records of a BPF ring buffer. Unlike cilium/ebpf's reader it maps the records once, not twice in a row:
// a process counts as resident with all that is mapped, and the ring is most of that. A record that goes past the end comes in
// two pieces, and is copied anyway.
package ring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// What the kernel puts before a record (include/uapi/linux/bpf.h): its length and two flags, and four bytes of its own.
const (
	headerSize = unix.BPF_RINGBUF_HDR_SZ
	busy       = unix.BPF_RINGBUF_BUSY_BIT // it is reserved, and not written yet
	discarded  = unix.BPF_RINGBUF_DISCARD_BIT
)

// Reader reads a ring in the order of its reservations. It is for one goroutine.
type Reader struct {
	file     *os.File
	wait     syscall.RawConn
	cons     []byte // the page of consumed, which we write
	prod     []byte // the page of produced, which the kernel writes, and the records behind it
	consumed *uint64
	produced *uint64
	records  []byte // a power of two of bytes
	recent   bool   // a record came since the reader last waited for as long as one may be unannounced
}

// NewReader maps a ring, which must outlive it. Close unmaps it.
func NewReader(m *ebpf.Map) (*Reader, error) {
	if m.Type() != ebpf.RingBuf {
		return nil, fmt.Errorf("%v is no ring", m)
	}
	r := &Reader{}
	if err := r.open(m); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Reader) open(m *ebpf.Map) error {
	fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 0) // os.File closes its own
	if err != nil {
		return fmt.Errorf("dup: %w", err)
	}
	err = unix.SetNonblock(fd, true) // or os.File does not wait by epoll
	r.file = os.NewFile(uintptr(fd), "ring")
	if err != nil {
		return fmt.Errorf("not blocking: %w", err)
	}
	if r.wait, err = r.file.SyscallConn(); err != nil {
		return err
	}
	page := os.Getpagesize()
	if r.cons, err = unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	if r.prod, err = unix.Mmap(fd, int64(page), page+int(m.MaxEntries()), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	r.consumed, r.produced = (*uint64)(unsafe.Pointer(&r.cons[0])), (*uint64)(unsafe.Pointer(&r.prod[0]))
	r.records = r.prod[page:]
	return r.file.SetReadDeadline(time.Time{}) // fails if the file is not polled
}

// Waiting reports whether there are records that were not read.
func (r *Reader) Waiting() bool {
	return atomic.LoadUint64(r.produced) != atomic.LoadUint64(r.consumed)
}

// unannounced is how long a record may be there before anyone is woken: WAKE_EVERY_NS of bpf/include/event.h, and some more.
const unannounced = 10 * time.Millisecond

// Next returns the next record in buf, or in a new buffer if it is too small. It waits for one until the deadline, or the end of
// the context, at which it returns os.ErrDeadlineExceeded.
func (r *Reader) Next(ctx context.Context, buf []byte, deadline time.Time) (record []byte, err error) {
	if record, err = r.take(buf); errors.Is(err, errNone) && r.recent {
		record, err = r.await(ctx, buf, earliest(deadline, time.Now().Add(unannounced)))
		r.recent = false
		if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
			err = errNone
		}
	}
	if errors.Is(err, errNone) {
		record, err = r.await(ctx, buf, deadline)
	}
	r.recent = r.recent || err == nil
	return record, err
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// await is Next where there is no record yet.
func (r *Reader) await(ctx context.Context, buf []byte, deadline time.Time) (record []byte, err error) {
	file := r.file
	if err := file.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })()
	waited := r.wait.Read(func(uintptr) bool {
		record, err = r.take(buf)
		return !errors.Is(err, errNone)
	})
	if waited == nil {
		return record, err
	}
	if record, err = r.take(buf); errors.Is(err, errNone) { // not every record wakes those who wait
		err = waited
	}
	return record, err
}

// errNone is returned while there is no record.
var errNone = errors.New("no record")

// take returns the next record if there is one that is written. The kernel wakes those who wait when it writes a record at
// the place up to which all is consumed.
func (r *Reader) take(buf []byte) ([]byte, error) {
	at := atomic.LoadUint64(r.consumed)
	for {
		if atomic.LoadUint64(r.produced) == at {
			return nil, errNone
		}
		start := at & uint64(len(r.records)-1)
		header := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.records[start])))
		size := uint64(header &^ (busy | discarded))
		if header&busy != 0 {
			return nil, errNone
		}
		if size > uint64(len(r.records)) {
			return nil, fmt.Errorf("a record of %d bytes: %w", size, io.ErrUnexpectedEOF)
		}
		at += headerSize + (size+7)&^7
		if header&discarded == 0 {
			buf = r.copy(buf, start+headerSize, size)
		}
		atomic.StoreUint64(r.consumed, at)
		if header&discarded == 0 {
			return buf, nil
		}
	}
}

// copy returns size bytes from a place on, which may be past the end.
func (r *Reader) copy(buf []byte, start, size uint64) []byte {
	if uint64(cap(buf)) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	n := copy(buf, r.records[start&uint64(len(r.records)-1):])
	copy(buf[n:], r.records)
	return buf
}

// Close unmaps the ring. The map stays.
func (r *Reader) Close() error {
	var errs []error
	for _, mapped := range [][]byte{r.cons, r.prod} {
		if mapped != nil {
			errs = append(errs, unix.Munmap(mapped))
		}
	}
	if r.file != nil {
		errs = append(errs, r.file.Close())
	}
	*r = Reader{}
	return errors.Join(errs...)
}
