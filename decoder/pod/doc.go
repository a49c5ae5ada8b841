// SPDX-License-Identifier: Apache-2.0

// Package pod ties events to pods: cgroup, network namespace, veth or address → pod, at the time of the event. It
// learns from the facts in the stream and from nothing else, so a recording names the same pods as the live run did.
package pod
