// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestSELinuxIsNamedWhereItMayHaveRefused(t *testing.T) {
	denied := fmt.Errorf("map create: %w", unix.EACCES)
	fault := &ebpf.VerifierError{Cause: unix.EACCES, Log: []string{"R1 invalid mem access"}}
	for _, tt := range []struct {
		name      string
		err       error
		enforcing bool
		want      bool
	}{
		{"denied", denied, true, true},
		{"permissive", denied, false, false},
		{"the verifier's fault", fmt.Errorf("load program: %w", fault), true, false},
		{"not permitted", unix.EPERM, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := explainSELinux(tt.err, tt.enforcing)
			if strings.Contains(got.Error(), "spc_t") != tt.want || !errors.Is(got, tt.err) {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestLoaderGivesNoAdviceOfItsOwn(t *testing.T) {
	err := PlainError{fmt.Errorf("map create: %w (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", unix.EPERM)}
	if got, want := err.Error(), "map create: operation not permitted"; got != want || !errors.Is(err, unix.EPERM) {
		t.Errorf("%q, want %q", got, want)
	}
}
