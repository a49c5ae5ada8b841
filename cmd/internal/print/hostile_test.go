// SPDX-License-Identifier: Apache-2.0

package print

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrace/decoder/event"
	"ktrace/decoder/printable"
)

// hostile is what a stranger may have chosen: it clears a screen, three ways, forges a line, reorders text, hides in it, and is no UTF-8.
const hostile = "\x1b[2J\u009b2J\x9b2J\nCRITICAL forged\r\u202egpj\u2066\u200b\ufeff\u3164\U000e0041\x7f\x00\xff\"\\"

// bodies are one of each kind of event.
func bodies() []event.Body {
	return []event.Body{
		event.Cgroup{}, event.DNS{}, event.Drop{}, event.Fact{}, event.Flow{}, event.Frame{}, event.Fsync{}, event.Handshake{},
		event.Hop{}, event.MTU{}, event.NAT{}, event.Netfilter{}, event.Reset{}, event.SocketSegment{}, event.Sock{},
	}
}

func TestHostileTextHasEveryKindOfEvent(t *testing.T) {
	files, err := filepath.Glob("../../../decoder/event/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var have []string
	for _, b := range bodies() {
		have = append(have, reflect.TypeOf(b).Name())
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func \((?:\w+ )?\*?(\w+)\) Kind\(\) Kind`).FindAllSubmatch(text, -1) {
			if name := string(m[1]); name != "Event" && !slices.Contains(have, name) {
				t.Errorf("%s is not among the bodies", name)
			}
		}
	}
}

// TestHostileTextIsPrintedHarmlessly: in whatever field it comes, of whatever event, finding or summary.
func TestHostileTextIsPrintedHarmlessly(t *testing.T) {
	for _, body := range bodies() {
		e := filled(event.Event{}).(event.Event)
		e.Body = filled(body).(event.Body)
		t.Run(reflect.TypeOf(body).Name(), func(t *testing.T) {
			everyPrinter(t, 1, func(p printer) error { return p.Event(e) })
		})
	}
	f := filled(event.Finding{}).(event.Finding)
	f.Severity, f.Reported = event.Critical, false
	t.Run("finding", func(t *testing.T) { everyPrinter(t, 1, func(p printer) error { return p.Finding(f) }) })
	f.Reported = true
	t.Run("reported finding", func(t *testing.T) { everyPrinter(t, 1, func(p printer) error { return p.Finding(f) }) })
	s := filled(event.Summary{}).(event.Summary)
	t.Run("summary", func(t *testing.T) { everyPrinter(t, 1, func(p printer) error { return p.Summary(s) }) })
}

type printer interface {
	Event(event.Event) error
	Finding(event.Finding) error
	Summary(event.Summary) error
}

// everyPrinter prints by each, and checks that only ktrace breaks lines, that JSON is JSON, one object a line, and that the text is there.
func everyPrinter(t *testing.T, objects int, print func(printer) error) {
	t.Helper()
	var text, lines bytes.Buffer
	for _, p := range []printer{
		NewText(&text, TextOptions{}), NewText(&text, TextOptions{Wide: true, Nodes: true, NoHeader: true, Layers: true}), NewJSON(&lines),
	} {
		if err := print(p); err != nil {
			t.Fatal(err)
		}
	}
	for _, out := range []string{text.String(), lines.String()} {
		for line := range strings.SplitSeq(out, "\n") {
			if printable.Text(line) != line || strings.HasPrefix(line, "CRITICAL forged") {
				t.Errorf("printed as it came: %q", line)
			}
		}
	}
	if got := strings.Count(lines.String(), "\n"); got != objects || !json.Valid(lines.Bytes()) {
		t.Errorf("%d lines of JSON, want %d: %q", got, objects, lines.String())
	}
	if !strings.Contains(lines.String(), `\u001b[2J\u009b2J`) || !strings.Contains(lines.String(), `\u202egpj`) {
		t.Errorf("the text is not in JSON: %q", lines.String())
	}
}

// filled returns a value with hostile text in every string that it has, at any depth, and one element in what may have several.
func filled(v any) any {
	x := reflect.New(reflect.TypeOf(v)).Elem()
	fill(x, 8)
	return x.Interface()
}

func fill(v reflect.Value, depth int) {
	if depth == 0 || !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(hostile)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1, 0)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), depth-1)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth-1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth-1)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), depth-1)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, depth-1)
		fill(value, depth-1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	}
}
