// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ExplainMemlock adds ErrMemlock to EPERM if limit, which LiftMemlock returned, is not nil.
func ExplainMemlock(err, limit error) error {
	if limit != nil && errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: %w", err, ErrMemlock)
	}
	return err
}

// ExplainSELinux adds the likely reason and the remedy to EACCES that is not the verifier's, if SELinux enforces.
func ExplainSELinux(err error) error { return explainSELinux(err, selinuxEnforces()) }

func explainSELinux(err error, enforcing bool) error {
	var fault *ebpf.VerifierError
	if !enforcing || !errors.Is(err, unix.EACCES) || errors.As(err, &fault) {
		return err
	}
	return fmt.Errorf("%w\nSELinux is enforcing: %s", err, selinuxRemedy)
}

// PlainError is an error of cilium/ebpf without its advice to programmers to raise the memlock limit: ErrMemlock has the
// advice for users.
type PlainError struct{ Err error }

// Error implements error.
func (p PlainError) Error() string {
	return strings.ReplaceAll(p.Err.Error(), " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", "")
}

// Unwrap returns Err.
func (p PlainError) Unwrap() error { return p.Err }

// ExplainLockdown adds the reason and the remedy to an error of loading, if lockdown forbids to read kernel memory.
func ExplainLockdown(err error) error {
	if c := checkLockdown(); !c.OK {
		return fmt.Errorf("%w\nlockdown is %s: %s; %s", err, c.Found, c.Impact, c.Remedy)
	}
	return err
}
