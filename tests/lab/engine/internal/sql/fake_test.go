// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"kwdbstandin/internal/build"
	"kwdbstandin/internal/kv"
)

// fakeStore is a store without replicas: the contract's semantics in memory, and faults on demand.
type fakeStore struct {
	mu       sync.Mutex
	ranges   map[kv.RangeID]*fakeRange
	desc     map[kv.RangeID]kv.Descriptor
	next     kv.RangeID
	nodes    []kv.Node
	settings map[string]string
	down     bool // no quorum
	lie      int  // that many commits go through and then answer ErrUnavailable
	commits  int
	active   string // the cluster version the store was told
}

type fakeRange struct {
	version uint64
	entries map[string]kv.Entry
}

func newFake() *fakeStore {
	f := &fakeStore{ranges: map[kv.RangeID]*fakeRange{}, desc: map[kv.RangeID]kv.Descriptor{}, next: 1, settings: map[string]string{}}
	start := time.Date(2026, 11, 23, 9, 35, 3, 301872000, time.UTC)
	for id := 1; id <= 3; id++ {
		addr := "q" + string(rune('0'+id)) + ":26257"
		f.nodes = append(f.nodes, kv.Node{ID: id, Address: addr, SQLAddress: addr, Build: "V3.2.1", Locality: "region=NODE" + string(rune('0'+id)), StartMode: "start",
			ServerVersion: build.ServerVersion, StartedAt: start, UpdatedAt: start, Available: true, Live: true, InGossip: true, Epoch: 1, Expiration: start, Ranges: 40,
			GossipedReplicas: 40, Leases: 2, Capacity: 1 << 30, CapacityAvailable: 1 << 29})
	}
	_, _ = f.CreateRange(context.Background(), kv.Descriptor{Name: "system", Wanted: 5})
	return f
}

func (f *fakeStore) NodeID() int             { return 1 }
func (f *fakeStore) ClusterID() string       { return "5ab255a6-8edf-486d-adef-c9c085f9f17f" }
func (f *fakeStore) SystemRange() kv.RangeID { return 1 }

func (f *fakeStore) Read(_ context.Context, id kv.RangeID, since uint64) (kv.Delta, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return kv.Delta{}, kv.ErrUnavailable
	}
	r := f.ranges[id]
	if r == nil {
		return kv.Delta{}, kv.ErrUnavailable // a dropped range has no leader
	}
	d := kv.Delta{Version: r.version, Full: since == 0}
	for _, e := range r.entries {
		if e.Version > since && (since > 0 || e.Value != nil) {
			d.Entries = append(d.Entries, e)
		}
	}
	return d, nil
}

func (f *fakeStore) Commit(_ context.Context, id kv.RangeID, writes []kv.Write) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return 0, kv.ErrUnavailable
	}
	r := f.ranges[id]
	if r == nil {
		return 0, kv.ErrUnavailable
	}
	for _, w := range writes {
		e := r.entries[w.Key]
		if e.Value == nil {
			e.Version = 0
		}
		if w.Expect != kv.Any && w.Expect != e.Version {
			return 0, kv.ErrConflict
		}
	}
	r.version++
	for _, w := range writes {
		r.entries[w.Key] = kv.Entry{Key: w.Key, Value: w.Value, Version: r.version}
	}
	f.commits++
	if f.lie > 0 {
		f.lie--
		return 0, kv.ErrUnavailable
	}
	return r.version, nil
}

func (f *fakeStore) CreateRange(_ context.Context, d kv.Descriptor) (kv.RangeID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d.ID, d.Replicas, d.Leaseholder = f.next, []int{1, 2, 3}, 1
	f.next++
	f.ranges[d.ID] = &fakeRange{entries: map[string]kv.Entry{}}
	f.desc[d.ID] = d
	return d.ID, nil
}

func (f *fakeStore) DropRange(_ context.Context, id kv.RangeID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.ranges, id)
	delete(f.desc, id)
	return nil
}

func (f *fakeStore) SetZone(_ context.Context, id kv.RangeID, n int, rules []kv.Rule) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.desc[id]
	d.Wanted, d.Rules = n, rules
	f.desc[id] = d
	return nil
}

func (f *fakeStore) Nodes(context.Context) ([]kv.Node, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.nodes), nil
}

func (f *fakeStore) Ranges(context.Context) ([]kv.Descriptor, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []kv.Descriptor
	for _, d := range f.desc {
		out = append(out, d)
	}
	return out, nil
}

func (f *fakeStore) SetSetting(_ context.Context, name, value string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settings[name] = value
	return nil
}

func (f *fakeStore) Activate(version string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = version
	return nil
}

func (f *fakeStore) set(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
}

// serve starts a server over the store and returns its address.
func serve(t testing.TB, f *fakeStore) (*Server, string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	srv := New(f, Options{Build: "V3.2.1", BuiltAt: time.Date(2026, 11, 23, 8, 46, 34, 0, time.UTC), StartMode: "start"})
	if err := srv.Bootstrap(ctx); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go srv.ServeConn(ctx, c)
		}
	}()
	t.Cleanup(func() { cancel(); l.Close() })
	return srv, l.Addr().String()
}
