package host

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ExplainMemlock adds the likely reason, and the remedy, where making a map or a program was not permitted though the
// capabilities are there and the limit, which matters to this kernel, could not be raised.
func ExplainMemlock(err, limit error) error {
	if limit != nil && errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: %w", err, ErrMemlock)
	}
	return err
}

// ExplainSELinux adds the likely reason, and the remedy, where access was denied though the verifier found no fault.
func ExplainSELinux(err error) error { return explainSELinux(err, selinuxEnforces()) }

func explainSELinux(err error, enforcing bool) error {
	var fault *ebpf.VerifierError
	if !enforcing || !errors.Is(err, unix.EACCES) || errors.As(err, &fault) {
		return err
	}
	return fmt.Errorf("%w\nSELinux is enforcing: %s", err, selinuxRemedy)
}

// PlainError is an error of cilium/ebpf without its advice to raise the memlock limit: that was done, or ErrMemlock says it
// in words that a user knows.
type PlainError struct{ Err error }

// Error implements error.
func (p PlainError) Error() string {
	return strings.ReplaceAll(p.Err.Error(), " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", "")
}

// Unwrap returns it as it was.
func (p PlainError) Unwrap() error { return p.Err }

// ExplainLockdown adds the reason, and the remedy, to the error that nothing loads, if the kernel is locked down.
func ExplainLockdown(err error) error {
	if c := checkLockdown(); !c.OK {
		return fmt.Errorf("%w\nlockdown is %s: %s; %s", err, c.Found, c.Impact, c.Remedy)
	}
	return err
}
