// SPDX-License-Identifier: Apache-2.0

// Package event is the vocabulary: events, one file a kind with how it is decoded from its record; facts about the node;
// findings, whom they hit and what they are about; the summary; and the JSON of all of these.
package event
