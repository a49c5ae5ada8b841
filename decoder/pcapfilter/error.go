// SPDX-License-Identifier: Apache-2.0

package pcapfilter

import (
	"fmt"
	"strings"
)

// Error says why an expression cannot be used and where in it the reason is.
type Error struct {
	Expr   string
	Column int // in bytes from 1; one past the end when something is missing there
	Msg    string
}

// Error returns the reason and its column in one line.
func (e *Error) Error() string {
	return fmt.Sprintf("filter, column %d: %s", e.Column, e.Msg)
}

// Point returns the expression and, below it, a caret under the column, for a terminal.
func (e *Error) Point() string {
	pad := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, e.Expr[:e.Column-1])
	return e.Expr + "\n" + pad + "^"
}
