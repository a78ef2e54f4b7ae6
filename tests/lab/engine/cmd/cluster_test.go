// SPDX-License-Identifier: GPL-3.0-or-later

package cmd

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kwdbstandin/internal/kv"
	"kwdbstandin/internal/node"
	"kwdbstandin/internal/pgclient"
	"kwdbstandin/internal/render"
)

// servers is a cluster of whole nodes, SQL included, in this process; short intervals where nothing depends on them.
type servers struct {
	t     *testing.T
	dir   string
	addrs []string
	nodes []*node.Node
}

func newServers(t *testing.T, n int) *servers {
	s := &servers{t: t, dir: t.TempDir(), nodes: make([]*node.Node, n)}
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s.addrs = append(s.addrs, ln.Addr().String())
		ln.Close()
	}
	t.Cleanup(func() {
		for _, v := range s.nodes {
			if v != nil {
				v.Close()
			}
		}
	})
	return s
}

// start runs node i with a binary of that cluster version.
func (s *servers) start(i int, version string) (*node.Node, error) {
	cfg := node.Config{StartMode: "start", Store: filepath.Join(s.dir, fmt.Sprint(i)), Listen: s.addrs[i], Advertise: s.addrs[i],
		AdvertiseSQL: s.addrs[i], HTTPListen: "127.0.0.1:0", AdvertiseHTTP: "127.0.0.1:0", Join: s.addrs[:1], ServerVersion: version,
		Timing: node.Timing{Expiration: 3 * time.Second, Gossip: 100 * time.Millisecond, GossipLive: 2 * time.Second,
			Metrics: 300 * time.Millisecond, Refresh: 200 * time.Millisecond, Scan: 50 * time.Millisecond, Move: 10 * time.Millisecond}}
	cfg.NewSQL = func(store kv.Store) node.SQLServer { return newSQLServer(store, cfg) }
	n, err := node.Start(cfg)
	if err == nil {
		s.nodes[i] = n
	}
	return n, err
}

func (s *servers) must(i int, version string) {
	s.t.Helper()
	if _, err := s.start(i, version); err != nil {
		s.t.Fatal(err)
	}
	s.await(fmt.Sprintf("node at %d serves", i), 20*time.Second, func() bool { return i == 0 || s.sql(i, "select 1") == "1" })
}

func (s *servers) restart(i int, version string) {
	s.t.Helper()
	s.nodes[i].Close()
	s.nodes[i] = nil
	s.must(i, version)
}

// form starts all nodes with one version and initialises the first.
func (s *servers) form(version string) {
	s.t.Helper()
	s.must(0, version)
	client, err := node.DialRPC(s.addrs[0], 5*time.Second)
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	if err := client.Call("Node.Init", struct{}{}, &struct{}{}); err != nil {
		s.t.Fatal(err)
	}
	for i := 1; i < len(s.nodes); i++ {
		s.must(i, version)
	}
}

// sql is the rows of a statement at node i without their header, or the error.
func (s *servers) sql(i int, statement string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := pgclient.Connect(ctx, pgclient.Options{Host: s.addrs[i], Insecure: true})
	if err != nil {
		return "connect: " + err.Error()
	}
	defer c.Close()
	var out bytes.Buffer
	if _, err := c.Exec(ctx, statement, func(r pgclient.Result) error {
		return render.Write(&out, render.CSV, r.Columns, r.Aligns(), r.Rows)
	}); err != nil {
		return err.Error()
	}
	_, rows, _ := strings.Cut(strings.TrimSuffix(out.String(), "\n"), "\n")
	return rows
}

func (s *servers) await(what string, limit time.Duration, holds func() bool) {
	s.t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if holds() {
			return
		}
	}
	s.t.Fatalf("after %v still not: %s", limit, what)
}

const (
	askVersion  = "show cluster setting version"
	askBinaries = "select server_version from kwdb_internal.gossip_nodes order by node_id"
)

// A rolling upgrade to a release with another cluster version, the way back from it, and the end of that way.
func TestUpgradeWithAnotherClusterVersion(t *testing.T) {
	s := newServers(t, 3)
	s.form("20.1-3")
	if got := s.sql(1, "set cluster setting cluster.preserve_downgrade_option = '20.1-3'"); got != "" {
		t.Fatal(got)
	}
	for i := 2; i > 0; i-- {
		s.restart(i, "20.1-4")
	}
	s.await("gossip tells each node's version", 10*time.Second, func() bool { return s.sql(0, askBinaries) == "20.1-3\n20.1-4\n20.1-4" })
	s.restart(2, "20.1-3") // back: its store was only opened
	s.restart(2, "20.1-4")
	s.restart(0, "20.1-4")
	s.await("all are new", 10*time.Second, func() bool { return s.sql(0, askBinaries) == "20.1-4\n20.1-4\n20.1-4" })
	if got := s.sql(1, "select kwdb_internal.node_executable_version()"); got != "20.1-4" {
		t.Errorf("node_executable_version() is %s", got)
	}
	for end := time.Now().Add(12 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) { // two looks of every node
		if got := s.sql(1, askVersion); got != "20.1-3" {
			t.Fatalf("cluster.preserve_downgrade_option is set and the version became %s", got)
		}
	}
	if got := s.sql(1, "reset cluster setting cluster.preserve_downgrade_option"); got != "" {
		t.Fatal(got)
	}
	s.await("the version rises", 15*time.Second, func() bool { return s.sql(1, askVersion) == "20.1-4" })
	s.await("every store knows", 15*time.Second, func() bool {
		return !slices.ContainsFunc(s.nodes, func(n *node.Node) bool { return n.Active() != "20.1-4" })
	})
	s.nodes[2].Close()
	s.nodes[2] = nil
	want := fmt.Sprintf("inspecting engines: kwbase version v20.1-3 is incompatible with data in store <no-attributes>=%s; use version v20.1-4 or later",
		filepath.Join(s.dir, "2"))
	if n, err := s.start(2, "20.1-3"); err == nil || err.Error() != want {
		t.Fatalf("an older binary on the store: %v %v, want %s", n, err, want)
	}
	s.must(2, "20.1-4")
}

