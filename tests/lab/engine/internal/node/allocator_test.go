// SPDX-License-Identifier: GPL-3.0-or-later

package node

import (
	"maps"
	"testing"

	"kwdbstandin/internal/kv"
)

func TestNeeded(t *testing.T) {
	for _, c := range []struct{ wanted, nodes, want int }{
		{3, 1, 3}, {3, 3, 3}, {3, 4, 3}, {5, 3, 3}, {5, 4, 3}, {5, 5, 5}, {5, 2, 3}, {1, 1, 1}, {1, 5, 1}, {7, 6, 5},
		{4, 5, 4}, {4, 3, 3},
	} {
		if got := needed(c.wanted, c.nodes); got != c.want {
			t.Errorf("needed(%d, %d) = %d, want %d", c.wanted, c.nodes, got, c.want)
		}
	}
}

func TestDecide(t *testing.T) {
	live := func(replicas int) nodeView { return nodeView{Live: true, Reporting: true, Replicas: replicas} }
	leaving := nodeView{Live: true, Reporting: true, Decommissioning: true, Replicas: 9}
	for name, c := range map[string]struct {
		voters []int
		wanted int
		nodes  map[int]nodeView
		want   action
		none   bool
	}{
		"whole and balanced": {[]int{1, 2, 3}, 3, map[int]nodeView{1: live(9), 2: live(9), 3: live(9)}, action{}, true},
		"too few": {[]int{1}, 3, map[int]nodeView{1: live(9), 2: live(0), 3: live(1)},
			action{Add: 2, Repair: true}, false},
		"nobody to take it": {[]int{1}, 3, map[int]nodeView{1: live(9)}, action{}, true},
		"a store without figures takes nothing": {[]int{1}, 3, map[int]nodeView{1: live(9), 2: {Live: true}},
			action{}, true},
		"leaving with a place to go": {[]int{1, 2, 3}, 3,
			map[int]nodeView{1: live(9), 2: live(9), 3: leaving, 4: live(0)}, action{Add: 4, Remove: 3}, false},
		"leaving below the need stays for ever": {[]int{1, 2, 3}, 3,
			map[int]nodeView{1: live(9), 2: live(9), 3: leaving}, action{}, true},
		"leaving five to four drops two": {[]int{1, 2, 3, 4, 5}, 5,
			map[int]nodeView{1: live(9), 2: live(9), 3: live(9), 4: live(9), 5: leaving}, action{Remove: 5}, false},
		"stuck does not move": {[]int{1, 2, 3}, 3, map[int]nodeView{1: live(9), 2: live(9),
			3: {Live: true, Decommissioning: true, Stuck: true, Replicas: 9}, 4: live(9)}, action{}, true},
		"dead is replaced": {[]int{1, 2, 3}, 3, map[int]nodeView{1: live(9), 2: live(9), 3: {Dead: true}, 4: live(0)},
			action{Add: 4, Remove: 3}, false},
		"down but not dead yet is waited for": {[]int{1, 2, 3}, 3,
			map[int]nodeView{1: live(9), 2: live(9), 3: {Replicas: 0}, 4: live(9)}, action{}, true},
		"a new node gets its share": {[]int{1, 2, 3}, 3,
			map[int]nodeView{1: live(16), 2: live(15), 3: live(16), 4: live(0)}, action{Add: 4, Remove: 3}, false},
		"a fifth node brings system ranges to five": {[]int{1, 2, 3}, 5,
			map[int]nodeView{1: live(9), 2: live(9), 3: live(9), 4: live(9), 5: live(3)}, action{Add: 5, Repair: true}, false},
	} {
		got, ok := decide(1, rangeView{Voters: c.voters, Wanted: c.wanted}, c.nodes)
		got.Why = ""
		if ok == c.none || got != c.want {
			t.Errorf("%s: got %+v %v, want %+v", name, got, ok, c.want)
		}
	}
}

