// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"ktrace/testdata/lab"
)

func TestMain(m *testing.M) { lab.Main(m, main, run) }
