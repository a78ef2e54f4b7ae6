// SPDX-License-Identifier: GPL-3.0-or-later

package replica

import (
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"kwdbstandin/internal/kv"
)

// loop is the only place where groups change: calls, messages and ticks in, then one round of disk and network.
func (e *Engine) loop() {
	defer close(e.done)
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for {
		select {
		case <-e.stop:
			e.process(true)
			for _, g := range e.groups {
				g.fail(ErrClosed)
			}
			return
		case f := <-e.calls:
			f()
		case in := <-e.inbox:
			e.step(in)
		case <-ticker.C:
			e.tick()
		}
		for more := true; more; { // one round of disk and network for all that has piled up
			select {
			case f := <-e.calls:
				f()
			case in := <-e.inbox:
				e.step(in)
			default:
				more = false
			}
		}
		e.process(time.Since(e.lastSync) > time.Second)
	}
}

func (e *Engine) tick() {
	now := time.Now()
	for _, g := range e.groups {
		g.rn.Tick()
		for id, at := range g.readAge { // the heartbeat that asked may have been lost
			if now.Sub(at) > time.Second {
				g.readAge[id] = now
				g.rn.ReadIndex(u64(id))
			}
		}
		if g.leading {
			e.checkSnapshots(g, now)
		}
	}
}

// checkSnapshots frees a member whose snapshot got lost; raft itself waits for a report.
func (e *Engine) checkSnapshots(g *group, now time.Time) {
	stuck := map[uint64]bool{}
	g.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		if pr.State == tracker.StateSnapshot {
			stuck[id] = true
		}
	})
	for id := range g.snapSince {
		if !stuck[id] {
			delete(g.snapSince, id)
		}
	}
	for id := range stuck {
		if since, ok := g.snapSince[id]; !ok {
			g.snapSince[id] = now
		} else if now.Sub(since) > 5*time.Second {
			delete(g.snapSince, id)
			g.rn.ReportSnapshot(id, raft.SnapshotFailure)
		}
	}
}

func (e *Engine) step(in incoming) {
	g := e.groups[in.id]
	to := in.m.GetTo()
	if nodeOf(to) != e.self {
		return
	}
	if g != nil && to != g.raftID {
		if generation(to) <= generation(g.raftID) {
			return
		}
		if err := e.destroy(g); err != nil { // added again after a removal we did not hear of
			e.fatal(err)
			return
		}
		g = nil
	}
	if g == nil {
		switch in.m.GetType() {
		case pb.MsgApp, pb.MsgHeartbeat, pb.MsgSnap:
		default:
			return
		}
		if g = e.adopt(in.id, to); g == nil {
			return
		}
	}
	_ = g.rn.Step(in.m)
}

// adopt makes an empty replica for a leader that says we are a member; its snapshot will fill it.
func (e *Engine) adopt(id kv.RangeID, rid uint64) *group {
	old := false
	err := e.db.Update(func(tx *bolt.Tx) error {
		if old = generation(rid) < tombGeneration(tx, id); old {
			return nil
		}
		b, err := createBucket(tx, id, rid)
		if err != nil {
			return err
		}
		return putMsg(b, keyHardState, &pb.HardState{})
	})
	if err != nil {
		e.fatal(err)
		return nil
	}
	if old {
		return nil
	}
	g := e.newGroup(id, rid)
	if err := g.start(); err != nil {
		return nil
	}
	e.groups[id] = g
	return g
}

type work struct {
	g  *group
	rd raft.Ready
}

// process does raft's work until nothing is left: write, send, apply. flushAll also writes applied state that no
// log write carried along.
func (e *Engine) process(flushAll bool) {
	changed := false
	for {
		var round []work
		sync := false
		for _, g := range e.groups {
			if len(g.newReads) > 0 {
				e.readSeq++
				g.reads[e.readSeq], g.readAge[e.readSeq], g.newReads = g.newReads, time.Now(), nil
				g.rn.ReadIndex(u64(e.readSeq))
			}
			if !g.rn.HasReady() {
				continue
			}
			rd := g.rn.Ready()
			round = append(round, work{g, rd})
			sync = sync || rd.MustSync || !raft.IsEmptySnap(rd.Snapshot)
		}
		if len(round) == 0 {
			break
		}
		for _, w := range round {
			if w.rd.SoftState != nil {
				changed = e.soften(w.g, w.rd.SoftState) || changed
			}
			if w.g.leading {
				e.sendAll(w.g, w.rd.Messages) // a leader's messages need not wait for its own disk
			}
		}
		if err := e.persist(round, sync); err != nil {
			e.fatal(err)
			return
		}
		for _, w := range round {
			if !w.g.leading {
				e.sendAll(w.g, w.rd.Messages)
			}
			before := w.g.confIndex
			if err := e.applyReady(w); err != nil {
				e.fatal(fmt.Errorf("range %d: %w", w.g.id, err))
				return
			}
			changed = changed || before != w.g.confIndex
			w.g.rn.Advance(w.rd)
		}
	}
	if flushAll {
		e.lastSync = time.Now()
		if err := e.persist(nil, e.anyDirty()); err != nil {
			e.fatal(err)
		}
	}
	if changed {
		e.onChange()
	}
}

