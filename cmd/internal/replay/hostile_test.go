// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"ktrace/cmd/internal/flags"
	"ktrace/decoder/printable"
)

// TestHostileTextIsHarmlessOnStderr, in messages and in errors, which name files, pods and what servers answered.
func TestHostileTextIsHarmlessOnStderr(t *testing.T) {
	const hostile = "x\x1b[2J\u009b2J\x9b2J\u202egpj\u200b\r"
	var out bytes.Buffer
	Streams{Err: &out}.Say(hostile)
	flags.Exit(&out, errors.New(hostile))
	if got := strings.ReplaceAll(out.String(), "\n", ""); printable.Text(got) != got || !strings.Contains(got, "gpj") {
		t.Errorf("%q", got)
	}
}
