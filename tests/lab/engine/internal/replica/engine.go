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

// Propose replicates writes and answers with their version once this replica has applied them. The proposal id must be
// random: a repeated one gets the first answer. kv.ErrConflict: nothing was written. ErrRetry: unknown, ask again.
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
