// SPDX-License-Identifier: Apache-2.0

package event

// Tabular is a Body with columns of its own; text output shows them between the process and the end of the line.
type Tabular interface {
	Body
	// Columns are the headings, the same for every value of the type. A heading's length is not the column's:
	// Width is, in characters, 0 for the last, which takes what is left.
	Columns() []Column
	// Row has one cell a column. The event is the one that has the body.
	Row(Event) []string
}

// Column is a heading and the width that its cells usually need.
type Column struct {
	Heading string
	Width   int
}
