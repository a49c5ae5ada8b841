package kallsyms

import (
	"os"
	"testing"

	"ktrace/testdata/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.RunBPF(m)) }
