package decoder

import (
	"encoding/binary"
	"testing"
)

// rawRecord packs a record as the kernel would.
func rawRecord(t testing.TB, record any) []byte {
	t.Helper()
	raw, err := binary.Append(nil, binary.LittleEndian, record)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