// Rules: what a zone's constraints make of the allocator's choices.
func TestDecideByRules(t *testing.T) {
	at := func(region string, replicas int) nodeView {
		return nodeView{Live: true, Reporting: true, Replicas: replicas, Locality: "region=" + region}
	}
	leaving := func(v nodeView) nodeView { v.Decommissioning = true; return v }
	rule := func(replicas int, words ...string) kv.Rule {
		r := kv.Rule{Replicas: replicas}
		for _, w := range words {
			r.All = append(r.All, kv.Constraint{Prohibited: w[0] == '-', Key: "region", Value: w[1:]})
		}
		return r
	}
	even := map[int]nodeView{1: at("NODE1", 9), 2: at("NODE2", 9), 3: at("NODE3", 9), 4: at("NODE4", 9), 5: at("NODE5", 9)}
	with := func(id int, v nodeView) map[int]nodeView {
		out := maps.Clone(even)
		out[id] = v
		return out
	}
	all := []kv.Rule{rule(0, "+NODE4")}
	one := []kv.Rule{rule(1, "+NODE4")}
	each := []kv.Rule{rule(1, "+NODE1"), rule(1, "+NODE2"), rule(1, "+NODE4")}
	for name, c := range map[string]struct {
		rangeView
		nodes map[int]nodeView
		want  action
		none  bool
	}{
		"required: a replica goes to the node that matches": {rangeView{Voters: []int{1, 2, 3}, Wanted: 3, Rules: all}, even,
			action{Add: 4, Remove: 2}, false},
		"required of all, and there is but one such node: the rest stays": {rangeView{Voters: []int{1, 3, 4}, Wanted: 3, Rules: all}, even,
			action{}, true},
		"required of all: never leaves the one node that matches": {rangeView{Voters: []int{1, 3, 4}, Wanted: 3, Rules: all},
			with(4, leaving(even[4])), action{}, true},
		"required of one of three: a replica goes there": {rangeView{Voters: []int{1, 2, 3}, Wanted: 3, Rules: one}, even,
			action{Add: 4, Remove: 2}, false},
		"required of one of three: it stays there when others are emptier": {rangeView{Voters: []int{1, 2, 4}, Wanted: 3, Rules: one},
			map[int]nodeView{1: at("NODE1", 2), 2: at("NODE2", 2), 3: at("NODE3", 2), 4: at("NODE4", 9)}, action{}, true},
		"required of one of three: the others are free, and so is its place once the node leaves": {
			rangeView{Voters: []int{1, 2, 4}, Wanted: 3, Rules: one}, with(4, leaving(even[4])), action{Add: 3, Remove: 4}, false},
		"one on each of three: never leaves": {rangeView{Voters: []int{1, 2, 4}, Wanted: 3, Rules: each},
			with(4, leaving(even[4])), action{}, true},
		"one on each of three: another one's replica moves over": {rangeView{Voters: []int{1, 2, 3}, Wanted: 3, Rules: each}, even,
			action{Add: 4, Remove: 3}, false},
		"one on each of three: up-replication goes where a rule lacks one": {rangeView{Voters: []int{1, 2}, Wanted: 3, Rules: each},
			with(3, at("NODE3", 0)), action{Add: 4, Repair: true}, false},
		"prohibited: moves off": {rangeView{Voters: []int{1, 2, 3}, Wanted: 3, Rules: []kv.Rule{rule(0, "-NODE2")}}, even,
			action{Add: 4, Remove: 2}, false},
		"prohibited: leads there, so another has to lead first": {rangeView{Voters: []int{1, 2, 3}, Wanted: 3,
			Rules: []kv.Rule{rule(0, "-NODE1")}}, even, action{Add: 4, Remove: 1}, false},
		"prohibited: is no place to go for what leaves": {rangeView{Voters: []int{1, 2, 3}, Wanted: 3, Rules: []kv.Rule{rule(0, "-NODE4")}},
			map[int]nodeView{1: at("NODE1", 9), 2: at("NODE2", 9), 3: leaving(at("NODE3", 9)), 4: at("NODE4", 0)}, action{}, true},
		"dead, and nobody else matches": {rangeView{Voters: []int{1, 2, 4}, Wanted: 3, Rules: each},
			with(4, nodeView{Dead: true, Locality: "region=NODE4"}), action{}, true},
		"a surplus replica that no rule needs goes, not the fullest": {rangeView{Voters: []int{1, 2, 3, 4}, Wanted: 3, Rules: each},
			with(4, at("NODE4", 20)), action{Remove: 3}, false},
		"a node whose place is not known is trusted": {rangeView{Voters: []int{1, 2, 3}, Wanted: 3, Rules: []kv.Rule{rule(0, "+NODE1")}},
			map[int]nodeView{1: at("NODE1", 9), 2: {Live: true, Replicas: 9}, 3: {Live: true, Replicas: 9}}, action{}, true},
		"not while a voter is down": {rangeView{Voters: []int{1, 2, 3}, Wanted: 3, Rules: all},
			with(3, nodeView{Locality: "region=NODE3"}), action{}, true},
		"lab: away":                           {rangeView{Voters: []int{1, 2, 3}, Wanted: 3, Away: 3}, even, action{Remove: 3}, false},
		"lab: away, and none takes its place": {rangeView{Voters: []int{1, 2}, Wanted: 3, Away: 3}, even, action{}, true},
	} {
		got, ok := decide(1, c.rangeView, c.nodes)
		got.Why = ""
		if ok == c.none || got != c.want {
			t.Errorf("%s: got %+v %v, want %+v", name, got, ok, c.want)
		}
	}
}
