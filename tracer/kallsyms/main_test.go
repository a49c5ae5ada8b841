// SPDX-License-Identifier: Apache-2.0

package kallsyms

import (
	"os"
	"testing"

	"ktrace/testdata/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.RunBPF(m)) }
