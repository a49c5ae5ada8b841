// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"os"
	"testing"

	"ktrace/testdata/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.RunBPF(m)) }
