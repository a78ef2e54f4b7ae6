// SPDX-License-Identifier: GPL-3.0-or-later

package replica

import (
	"encoding/binary"
	"errors"
	"sort"

	"kwdbstandin/internal/kv"
)

// How much history a replica keeps: changes serve deltas to readers, results make a retried proposal harmless.
const (
	maxChanges = 20000
	maxResults = 1024
)

var errCorrupt = errors.New("corrupt command")

type value struct {
	version uint64
	data    []byte
}

type change struct {
	version uint64
	key     string
}

// result is what the state machine answered to one proposal.
type result struct {
	version  uint64
	conflict bool
}

// state is the replicated content of one range. It changes only by apply and by a snapshot, so replicas that applied
// the same index are equal.
type state struct {
	applied uint64
	values  map[string]value
	bytes   int64
	changes []change // ascending by version; complete for every version above base
	base    uint64
	results map[uint64]result
	ring    []uint64 // proposal ids in the order they were applied, oldest first
}

func newState() *state {
	return &state{values: map[string]value{}, results: map[uint64]result{}}
}

// command is one proposal: a unique id, so that a proposal sent twice is applied once, and the writes of one range.
type command struct {
	id     uint64
	writes []kv.Write
}

const (
	flagDelete = 1 << iota
	flagAny
)

func (c command) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, c.id)
	b = binary.AppendUvarint(b, uint64(len(c.writes)))
	for _, w := range c.writes {
		var flags byte
		if w.Value == nil {
			flags |= flagDelete
		}
		if w.Expect == kv.Any {
			flags |= flagAny
		}
		b = append(b, flags)
		b = appendBytes(b, []byte(w.Key))
		if flags&flagAny == 0 {
			b = binary.AppendUvarint(b, w.Expect)
		}
		if flags&flagDelete == 0 {
			b = appendBytes(b, w.Value)
		}
	}
	return b
}

func decodeCommand(b []byte) (command, error) {
	r := reader{b: b}
	c := command{id: r.uint64()}
	n := r.uvarint()
	for i := uint64(0); i < n && !r.bad; i++ {
		flags := r.byte()
		w := kv.Write{Key: string(r.bytes()), Expect: kv.Any}
		if flags&flagAny == 0 {
			w.Expect = r.uvarint()
		}
		if flags&flagDelete == 0 {
			w.Value = append([]byte{}, r.bytes()...)
		}
		c.writes = append(c.writes, w)
	}
	if r.bad {
		return command{}, errCorrupt
	}
	return c, nil
}

// apply executes a command at a raft index and returns the keys it touched.
func (s *state) apply(index uint64, c command) (result, []string) {
	s.applied = index
	if old, done := s.results[c.id]; done {
		return old, nil
	}
	res := result{version: index}
	for _, w := range c.writes {
		if w.Expect != kv.Any && s.values[w.Key].version != w.Expect {
			res = result{version: s.values[w.Key].version, conflict: true}
			break
		}
	}
	var touched []string
	if !res.conflict {
		for _, w := range c.writes {
			s.put(w.Key, w.Value, index)
			s.changes = append(s.changes, change{index, w.Key})
			touched = append(touched, w.Key)
		}
		if len(s.changes) > 2*maxChanges {
			cut := len(s.changes) - maxChanges
			s.base = s.changes[cut-1].version
			s.changes = append([]change{}, s.changes[cut:]...)
		}
	}
	s.remember(c.id, res)
	return res, touched
}

func (s *state) put(key string, data []byte, version uint64) {
	if old, ok := s.values[key]; ok {
		s.bytes -= int64(len(key) + len(old.data))
	}
	if data == nil {
		delete(s.values, key)
		return
	}
	s.values[key] = value{version, data}
	s.bytes += int64(len(key) + len(data))
}

func (s *state) remember(id uint64, res result) {
	s.results[id] = res
	s.ring = append(s.ring, id)
	if len(s.ring) > 2*maxResults {
		for _, old := range s.ring[:maxResults] {
			delete(s.results, old)
		}
		s.ring = append([]uint64{}, s.ring[maxResults:]...)
	}
}

// delta answers what changed after since, newest value per key.
func (s *state) delta(since uint64) kv.Delta {
	d := kv.Delta{Version: s.applied}
	if since == 0 || since < s.base || since > s.applied {
		d.Full = true
		d.Entries = make([]kv.Entry, 0, len(s.values))
		for k, v := range s.values {
			d.Entries = append(d.Entries, kv.Entry{Key: k, Value: v.data, Version: v.version})
		}
		return d
	}
	first := sort.Search(len(s.changes), func(i int) bool { return s.changes[i].version > since })
	seen := map[string]bool{}
	for i := len(s.changes) - 1; i >= first; i-- {
		c := s.changes[i]
		if seen[c.key] {
			continue
		}
		seen[c.key] = true
		d.Entries = append(d.Entries, kv.Entry{Key: c.key, Value: s.values[c.key].data, Version: c.version})
	}
	return d
}

// encode and decodeState are the snapshot format.
func (s *state) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, s.applied)
	b = binary.AppendUvarint(b, uint64(len(s.values)))
	for k, v := range s.values {
		b = appendBytes(b, []byte(k))
		b = binary.AppendUvarint(b, v.version)
		b = appendBytes(b, v.data)
	}
	b = binary.AppendUvarint(b, uint64(len(s.ring)))
	for _, id := range s.ring {
		b = appendResult(b, id, s.results[id])
	}
	return b
}

func decodeState(b []byte) (*state, error) {
	r := reader{b: b}
	s := newState()
	s.applied = r.uint64()
	s.base = s.applied
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		k := string(r.bytes())
		version := r.uvarint()
		s.put(k, append([]byte{}, r.bytes()...), version)
	}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		id, res := r.result()
		s.remember(id, res)
	}
	if r.bad {
		return nil, errCorrupt
	}
	return s, nil
}

func appendBytes(b, data []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(data))), data...)
}

func appendResult(b []byte, id uint64, res result) []byte {
	b = binary.BigEndian.AppendUint64(b, id)
	b = binary.AppendUvarint(b, res.version)
	if res.conflict {
		return append(b, 1)
	}
	return append(b, 0)
}

// reader takes values off a byte slice; bad stays set after the first short read.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint64) []byte {
	if r.bad || uint64(len(r.b)) < n {
		r.bad = true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(uint64(n))
	return v
}

func (r *reader) bytes() []byte { return r.take(r.uvarint()) }

func (r *reader) result() (uint64, result) {
	id := r.uint64()
	return id, result{version: r.uvarint(), conflict: r.byte() == 1}
}
