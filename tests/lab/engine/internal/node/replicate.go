// SPDX-License-Identifier: GPL-3.0-or-later

package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"kwdbstandin/internal/kv"
	"kwdbstandin/internal/replica"
)

// views joins liveness, gossip and settings for the allocator.
func (n *Node) views() map[int]nodeView {
	deadAfter := n.deadAfter()
	stuck, _ := strconv.ParseBool(n.setting("lab.decommission.stuck"))
	infos := n.gossip.all()
	now := time.Now()
	out := map[int]nodeView{}
	for id, l := range n.livenesses() {
		i := infos[id]
		out[id] = nodeView{ID: id, Live: now.Before(l.Expiration), Dead: now.After(l.Expiration.Add(deadAfter)),
			Decommissioning: l.Decommissioning, Draining: l.Draining, Reporting: !i.Metrics.At.IsZero(),
			Stuck: l.Decommissioning && (stuck || i.Stuck), Replicas: len(i.Holds), Leads: len(i.Leads), Locality: i.Locality}
	}
	return out
}

// away is the lab's fault of that name: the node whose replica of a range stays away, as `18:3,20:3` in lab.replica_away.
func (n *Node) away() map[kv.RangeID]int {
	out := map[kv.RangeID]int{}
	for _, pair := range strings.Split(n.setting("lab.replica_away"), ",") {
		var id kv.RangeID
		var node int
		if _, err := fmt.Sscanf(strings.TrimSpace(pair), "%d:%d", &id, &node); err == nil {
			out[id] = node
		}
	}
	return out
}

// replicateLoop looks after the ranges this node leads: their records, their number of replicas, their places.
func (n *Node) replicateLoop(ctx context.Context) {
	ticker := time.NewTicker(n.cfg.Timing.Scan)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if n.healthy() {
			n.replicateOnce(ctx)
		}
	}
}

func (n *Node) replicateOnce(ctx context.Context) {
	descs := n.descriptors()
	statuses := n.engine.Statuses()
	slices.SortFunc(statuses, func(a, b replica.Status) int { return cmp.Compare(a.ID, b.ID) })
	type candidate struct {
		replica.Status
		action
	}
	var work []candidate
	views, away := n.views(), n.away()
	for _, s := range statuses {
		d, recorded := descs[s.ID]
		if !s.Leading || s.Joint || s.Transferring || !recorded {
			continue
		}
		if s.ConfIndex > d.Generation && len(s.Learners) == 0 {
			n.record(ctx, s)
		}
		if len(s.Learners) > 0 { // left over from a step that was interrupted
			for _, l := range s.Learners {
				_ = n.engine.Change(s.ID, replica.Change{Remove: l})
			}
			continue
		}
		me := views[n.id]
		to := handover(n.id, s.Voters, views)
		fit := to != 0 && s.CaughtUp[to] && !me.Draining // a drain hands over by itself
		if fit && me.Decommissioning {
			n.engine.Transfer(s.ID, to) // whoever leads cannot remove itself
			continue
		}
		r := rangeView{Voters: s.Voters, Wanted: d.Wanted, Rules: d.Rules, Away: away[s.ID]}
		if a, ok := decide(n.id, r, views); ok && a.Remove == n.id {
			if next := successor(n.id, r.Away, s, views); next != 0 {
				n.engine.Transfer(s.ID, next)
			}
		} else if ok {
			work = append(work, candidate{s, a})
		} else if fit && time.Since(n.lastHandover) > n.cfg.Timing.Move {
			n.lastHandover = time.Now()
			n.engine.Transfer(s.ID, to)
		}
	}
	if len(work) == 0 {
		return
	}
	// Repairs first; otherwise whoever has waited longest.
	slices.SortStableFunc(work, func(a, b candidate) int {
		if a.Repair != b.Repair {
			if a.Repair {
				return -1
			}
			return 1
		}
		return n.lastWork[a.ID].Compare(n.lastWork[b.ID])
	})
	for _, w := range work {
		moving := w.Add != 0 && w.Remove != 0
		if w.Repair && time.Since(n.lastRepair) < n.cfg.Timing.Repair || !w.Repair && time.Now().Before(n.nextMove) {
			continue
		}
		n.lastWork[w.ID] = time.Now()
		err := n.perform(ctx, w.Status, w.action)
		if err != nil {
			n.logf('W', "kvserver/replicate_queue.go", "[r%d] %s: %v", w.ID, w.Why, err)
		} else {
			n.logf('I', "kvserver/replicate_queue.go", "[r%d] %s: add n%d, remove n%d", w.ID, w.Why, w.Add, w.Remove)
		}
		now := time.Now()
		n.lastRepair = now
		if moving || !w.Repair {
			n.nextMove = now.Add(n.movePause(w.Bytes))
		}
		return // look again before the next one
	}
}

