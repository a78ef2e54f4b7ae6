// SPDX-License-Identifier: GPL-3.0-or-later

package node

import (
	"slices"

	"kwdbstandin/internal/kv"
	"kwdbstandin/internal/replica"
)

// needed is how many replicas a range must have: what its zone wants; on fewer nodes that stay as many as there are, made
// odd, never below three (but never above what is wanted). Source: the product's allocator, engine-facts 1.5.
func needed(wanted, nodes int) int {
	if nodes >= wanted {
		return wanted
	}
	need := nodes
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
	Locality        string
}

func (v nodeView) target() bool {
	return v.Live && v.Reporting && !v.Decommissioning && !v.Draining
}

// rangeView is what the allocator knows of a range.
type rangeView struct {
	Voters []int
	Wanted int
	Rules  []kv.Rule
	Away   int // lab fault: this node's replica stays away, and none takes its place
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

// decide is the allocator: pure, for one range, seen by its leader self. It may say that self goes: then somebody else has
// to lead first.
func decide(self int, r rangeView, nodes map[int]nodeView) (action, bool) {
	voters := r.Voters
	need := needed(r.Wanted, staying(nodes))
	if r.Away != 0 {
		if slices.Contains(voters, r.Away) && len(voters) > 1 {
			return action{Remove: r.Away, Why: "lab: stays away"}, true
		}
		return action{}, false
	}
	now := newPlacement(r.Rules, r.Wanted, voters, nodes)
	without := func(id int) (to int) {
		rest := slices.DeleteFunc(slices.Clone(voters), func(v int) bool { return v == id })
		return newPlacement(r.Rules, r.Wanted, rest, nodes).target(voters, 0)
	}
	gone := pick(voters, func(id int) bool {
		v, known := nodes[id]
		return !known || v.Dead || v.Decommissioning && !v.Live
	})
	leaving := pick(voters, func(id int) bool {
		v := nodes[id]
		return v.Decommissioning && v.Live && !v.Stuck && id != self
	})
	if len(voters) < need {
		if to := now.target(voters, 0); to != 0 {
			return action{Add: to, Repair: true, Why: "up-replicate"}, true
		}
	}
	if gone != 0 {
		if len(voters) > need {
			return action{Remove: gone, Why: "remove dead"}, true
		}
		if to := without(gone); to != 0 {
			return action{Add: to, Remove: gone, Why: "replace dead"}, true
		}
	}
	if leaving != 0 {
		if len(voters) > need {
			return action{Remove: leaving, Why: "remove decommissioning"}, true
		}
		if to := without(leaving); to != 0 {
			return action{Add: to, Remove: leaving, Why: "replace decommissioning"}, true
		}
	}
	if len(voters) > need {
		if full := now.surplus(self, voters); full != 0 {
			return action{Remove: full, Why: "remove surplus"}, true
		}
		return action{}, false
	}
	live := 0
	for _, id := range voters {
		if nodes[id].Live {
			live++
		}
	}
	if live < (len(voters)+1)/2+1 && len(voters) > 1 {
		return action{}, false // on the way it would have no majority to spare
	}
	if to, from := now.swap(self, voters); to != 0 {
		return action{Add: to, Remove: from, Why: "rebalance"}, true
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

// successor is who should lead so that self can leave the range; 0 if nobody can.
func successor(self, away int, s replica.Status, nodes map[int]nodeView) int {
	return pick(s.Voters, func(id int) bool {
		v := nodes[id]
		return id != self && id != away && v.Live && !v.Draining && !v.Decommissioning && s.CaughtUp[id]
	})
}

func pick(voters []int, want func(int) bool) int {
	for _, id := range voters {
		if want(id) {
			return id
		}
	}
	return 0
}
