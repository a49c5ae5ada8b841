// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"ktrace/decoder/event"
)

func fact(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := event.EncodeFact(time.Second, event.Fact{Symbol: &event.Symbol{Name: name}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func recorded(t testing.TB, raws ...[]byte) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := NewWriter(&file)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range raws {
		if err := w.Record(raw); err != nil {
			t.Fatal(err)
		}
	}
	return file.Bytes()
}

func TestRecordsComeBackAsTheyWere(t *testing.T) {
	raws := [][]byte{fact(t, "a"), fact(t, string(make([]byte, 200_000))), fact(t, "b")}
	r, err := NewReader(bytes.NewReader(recorded(t, raws...)))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range raws {
		got, err := r.Next(context.Background())
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("record %d: error %v, equal %v", i, err, bytes.Equal(got, want))
		}
	}
	if _, err := r.Next(context.Background()); err != io.EOF {
		t.Errorf("after the last: %v, want EOF", err)
	}
}

func TestACutFileGivesWhatCameBefore(t *testing.T) {
	whole := recorded(t, fact(t, "a"), fact(t, "b"))
	r, err := NewReader(bytes.NewReader(whole[:len(whole)-1]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(context.Background()); err != nil {
		t.Fatalf("first record: %v", err)
	}
	if _, err := r.Next(context.Background()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut record: %v, want ErrUnexpectedEOF", err)
	}
}

func TestForeignFilesAreNamedAsSuch(t *testing.T) {
	for _, text := range []string{"", "ktrace", "\x0a\x0d\x0d\x0a pcapng and more of it"} {
		if _, err := NewReader(bytes.NewReader([]byte(text))); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v, want ErrFormat", text, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(recorded(f, fact(f, "a"), fact(f, "b")))
	f.Add(append([]byte(Magic), 0xff, 0xff, 0xff, 0))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			return
		}
		total := 0
		for {
			raw, err := r.Next(context.Background())
			if err != nil {
				break
			}
			total += len(raw)
		}
		if total > len(file) {
			t.Fatalf("%d bytes read from %d", total, len(file))
		}
	})
}
