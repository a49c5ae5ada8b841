// SPDX-License-Identifier: Apache-2.0

// Package stage has the stages that join events: names of devices and functions, journeys of captured packets, drops with
// the rule and the answer, resets with their cause, overflows of accept queues, the slowest syncs.
package stage
