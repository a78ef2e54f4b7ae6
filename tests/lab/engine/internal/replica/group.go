// SPDX-License-Identifier: GPL-3.0-or-later

package replica

import (
	"errors"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"kwdbstandin/internal/kv"
)

// A replica's raft id carries the node and a generation: a node that leaves a range and comes back is a new member to
// raft, because its vote and its log are gone.
const nodeBits = 20

func raftID(node int, generation uint64) uint64 { return generation<<nodeBits | uint64(node) }
func nodeOf(id uint64) int                      { return int(id & (1<<nodeBits - 1)) }
func generation(id uint64) uint64               { return id >> nodeBits }

// Every range starts from the same invented first snapshot, so that all first replicas agree without talking.
const firstIndex, firstTerm = 10, 5

// InitialConfIndex is the configuration index of a range that has had no membership change yet.
const InitialConfIndex = firstIndex

// keepLog is how many entries a follower may be behind before it gets a snapshot.
const keepLog = 500

// storage answers raft's snapshot request from the live state instead of a stored copy.
type storage struct {
	*raft.MemoryStorage
	g *group
}

func (s *storage) Snapshot() (*pb.Snapshot, error) {
	term, err := s.Term(s.g.state.applied)
	if err != nil {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	snap := snapshotMeta(s.g.state.applied, term, s.g.conf)
	snap.Data = s.g.state.encode()
	return snap, nil
}

type dirtyResult struct {
	seq, id uint64
	res     result
}

type pendingRead struct {
	since uint64
	index uint64 // 0 until raft said which index the reader must see
	reply chan readReply
}

type readReply struct {
	delta kv.Delta
	err   error
}

type proposeReply struct {
	res result
	err error
}

// group is one replica: a raft member, its log cache and its state. Only the engine's loop touches it.
type group struct {
	id        kv.RangeID
	raftID    uint64
	rn        *raft.RawNode
	storage   *storage
	state     *state
	hard      pb.HardState
	conf      *pb.ConfState
	confIndex uint64 // index of the entry that made conf
	lead      uint64
	leading   bool

	dirty        bool // state differs from the disk
	wholeDirty   bool // ... entirely: a snapshot replaced it
	dirtyKeys    map[string]bool
	dirtyResults []dirtyResult
	resultSeq    uint64

	proposals map[uint64][]chan proposeReply
	newReads  []*pendingRead
	reads     map[uint64][]*pendingRead // by read request id, waiting for raft
	readAge   map[uint64]time.Time
	waiting   []*pendingRead // waiting for applied to reach index
	snapSince map[uint64]time.Time
}

func (e *Engine) newGroup(id kv.RangeID, rid uint64) *group {
	g := &group{id: id, raftID: rid, state: newState(), conf: &pb.ConfState{},
		dirtyKeys: map[string]bool{}, proposals: map[uint64][]chan proposeReply{},
		reads: map[uint64][]*pendingRead{}, readAge: map[uint64]time.Time{}, snapSince: map[uint64]time.Time{}}
	g.storage = &storage{raft.NewMemoryStorage(), g}
	return g
}

func (g *group) start() error {
	rn, err := raft.NewRawNode(&raft.Config{
		ID: g.raftID, ElectionTick: electionTicks, HeartbeatTick: heartbeatTicks,
		Storage: g.storage, Applied: g.state.applied,
		MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 64, MaxUncommittedEntriesSize: 64 << 20,
		CheckQuorum: true, PreVote: true, Logger: quietLogger{},
	})
	g.rn = rn
	return err
}

func (g *group) initialised() bool { return len(g.conf.GetVoters()) > 0 }

// joint is true while two configurations hold at once.
func (g *group) joint() bool { return len(g.conf.GetVotersOutgoing()) > 0 }

func (g *group) member(node int) (uint64, bool) {
	for _, list := range [][]uint64{g.conf.GetVoters(), g.conf.GetLearners(), g.conf.GetVotersOutgoing()} {
		for _, id := range list {
			if nodeOf(id) == node {
				return id, true
			}
		}
	}
	return 0, false
}

// receive puts an incoming snapshot in place of everything known.
func (g *group) receive(snap *pb.Snapshot) error {
	s, err := decodeState(snap.GetData())
	if err != nil {
		return err
	}
	s.applied = snap.GetMetadata().GetIndex()
	s.base = s.applied
	g.state = s
	g.conf = proto.Clone(snap.GetMetadata().GetConfState()).(*pb.ConfState)
	g.confIndex = s.applied
	g.dirty, g.wholeDirty = true, true
	g.dirtyKeys, g.dirtyResults = map[string]bool{}, nil
	return nil
}

func (g *group) applyEntry(entry *pb.Entry) error {
	switch entry.GetType() {
	case pb.EntryNormal:
		if len(entry.GetData()) == 0 {
			g.state.applied = entry.GetIndex()
			break
		}
		c, err := decodeCommand(entry.GetData())
		if err != nil {
			return err
		}
		_, again := g.state.results[c.id]
		res, touched := g.state.apply(entry.GetIndex(), c)
		for _, k := range touched {
			g.dirtyKeys[k] = true
		}
		if !again {
			g.dirtyResults = append(g.dirtyResults, dirtyResult{g.resultSeq, c.id, res})
			g.resultSeq++
		}
		for _, ch := range g.proposals[c.id] {
			ch <- proposeReply{res: res}
		}
		delete(g.proposals, c.id)
	case pb.EntryConfChangeV2, pb.EntryConfChange:
		var cc pb.ConfChangeV2
		if entry.GetType() == pb.EntryConfChange {
			return errors.New("unexpected old configuration change")
		}
		if err := proto.Unmarshal(entry.GetData(), &cc); err != nil {
			return err
		}
		g.conf = proto.Clone(g.rn.ApplyConfChange(&cc)).(*pb.ConfState)
		g.confIndex = entry.GetIndex()
		g.state.applied = entry.GetIndex()
	}
	g.dirty = true
	return nil
}

// finishReads answers the readers whose index has been applied.
func (g *group) finishReads() {
	g.waiting = slices.DeleteFunc(g.waiting, func(r *pendingRead) bool {
		if g.state.applied < r.index {
			return false
		}
		r.reply <- readReply{delta: g.state.delta(r.since)}
		return true
	})
}

// fail tells everyone who waits that this replica cannot answer (any more).
func (g *group) fail(err error) {
	for id, list := range g.proposals {
		for _, ch := range list {
			ch <- proposeReply{err: err}
		}
		delete(g.proposals, id)
	}
	for _, r := range g.newReads {
		r.reply <- readReply{err: err}
	}
	g.newReads = nil
	for id, list := range g.reads {
		for _, r := range list {
			r.reply <- readReply{err: err}
		}
		delete(g.reads, id)
		delete(g.readAge, id)
	}
	for _, r := range g.waiting {
		r.reply <- readReply{err: err}
	}
	g.waiting = nil
}

type quietLogger struct{}

func (quietLogger) Debug(...any)            {}
func (quietLogger) Debugf(string, ...any)   {}
func (quietLogger) Error(...any)            {}
func (quietLogger) Errorf(string, ...any)   {}
func (quietLogger) Info(...any)             {}
func (quietLogger) Infof(string, ...any)    {}
func (quietLogger) Warning(...any)          {}
func (quietLogger) Warningf(string, ...any) {}
func (quietLogger) Fatal(v ...any)          { panic(v) }
func (quietLogger) Fatalf(f string, v ...any) {
	panic(append([]any{f}, v...))
}
func (quietLogger) Panic(v ...any) { panic(v) }
func (quietLogger) Panicf(f string, v ...any) {
	panic(append([]any{f}, v...))
}
