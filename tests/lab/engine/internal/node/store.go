// SPDX-License-Identifier: GPL-3.0-or-later

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"kwdbstandin/internal/kv"
	"kwdbstandin/internal/replica"
)

// The first ranges have fixed ids; every node knows them without asking.
const (
	rangeMeta     kv.RangeID = 1 // descriptors, sequences, settings
	rangeLiveness kv.RangeID = 2
	rangeSystem   kv.RangeID = 3 // the SQL layer's
)

// descriptor is a range as the meta range records it. Generation is the raft index of the membership change that made
// Voters: an older record never overwrites a newer one.
type descriptor struct {
	ID                    kv.RangeID
	Name, Database, Table string
	TableID               uint64
	Wanted                int
	Rules                 []kv.Rule `json:",omitempty"`
	Voters                []int
	Generation            uint64
}

func descKey(id kv.RangeID) string { return fmt.Sprintf("desc/%08d", id) }

// systemRanges are the ranges a new cluster has. System data is wanted five times, as in the product.
func systemRanges(first int) []descriptor {
	ranges := []descriptor{
		{Name: "meta", Wanted: 5}, {Name: "liveness", Wanted: 5}, {Name: "system", Wanted: 5}, {Name: "timeseries", Wanted: 3},
	}
	for _, t := range []struct {
		id   uint64
		name string
	}{{2, "namespace"}, {3, "descriptor"}, {4, "users"}, {5, "zones"}, {6, "settings"}, {11, "lease"}, {12, "eventlog"},
		{13, "rangelog"}, {14, "ui"}, {15, "jobs"}, {21, "locations"}, {23, "role_members"}} {
		ranges = append(ranges, descriptor{Name: t.name, Database: "system", Table: t.name, TableID: t.id, Wanted: 5})
	}
	for i := range ranges {
		ranges[i].ID = kv.RangeID(i + 1)
		ranges[i].Voters = []int{first}
		ranges[i].Generation = replica.InitialConfIndex
	}
	return ranges
}

// mirror is this node's copy of a range it reads often.
type mirror struct {
	id      kv.RangeID
	mu      sync.Mutex // guards the fields
	turn    sync.Mutex // one refresh at a time
	version uint64
	values  map[string]kv.Entry
}

func (m *mirror) refresh(ctx context.Context, n *Node) error {
	m.turn.Lock()
	defer m.turn.Unlock()
	m.mu.Lock()
	since := m.version
	m.mu.Unlock()
	d, err := n.Read(ctx, m.id, since)
	if err != nil {
		return err
	}
	m.take(d)
	return nil
}

func (m *mirror) take(d kv.Delta) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d.Full || m.values == nil {
		m.values = map[string]kv.Entry{}
	}
	for _, e := range d.Entries {
		if e.Value == nil {
			delete(m.values, e.Key)
		} else {
			m.values[e.Key] = e
		}
	}
	m.version = d.Version
}

func (m *mirror) get(key string) (kv.Entry, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.values[key]
	return e, ok
}

// each visits the keys with a prefix in no order.
func (m *mirror) each(prefix string, f func(key string, e kv.Entry)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, e := range m.values {
		if strings.HasPrefix(k, prefix) {
			f(k[len(prefix):], e)
		}
	}
}

// update changes one key by compare-and-swap: f gets the present value (nil if none) and returns the new one, or
// false to leave it.
func (n *Node) update(ctx context.Context, m *mirror, key string, f func(old []byte) ([]byte, bool, error)) error {
	for {
		if err := m.refresh(ctx, n); err != nil {
			return err
		}
		old, _ := m.get(key)
		value, write, err := f(old.Value)
		if err != nil || !write {
			return err
		}
		_, err = n.Commit(ctx, m.id, []kv.Write{{Key: key, Value: value, Expect: old.Version}})
		if !errors.Is(err, kv.ErrConflict) {
			return err
		}
	}
}

// next takes a number from a sequence in the meta range.
func (n *Node) next(ctx context.Context, name string) (int, error) {
	var got int
	err := n.update(ctx, n.meta, "seq/"+name, func(old []byte) ([]byte, bool, error) {
		last, _ := strconv.Atoi(string(old))
		got = last + 1
		return []byte(strconv.Itoa(got)), true, nil
	})
	return got, err
}

