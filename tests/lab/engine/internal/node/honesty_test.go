// SPDX-License-Identifier: GPL-3.0-or-later

package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"kwdbstandin/internal/kv"
)

// cluster is a few nodes in this process, on the loopback, with short intervals.
type cluster struct {
	t     *testing.T
	dir   string
	addrs []string // by position
	nodes []*Node
}

func freePort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func newCluster(t *testing.T, n int) *cluster {
	c := &cluster{t: t, dir: t.TempDir()}
	for range n + 1 { // one address more, for a node that joins later
		c.addrs = append(c.addrs, freePort(t))
		c.nodes = append(c.nodes, nil)
	}
	t.Cleanup(func() {
		for _, v := range c.nodes {
			if v != nil {
				v.Close()
			}
		}
	})
	for i := range n {
		c.start(i)
	}
	if err := c.nodes[0].bootstrap(); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		c.await(fmt.Sprintf("node at %d serves", i), 10*time.Second, c.nodes[i].operational.Load)
	}
	c.await("all ranges are whole", 30*time.Second, func() bool { return c.whole(min(n, 3)) })
	return c
}

func (c *cluster) store(i int) string { return filepath.Join(c.dir, fmt.Sprint(i)) }

func (c *cluster) start(i int) *Node {
	n, err := Start(Config{StartMode: "start", Store: c.store(i), Listen: c.addrs[i], Advertise: c.addrs[i],
		AdvertiseSQL: c.addrs[i], HTTPListen: "127.0.0.1:0", AdvertiseHTTP: "127.0.0.1:0", Join: c.addrs[:3],
		Timing: Timing{Expiration: 3 * time.Second, Gossip: 100 * time.Millisecond, GossipLive: 2 * time.Second,
			Metrics: 300 * time.Millisecond, Refresh: 200 * time.Millisecond, Scan: 50 * time.Millisecond,
			Move: 10 * time.Millisecond}})
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes[i] = n
	return n
}

// kill ends a node without any goodbye; wipe also empties its store.
func (c *cluster) kill(i int) {
	c.nodes[i].Close()
	c.nodes[i] = nil
}

func (c *cluster) wipe(i int) {
	if err := os.RemoveAll(c.store(i)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) await(what string, limit time.Duration, holds func() bool) {
	c.t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if holds() {
			return
		}
	}
	c.t.Fatalf("after %v still not: %s", limit, what)
}

func (c *cluster) any() *Node {
	for _, n := range c.nodes {
		if n != nil {
			return n
		}
	}
	return nil
}

func (c *cluster) ranges() []kv.Descriptor {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	list, _ := c.any().Ranges(ctx)
	return list
}

func (c *cluster) whole(replicas int) bool {
	list := c.ranges()
	for _, d := range list {
		if len(d.Replicas) < replicas {
			return false
		}
	}
	return len(list) >= 16
}

func (c *cluster) on(node int) int {
	count := 0
	for _, d := range c.ranges() {
		if slices.Contains(d.Replicas, node) {
			count++
		}
	}
	return count
}

func (c *cluster) table() kv.RangeID {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	id, err := c.any().CreateRange(ctx, kv.Descriptor{Table: "t", Database: "defaultdb", TableID: 77, Wanted: 3})
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

func (c *cluster) read(n *Node, id kv.RangeID, limit time.Duration) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	d, err := n.Read(ctx, id, 0)
	rows := map[string]string{}
	for _, e := range d.Entries {
		rows[e.Key] = string(e.Value)
	}
	return rows, err
}

// writer writes rows until it is told to stop and keeps those that were acknowledged.
type writer struct {
	mu    sync.Mutex
	acked map[string]string
	gap   time.Duration
	stop  chan struct{}
	done  chan struct{}
}

