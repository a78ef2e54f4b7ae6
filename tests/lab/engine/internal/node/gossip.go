// SPDX-License-Identifier: GPL-3.0-or-later

package node

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"kwdbstandin/internal/kv"
)

// Info is what a node tells about itself. It spreads by gossip, needs no quorum, and is forgotten on a full stop: a
// node that left before has no address afterwards.
type Info struct {
	ID                               int
	Address, SQLAddress, HTTPAddress string
	Build, Locality, StartMode       string
	ServerVersion                    string
	StartedAt, Stamp                 time.Time // Stamp grows as long as the node lives
	Leads, Holds                     []kv.RangeID
	Metrics                          Metrics
	Stuck                            bool // lab fault: nothing may move off this node
}

// Metrics are a store's figures. They are taken every ten seconds, as in the product, and are zero before: a reader
// who trusts them right after a change is wrong.
type Metrics struct {
	At                                    time.Time
	Ranges, Leaders, Leases               int
	Unavailable, Underreplicated          int
	Capacity, Available, Used, Logical    int64
	LiveBytes, KeyBytes, ValueBytes, Keys int64
	Applied                               []RangeIndex
}

// RangeIndex is how far one replica has come.
type RangeIndex struct {
	ID    kv.RangeID
	Index uint64
}

type gossip struct {
	mu    sync.Mutex
	self  int
	infos map[int]Info
}

func (g *gossip) get(id int) (Info, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i, ok := g.infos[id]
	return i, ok
}

func (g *gossip) all() map[int]Info {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.infos)
}

func (g *gossip) address(id int) string {
	i, _ := g.get(id)
	return i.Address
}

func (g *gossip) put(i Info) {
	g.mu.Lock()
	g.infos[i.ID] = i
	g.mu.Unlock()
}

// change alters one record in place: two loops write this node's.
func (g *gossip) change(id int, f func(*Info)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.infos[id]
	f(&i)
	g.infos[id] = i
}

// merge keeps the newest record of each node; nobody but the node itself speaks for it.
func (g *gossip) merge(infos []Info) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, i := range infos {
		if i.ID != g.self && i.ID != 0 && i.Stamp.After(g.infos[i.ID].Stamp) {
			g.infos[i.ID] = i
		}
	}
}

// GossipArgs carries everything one side knows; the answer carries what the other side knows.
type GossipArgs struct {
	ClusterID string
	From      string // address of the caller
	Infos     []Info
}

// GossipReply is the other side's knowledge; ClusterID is empty when it waits for init itself.
type GossipReply struct {
	ClusterID string
	Active    string // the cluster version in force
	Infos     []Info
}

// gossipLoop exchanges with one random known node a second, and with the join addresses while nobody is known.
func (n *Node) gossipLoop(ctx context.Context) {
	ticker := time.NewTicker(n.cfg.Timing.Gossip)
	defer ticker.Stop()
	round := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-n.publish:
			time.Sleep(20 * time.Millisecond) // leadership tends to change for many ranges at once
			n.refreshInfo()
			for _, i := range n.gossip.all() {
				if n.isLive(i) && i.ID != n.id {
					go n.exchange(ctx, i.Address)
				}
			}
			continue
		}
		n.refreshInfo()
		var known []string
		for _, i := range n.gossip.all() {
			if i.ID != n.id && n.isLive(i) {
				known = append(known, i.Address)
			}
		}
		round++
		if len(known) == 0 || round%15 == 0 {
			for _, addr := range n.cfg.Join {
				if addr != n.cfg.Advertise && !slices.Contains(known, addr) {
					known = append(known, addr)
				}
			}
		}
		if len(known) > 0 {
			go n.exchange(ctx, known[rand.IntN(len(known))])
		}
	}
}

func (n *Node) exchange(ctx context.Context, addr string) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	args := GossipArgs{ClusterID: n.clusterID, From: n.cfg.Advertise, Infos: slices.Collect(maps.Values(n.gossip.all()))}
	var reply GossipReply
	if err := n.rpc.call(ctx, addr, "Gossip", args, &reply); err != nil || reply.ClusterID != n.clusterID {
		return
	}
	n.learn(reply.Active)
	n.gossip.merge(reply.Infos)
}

// isLive is the gossip view of life (`is_live`): it ends sooner than the liveness record does.
func (n *Node) isLive(i Info) bool { return time.Since(i.Stamp) < n.cfg.Timing.GossipLive }

// refreshInfo rebuilds what this node's own record says about its replicas.
func (n *Node) refreshInfo() {
	var leads, holds []kv.RangeID
	for _, s := range n.engine.Statuses() {
		if !s.Initialised {
			continue
		}
		holds = append(holds, s.ID)
		if s.Leading {
			leads = append(leads, s.ID)
		}
	}
	slices.Sort(holds)
	slices.Sort(leads)
	stuck := n.fault("stuck-decommission")
	n.gossip.change(n.id, func(i *Info) {
		i.Leads, i.Holds, i.Stuck, i.Stamp = leads, holds, stuck, time.Now()
	})
}
