// SPDX-License-Identifier: Apache-2.0

package bounded

import "reflect"

// entrySize is about what a table takes for an entry beside its key and value.
const entrySize = 160

// SizeOf is about how many bytes a value takes, with all that it points to. What several parts of it share counts for each;
// the value must not contain itself.
func SizeOf(v any) int {
	r := reflect.ValueOf(v)
	if !r.IsValid() {
		return 0
	}
	return int(r.Type().Size()) + beyond(r)
}

// beyond is what a value points to.
func beyond(v reflect.Value) (n int) {
	switch v.Kind() {
	case reflect.String:
		return v.Len()
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return 0
		}
		return int(v.Elem().Type().Size()) + beyond(v.Elem())
	case reflect.Slice:
		n = v.Cap() * int(v.Type().Elem().Size())
		if pointsOn(v.Type().Elem()) {
			for i := range v.Len() {
				n += beyond(v.Index(i))
			}
		}
	case reflect.Array:
		if pointsOn(v.Type().Elem()) {
			for i := range v.Len() {
				n += beyond(v.Index(i))
			}
		}
	case reflect.Map:
		each := int(v.Type().Key().Size() + v.Type().Elem().Size())
		for i := v.MapRange(); i.Next(); {
			n += 2*each + beyond(i.Key()) + beyond(i.Value())
		}
	case reflect.Struct:
		if library(v.Type()) {
			return 0
		}
		for i := range v.NumField() {
			n += beyond(v.Field(i))
		}
	}
	return n
}

// pointsOn reports whether values of a type may point to others.
func pointsOn(t reflect.Type) bool {
	return t.Kind() > reflect.Complex128 && !library(t)
}

// library reports whether a type is of one that shares what it points to: time zones, zones of addresses.
func library(t reflect.Type) bool { return t.PkgPath() == "time" || t.PkgPath() == "net/netip" }
