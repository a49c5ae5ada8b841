// SPDX-License-Identifier: Apache-2.0

// Command table writes the matrix's results into a README: the variants with which each verb passes on each kernel, the
// variant of each hook, and what is worse on which kernel.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
)

const (
	begin = "<!-- kernels:begin -->"
	end   = "<!-- kernels:end -->"
)

func main() {
	update := flag.Bool("update", false, "rewrite the tables in the file instead of printing them")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: table [-update] RESULTS README")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), flag.Arg(1), *update); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(results, readme string, update bool) error {
	kernels, err := read(results)
	if err != nil {
		return err
	}
	text := verbs(kernels) + "\n" + hooks(kernels) + "\n" + degraded(kernels)
	if !update {
		_, err := fmt.Print(text)
		return err
	}
	old, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	from, to := bytes.Index(old, []byte(begin)), bytes.Index(old, []byte(end))
	if from < 0 || to < from {
		return fmt.Errorf("%s has no lines %s and %s", readme, begin, end)
	}
	text = string(old[:from]) + begin + "\n" + text + string(old[to:])
	return os.WriteFile(readme, []byte(text), 0o644)
}
