// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"context"
	"strings"
	"testing"
)

// The cluster version rises by itself once all nodes are there and new, and when nobody holds it.
func TestFinalize(t *testing.T) {
	ctx := context.Background()
	f := newFake()
	if err := New(f, Options{}).Bootstrap(ctx); err != nil {
		t.Fatal(err)
	}
	_, addr := serve(t, f)
	newer := New(f, Options{Version: "20.1-4"})
	try := func() string {
		cat, err := newer.cat.get(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		newer.finalize(ctx, cat)
		newer.activate()
		return strings.Split(cli(t, addr, "show cluster setting version"), "\n")[1]
	}
	all := func(change func(i int)) {
		f.set(func() {
			for i := range f.nodes {
				f.nodes[i].ServerVersion = "20.1-4"
				change(i)
			}
		})
	}
	stays := func(why string) {
		t.Helper()
		if got := try(); got != "20.1-3" || f.active != "20.1-3" {
			t.Fatalf("%s: version %s, the store was told %s", why, got, f.active)
		}
	}
	stays("no node is new")
	all(func(i int) {
		if i == 2 {
			f.nodes[i].ServerVersion = "20.1-3"
		}
	})
	stays("one node is old")
	all(func(i int) { f.nodes[i].Available = i != 2 })
	stays("one node is down")
	all(func(i int) {
		f.nodes[i].Available, f.nodes[i].Decommissioning = i != 2, i == 2
		if i == 2 {
			f.nodes[i].ServerVersion = "20.1-3"
		}
	})
	stays("an old node left, and is not dead yet")
	all(func(i int) { f.nodes[i].Dead = i == 2 })
	if got := cli(t, addr, "set cluster setting cluster.preserve_downgrade_option = '20.1-3'"); got != "SET CLUSTER SETTING\n" {
		t.Fatal(got)
	}
	stays("preserve_downgrade_option holds it")
	cli(t, addr, "reset cluster setting cluster.preserve_downgrade_option")
	if got := try(); got != "20.1-4" || f.active != "20.1-4" {
		t.Fatalf("version %s, the store was told %s", got, f.active)
	}
	if got := cli(t, addr, "set cluster setting version = '20.1-3'"); !strings.Contains(got, "versions cannot be downgraded (attempting to downgrade from 20.1-4 to 20.1-3)") {
		t.Error(got)
	}
}

func TestManualVersion(t *testing.T) {
	f := newFake()
	_, addr := serve(t, f)
	if got := cli(t, addr, "set cluster setting version = '20.1-4'"); !strings.Contains(got, "cannot upgrade to 20.1-4: node running 20.1-3") {
		t.Error(got)
	}
}

// A job on demand is a row like the others until it is taken back.
func TestLabJob(t *testing.T) {
	_, addr := serve(t, newFake())
	running := func(want string) {
		t.Helper()
		const ask = "select job_type from kwdb_internal.jobs where status in ('running', 'pending', 'reverting') and job_type <> 'TS TXN'"
		if got := cli(t, addr, ask); got != "job_type\n"+want {
			t.Errorf("running: %q, want %q", got, want)
		}
	}
	running("")
	cli(t, addr, "set cluster setting lab.running_job = 'SCHEMA CHANGE'")
	running("SCHEMA CHANGE\n")
	cli(t, addr, "set cluster setting lab.running_job = 'IMPORT'")
	running("IMPORT\n")
	cli(t, addr, "reset cluster setting lab.running_job")
	running("")
	if got := cli(t, addr, "select job_type, status from [show jobs] where description = 'lab.running_job' order by 1"); got !=
		"job_type,status\nIMPORT,succeeded\nSCHEMA CHANGE,succeeded\n" {
		t.Errorf("afterwards: %s", got)
	}
}
