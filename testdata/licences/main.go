// SPDX-License-Identifier: Apache-2.0

// Command licences keeps what the project says of licences: with -spdx it adds the SPDX line to the source files that lack it;
// without, it prints THIRD_PARTY_NOTICES, the licences of everything that the binaries are made of.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	spdx := flag.Bool("spdx", false, "add missing SPDX lines to source files instead")
	flag.Parse()
	if err := run(*spdx); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func run(spdx bool) error {
	if spdx {
		return label(".")
	}
	text, err := notices()
	if err != nil {
		return err
	}
	_, err = os.Stdout.WriteString(text)
	return err
}