func (n *Node) descriptors() map[kv.RangeID]descriptor {
	out := map[kv.RangeID]descriptor{}
	n.meta.each("desc/", func(_ string, e kv.Entry) {
		var d descriptor
		if json.Unmarshal(e.Value, &d) == nil {
			out[d.ID] = d
		}
	})
	return out
}

func (n *Node) updateDescriptor(ctx context.Context, id kv.RangeID, f func(*descriptor) bool) error {
	return n.update(ctx, n.meta, descKey(id), func(old []byte) ([]byte, bool, error) {
		if old == nil {
			return nil, false, nil // dropped meanwhile
		}
		var d descriptor
		if err := json.Unmarshal(old, &d); err != nil {
			return nil, false, err
		}
		if !f(&d) {
			return nil, false, nil
		}
		data, err := json.Marshal(d)
		return data, true, err
	})
}

// setting is a cluster setting this node obeys; "" when it was never set.
func (n *Node) setting(name string) string {
	e, _ := n.meta.get("set/" + name)
	return string(e.Value)
}

// --- kv.Store ---

// NodeID is this node's id, from 1.
func (n *Node) NodeID() int { return n.id }

// ClusterID is the cluster's UUID.
func (n *Node) ClusterID() string { return n.clusterID }

// SystemRange is the SQL layer's own range.
func (n *Node) SystemRange() kv.RangeID { return rangeSystem }

// Read implements kv.Store.
func (n *Node) Read(ctx context.Context, id kv.RangeID, since uint64) (d kv.Delta, err error) {
	err = n.onLeader(ctx, id, func(ctx context.Context, target int) error {
		if target == n.id {
			d, err = n.engine.Read(ctx, id, since)
			return err
		}
		var reply RangeReply
		args := ReadArgs{n.clusterID, id, since}
		if err := n.rpc.call(ctx, n.gossip.address(target), "Read", args, &reply); err != nil {
			return err
		}
		if err := reply.err(); err != nil {
			return err
		}
		d, err = replica.DecodeDelta(reply.Data)
		return err
	})
	return d, err
}

// Commit implements kv.Store.
func (n *Node) Commit(ctx context.Context, id kv.RangeID, writes []kv.Write) (version uint64, err error) {
	proposal := rand.Uint64()
	var packed []byte
	err = n.onLeader(ctx, id, func(ctx context.Context, target int) error {
		if target == n.id {
			version, err = n.engine.Propose(ctx, id, proposal, writes)
			return err
		}
		if packed == nil {
			packed = replica.EncodeWrites(writes)
		}
		var reply RangeReply
		args := CommitArgs{n.clusterID, id, proposal, packed}
		if err := n.rpc.call(ctx, n.gossip.address(target), "Commit", args, &reply); err != nil {
			return err
		}
		version = reply.Version
		return reply.err()
	})
	return version, err
}

// attemptTimeout bounds one try at one node, so that a node that hangs costs seconds and not the whole call.
const attemptTimeout = 4 * time.Second

// onLeader runs op at the range's leader, looking for it until ctx ends.
func (n *Node) onLeader(ctx context.Context, id kv.RangeID, op func(ctx context.Context, target int) error) error {
	hint := 0
	for attempt := 0; ; attempt++ {
		target := hint
		hint = 0
		if target == 0 || target != n.id && n.gossip.address(target) == "" {
			target = n.guessLeader(id, attempt)
		}
		wait := 50 * time.Millisecond
		if target != 0 {
			try, cancel := context.WithTimeout(ctx, attemptTimeout)
			err := op(try, target)
			cancel()
			var other replica.NotLeader
			switch {
			case err == nil, errors.Is(err, kv.ErrConflict):
				return err
			case errors.As(err, &other) && other.Leader != 0 && other.Leader != target:
				hint = other.Leader
				if attempt < 3 {
					continue
				}
			case errors.Is(err, replica.ErrRetry):
				wait = 10 * time.Millisecond
			case errors.Is(err, replica.ErrClosed):
				return kv.ErrDraining
			}
		}
		select {
		case <-ctx.Done():
			return kv.ErrUnavailable
		case <-n.ctx.Done():
			return kv.ErrDraining
		case <-time.After(wait):
		}
	}
}

