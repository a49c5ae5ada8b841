// SPDX-License-Identifier: Apache-2.0

// Package recovery says whether what failed works again: exchanges of the same client with the same server are begun and
// answered, the same query has an answer, or the pod that caused it has ended.
package recovery
