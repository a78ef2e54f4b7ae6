// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import "testing"

// A single node keeps one replica of everything, and says so where the collection asks for it.
func TestASingleNodeWantsOneReplica(t *testing.T) {
	for alone, want := range map[bool][2]int{true: {1, 1}, false: {3, 5}} {
		c, err := decodeCatalog(nil, 1, alone)
		if err != nil {
			t.Fatal(err)
		}
		usual, _ := c.placement("RANGE default")
		system, _ := c.placement("RANGE liveness", "RANGE default")
		if got := [2]int{usual, system}; got != want {
			t.Errorf("alone %v: wanted replicas %v, not %v", alone, got, want)
		}
	}
	if *bornZones[0].zone.Replicas != 3 {
		t.Error("the table of all clusters was changed")
	}
}