// movePause is the time one replica's move takes beyond the copy itself: a fixed part and the time its bytes need at
// the rate the cluster setting allows. A replica counts at least one MiB, so that a low rate also slows small data.
func (n *Node) movePause(bytes int64) time.Duration {
	pause := n.duration("lab.replica_move_interval", n.cfg.Timing.Move)
	const nominal, defaultRate = 1 << 20, 8 << 20
	rate := parseBytes(n.setting("kv.snapshot_rebalance.max_rate"), defaultRate)
	return pause + time.Duration(float64(nominal+bytes)/float64(rate)*float64(time.Second))
}

var errStep = errors.New("the step did not complete in time")

// perform makes one membership step: a new member first catches up without a vote, then takes the place of the old
// one in one joint change, so that the range never has fewer voters than before.
func (n *Node) perform(ctx context.Context, s replica.Status, a action) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if a.Add != 0 {
		if err := n.engine.Change(s.ID, replica.Change{AddLearner: a.Add}); err != nil {
			return err
		}
		err := n.until(ctx, s.ID, func(s replica.Status) bool { return s.CaughtUp[a.Add] && slices.Contains(s.Learners, a.Add) })
		if err != nil {
			_ = n.engine.Change(s.ID, replica.Change{Remove: a.Add})
			return err
		}
	}
	if err := n.engine.Change(s.ID, replica.Change{Promote: a.Add, Remove: a.Remove}); err != nil {
		return err
	}
	err := n.until(ctx, s.ID, func(s replica.Status) bool {
		return !s.Joint && !slices.Contains(s.Voters, a.Remove) && (a.Add == 0 || slices.Contains(s.Voters, a.Add))
	})
	if err != nil {
		return err
	}
	now, ok := n.engine.Status(s.ID)
	if !ok || !now.Leading {
		return errStep
	}
	n.record(ctx, now)
	if a.Remove != 0 {
		go n.destroyReplica(a.Remove, s.ID, now.ConfIndex)
	}
	return nil
}

func (n *Node) until(ctx context.Context, id kv.RangeID, holds func(replica.Status) bool) error {
	for {
		s, ok := n.engine.Status(id)
		if !ok || !s.Leading {
			return errStep
		}
		if holds(s) {
			return nil
		}
		select {
		case <-ctx.Done():
			return errStep
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// record writes the membership of a range this node leads into the meta range.
func (n *Node) record(ctx context.Context, s replica.Status) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := n.updateDescriptor(ctx, s.ID, func(d *descriptor) bool {
		if d.Generation >= s.ConfIndex {
			return false
		}
		d.Generation, d.Voters = s.ConfIndex, slices.Sorted(slices.Values(s.Voters))
		return true
	})
	if err != nil {
		n.logf('W', "kvserver/replica_command.go", "[r%d] recording the descriptor: %v", s.ID, err)
	}
}

// refreshLoop keeps the mirrors of meta and liveness recent and throws away replicas that are no members any more.
func (n *Node) refreshLoop(ctx context.Context) {
	lastSweep := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(n.cfg.Timing.Refresh):
		case <-n.poked:
		}
		n.refreshMirrors(ctx)
		if time.Since(lastSweep) > 10*time.Second {
			lastSweep = time.Now()
			n.sweep(ctx)
		}
	}
}

func (n *Node) refreshMirrors(ctx context.Context) {
	for _, m := range []*mirror{n.live, n.meta} {
		try, cancel := context.WithTimeout(ctx, 3*time.Second)
		_ = m.refresh(try, n)
		cancel()
	}
}

