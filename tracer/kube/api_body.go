// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"io"
	"net/http"
)

// maxBody bounds an answer of the API: the endpoint slices of the largest clusters are some tens of MiB.
const maxBody = 128 << 20

// errBodyTooLarge is returned for an answer with more.
var errBodyTooLarge = errors.New("the API's answer is larger than 128 MiB")

// boundedBodies ends the answers to lists at maxBody. Those to watches have no end; the library bounds each of their events.
type boundedBodies struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b boundedBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.RoundTripper.RoundTrip(r)
	if err == nil && r.URL.Query().Get("watch") == "" {
		answer.Body = &boundedBody{answer.Body, maxBody}
	}
	return answer, err
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errBodyTooLarge
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
