// Package diagnose holds the rules that turn events into findings, one family of causes a file. A rule rests on what
// the events and facts say and nothing else, so it concludes the same from a recording.
package diagnose
