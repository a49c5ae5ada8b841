// SPDX-License-Identifier: Apache-2.0

// Package print renders events, findings and summaries as text and as JSON lines. It decides nothing: what text
// shows, JSON has.
package print
