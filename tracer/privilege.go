package tracer

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// MissingCapabilities is returned when the process may not do what tracing needs.
type MissingCapabilities struct{ Names []string }

// Error implements error.
func (m MissingCapabilities) Error() string {
	return fmt.Sprintf("missing %s: run as root, or in a container with these capabilities added", strings.Join(m.Names, ", "))
}

// Privileged checks the capabilities before anything is attached. CAP_BPF and CAP_PERFMON exist since 5.8; before,
// and instead of them, CAP_SYS_ADMIN serves. Entering namespaces needs CAP_SYS_ADMIN, following /proc/PID/ns
// CAP_SYS_PTRACE; without those names are missing, not events.
func Privileged() error {
	held, err := effective()
	if err != nil {
		return err
	}
	var missing []string
	for _, c := range []struct {
		name string
		bit  uint
	}{{"CAP_BPF", unix.CAP_BPF}, {"CAP_PERFMON", unix.CAP_PERFMON}} {
		if held&(1<<c.bit) == 0 && held&(1<<unix.CAP_SYS_ADMIN) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return MissingCapabilities{Names: missing}
	}
	return nil
}

// effective returns the set of capabilities in force, as a bit mask.
func effective() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("capget: %w", err)
	}
	return uint64(data[0].Effective) | uint64(data[1].Effective)<<32, nil
}
