// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Tracefs is where tracefs is mounted.
const Tracefs = "/sys/kernel/tracing"

// TracefsRemedy is the remedy where tracefs is neither mounted nor can be.
const TracefsRemedy = "mount -t tracefs tracefs /sys/kernel/tracing (in a pod, mount it from the host), or add CAP_SYS_ADMIN"

// NoTracefsError is returned where tracefs is neither mounted nor can be.
type NoTracefsError struct{ error }

// Unwrap returns the cause.
func (e NoTracefsError) Unwrap() error { return e.error }

// WithTracefs runs f with tracefs mounted: perf_event_open takes a tracepoint's number, which only tracefs has. Where the
// node does not mount tracefs, a thread mounts it in its own mount namespace, which ends with the thread, so the node is not
// changed. That needs CAP_SYS_ADMIN; without it the error is a NoTracefsError.
func WithTracefs(f func() error) error {
	for _, dir := range []string{Tracefs, "/sys/kernel/debug/tracing"} {
		if _, err := os.Stat(dir + "/events"); err == nil {
			return f()
		}
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked, so that the thread ends with the goroutine
		if err := mountTracefs(); err != nil {
			done <- NoTracefsError{err}
			return
		}
		done <- f()
	}()
	return <-done
}

func mountTracefs() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("tracefs is not mounted, nor may a mount namespace be made for it: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Mount("tracefs", Tracefs, "tracefs", 0, ""); err != nil {
		return fmt.Errorf("mount tracefs on %s: %w", Tracefs, err)
	}
	return nil
}