func (c *cluster) write(n *Node, id kv.RangeID) *writer {
	w := &writer{acked: map[string]string{}, stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		last := time.Now()
		for i := 0; ; i++ {
			select {
			case <-w.stop:
				return
			default:
			}
			key, value := fmt.Sprintf("row%06d", i), fmt.Sprintf("value %d", i)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			_, err := n.Commit(ctx, id, []kv.Write{{Key: key, Value: []byte(value)}})
			cancel()
			w.mu.Lock()
			if err == nil {
				w.acked[key] = value
				w.gap = max(w.gap, time.Since(last))
				last = time.Now()
			}
			w.mu.Unlock()
		}
	}()
	return w
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

func (w *writer) end() {
	close(w.stop)
	<-w.done
}

func (c *cluster) check(w *writer, rows map[string]string) {
	c.t.Helper()
	for k, v := range w.acked {
		if rows[k] != v {
			c.t.Fatalf("acknowledged row %s is lost or changed: %q", k, rows[k])
		}
	}
	c.t.Logf("%d acknowledged rows, longest gap %v", len(w.acked), w.gap)
}

// Acknowledged rows outlive a minority: the leader is killed under load and its store emptied, then the second node
// is killed and comes back with its store.
func TestAcknowledgedRowsSurviveAMinority(t *testing.T) {
	c := newCluster(t, 3)
	id := c.table()
	w := c.write(c.nodes[0], id)
	c.await("rows before", 20*time.Second, func() bool { return w.count() > 100 })
	leader := 0
	c.await("the table has a leader", 10*time.Second, func() bool {
		s, _ := c.nodes[0].engine.Status(id)
		leader = s.Leader
		return leader != 0
	})
	victim := slices.IndexFunc(c.nodes[:3], func(n *Node) bool { return n.id == leader })
	if victim == 0 { // the writer sits on this node: move the lead away first, then kill the new leader
		c.nodes[0].engine.Transfer(id, c.nodes[1].id)
		c.await("the lead moved", 10*time.Second, func() bool {
			s, _ := c.nodes[1].engine.Status(id)
			return s.Leading
		})
		victim = 1
	}
	c.kill(victim)
	before := w.count()
	c.await("rows after the leader's death", 30*time.Second, func() bool { return w.count() > before+100 })
	c.wipe(victim)
	c.start(victim)
	c.await("the emptied node is a new one", 20*time.Second, func() bool { return c.nodes[victim].id > 3 })
	other := 3 - victim
	c.kill(other)
	c.start(other)
	before = w.count()
	c.await("rows after a restart", 30*time.Second, func() bool { return w.count() > before+50 })
	w.end()
	rows, err := c.read(c.nodes[0], id, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c.check(w, rows)
}

// Two of three stores emptied: the rows are gone, and nobody pretends otherwise.
func TestAWipedMajorityLosesTheData(t *testing.T) {
	c := newCluster(t, 3)
	id := c.table()
	w := c.write(c.nodes[0], id)
	c.await("rows", 20*time.Second, func() bool { return w.count() > 50 })
	w.end()
	for _, i := range []int{1, 2} {
		c.kill(i)
		c.wipe(i)
		c.start(i)
	}
	if rows, err := c.read(c.nodes[0], id, 8*time.Second); !errors.Is(err, kv.ErrUnavailable) {
		t.Fatalf("a range without its majority answered: %d rows, %v", len(rows), err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if _, err := c.nodes[0].Commit(ctx, id, []kv.Write{{Key: "x", Value: []byte("y")}}); err == nil {
		t.Fatal("a write without a majority was acknowledged")
	}
}

// Everything stops at once and comes back: every acknowledged row is there, by the disks alone.
func TestRowsSurviveAFullStop(t *testing.T) {
	c := newCluster(t, 3)
	id := c.table()
	w := c.write(c.nodes[0], id)
	c.await("rows", 30*time.Second, func() bool { return w.count() > 1500 }) // enough to compact the log
	w.end()
	for i := range 3 {
		c.kill(i)
	}
	for i := range 3 {
		c.start(i)
	}
	c.await("the cluster serves", 30*time.Second, func() bool { return c.nodes[1].operational.Load() })
	rows, err := c.read(c.nodes[1], id, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c.check(w, rows)
}

// A follower that slept through a compaction is filled by a snapshot, and then is as good as the others.
func TestALaggardGetsASnapshot(t *testing.T) {
	c := newCluster(t, 3)
	id := c.table()
	c.kill(2)
	w := c.write(c.nodes[0], id)
	c.await("rows", 60*time.Second, func() bool { return w.count() > 1500 })
	w.end()
	c.start(2)
	c.await("the laggard has caught up", 20*time.Second, func() bool {
		if !c.nodes[2].operational.Load() {
			return false
		}
		s, ok := c.nodes[2].engine.Status(id)
		return ok && s.Keys == len(w.acked)
	})
	c.kill(1)
	rows, err := c.read(c.nodes[2], id, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c.check(w, rows)
}

// Three nodes need three: a decommission of one never ends. With a fourth it does, and the rows move along.
func TestDecommission(t *testing.T) {
	c := newCluster(t, 3)
	id := c.table()
	w := c.write(c.nodes[0], id)
	leaving := c.nodes[2].id
	if err := c.nodes[0].setDecommissioning(context.Background(), leaving, true); err != nil {
		t.Fatal(err)
	}
	before := c.on(leaving)
	time.Sleep(3 * time.Second) // a hundred times the pace of moves here
	if now := c.on(leaving); now != before || now < 16 {
		t.Fatalf("replicas left a node that is needed: %d, then %d", before, now)
	}
	c.start(3)
	c.await("everything moved", 60*time.Second, func() bool { return c.on(leaving) == 0 })
	w.end()
	for _, d := range c.ranges() {
		if len(d.Replicas) != 3 {
			t.Errorf("range %d has replicas %v", d.ID, d.Replicas)
		}
	}
	c.kill(2)
	c.wipe(2)
	rows, err := c.read(c.nodes[0], id, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c.check(w, rows)
}

// A node that drains hands over first: writers wait a moment at most.
func TestDrainLeavesNoGap(t *testing.T) {
	c := newCluster(t, 3)
	id := c.table()
	w := c.write(c.nodes[0], id)
	for i := 2; i > 0; i-- {
		before := w.count()
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second) // a busy machine; the gap is judged below
		err := c.nodes[i].Drain(ctx)
		cancel()
		if err != nil {
			t.Fatalf("drain of node %d: %v", i, err)
		}
		c.kill(i)
		c.start(i)
		c.await("the node is back", 20*time.Second, c.nodes[i].operational.Load)
		c.await("rows went on", 20*time.Second, func() bool { return w.count() > before+50 })
	}
	w.end()
	if w.gap > 2*time.Second {
		t.Errorf("writers waited %v", w.gap)
	}
	rows, err := c.read(c.nodes[1], id, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c.check(w, rows)
}

// A node comes back with an empty store under its old address: it is a new node, and nothing that was meant for the old one
// takes away what the new one holds.
func TestANewNodeUnderAnOldAddress(t *testing.T) {
	c := newCluster(t, 3)
	id := c.table()
	w := c.write(c.nodes[0], id)
	c.await("rows", 20*time.Second, func() bool { return w.count() > 50 })
	old := c.nodes[2].id
	c.kill(2)
	c.wipe(2)
	if err := c.nodes[0].setDecommissioning(context.Background(), old, true); err != nil {
		t.Fatal(err)
	}
	c.start(2)
	c.await("everything moved", 60*time.Second, func() bool { return c.on(old) == 0 && c.on(c.nodes[2].id) >= 17 })
	w.end()
	c.await("the new node holds what it is said to hold", 10*time.Second, func() bool {
		held := map[kv.RangeID]bool{}
		for _, s := range c.nodes[2].engine.Statuses() {
			held[s.ID] = true
		}
		return len(held) == c.on(c.nodes[2].id)
	})
	time.Sleep(time.Second) // a late word to the old node would arrive by now
	c.kill(0)
	rows, err := c.read(c.nodes[1], id, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c.check(w, rows)
}

// Whoever did not hear the answer asks again, and another node: a second id would be a node in every list that nobody ever starts.
func TestWhoAsksAllOfThemBecomesOneNode(t *testing.T) {
	c := newCluster(t, 3)
	given := make(chan int, 6)
	for i := range 6 {
		go func() {
			var reply JoinReply
			err := (&Service{c.nodes[i%3]}).Join(&JoinArgs{Address: "127.0.0.1:1", StartMode: "start", Nonce: "one"}, &reply)
			if err != nil {
				t.Error(err)
			}
			given <- reply.NodeID
		}()
	}
	ids := map[int]bool{}
	for range 6 {
		ids[<-given] = true
	}
	if len(ids) != 1 {
		t.Errorf("it was given the ids %v", ids)
	}
	if err := c.nodes[0].live.refresh(context.Background(), c.nodes[0]); err != nil {
		t.Fatal(err)
	}
	if known := c.nodes[0].livenesses(); len(known) != 4 {
		t.Errorf("%d nodes are known, not 4: %v", len(known), known)
	}
}

// An address that a peer had may belong to another cluster's node by now; ranges and nodes have the same numbers there.
func TestAnotherClustersMessagesAreRefused(t *testing.T) {
	c := newCluster(t, 3)
	id, _ := c.nodes[0].ClusterInfo()
	for whose, refused := range map[string]bool{newUUID(): true, id: false} {
		conn, err := net.Dial("tcp", c.addrs[0])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(magicRaft + whose)); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		_, err = conn.Read(make([]byte, 1))
		if closed := errors.Is(err, io.EOF); closed != refused {
			t.Errorf("a stream of cluster %s: %v, refused should be %t", whose, err, refused)
		}
	}
}
