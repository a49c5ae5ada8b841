package diagnose

import "strings"

// word is a name for a shell, as it is if it has nothing that a shell minds: a pod may give its devices any.
func word(s string) string {
	plain := func(c rune) bool {
		return c == '_' || c == '-' || c == '.' || c == '@' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	if s != "" && strings.IndexFunc(s, func(c rune) bool { return !plain(c) }) < 0 {
		return s
	}
	return quote(s)
}

// quote makes a path safe for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
