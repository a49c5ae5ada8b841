// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"errors"
	"strings"

	"ktrace/decoder/pcapfilter"
)

// ParseFilter reads the expression that follows the flags; nil if there is none. An error points at the mistake.
func ParseFilter(args []string) (*pcapfilter.Expr, error) {
	return parseFilter(args, pcapfilter.LinkEthernet)
}

// ParsePathFilter is ParseFilter for packets on their way through the node, which are seen from their network header
// on.
func ParsePathFilter(args []string) (*pcapfilter.Expr, error) {
	e, err := parseFilter(args, pcapfilter.LinkRaw)
	if e != nil {
		err = WithCaret(e.NeedsLink())
	}
	return e, err
}

// parseFilter makes sure that the expression suits the link type, and that there are packets that pass.
func parseFilter(args []string, link pcapfilter.LinkType) (*pcapfilter.Expr, error) {
	text := strings.Join(args, " ")
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	e, err := pcapfilter.Parse(text)
	var p *pcapfilter.Program
	if err == nil {
		p, err = e.Compile(link)
	}
	if err == nil && p.Start == pcapfilter.Reject {
		err = &pcapfilter.Error{Expr: text, Column: 1, Msg: "rejects every packet that is seen here"}
	}
	if err != nil {
		return nil, WithCaret(err)
	}
	return e, nil
}

// WithCaret adds to an error of an expression a line with a caret below the mistake.
func WithCaret(err error) error {
	var at *pcapfilter.Error
	if errors.As(err, &at) {
		return Usagef("%v\n%s", err, at.Point())
	}
	return err
}
