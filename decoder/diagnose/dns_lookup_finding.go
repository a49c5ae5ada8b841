// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"fmt"
	"strings"

	"ktrace/decoder/event"
)

// explain makes the server's extended error the cause.
func (l *lookup) explain(f *event.Finding) {
	cause, ok := causeGiven(l.reasons)
	if !ok {
		return
	}
	f.Cause = cause
	if byPolicy(l.reasons) {
		f.Title = fmt.Sprintf("The DNS server %v blocks the name %q.", l.first.Body.(event.DNS).Server, l.key.base)
	}
}

func (l *lookup) noAddress() event.Finding {
	d := l.first.Body.(event.DNS)
	return event.Finding{
		ID: "dns-nxdomain", Confidence: event.Likely,
		Title: fmt.Sprintf("Looking up %q stops at %s, which has no address (NODATA): the resolver of %v tries no other name.", l.key.base, l.empty[0], l.first.Packet.Src),
		Cause: "The DNS server says that the name exists under this search domain, but without an address (NODATA). Resolvers as musl's (Alpine) " +
			"take that for the answer and try neither the other domains nor the name as it is.",
		Remedy: []event.Remedy{
			dig(d.Server, "", l.empty[0], d.Type).Noting("the zone should answer NXDOMAIN"),
			do(wholeName), do(fewerDots),
		},
	}
}

func (l *lookup) nowhere() event.Finding {
	d := l.first.Body.(event.DNS)
	return event.Finding{
		ID: "dns-nxdomain", Confidence: event.Certain,
		Title: fmt.Sprintf("The name %q does not exist, neither as it is nor under a search domain of %v.", l.key.base, l.first.Packet.Src),
		Cause: "The DNS server found no address for it under any domain of the search list: a typing error, a service of another " +
			"namespace (NAME.NAMESPACE), or one that was not created.",
		Remedy: []event.Remedy{
			pipe(run("kubectl get services -A"), run("grep -w -e %v", optarg(strings.SplitN(l.key.base, ".", 2)[0]))),
			dig(d.Server, "", l.key.base, d.Type),
		},
	}
}

func (l *lookup) amplified() event.Finding {
	d := l.first.Body.(event.DNS)
	return event.Finding{
		ID: "dns-search-amplification", Confidence: event.Certain,
		Title:    fmt.Sprintf("Looking up %q takes %d failed queries (search list, ndots) before the answer.", l.key.base, l.nxdomain),
		Cause:    fmt.Sprintf("The name has fewer than %d dots (ndots), so the resolver tries it under every search domain first.", l.conf.Ndots),
		Evidence: []string{"found as " + l.found},
		Remedy: []event.Remedy{
			dig(d.Server, "", strings.TrimSuffix(l.key.base, ".")+".", d.Type).Noting("one query: a name with a dot at its end is not searched for"),
			do(wholeName), do(fewerDots),
		},
	}
}
