// SPDX-License-Identifier: Apache-2.0

package wording

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// beginnings are words that begin a sentence as they are written: settings, devices, processes, pods, hosts and calls.
var beginnings = regexp.MustCompile(`^(?:net\.|f(?:data)?sync |msync |sync_file_range |\S*[0-9/.:_-]\S* )`)

// Title says what is wrong with a finding's title: it is one sentence, with a capital at its beginning and a full stop at its
// end. A name keeps its letters.
func Title(title string) error {
	switch first := []rune(title + " ")[0]; {
	case !strings.HasSuffix(title, "."):
		return errors.New("a title ends with a full stop")
	case strings.TrimSpace(title) != title || strings.Contains(title, "  "):
		return errors.New("a title has one space between its words")
	case !unicode.IsUpper(first) && !unicode.IsDigit(first) && !beginnings.MatchString(title):
		return fmt.Errorf("a title begins with a capital or a name, not with %q", strings.Fields(title)[0])
	case sentenceEnd.MatchString(title):
		return errors.New("a title is one sentence")
	}
	return nil
}

// sentenceEnd is where another sentence begins.
var sentenceEnd = regexp.MustCompile(`[a-z)][.!?] +[A-Z]`)

// Text says what is wrong with the spaces of a text that values are put into: one that is empty leaves a hole. What is quoted, or
// within braces of nftables, is another's.
func Text(text string) error {
	if hole := hole.FindString(quoted.ReplaceAllString(text, `""`)); hole != "" {
		return fmt.Errorf("%q has a hole at %q", text, hole)
	}
	return nil
}

var (
	// hole is a space at an end, two of them, one before a punctuation mark, a bracket without anything in it, or a name half of which
	// is missing. Not the colon of an element of an nftables map.
	hole   = regexp.MustCompile(`^ | $|.?  .?|.? [,;](?: |$)|(?:^|[^"\d]) :(?: |$)|.? \.$|\( | \)|\(\)|^/\d|(?:at|by|from|in|of|process|to) /\d+\b`)
	quoted = regexp.MustCompile(`"[^"]*"|'[^']*'|\{ [^}]* \}|` + "`[^`]*`")
)
