// SPDX-License-Identifier: GPL-3.0-or-later

package node

import (
	"sync"
	"testing"
	"time"
)

// Two loops write a node's own record; neither may undo the other.
func TestChangesOfOneRecordDoNotOverwriteEachOther(t *testing.T) {
	g := &gossip{self: 1, infos: map[int]Info{}}
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() { g.change(1, func(i *Info) { i.Metrics.Ranges++ }) })
		wg.Go(func() { g.change(1, func(i *Info) { i.Metrics.Leases++ }) })
	}
	wg.Wait()
	if i, _ := g.get(1); i.Metrics.Ranges != 500 || i.Metrics.Leases != 500 {
		t.Fatalf("lost changes: %+v", i.Metrics)
	}
}

// Only the node itself speaks for it, and an older word never replaces a newer one.
func TestMergeKeepsTheNewest(t *testing.T) {
	now := time.Now()
	g := &gossip{self: 1, infos: map[int]Info{1: {ID: 1, Address: "me", Stamp: now}, 2: {ID: 2, Address: "new", Stamp: now}}}
	g.merge([]Info{{ID: 1, Address: "other", Stamp: now.Add(time.Hour)}, {ID: 2, Address: "old", Stamp: now.Add(-time.Second)},
		{ID: 3, Address: "third", Stamp: now}})
	if g.address(1) != "me" || g.address(2) != "new" || g.address(3) != "third" {
		t.Fatalf("%+v", g.all())
	}
}
