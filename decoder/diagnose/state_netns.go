// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"maps"

	"ktrace/decoder/event"
)

// forgetNetns drops what is known of the network namespace that had an inode number before: another has it now. The
// services of its rules are withdrawn by the reader of rules.
func (st *State) forgetNetns(inode uint32) {
	about := func(k event.LookupKey) bool { return k.Netns == inode }
	st.dropRules.DeleteFunc(about)
	st.sockets.DeleteFunc(about)
	st.tracking.DeleteFunc(about)
	st.ports.DeleteFunc(about)
	maps.DeleteFunc(st.deferred, func(k event.LookupKey, _ bool) bool { return about(k) })
	st.routes.DeleteFunc(func(k routeKey) bool { return about(k.about) })
	st.sysctls.DeleteFunc(func(k sysctlKey) bool { return k.netns == inode })
	st.neighbours.DeleteFunc(func(k neighbourKey) bool { return k.netns == inode })
	device := func(k deviceKey) bool { return k.netns == inode }
	st.devices.DeleteFunc(device)
	st.deviceChanges++
	st.downTunnels.DeleteFunc(device)
	st.rules.DeleteFunc(func(k rulesKey) bool { return k.netns == inode })
	st.programs.DeleteFunc(func(k programKey) bool { return k.netns == inode })
	st.netfilterEvents.DeleteFunc(func(k netfilterKey) bool { return k.netns == inode })
	st.conntrack.Delete(inode)
	st.conntrackRose.Delete(inode)
	st.resolvs.Delete(inode)
	st.policyPlugins.Delete(inode)
	delete(st.serviceNetns, inode)
	queue := func(k queueKey) bool { return k.netns == inode }
	st.queues.first.DeleteFunc(queue)
	st.queues.last.DeleteFunc(queue)
	st.droppingRules.known.DeleteFunc(func(k rulePlace) bool { return k.netns == inode })
	st.drops.tallies.DeleteFunc(func(k dropKey) bool { return k.netns == inode })
	maps.DeleteFunc(st.drops.passed, func(k dropPlace, _ uint64) bool { return k.netns == inode })
	st.effects.missingAddrs.DeleteFunc(func(k netnsAddr) bool { return k.netns == inode })
	st.effects.missingIn.Delete(inode)
	st.effects.untranslatedTo.DeleteFunc(func(k netnsDst) bool { return k.netns == inode })
}
