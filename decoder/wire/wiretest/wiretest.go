// SPDX-License-Identifier: Apache-2.0

// Package wiretest packs records for tests.
package wiretest

import (
	"encoding/binary"
	"testing"
)

// RawRecord packs a record as the kernel would.
func RawRecord(t testing.TB, record any) []byte {
	t.Helper()
	raw, err := binary.Append(nil, binary.LittleEndian, record)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
