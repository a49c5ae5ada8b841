// SPDX-License-Identifier: Apache-2.0

// Package bounded keeps what a run of days remembers in memory that does not grow: a map that forgets what was put first, a
// pool and a table that evict from the owner that holds the most, and a timeline that is the coarser the longer ago.
package bounded
