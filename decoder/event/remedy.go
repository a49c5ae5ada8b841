// SPDX-License-Identifier: Apache-2.0

package event

import "fmt"

// Remedy is one thing to do about a finding: a command, or advice where no command does it.
type Remedy struct {
	// Run is a command, or a pipeline of commands, as one line for a POSIX shell. It works as it is, in Netns: nothing in it
	// is to be replaced, and foreign names in it are quoted.
	Run string `json:"run,omitempty"`
	// Netns is the inode of the network namespace that Run's first command is to run in; 0 is the one of who reads this,
	// which on the node is the node's own.
	Netns uint32 `json:"netns,omitempty"`
	Note  string `json:"note,omitempty"` // beside Run: on which host, or what to look for in what it prints
	Do    string `json:"do,omitempty"`   // advice; then Run is ""
}

// In has the command run in a network namespace; 0 leaves it where it is.
func (r Remedy) In(netns uint32) Remedy {
	if r.Run != "" {
		r.Netns = netns
	}
	return r
}

// Noting adds a note to the command. Advice has none.
func (r Remedy) Noting(format string, args ...any) Remedy {
	if r.Run != "" {
		r.Note = fmt.Sprintf(format, args...)
	}
	return r
}

// String is the remedy as one line of text: advice, or a command that works as printed, with its note as a comment of the
// shell. It enters the network namespace by its first process, which in a pod is the sandbox's.
func (r Remedy) String() string {
	if r.Run == "" {
		return r.Do
	}
	line := r.Run
	if r.Netns != 0 {
		line = fmt.Sprintf("nsenter -t $(lsns -no PID %d | head -1) -n %s", r.Netns, line)
	}
	if r.Note != "" {
		line += "   # " + r.Note
	}
	return line
}
