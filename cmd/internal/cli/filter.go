package cli

import (
	"errors"
	"strings"

	"ktrace/decoder/filter"
)

// ParseFilter reads the expression that follows the flags; nil if there is none. A mistake is shown where it is.
func ParseFilter(args []string) (*filter.Expr, error) {
	text := strings.Join(args, " ")
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	e, err := filter.Parse(text)
	if err == nil {
		_, err = e.Compile(filter.LinkEthernet)
	}
	var at *filter.Error
	if errors.As(err, &at) {
		return nil, Usagef("%v\n%s", err, at.Point())
	}
	return e, err
}
