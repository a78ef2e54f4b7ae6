// SPDX-License-Identifier: GPL-3.0-or-later

// Package replica runs the raft groups of one node. One loop owns them all and writes them with one transaction (one
// fsync) a round; a proposal is answered when a majority has it on disk and this replica has applied it.
package replica

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"kwdbstandin/internal/kv"
)

// A follower that hears nothing for 15 to 30 ticks asks for votes: a killed leader is replaced within 3 to 6 s.
const (
	tickInterval   = 200 * time.Millisecond
	heartbeatTicks = 5
	electionTicks  = 15
)

var (
	// ErrNotHere: this node has no replica of the range.
	ErrNotHere = errors.New("range not found")
	// ErrRetry: the proposal may or may not be applied; sending it again with the same id is safe.
	ErrRetry = errors.New("try again")
	// ErrBusy: a membership change is under way, or this replica is not in the position to make one.
	ErrBusy = errors.New("membership change not possible now")
	// ErrClosed: the engine was stopped.
	ErrClosed = errors.New("engine closed")
)

// NotLeader names the node to ask instead; 0 when unknown.
type NotLeader struct{ Leader int }

func (e NotLeader) Error() string { return fmt.Sprintf("not the leader (node %d is)", e.Leader) }

// Sender hands a message to the transport without blocking; false means it was dropped.
type Sender func(node int, id kv.RangeID, m *pb.Message) bool

// Status describes one replica of this node.
type Status struct {
	ID             kv.RangeID
	Initialised    bool
	Leader         int // node id, 0 unknown
	Leading        bool
	Voters         []int
	Learners       []int
	Joint          bool
	Transferring   bool
	ConfIndex      uint64
	Applied        uint64
	Bytes          int64
	Keys           int
	CaughtUp       map[int]bool // on the leader: the member's log is at most a few entries behind and it answers
	HasUncommitted bool
}

// Engine hosts the replicas of one node.
type Engine struct {
	self     int
	db       *bolt.DB
	send     Sender
	onChange func() // leadership or membership of some range changed; called from the loop, must not block
	groups   map[kv.RangeID]*group
	calls    chan func()
	inbox    chan incoming
	stop     chan struct{}
	done     chan struct{}
	readSeq  uint64
	lastSync time.Time
	fatal    func(error)
}

type incoming struct {
	id kv.RangeID
	m  *pb.Message
}

