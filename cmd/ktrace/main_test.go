package main

import (
	"testing"

	"ktrace/testdata/lab"
)

func TestMain(m *testing.M) { lab.Main(m, main) }
