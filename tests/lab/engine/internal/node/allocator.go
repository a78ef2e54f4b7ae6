// SPDX-License-Identifier: GPL-3.0-or-later

package node

import (
	"slices"
)

// needed is how many replicas a range must have: what its zone wants, at most as many as there are nodes that stay,
// made odd, never below three (but never above what is wanted). Source: the product's allocator, engine-facts 1.5.
func needed(wanted, nodes int) int {
	need := min(wanted, nodes)
	if need%2 == 0 {
		need--
	}
	return min(max(need, 3), wanted)
}

// nodeView is what the allocator knows of a node.
type nodeView struct {
	ID              int
	Live            bool // liveness record not expired
	Dead            bool // expired for longer than server.time_until_store_dead
	Decommissioning bool
	Draining        bool
	Reporting       bool // its store has published figures: others may be sent there
	Stuck           bool
	Replicas, Leads int
}

func (v nodeView) target() bool {
	return v.Live && v.Reporting && !v.Decommissioning && !v.Draining
}

// action is one membership step a range's leader should make: add Add, remove Remove, or both at once.
type action struct {
	Add, Remove int
	Repair      bool // restores replication; goes before and faster than moving
	Why         string
}

// staying counts the nodes that are not decommissioning. Dead ones count: the product forgets a node only when somebody
// decommissions it.
func staying(nodes map[int]nodeView) int {
	count := 0
	for _, v := range nodes {
		if !v.Decommissioning {
			count++
		}
	}
	return count
}

// decide is the allocator: pure, for one range, seen by its leader self.
func decide(self int, voters []int, wanted int, nodes map[int]nodeView) (action, bool) {
	need := needed(wanted, staying(nodes))
	best := emptiest(voters, nodes)
	gone := pick(voters, func(id int) bool {
		v, known := nodes[id]
		return !known || v.Dead || v.Decommissioning && !v.Live
	})
	leaving := pick(voters, func(id int) bool {
		v := nodes[id]
		return v.Decommissioning && v.Live && !v.Stuck && id != self
	})
	switch {
	case len(voters) < need && best != 0:
		return action{Add: best, Repair: true, Why: "up-replicate"}, true
	case gone != 0 && len(voters) > need:
		return action{Remove: gone, Why: "remove dead"}, true
	case gone != 0 && best != 0:
		return action{Add: best, Remove: gone, Why: "replace dead"}, true
	case leaving != 0 && len(voters) > need:
		return action{Remove: leaving, Why: "remove decommissioning"}, true
	case leaving != 0 && best != 0:
		return action{Add: best, Remove: leaving, Why: "replace decommissioning"}, true
	case len(voters) > need:
		if full := fullest(self, voters, nodes); full != 0 {
			return action{Remove: full, Why: "remove surplus"}, true
		}
	case best != 0:
		full := fullest(self, voters, nodes)
		if full != 0 && nodes[full].Live && !nodes[full].Stuck && nodes[full].Replicas >= nodes[best].Replicas+2 {
			return action{Add: best, Remove: full, Why: "rebalance"}, true
		}
	}
	return action{}, false
}

// handover names the voter that should lead instead of self, or 0: any fit one when self leaves, the one with fewest
// leaderships when self has clearly more.
func handover(self int, voters []int, nodes map[int]nodeView) int {
	me := nodes[self]
	best := 0
	for _, id := range voters {
		v := nodes[id]
		if id == self || !v.Live || v.Draining || v.Decommissioning && !me.Decommissioning {
			continue
		}
		if best == 0 || v.Leads < nodes[best].Leads {
			best = id
		}
	}
	switch {
	case best == 0:
		return 0
	case me.Draining, me.Decommissioning && !nodes[best].Decommissioning:
		return best
	case me.Leads >= nodes[best].Leads+2 && !nodes[best].Decommissioning:
		return best
	}
	return 0
}

func pick(voters []int, want func(int) bool) int {
	for _, id := range voters {
		if want(id) {
			return id
		}
	}
	return 0
}

func emptiest(voters []int, nodes map[int]nodeView) int {
	best := 0
	for id, v := range nodes {
		if !v.target() || slices.Contains(voters, id) {
			continue
		}
		if best == 0 || v.Replicas < nodes[best].Replicas || v.Replicas == nodes[best].Replicas && id < best {
			best = id
		}
	}
	return best
}

func fullest(self int, voters []int, nodes map[int]nodeView) int {
	best := 0
	for _, id := range voters {
		if id == self {
			continue
		}
		if best == 0 || nodes[id].Replicas > nodes[best].Replicas {
			best = id
		}
	}
	return best
}
