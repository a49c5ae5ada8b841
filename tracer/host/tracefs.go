package host

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Tracefs is where tracefs is mounted.
const Tracefs = "/sys/kernel/tracing"

// TracefsRemedy is for whom tracefs is not there and who may not mount it.
const TracefsRemedy = "mount -t tracefs tracefs /sys/kernel/tracing (in a pod, mount it from the host), or add CAP_SYS_ADMIN"

// NoTracefsError is returned where tracefs is neither mounted nor can be.
type NoTracefsError struct{ error }

// Unwrap returns why.
func (e NoTracefsError) Unwrap() error { return e.error }

// WithTracefs runs f where tracefs is mounted: a tracepoint of the perf kind is opened by a number that only tracefs
// tells. Where the node does not mount it, a thread does, in a mount namespace of its own that ends with the thread, so
// the node stays as it was. That needs CAP_SYS_ADMIN; without it the error is a NoTracefsError.
func WithTracefs(f func() error) error {
	for _, dir := range []string{Tracefs, "/sys/kernel/debug/tracing"} {
		if _, err := os.Stat(dir + "/events"); err == nil {
			return f()
		}
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is not fit for others any more
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
