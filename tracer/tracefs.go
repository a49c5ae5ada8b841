package tracer

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const tracefsPoint = "/sys/kernel/tracing"

// withTracefs runs f where tracefs is mounted: a tracepoint of the perf kind is opened by a number that only tracefs
// tells. Where the node does not mount it, a thread does, in a mount namespace of its own that ends with the thread, so
// the node stays as it was. That needs CAP_SYS_ADMIN.
func withTracefs(f func() error) error {
	for _, dir := range []string{tracefsPoint, "/sys/kernel/debug/tracing"} {
		if _, err := os.Stat(dir + "/events"); err == nil {
			return f()
		}
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is not fit for others any more
		err := mountTracefs()
		if err == nil {
			err = f()
		}
		done <- err
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
	if err := unix.Mount("tracefs", tracefsPoint, "tracefs", 0, ""); err != nil {
		return fmt.Errorf("mount tracefs on %s: %w", tracefsPoint, err)
	}
	return nil
}
