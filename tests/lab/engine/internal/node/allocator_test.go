// SPDX-License-Identifier: GPL-3.0-or-later

package node

import "testing"

func TestNeeded(t *testing.T) {
	for _, c := range []struct{ wanted, nodes, want int }{
		{3, 1, 3}, {3, 3, 3}, {3, 4, 3}, {5, 3, 3}, {5, 4, 3}, {5, 5, 5}, {5, 2, 3}, {1, 1, 1}, {1, 5, 1}, {7, 6, 5},
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
		got, ok := decide(1, c.voters, c.wanted, c.nodes)
		got.Why = ""
		if ok == c.none || got != c.want {
			t.Errorf("%s: got %+v %v, want %+v", name, got, ok, c.want)
		}
	}
}
