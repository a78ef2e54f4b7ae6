// SPDX-License-Identifier: GPL-3.0-or-later

package replica

import (
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"kwdbstandin/internal/kv"
)

// One bucket a range, in it: "log" (index -> entry), "kv" (key -> version, value), "results" (position in the ring ->
// proposal, answer), and single values. "tombs" remembers the generation of destroyed replicas, so that a late message
// cannot bring an old incarnation back.
var (
	bucketRanges  = []byte("ranges")
	bucketTombs   = []byte("tombs")
	bucketLog     = []byte("log")
	bucketKV      = []byte("kv")
	bucketResults = []byte("results")

	keyRaftID    = []byte("raftid")
	keyHardState = []byte("hardstate")
	keyConfState = []byte("confstate")
	keyConfIndex = []byte("confindex")
	keyApplied   = []byte("applied")
	keyTrunc     = []byte("truncated")
)

func u64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func getU64(b *bolt.Bucket, key []byte) uint64 {
	if v := b.Get(key); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func putMsg(b *bolt.Bucket, key []byte, m proto.Message) error {
	data, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return b.Put(key, data)
}

// createBucket makes the empty home of a replica; whatever was there is gone.
func createBucket(tx *bolt.Tx, id kv.RangeID, raftID uint64) (*bolt.Bucket, error) {
	root := tx.Bucket(bucketRanges)
	if root.Bucket(u64(uint64(id))) != nil {
		if err := root.DeleteBucket(u64(uint64(id))); err != nil {
			return nil, err
		}
	}
	b, err := root.CreateBucket(u64(uint64(id)))
	if err != nil {
		return nil, err
	}
	for _, name := range [][]byte{bucketLog, bucketKV, bucketResults} {
		if _, err := b.CreateBucket(name); err != nil {
			return nil, err
		}
	}
	return b, b.Put(keyRaftID, u64(raftID))
}

func writeEntries(b *bolt.Bucket, entries []*pb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	log := b.Bucket(bucketLog)
	for _, e := range entries {
		if err := putMsg(log, u64(e.GetIndex()), e); err != nil {
			return err
		}
	}
	// A new leader's entries replace a suffix; what lies beyond them never happened.
	return deleteFrom(log, entries[len(entries)-1].GetIndex()+1)
}

func deleteFrom(log *bolt.Bucket, index uint64) error {
	c := log.Cursor()
	for k, _ := c.Seek(u64(index)); k != nil; k, _ = c.Seek(u64(index)) {
		if err := log.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

func deleteBelow(log *bolt.Bucket, index uint64) error {
	c := log.Cursor()
	for k, _ := c.First(); k != nil && binary.BigEndian.Uint64(k) <= index; k, _ = c.First() {
		if err := log.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// flush writes what was applied since the last flush. It must be in the same transaction as, or after, the log entries
// it comes from; hard state goes with it because raft refuses an applied index above the commit index.
func (g *group) flush(b *bolt.Bucket) error {
	if err := putMsg(b, keyHardState, &g.hard); err != nil {
		return err
	}
	if g.wholeDirty {
		for _, name := range [][]byte{bucketKV, bucketResults} {
			if err := b.DeleteBucket(name); err != nil {
				return err
			}
			if _, err := b.CreateBucket(name); err != nil {
				return err
			}
		}
		for k := range g.state.values {
			g.dirtyKeys[k] = true
		}
		for i, id := range g.state.ring {
			g.dirtyResults = append(g.dirtyResults, dirtyResult{uint64(i), id, g.state.results[id]})
		}
		g.resultSeq = uint64(len(g.state.ring))
	}
	data := b.Bucket(bucketKV)
	for k := range g.dirtyKeys {
		name := append([]byte{'k'}, k...)
		v, ok := g.state.values[k]
		if !ok {
			if err := data.Delete(name); err != nil {
				return err
			}
			continue
		}
		if err := data.Put(name, append(u64(v.version), v.data...)); err != nil {
			return err
		}
	}
	results := b.Bucket(bucketResults)
	for _, r := range g.dirtyResults {
		if err := results.Put(u64(r.seq%maxResults), append(u64(r.seq), appendResult(nil, r.id, r.res)...)); err != nil {
			return err
		}
	}
	if err := putMsg(b, keyConfState, g.conf); err != nil {
		return err
	}
	if err := b.Put(keyConfIndex, u64(g.confIndex)); err != nil {
		return err
	}
	if err := b.Put(keyApplied, u64(g.state.applied)); err != nil {
		return err
	}
	if err := g.compact(b); err != nil {
		return err
	}
	return nil
}

// compact drops log entries that every restart can do without; followers further behind get a snapshot.
func (g *group) compact(b *bolt.Bucket) error {
	first, _ := g.storage.FirstIndex()
	if g.state.applied < first+2*keepLog {
		return nil
	}
	cut := g.state.applied - keepLog
	term, err := g.storage.Term(cut)
	if err != nil {
		return nil // already compacted
	}
	if err := g.storage.Compact(cut); err != nil {
		return nil
	}
	if err := b.Put(keyTrunc, append(u64(cut), u64(term)...)); err != nil {
		return err
	}
	return deleteBelow(b.Bucket(bucketLog), cut)
}

// load brings a group back from its bucket.
func (e *Engine) load(id kv.RangeID, b *bolt.Bucket) (*group, error) {
	g := e.newGroup(id, getU64(b, keyRaftID))
	if err := proto.Unmarshal(b.Get(keyHardState), &g.hard); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(b.Get(keyConfState), g.conf); err != nil {
		return nil, err
	}
	g.confIndex = getU64(b, keyConfIndex)
	g.state.applied = getU64(b, keyApplied)
	g.state.base = g.state.applied
	err := b.Bucket(bucketKV).ForEach(func(k, v []byte) error {
		if len(k) < 1 || len(v) < 8 {
			return errCorrupt
		}
		g.state.put(string(k[1:]), append([]byte{}, v[8:]...), binary.BigEndian.Uint64(v))
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := g.loadResults(b.Bucket(bucketResults)); err != nil {
		return nil, err
	}
	var index, term uint64
	if t := b.Get(keyTrunc); len(t) == 16 {
		index, term = binary.BigEndian.Uint64(t), binary.BigEndian.Uint64(t[8:])
	}
	if err := g.storage.ApplySnapshot(snapshotMeta(index, term, g.conf)); err != nil && err != raft.ErrSnapOutOfDate {
		return nil, err
	}
	var entries []*pb.Entry
	err = b.Bucket(bucketLog).ForEach(func(k, v []byte) error {
		if binary.BigEndian.Uint64(k) <= index {
			return nil
		}
		var entry pb.Entry
		if err := proto.Unmarshal(v, &entry); err != nil {
			return err
		}
		entries = append(entries, &entry)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := g.storage.Append(entries); err != nil {
		return nil, err
	}
	hard := proto.Clone(&g.hard).(*pb.HardState)
	if err := g.storage.SetHardState(hard); err != nil {
		return nil, err
	}
	return g, g.start()
}

func (g *group) loadResults(b *bolt.Bucket) error {
	ordered := map[uint64]dirtyResult{}
	low, high := ^uint64(0), uint64(0)
	err := b.ForEach(func(_, v []byte) error {
		r := reader{b: v}
		seq := r.uint64()
		id, res := r.result()
		if r.bad {
			return errCorrupt
		}
		ordered[seq] = dirtyResult{seq, id, res}
		low, high = min(low, seq), max(high, seq+1)
		return nil
	})
	if err != nil {
		return err
	}
	for seq := low; seq < high; seq++ {
		if r, ok := ordered[seq]; ok {
			g.state.remember(r.id, r.res)
		}
	}
	g.resultSeq = high
	return nil
}

func snapshotMeta(index, term uint64, conf *pb.ConfState) *pb.Snapshot {
	return &pb.Snapshot{Metadata: &pb.SnapshotMetadata{
		Index: &index, Term: &term, ConfState: proto.Clone(conf).(*pb.ConfState)}}
}

// tombGeneration is the lowest generation a new replica of the range may have here.
func tombGeneration(tx *bolt.Tx, id kv.RangeID) uint64 {
	return getU64(tx.Bucket(bucketTombs), u64(uint64(id)))
}

func destroyBucket(tx *bolt.Tx, id kv.RangeID, raftID uint64) error {
	if err := tx.Bucket(bucketRanges).DeleteBucket(u64(uint64(id))); err != nil {
		return fmt.Errorf("range %d: %w", id, err)
	}
	return tx.Bucket(bucketTombs).Put(u64(uint64(id)), u64(generation(raftID)+1))
}
