// Package bounded keeps what a run of days remembers in memory that does not grow: a map that forgets what was put first,
// and a timeline that is the coarser the longer ago.
package bounded
