// SPDX-License-Identifier: Apache-2.0

// Command suite names the tests that testdata/vm/matrix runs, from the list in tests.go.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
)

const usage = `usage: suite packages RUN                 the packages of a run, as go list takes them
       suite [-spared] tests RUN PACKAGE  a pattern for -test.run; nothing if the package has no test to run
       suite probe PROBE                  the same, of the verbs' tests that run with each variant of a probe's hooks
       suite last                         the test that runs by itself, at the end
RUN is ci, core or all; PACKAGE is a folder, as in cmd/ktrace.`

func main() {
	spared := flag.Bool("spared", false, "leave out the tests that one kernel of a matrix is enough for")
	flag.Usage = func() { fmt.Fprintln(os.Stderr, usage) }
	flag.Parse()
	out, ok := answer(flag.Args(), *spared)
	if !ok {
		flag.Usage()
		os.Exit(2)
	}
	fmt.Println(out)
}

// answer is what a command prints; false if there is no such command.
func answer(args []string, spared bool) (string, bool) {
	if len(args) == 0 {
		return "", false
	}
	switch command, rest := args[0], args[1:]; {
	case command == "last" && len(rest) == 0:
		return pattern([]string{last}), true
	case command == "probe" && len(rest) == 1:
		return testsOfProbe(rest[0]), true
	case command == "packages" && len(rest) == 1:
		r, ok := parseRun(rest[0])
		return strings.Join(packagesOf(r), " "), ok
	case command == "tests" && len(rest) == 2:
		r, ok := parseRun(rest[0])
		return testsOf(rest[1], r, spared), ok
	}
	return "", false
}