// Open loads every replica from the database and starts the loop. fatal is called when the disk fails: a node that
// cannot write must not go on.
func Open(db *bolt.DB, self int, send Sender, onChange func(), fatal func(error)) (*Engine, error) {
	e := &Engine{self: self, db: db, send: send, onChange: onChange, fatal: fatal,
		groups: map[kv.RangeID]*group{}, calls: make(chan func(), 64), inbox: make(chan incoming, 4096),
		stop: make(chan struct{}), done: make(chan struct{})}
	err := db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketRanges, bucketTombs} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		root := tx.Bucket(bucketRanges)
		return root.ForEachBucket(func(k []byte) error {
			id := kv.RangeID(binary.BigEndian.Uint64(k))
			g, err := e.load(id, root.Bucket(k))
			if err != nil {
				return fmt.Errorf("range %d: %w", id, err)
			}
			e.groups[id] = g
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	go e.loop()
	return e, nil
}

// Close stops the loop after what is applied has been written. It does not close the database.
func (e *Engine) Close() {
	select {
	case <-e.stop:
	default:
		close(e.stop)
	}
	<-e.done
}

// do runs f in the loop and waits for it.
func (e *Engine) do(f func()) error {
	finished := make(chan struct{})
	select {
	case e.calls <- func() { f(); close(finished) }:
	case <-e.done:
		return ErrClosed
	}
	select {
	case <-finished:
		return nil
	case <-e.done:
		return ErrClosed
	}
}

// Step takes a message from the transport.
func (e *Engine) Step(id kv.RangeID, m *pb.Message) {
	select {
	case e.inbox <- incoming{id, m}:
	case <-e.done:
	}
}

// Create makes a first replica of a range that starts with exactly these voters. Creating it again changes nothing.
func (e *Engine) Create(id kv.RangeID, voters []int) error {
	var err error
	if derr := e.do(func() { err = e.create(id, voters) }); derr != nil {
		return derr
	}
	return err
}

func (e *Engine) create(id kv.RangeID, voters []int) error {
	if g := e.groups[id]; g != nil {
		return nil
	}
	conf := &pb.ConfState{}
	for _, n := range voters {
		conf.Voters = append(conf.Voters, raftID(n, 0))
	}
	g := e.newGroup(id, raftID(e.self, 0))
	g.conf, g.confIndex = conf, firstIndex
	g.state.applied, g.state.base = firstIndex, firstIndex
	hard := pb.HardState{Term: new(uint64(firstTerm)), Commit: new(uint64(firstIndex))}
	proto.Merge(&g.hard, &hard)
	gone := false
	err := e.db.Update(func(tx *bolt.Tx) error {
		if tombGeneration(tx, id) > 0 {
			gone = true // it lived here and was destroyed: this call is late
			return nil
		}
		b, err := createBucket(tx, id, g.raftID)
		if err != nil {
			return err
		}
		if err := b.Put(keyTrunc, append(u64(firstIndex), u64(firstTerm)...)); err != nil {
			return err
		}
		return g.flush(b)
	})
	if err != nil || gone {
		return err
	}
	if err := g.storage.ApplySnapshot(snapshotMeta(firstIndex, firstTerm, conf)); err != nil {
		return err
	}
	if err := g.storage.SetHardState(&hard); err != nil {
		return err
	}
	if err := g.start(); err != nil {
		return err
	}
	e.groups[id] = g
	return nil
}

// Campaign makes the replica ask for votes now instead of after its timeout.
func (e *Engine) Campaign(id kv.RangeID) {
	_ = e.do(func() {
		if g := e.groups[id]; g != nil && g.lead == 0 {
			_ = g.rn.Campaign()
		}
	})
}

// Destroy removes this node's replica and remembers that it did. olderThan spares an incarnation that was added by a
// later membership change; ^uint64(0) spares none.
func (e *Engine) Destroy(id kv.RangeID, olderThan uint64) error {
	var err error
	if derr := e.do(func() {
		g := e.groups[id]
		if g == nil || generation(g.raftID) >= olderThan {
			return
		}
		err = e.destroy(g)
	}); derr != nil {
		return derr
	}
	return err
}

func (e *Engine) destroy(g *group) error {
	err := e.db.Update(func(tx *bolt.Tx) error { return destroyBucket(tx, g.id, g.raftID) })
	if err != nil {
		return err
	}
	g.fail(ErrNotHere)
	delete(e.groups, g.id)
	e.onChange()
	return nil
}

// NewProposalID is for Propose; it must be unique in the cluster within a range's recent history.
func (e *Engine) Propose(ctx context.Context, id kv.RangeID, proposal uint64, writes []kv.Write) (uint64, error) {
	data := command{id: proposal, writes: writes}.encode()
	ch := make(chan proposeReply, 1)
	err := e.do(func() {
		g, err := e.leaderGroup(id)
		if err != nil {
			ch <- proposeReply{err: err}
			return
		}
		if res, done := g.state.results[proposal]; done {
			ch <- proposeReply{res: res}
			return
		}
		if len(g.proposals[proposal]) == 0 {
			if err := g.rn.Propose(data); err != nil {
				ch <- proposeReply{err: ErrRetry}
				return
			}
		}
		g.proposals[proposal] = append(g.proposals[proposal], ch)
	})
	if err != nil {
		return 0, err
	}
	select {
	case r := <-ch:
		if r.err != nil {
			return 0, r.err
		}
		if r.res.conflict {
			return r.res.version, kv.ErrConflict
		}
		return r.res.version, nil
	case <-ctx.Done():
		return 0, ErrRetry
	case <-e.done:
		return 0, ErrClosed
	}
}

// Read answers from the leader after a majority confirmed that it still leads.
func (e *Engine) Read(ctx context.Context, id kv.RangeID, since uint64) (kv.Delta, error) {
	r := &pendingRead{since: since, reply: make(chan readReply, 1)}
	err := e.do(func() {
		g, err := e.leaderGroup(id)
		if err != nil {
			r.reply <- readReply{err: err}
			return
		}
		g.newReads = append(g.newReads, r)
	})
	if err != nil {
		return kv.Delta{}, err
	}
	select {
	case a := <-r.reply:
		return a.delta, a.err
	case <-ctx.Done():
		return kv.Delta{}, ErrRetry
	case <-e.done:
		return kv.Delta{}, ErrClosed
	}
}

// Local is what this node's own replica has applied, without asking anyone: possibly old. ok is false without one.
func (e *Engine) Local(id kv.RangeID) (d kv.Delta, ok bool) {
	_ = e.do(func() {
		if g := e.groups[id]; g != nil && g.initialised() {
			d, ok = g.state.delta(0), true
		}
	})
	return d, ok
}

func (e *Engine) leaderGroup(id kv.RangeID) (*group, error) {
	g := e.groups[id]
	if g == nil {
		return nil, ErrNotHere
	}
	if !g.leading {
		return nil, NotLeader{nodeOf(g.lead)}
	}
	return g, nil
}

// Change alters the membership by one step: AddLearner, or Promote a caught-up learner while removing Remove, or
// Remove alone. Node ids; 0 is none. It returns once proposed; Status shows when it holds.
type Change struct{ AddLearner, Promote, Remove int }

// Change proposes a membership step on the leader.
func (e *Engine) Change(id kv.RangeID, c Change) error {
	var err error
	if derr := e.do(func() { err = e.change(id, c) }); derr != nil {
		return derr
	}
	return err
}

func (e *Engine) change(id kv.RangeID, c Change) error {
	g, err := e.leaderGroup(id)
	if err != nil {
		return err
	}
	if g.joint() || c.Remove == e.self {
		return ErrBusy
	}
	cc := &pb.ConfChangeV2{}
	step := func(t pb.ConfChangeType, id uint64) {
		cc.Changes = append(cc.Changes, &pb.ConfChangeSingle{Type: t.Enum(), NodeId: &id})
	}
	if c.AddLearner != 0 {
		if _, ok := g.member(c.AddLearner); ok {
			return nil
		}
		last, _ := g.storage.LastIndex()
		step(pb.ConfChangeAddLearnerNode, raftID(c.AddLearner, last))
	}
	if c.Promote != 0 {
		member, ok := g.member(c.Promote)
		if !ok {
			return ErrBusy
		}
		step(pb.ConfChangeAddNode, member)
	}
	if c.Remove != 0 {
		if member, ok := g.member(c.Remove); ok {
			step(pb.ConfChangeRemoveNode, member)
		}
	}
	if len(cc.Changes) == 0 {
		return nil
	}
	if err := g.rn.ProposeConfChange(cc); err != nil {
		return ErrBusy
	}
	return nil
}

// Transfer hands leadership to another voter.
func (e *Engine) Transfer(id kv.RangeID, node int) {
	_ = e.do(func() {
		if g, err := e.leaderGroup(id); err == nil {
			if member, ok := g.member(node); ok {
				g.rn.TransferLeader(member)
			}
		}
	})
}

// Statuses describes all replicas of this node.
func (e *Engine) Statuses() []Status {
	var out []Status
	_ = e.do(func() {
		for _, g := range e.groups {
			out = append(out, g.status())
		}
	})
	return out
}

// Status describes one replica; ok is false when it is not here.
func (e *Engine) Status(id kv.RangeID) (s Status, ok bool) {
	_ = e.do(func() {
		if g := e.groups[id]; g != nil {
			s, ok = g.status(), true
		}
	})
	return s, ok
}

func (g *group) status() Status {
	s := Status{ID: g.id, Initialised: g.initialised(), Leader: nodeOf(g.lead), Leading: g.leading, Joint: g.joint(),
		ConfIndex: g.confIndex, Applied: g.state.applied, Bytes: g.state.bytes, Keys: len(g.state.values),
		Transferring: g.rn.BasicStatus().LeadTransferee != 0, CaughtUp: map[int]bool{}}
	for _, id := range g.conf.GetVoters() {
		s.Voters = append(s.Voters, nodeOf(id))
	}
	for _, id := range g.conf.GetLearners() {
		s.Learners = append(s.Learners, nodeOf(id))
	}
	if g.leading {
		last, _ := g.storage.LastIndex()
		g.rn.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
			s.CaughtUp[nodeOf(id)] = id == g.raftID ||
				pr.RecentActive && pr.State == tracker.StateReplicate && pr.Match+64 >= last
		})
	}
	return s
}

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