// sweep destroys local replicas that the meta range does not know any more, or knows as placed elsewhere by a later
// change than the one that put them here. It acts only on a fresh, linearizable read.
func (n *Node) sweep(ctx context.Context) {
	try, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	statuses := n.engine.Statuses() // before the read: a range created after it would look unknown
	if n.meta.refresh(try, n) != nil {
		return
	}
	descs := n.descriptors()
	if len(descs) == 0 {
		return
	}
	for _, s := range statuses {
		d, known := descs[s.ID]
		switch {
		case !known:
			_ = n.engine.Destroy(s.ID, ^uint64(0))
		case !s.Leading && !slices.Contains(d.Voters, n.id) && d.Generation > s.ConfIndex && len(s.Learners) == 0 && s.Initialised:
			_ = n.engine.Destroy(s.ID, d.Generation)
		}
	}
}

// poke makes all live nodes read meta and liveness now; it waits a moment so that a following question sees it.
func (n *Node) poke() {
	ctx, cancel := context.WithTimeout(n.ctx, time.Second)
	defer cancel()
	results := make(chan struct{}, 64)
	sent := 0
	for id, i := range n.gossip.all() {
		if id == n.id || !n.isLive(i) || sent == cap(results) {
			continue
		}
		sent++
		go func() {
			_ = n.rpc.call(ctx, i.Address, "Poke", n.clusterID, &struct{}{})
			results <- struct{}{}
		}()
	}
	n.refreshMirrors(ctx)
	for range sent {
		select {
		case <-results:
		case <-ctx.Done():
			return
		}
	}
}

// metricsLoop takes the store's figures at a fixed pace.
func (n *Node) metricsLoop(ctx context.Context) {
	ticker := time.NewTicker(n.cfg.Timing.Metrics)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		m := n.measure()
		n.gossip.change(n.id, func(i *Info) { i.Metrics = m })
	}
}

func (n *Node) measure() Metrics {
	m := Metrics{At: time.Now()}
	views := n.views()
	nodes := staying(views)
	descs := n.descriptors()
	for _, s := range n.engine.Statuses() {
		if !s.Initialised {
			continue
		}
		m.Ranges++
		m.Applied = append(m.Applied, RangeIndex{s.ID, s.Applied})
		m.Logical += s.Bytes
		m.Keys += int64(s.Keys)
		live, lowest := 0, 0
		for _, v := range s.Voters {
			if views[v].Live {
				live++
				if lowest == 0 || v < lowest {
					lowest = v
				}
			}
		}
		if s.Leading {
			m.Leaders++
			m.Leases++
		}
		if s.Leading || s.Leader == 0 && lowest == n.id {
			if live < len(s.Voters)/2+1 {
				m.Unavailable++
			}
			if d, ok := descs[s.ID]; ok && live < needed(d.Wanted, nodes) {
				m.Underreplicated++
			}
		}
	}
	slices.SortFunc(m.Applied, func(a, b RangeIndex) int { return cmp.Compare(a.ID, b.ID) })
	m.LiveBytes = m.Logical
	m.KeyBytes = m.Logical / 4
	m.ValueBytes = m.Logical - m.KeyBytes
	m.Capacity, m.Available = diskSpace(n.cfg.Store)
	m.Used = n.usedBytes()
	return m
}

func (n *Node) deadAfter() time.Duration {
	return n.duration("server.time_until_store_dead", 30*time.Minute)
}

// duration reads a setting that is an interval (`1m15s`, `00:01:15`).
func (n *Node) duration(name string, fallback time.Duration) time.Duration {
	v := strings.TrimSpace(n.setting(name))
	if v == "" {
		return fallback
	}
	if d, err := time.ParseDuration(v); err == nil {
		return d
	}
	if t, err := time.Parse("15:04:05", v); err == nil {
		return t.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC))
	}
	return fallback
}

// parseBytes reads `8 MiB`, `64MB`, `1024`.
func parseBytes(s string, fallback int64) int64 {
	s = strings.ReplaceAll(strings.TrimSpace(s), " ", "")
	cut := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	unit := ""
	if cut >= 0 {
		s, unit = s[:cut], strings.ToLower(s[cut:])
	}
	v, err := strconv.ParseFloat(s, 64)
	scale := map[string]float64{"": 1, "b": 1, "k": 1e3, "kb": 1e3, "kib": 1 << 10, "m": 1e6, "mb": 1e6, "mib": 1 << 20,
		"g": 1e9, "gb": 1e9, "gib": 1 << 30}[unit]
	if err != nil || v*scale < 1 {
		return fallback
	}
	return int64(v * scale)
}

func jsonBytes(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only plain structs come here
	}
	return b
}
