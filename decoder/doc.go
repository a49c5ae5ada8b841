// SPDX-License-Identifier: Apache-2.0

// Package decoder turns bytes into meaning: kernel record → Event → pod → Finding. It knows no kernel, no
// cluster and no clock, so it says the same of a recording as it said of the live node, on any system.
//
//	Frames ──► Stream ──► Stages ──► Rules ──► Printer
//	 raw       decoded    pods,      causes    text, JSON
//	 records   events     journeys
//
// This package has the stream, the pipeline and their interfaces. What flows through is in decoder/event, which reads
// records by decoder/wire and packets by decoder/packet; stages are in decoder/stage, rules in decoder/diagnose.
package decoder
