// SPDX-License-Identifier: Apache-2.0

package confine

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// capset sets the capabilities of all threads.
func capset(header *unix.CapUserHeader, data *[2]unix.CapUserData) error {
	err := everyThread(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(data)), 0)
	runtime.KeepAlive(header)
	runtime.KeepAlive(data)
	return err
}