// guessLeader names a node to ask: who leads by gossip, then in turn those who hold a replica.
func (n *Node) guessLeader(id kv.RangeID, attempt int) int {
	var holders []int
	best := Info{}
	for _, i := range n.gossip.all() {
		if slices.Contains(i.Leads, id) && i.Stamp.After(best.Stamp) && (i.ID == n.id || n.isLive(i)) {
			best = i
		}
		if slices.Contains(i.Holds, id) && (i.ID == n.id || n.isLive(i)) {
			holders = append(holders, i.ID)
		}
	}
	if s, ok := n.engine.Status(id); ok && s.Initialised {
		if s.Leader != 0 && attempt%2 == 0 {
			return s.Leader
		}
		holders = append(holders, n.id)
	}
	if best.ID != 0 && attempt%2 == 0 {
		return best.ID
	}
	if len(holders) == 0 {
		holders = n.descriptors()[id].Voters
	}
	if len(holders) == 0 {
		return 0
	}
	slices.Sort(holders)
	return holders[attempt%len(holders)]
}

// leaseholder is who leads a range by gossip; 0 when nobody says so.
func leaseholder(infos map[int]Info, id kv.RangeID) int {
	best := Info{}
	for _, i := range infos {
		if slices.Contains(i.Leads, id) && i.Stamp.After(best.Stamp) {
			best = i
		}
	}
	return best.ID
}

// CreateRange implements kv.Store.
func (n *Node) CreateRange(ctx context.Context, d kv.Descriptor) (kv.RangeID, error) {
	number, err := n.next(ctx, "range")
	if err != nil {
		return 0, err
	}
	desc := descriptor{ID: kv.RangeID(number), Name: d.Name, Database: d.Database, Table: d.Table, TableID: d.TableID,
		Wanted: max(d.Wanted, 1), Rules: d.Rules, Generation: replica.InitialConfIndex}
	if n.cfg.StartMode != "start" {
		desc.Wanted = 1 // the other start modes keep one copy
	}
	desc.Voters = n.place(desc.Wanted)
	data, err := json.Marshal(desc)
	if err != nil {
		return 0, err
	}
	if _, err := n.Commit(ctx, rangeMeta, []kv.Write{{Key: descKey(desc.ID), Value: data}}); err != nil {
		return 0, err
	}
	if err := n.createReplicas(ctx, desc); err != nil {
		return 0, err
	}
	return desc.ID, nil
}

// place chooses the nodes of a new range: this one and the emptiest that can take it; nodes that are down only when
// there are not enough others, so that a new range is as safe as the old ones.
func (n *Node) place(wanted int) []int {
	views := n.views()
	ids := []int{}
	for id, v := range views {
		if !v.Decommissioning && !v.Dead {
			ids = append(ids, id)
		}
	}
	rank := func(id int) int {
		v := views[id]
		switch {
		case id == n.id && !v.Draining:
			return 0
		case v.Live && !v.Draining:
			return 1 + v.Replicas
		}
		return 1 << 20
	}
	slices.SortFunc(ids, func(a, b int) int {
		if ra, rb := rank(a), rank(b); ra != rb {
			return ra - rb
		}
		return a - b
	})
	if need := needed(wanted, staying(views)); len(ids) > need {
		ids = ids[:need]
	}
	slices.Sort(ids)
	return ids
}

// createReplicas makes the first replicas and returns when a majority has them.
func (n *Node) createReplicas(ctx context.Context, d descriptor) error {
	results := make(chan bool, len(d.Voters))
	ctx, cancel := context.WithCancel(ctx)
	for _, id := range d.Voters {
		go func() {
			for ctx.Err() == nil {
				if n.createReplica(ctx, id, d) == nil {
					results <- true
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(300 * time.Millisecond):
				}
			}
			results <- false
		}()
	}
	// Stragglers get their replica from the leader's messages.
	defer cancel()
	for have := 0; have < len(d.Voters)/2+1; {
		select {
		case ok := <-results:
			if ok {
				have++
			}
		case <-ctx.Done():
			return kv.ErrUnavailable
		}
	}
	n.engine.Campaign(d.ID)
	return nil
}

