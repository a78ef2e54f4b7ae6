// SPDX-License-Identifier: GPL-3.0-or-later

package node

import (
	"slices"
	"strings"

	"kwdbstandin/internal/kv"
)

// matches is whether a node's locality (`region=NODE4,rack=a`) satisfies all constraints.
func matches(locality string, all []kv.Constraint) bool {
	tiers := strings.Split(locality, ",")
	for _, c := range all {
		if slices.Contains(tiers, c.Key+"="+c.Value) == c.Prohibited {
			return false
		}
	}
	return true
}

// placement is a zone's rules beside the replicas a range has, by which the product's allocator judges nodes
// (kvserver/constraint and allocator_scorer.go of its base).
type placement struct {
	rules []kv.Rule
	free  bool    // the rules speak of fewer replicas than are wanted: the others may sit anywhere
	by    [][]int // the replicas that satisfy each rule
	nodes map[int]nodeView
}

func newPlacement(rules []kv.Rule, wanted int, voters []int, nodes map[int]nodeView) placement {
	p := placement{rules: rules, by: make([][]int, len(rules)), nodes: nodes}
	spoken := 0
	for i, r := range rules {
		spoken += r.Replicas
		for _, id := range voters {
			// Who is not known (yet) is trusted: better than to move everything off it.
			if v, known := nodes[id]; !known || v.Locality == "" || matches(v.Locality, r.All) {
				p.by[i] = append(p.by[i], id)
			}
		}
	}
	p.free = spoken > 0 && spoken < wanted
	return p
}

// takes judges a node that has no replica yet: may it get one, and does a rule need it. With from, one of the replicas, it
// would get that one's place.
func (p placement) takes(id, from int) (valid, necessary bool) {
	if len(p.rules) == 0 {
		return true, false
	}
	for i, r := range p.rules {
		if !matches(p.nodes[id].Locality, r.All) {
			continue
		}
		valid = true
		if have := len(p.by[i]); have < r.Replicas || have == r.Replicas && slices.Contains(p.by[i], from) {
			return true, true
		}
	}
	return valid || p.free, false
}

// keeps judges a node that has a replica: may it stay, and does a rule need it there.
func (p placement) keeps(id int) (valid, necessary bool) {
	if len(p.rules) == 0 {
		return true, false
	}
	for i, r := range p.rules {
		if !slices.Contains(p.by[i], id) {
			continue
		}
		valid = true
		if len(p.by[i]) <= r.Replicas {
			return true, true
		}
	}
	return valid || p.free, false
}

// target is the node that should get a replica of the range, 0 if none may: one that a rule needs, or else the emptiest.
// With from, the replica it takes the place of.
func (p placement) target(voters []int, from int) int {
	best, needed := 0, false
	for id, v := range p.nodes {
		if !v.target() || slices.Contains(voters, id) {
			continue
		}
		valid, necessary := p.takes(id, from)
		if !valid || needed && !necessary {
			continue
		}
		b := p.nodes[best]
		if best == 0 || necessary && !needed || v.Replicas < b.Replicas || v.Replicas == b.Replicas && id < best {
			best, needed = id, necessary
		}
	}
	return best
}

// surplus is the replica to take away: one that may not be there, else of those no rule needs the one on the fullest node,
// else the fullest of all. The leader names itself only when it is the one that may not be there.
func (p placement) surplus(self int, voters []int) int {
	best, rank := 0, 0
	for _, id := range voters {
		valid, necessary := p.keeps(id)
		now := 1
		switch {
		case !valid && id != self:
			now = 4
		case !valid:
			now = 3
		case id == self:
			continue
		case !necessary:
			now = 2
		}
		if now > rank || now == rank && p.nodes[id].Replicas > p.nodes[best].Replicas {
			best, rank = id, now
		}
	}
	return best
}

// swap is the move that brings a whole range closer to its rules, or evens out the nodes; 0, 0 when it should stay.
func (p placement) swap(self int, voters []int) (to, from int) {
	movable := func(id int) bool { v := p.nodes[id]; return v.Live && !v.Stuck }
	// The fullest first; the leader last, for somebody else has to lead before it can go.
	voters = slices.SortedStableFunc(slices.Values(voters), func(a, b int) int {
		switch {
		case a == self:
			return 1
		case b == self:
			return -1
		}
		return p.nodes[b].Replicas - p.nodes[a].Replicas
	})
	for _, id := range voters { // what may not be where it is
		if valid, _ := p.keeps(id); !valid && movable(id) {
			if to := p.target(voters, id); to != 0 {
				return to, id
			}
		}
	}
	for _, id := range voters { // what a rule lacks
		if _, necessary := p.keeps(id); necessary || !movable(id) {
			continue
		}
		if to := p.target(voters, id); to != 0 {
			if _, necessary := p.takes(to, id); necessary {
				return to, id
			}
		}
	}
	for _, id := range voters {
		if id == self || !movable(id) {
			continue
		}
		to := p.target(voters, id)
		if to == 0 {
			continue
		}
		_, kept := p.keeps(id)
		if _, necessary := p.takes(to, id); (necessary || !kept) && p.nodes[id].Replicas >= p.nodes[to].Replicas+2 {
			return to, id
		}
	}
	return 0, 0
}