func (e *Engine) anyDirty() bool {
	for _, g := range e.groups {
		if g.dirty {
			return true
		}
	}
	return false
}

// soften takes over who leads.
func (e *Engine) soften(g *group, s *raft.SoftState) bool {
	was := g.leading
	changed := g.lead != s.Lead
	g.lead, g.leading = s.Lead, s.RaftState == raft.StateLeader
	if was && !g.leading {
		g.fail(ErrRetry)
	}
	return changed || was != g.leading
}

func (e *Engine) sendAll(g *group, messages []*pb.Message) {
	for _, m := range messages {
		if e.send(nodeOf(m.GetTo()), g.id, m) {
			continue
		}
		if m.GetType() == pb.MsgSnap {
			g.rn.ReportSnapshot(m.GetTo(), raft.SnapshotFailure)
		}
	}
}

// persist writes a round's log entries, votes and snapshots, and with them everything applied before.
func (e *Engine) persist(round []work, sync bool) error {
	for _, w := range round {
		if !raft.IsEmptyHardState(w.rd.HardState) {
			w.g.hard.Reset()
			proto.Merge(&w.g.hard, w.rd.HardState)
		}
	}
	if sync {
		err := e.db.Update(func(tx *bolt.Tx) error {
			root := tx.Bucket(bucketRanges)
			for _, w := range round {
				if err := w.g.write(root.Bucket(u64(uint64(w.g.id))), w.rd); err != nil {
					return err
				}
			}
			for _, g := range e.groups {
				if !g.dirty {
					continue
				}
				if err := g.flush(root.Bucket(u64(uint64(g.id)))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, g := range e.groups {
			if g.dirty {
				g.dirty, g.wholeDirty = false, false
				g.dirtyKeys, g.dirtyResults = map[string]bool{}, nil
			}
		}
	}
	for _, w := range round {
		if !raft.IsEmptySnap(w.rd.Snapshot) {
			if err := w.g.storage.ApplySnapshot(w.rd.Snapshot); err != nil {
				return err
			}
		}
		if err := w.g.storage.Append(w.rd.Entries); err != nil {
			return err
		}
		if !raft.IsEmptyHardState(w.rd.HardState) {
			if err := w.g.storage.SetHardState(w.rd.HardState); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *group) write(b *bolt.Bucket, rd raft.Ready) error {
	if b == nil {
		return fmt.Errorf("range %d has no home on disk", g.id)
	}
	if !raft.IsEmptySnap(rd.Snapshot) {
		if err := g.receive(rd.Snapshot); err != nil {
			return err
		}
		meta := rd.Snapshot.GetMetadata()
		if err := b.Put(keyTrunc, append(u64(meta.GetIndex()), u64(meta.GetTerm())...)); err != nil {
			return err
		}
		if err := deleteFrom(b.Bucket(bucketLog), 0); err != nil {
			return err
		}
	}
	if err := writeEntries(b, rd.Entries); err != nil {
		return err
	}
	return putMsg(b, keyHardState, &g.hard)
}

func (e *Engine) applyReady(w work) error {
	g := w.g
	for _, entry := range w.rd.CommittedEntries {
		if err := g.applyEntry(entry); err != nil {
			return err
		}
	}
	for _, rs := range w.rd.ReadStates {
		id := binary.BigEndian.Uint64(rs.RequestCtx)
		for _, r := range g.reads[id] {
			r.index = rs.Index
			g.waiting = append(g.waiting, r)
		}
		delete(g.reads, id)
		delete(g.readAge, id)
	}
	g.finishReads()
	return nil
}
