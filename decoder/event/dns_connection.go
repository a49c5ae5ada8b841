// SPDX-License-Identifier: Apache-2.0

package event

import "fmt"

// DNSConnection is how a connection to a server ended before the answer came.
type DNSConnection struct {
	Sight        // where the end was last seen
	How   string `json:"how"` // refused, reset, closed
	By    string `json:"by"`  // server, client
	// Reused says that it had served before and rested, so that its end and the query met on their way.
	Reused bool `json:"reused,omitempty"`
}

// How a connection ends, and by whom.
const (
	ConnectionRefused = "refused" // before it was established
	ConnectionReset   = "reset"
	ConnectionClosed  = "closed"

	ByServer = "server"
	ByClient = "client"
)

// String is who did what, where.
func (c *DNSConnection) String() string {
	return fmt.Sprintf("the %s %s the connection: %v", c.By, c.How, c.Sight)
}