func (n *Node) createReplica(ctx context.Context, id int, d descriptor) error {
	if id == n.id {
		return n.engine.Create(d.ID, d.Voters)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return n.rpc.call(ctx, n.gossip.address(id), "CreateReplica", CreateArgs{n.clusterID, id, d.ID, d.Voters}, &struct{}{})
}

// DropRange implements kv.Store.
func (n *Node) DropRange(ctx context.Context, id kv.RangeID) error {
	voters := n.descriptors()[id].Voters
	if _, err := n.Commit(ctx, rangeMeta, []kv.Write{{Key: descKey(id), Expect: kv.Any}}); err != nil {
		return err
	}
	for _, v := range voters {
		go n.destroyReplica(v, id, ^uint64(0)) // who misses this finds out by itself
	}
	return nil
}

func (n *Node) destroyReplica(node int, id kv.RangeID, olderThan uint64) {
	if node == n.id {
		_ = n.engine.Destroy(id, olderThan)
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, 3*time.Second)
	defer cancel()
	_ = n.rpc.call(ctx, n.gossip.address(node), "DestroyReplica", DestroyArgs{n.clusterID, node, id, olderThan}, &struct{}{})
}

// SetZone implements kv.Store.
func (n *Node) SetZone(ctx context.Context, id kv.RangeID, wanted int, rules []kv.Rule) error {
	err := n.updateDescriptor(ctx, id, func(d *descriptor) bool {
		changed := d.Wanted != wanted || !kv.SameRules(d.Rules, rules)
		d.Wanted, d.Rules = wanted, rules
		return changed
	})
	n.poke()
	return err
}

// SetSetting implements kv.Store.
func (n *Node) SetSetting(ctx context.Context, name, value string) error {
	_, err := n.Commit(ctx, rangeMeta, []kv.Write{{Key: "set/" + name, Value: []byte(value), Expect: kv.Any}})
	n.poke()
	return err
}

// Ranges implements kv.Store. Replica lists are the recorded ones: dead nodes stay in them until they are replaced.
func (n *Node) Ranges(ctx context.Context) ([]kv.Descriptor, error) {
	if err := n.meta.refresh(ctx, n); err != nil {
		return nil, err
	}
	infos := n.gossip.all()
	var out []kv.Descriptor
	for _, d := range n.descriptors() {
		out = append(out, kv.Descriptor{ID: d.ID, Name: d.Name, Database: d.Database, Table: d.Table, TableID: d.TableID,
			Replicas: d.Voters, Leaseholder: leaseholder(infos, d.ID), Wanted: d.Wanted, Rules: d.Rules})
	}
	slices.SortFunc(out, func(a, b kv.Descriptor) int { return int(a.ID) - int(b.ID) })
	return out, nil
}

// Nodes implements kv.Store.
func (n *Node) Nodes(context.Context) ([]kv.Node, error) {
	infos := n.gossip.all()
	deadAfter := n.deadAfter()
	var out []kv.Node
	for id, l := range n.livenesses() {
		i, known := infos[id]
		now := time.Now()
		node := kv.Node{ID: id, UpdatedAt: l.UpdatedAt, Available: now.Before(l.Expiration), Dead: now.After(l.Expiration.Add(deadAfter)),
			Decommissioning: l.Decommissioning, Draining: l.Draining, Epoch: l.Epoch, Expiration: l.Expiration, InGossip: known}
		if known {
			m := i.Metrics
			node.Address, node.SQLAddress, node.HTTPAddress = i.Address, i.SQLAddress, i.HTTPAddress
			node.Build, node.Locality, node.StartMode, node.ServerVersion = i.Build, i.Locality, i.StartMode, i.ServerVersion
			node.StartedAt, node.Live = i.StartedAt, n.isLive(i)
			node.Ranges, node.Leases, node.GossipedReplicas = m.Ranges, m.Leases, len(i.Holds)
			node.Capacity, node.CapacityAvailable, node.Used, node.LogicalBytes = m.Capacity, m.Available, m.Used, m.Logical
			node.RangesUnavailable, node.RangesUnderreplicated = m.Unavailable, m.Underreplicated
		}
		out = append(out, node)
	}
	slices.SortFunc(out, func(a, b kv.Node) int { return a.ID - b.ID })
	return out, nil
}