// One node of three stays old: the version stays, and rises once that node is new.
func TestMixedVersionsAreNotFinalised(t *testing.T) {
	s := newServers(t, 3)
	s.form("20.1-3")
	s.restart(2, "20.1-4")
	s.restart(1, "20.1-4")
	for end := time.Now().Add(12 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if got := s.sql(1, askVersion); got != "20.1-3" {
			t.Fatalf("a node still runs 20.1-3 and the version became %s", got)
		}
	}
	s.restart(0, "20.1-4")
	s.await("the version rises by itself", 20*time.Second, func() bool { return s.sql(2, askVersion) == "20.1-4" })
}

// A node of an older release cannot join a cluster that has gone on.
func TestAnOlderNodeCannotJoin(t *testing.T) {
	s := newServers(t, 2)
	if _, err := s.start(0, "20.1-4"); err != nil {
		t.Fatal(err)
	}
	client, err := node.DialRPC(s.addrs[0], 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Call("Node.Init", struct{}{}, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	n, err := s.start(1, "20.1-3")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-n.Done():
		if err == nil || !strings.HasSuffix(err.Error(), "cluster requires at least version 20.1-4, but peer has version 20.1-3") {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("still running")
	}
}

// Constraints move replicas to the node they name, hold them there through its decommission, and let go when they are taken away. A replica
// on demand stays away until the setting is reset.
func TestConstraintsAndAbsence(t *testing.T) {
	s := newServers(t, 4)
	s.form("20.1-3")
	for _, sql := range []string{"set cluster setting lab.replica_move_interval = '10ms'", "set cluster setting kv.snapshot_rebalance.max_rate = '1 GiB'",
		"create table t (a int primary key)", "insert into t values (1), (2)"} {
		if got := s.sql(0, sql); strings.Contains(got, "ERROR") || strings.Contains(got, "rror:") {
			t.Fatal(sql, got)
		}
	}
	replicas := func() []string {
		text := s.sql(0, "select replicas from kwdb_internal.ranges_no_leases where table_name = 't'")
		return strings.FieldsFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	}
	holds := func(id string) bool { return slices.Contains(replicas(), id) }
	s.await("the table is whole", 20*time.Second, func() bool { return len(replicas()) == 3 })
	if got := s.sql(0, "alter table t configure zone using constraints = '[+region=NODE4]'"); got != "" {
		t.Fatal(got)
	}
	s.await("a replica moves to node 4", 30*time.Second, func() bool { return holds("4") && len(replicas()) == 3 })
	decommission := func(on bool) {
		t.Helper()
		client, err := node.DialRPC(s.addrs[0], 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		var rows []node.DecommissionStatus
		if err := client.Call("Node.Decommission", node.DecommissionArgs{IDs: []int{4}, Decommissioning: on}, &rows); err != nil {
			t.Fatal(err)
		}
	}
	decommission(true)
	left := "select range_id from kwdb_internal.ranges_no_leases where 4 = any(replicas) order by 1"
	s.await("all other ranges leave node 4", 60*time.Second, func() bool { return !strings.Contains(s.sql(0, left), "\n") })
	time.Sleep(3 * time.Second) // some hundred looks of the allocator
	if !holds("4") {
		t.Fatalf("the constraint names node 4 and the replicas are %v", replicas())
	}
	if got := s.sql(0, "alter table t configure zone using constraints = '[]'"); got != "" {
		t.Fatal(got)
	}
	s.await("the replica leaves node 4 once nothing holds it", 30*time.Second, func() bool { return !holds("4") && len(replicas()) == 3 })
	decommission(false)

	id := s.sql(0, "select range_id from kwdb_internal.ranges_no_leases where table_name = 't'")
	for _, away := range replicas() { // the leader's too
		if got := s.sql(0, "set cluster setting lab.replica_away = '"+id+":"+away+"'"); got != "" {
			t.Fatal(got)
		}
		s.await("replica "+away+" is away", 20*time.Second, func() bool { return !holds(away) && len(replicas()) == 2 })
		time.Sleep(2 * time.Second)
		if len(replicas()) != 2 {
			t.Fatalf("another took its place: %v", replicas())
		}
		if got := s.sql(0, "select count(*) from t"); got != "2" {
			t.Fatalf("rows: %s", got)
		}
		s.sql(0, "reset cluster setting lab.replica_away")
		s.await("the range is whole again", 20*time.Second, func() bool { return len(replicas()) == 3 })
	}
}
