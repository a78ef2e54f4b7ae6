// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"context"
	"sync"
	"time"

	"kwdbstandin/internal/build"
	"kwdbstandin/internal/kv"
)

// storeMetrics is the metrics column of kv_store_status: refreshed every ten seconds, all zero until the first time. Gates that trust it
// are fooled for as long, by the real engine as well.
type storeMetrics struct {
	store kv.Store
	mu    sync.Mutex
	nodes map[int]kv.Node
}

const metricsPeriod = 10 * time.Second

func newStoreMetrics(store kv.Store) *storeMetrics {
	return &storeMetrics{store: store, nodes: map[int]kv.Node{}}
}

// refresh takes the figures of live nodes that have run for at least age: a node writes its first ones ten seconds after its start.
func (m *storeMetrics) refresh(ctx context.Context, age time.Duration) {
	nodes, err := m.store.Nodes(ctx)
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range nodes {
		if n.Live && time.Since(n.StartedAt) >= age {
			m.nodes[n.ID] = n
		}
	}
}

func (m *storeMetrics) get(id int) (kv.Node, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.nodes[id]
	return n, ok
}

// run does the SQL layer's background work until ctx ends: metrics and the automatic finalising of a version.
func (s *Server) run(ctx context.Context) {
	s.stats.refresh(ctx, metricsPeriod) // what the others have written before this node came
	metrics, checks := time.NewTicker(metricsPeriod), time.NewTicker(5*time.Second)
	defer metrics.Stop()
	defer checks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-metrics.C:
			s.stats.refresh(ctx, metricsPeriod)
		case <-checks.C:
			bounded, cancel := context.WithTimeout(ctx, 4*time.Second)
			if cat, err := s.cat.get(bounded, 0); err == nil {
				s.finalize(bounded, cat)
				s.activate()
			}
			cancel()
		}
	}
}

// activate tells the store which cluster version is in force, as far as this node knows.
func (s *Server) activate() {
	s.cat.mu.Lock()
	version := ""
	if s.cat.cur != nil {
		version = s.cat.cur.settings["version"]
	}
	s.cat.mu.Unlock()
	_ = s.store.Activate(version) // a disk that fails ends the node elsewhere
}

// finalize raises the cluster version to the binaries' once every node runs one, unless cluster.preserve_downgrade_option holds it.
// A node that was decommissioned counts until it is dead for the cluster (server.time_until_store_dead), as in the product.
func (s *Server) finalize(ctx context.Context, cat *catalog) {
	active := cat.settings["version"]
	if active == "" || !build.VersionLess(active, s.opt.Version) || cat.settings["cluster.preserve_downgrade_option"] != "" {
		return
	}
	nodes, err := s.store.Nodes(ctx)
	if err != nil {
		return
	}
	for _, n := range nodes {
		switch {
		case n.Decommissioning && (n.Dead || n.ServerVersion == ""):
		case !n.Decommissioning && (!n.Available || n.Draining), n.ServerVersion != s.opt.Version:
			return
		}
	}
	_ = s.cat.change(ctx, func(c *catalog) ([]kv.Write, error) {
		if c.settings["version"] != active || c.settings["cluster.preserve_downgrade_option"] != "" {
			return nil, nil
		}
		return []kv.Write{c.put(keySetting+"version", s.opt.Version)}, nil
	})
}

// applyZones tells every range how many replicas its zone asks for, and where.
func (s *Server) applyZones(ctx context.Context) error {
	cat, err := s.cat.get(ctx, 0)
	if err != nil {
		return err
	}
	ranges, err := s.store.Ranges(ctx)
	if err != nil {
		return err
	}
	byRange := map[kv.RangeID]*tableDesc{}
	for _, t := range cat.tables {
		byRange[t.Range] = t
	}
	for _, r := range ranges {
		chain := systemZone(r)
		if t := byRange[r.ID]; t != nil {
			chain = []string{"TABLE " + t.full(), "DATABASE " + t.Database, "RANGE default"}
		}
		if want, rules := cat.placement(chain...); want != r.Wanted || !kv.SameRules(rules, r.Rules) {
			if err := s.store.SetZone(ctx, r.ID, want, rules); err != nil {
				return err
			}
		}
	}
	return nil
}

// systemZone is the zones of a range that is no user's table, nearest first.
func systemZone(r kv.Descriptor) []string {
	if r.Database == "" {
		return []string{"RANGE " + r.Name, "RANGE default"}
	}
	return []string{"TABLE " + r.Database + ".public." + r.Table, "DATABASE " + r.Database, "RANGE default"}
}
