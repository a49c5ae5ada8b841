// Package decoder turns bytes into meaning: kernel record → Event → pod → Finding. It knows no kernel, no
// cluster and no clock, so it says the same of a recording as it said of the live node, on any system.
//
//	Frames ──► Stream ──► Stages ──► Rules ──► Printer
//	 raw       decoded    pods,      causes    text, JSON
//	 records   events     journeys
package decoder
