// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"

	"kwdbstandin/internal/kv"
)

func ptr[T any](v T) *T { return &v }

const (
	defaultMin = int64(134217728)
	defaultMax = int64(536870912)
)

// bornZones are the configurations of a new cluster (engine-transcripts 24), in the order in which they are listed.
var bornZones = []struct {
	id     int
	target string
	zone   zone
}{
	{0, "RANGE default", zone{ptr(defaultMin), ptr(defaultMax), ptr(90000), ptr(3)}},
	{1, "DATABASE system", zone{ptr(defaultMin), ptr(defaultMax), ptr(90000), ptr(5)}},
	{16, "RANGE meta", zone{ptr(defaultMin), ptr(defaultMax), ptr(3600), ptr(5)}},
	{17, "RANGE system", zone{ptr(defaultMin), ptr(defaultMax), ptr(90000), ptr(5)}},
	{22, "RANGE liveness", zone{ptr(defaultMin), ptr(defaultMax), ptr(600), ptr(5)}},
	{25, "TABLE system.public.replication_constraint_stats", zone{GCTTL: ptr(600)}},
	{27, "TABLE system.public.replication_stats", zone{GCTTL: ptr(600)}},
}

func (c *catalog) zone(target string) (zone, bool) {
	if z, ok := c.zones[target]; ok {
		return z, true
	}
	for _, b := range bornZones {
		if b.target == target {
			return b.zone, true
		}
	}
	return zone{}, false
}

// wanted is the replication factor of the first target that states one.
func (c *catalog) wanted(targets ...string) int {
	for _, t := range targets {
		if z, ok := c.zone(t); ok && z.Replicas != nil {
			return *z.Replicas
		}
	}
	return 3
}

// effective fills a zone from its parents, as SHOW ZONE CONFIGURATION prints it.
func (c *catalog) effective(targets ...string) (zone, string) {
	var z zone
	shown := ""
	for _, t := range targets {
		own, ok := c.zone(t)
		if !ok {
			continue
		}
		if shown == "" {
			shown = t
		}
		z.MinBytes, z.MaxBytes, z.GCTTL, z.Replicas = or(z.MinBytes, own.MinBytes), or(z.MaxBytes, own.MaxBytes), or(z.GCTTL, own.GCTTL), or(z.Replicas, own.Replicas)
	}
	return z, shown
}

func or[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func (z zone) sql(target string) string {
	var parts []string
	add := func(format string, v any) { parts = append(parts, "\t"+fmt.Sprintf(format, v)) }
	if z.MinBytes != nil {
		add("range_min_bytes = %d", *z.MinBytes)
	}
	if z.MaxBytes != nil {
		add("range_max_bytes = %d", *z.MaxBytes)
	}
	if z.GCTTL != nil {
		add("gc.ttlseconds = %d", *z.GCTTL)
	}
	if z.Replicas != nil {
		add("num_replicas = %d", *z.Replicas)
	}
	if d := z.tsMerge(target); d > 0 {
		add("ts_merge.days = %s", d)
	}
	add("constraints = '%s'", "[]")
	add("lease_preferences = '%s'", "[]")
	return "ALTER " + target + " CONFIGURE ZONE USING\n" + strings.Join(parts, ",\n")
}

// tsMerge is the one option of the time series engine; only the default zone has it.
func (z zone) tsMerge(target string) time.Duration {
	if target == "RANGE default" {
		return 240 * time.Hour
	}
	return 0
}

func (z zone) yaml() string {
	var b strings.Builder
	if z.MinBytes != nil {
		fmt.Fprintf(&b, "range_min_bytes: %d\n", *z.MinBytes)
	}
	if z.MaxBytes != nil {
		fmt.Fprintf(&b, "range_max_bytes: %d\n", *z.MaxBytes)
	}
	if z.GCTTL != nil {
		fmt.Fprintf(&b, "gc:\n  ttlseconds: %d\n", *z.GCTTL)
	}
	if z.Replicas != nil {
		fmt.Fprintf(&b, "num_replicas: %d\n", *z.Replicas)
	}
	return b.String() + "constraints: []\nlease_preferences: []\n"
}

type shownZone struct {
	id     uint64
	target string
	zone   zone
}

// listed is every configuration that exists.
func (c *catalog) listed() []shownZone {
	var out []shownZone
	seen := map[string]bool{}
	for _, b := range bornZones {
		z, _ := c.zone(b.target)
		out = append(out, shownZone{uint64(b.id), b.target, z})
		seen[b.target] = true
	}
	var rest []shownZone
	for target, z := range c.zones {
		if seen[target] {
			continue
		}
		s := shownZone{target: target, zone: z}
		kind, name, _ := strings.Cut(target, " ")
		for _, t := range c.tables {
			if kind == "TABLE" && t.full() == name {
				s.id = t.ID
			}
		}
		if d := c.databases[name]; kind == "DATABASE" && d != nil {
			s.id = d.ID
		}
		rest = append(rest, s)
	}
	slices.SortFunc(rest, func(a, b shownZone) int { return int(a.id) - int(b.id) })
	return append(out, rest...)
}

// zoneChain is a specifier's target followed by its parents.
func (p *planner) zoneChain(z *tree.ZoneSpecifier) ([]string, error) {
	switch {
	case z.NamedZone != "":
		name := string(z.NamedZone)
		if !slices.Contains([]string{"default", "meta", "system", "liveness", "timeseries"}, name) {
			return nil, pgerror.Newf(pgcode.InvalidName, "%q is not a built-in zone", name)
		}
		return []string{"RANGE " + name, "RANGE default"}, nil
	case z.Database != "":
		if _, err := p.cat.database(string(z.Database)); err != nil {
			return nil, err
		}
		return []string{"DATABASE " + string(z.Database), "RANGE default"}, nil
	case z.TargetsIndex() || z.TargetsPartition():
		return nil, refuse("zone configurations of indexes and partitions")
	}
	tn := z.TableOrIndex.Table
	db, name, err := p.qualify(&tn)
	if err != nil {
		return nil, err
	}
	target := "TABLE " + db + ".public." + name
	if _, born := p.cat.zone(target); !born || db != "system" {
		t, err := p.lookup(&tn)
		if err != nil {
			return nil, err
		}
		target = "TABLE " + t.full()
	}
	return []string{target, "DATABASE " + db, "RANGE default"}, nil
}

// configureZone stores a configuration and tells the ranges it reaches how many replicas they should have.
func (p *planner) configureZone(n *tree.SetZoneConfig) (*relation, error) {
	chain, err := p.zoneChain(&n.ZoneSpecifier)
	if err != nil {
		return nil, err
	}
	if n.YAMLConfig != nil && n.YAMLConfig != tree.DNull || n.AllIndexes {
		return nil, refuse("zone configurations as YAML")
	}
	discard := n.YAMLConfig == tree.DNull
	if discard && chain[0] == "RANGE default" {
		return nil, pgerror.Newf(pgcode.CheckViolation, "cannot remove default zone")
	}
	next, _ := p.cat.zone(chain[0])
	if n.SetDefault || discard {
		next = zone{}
	}
	for _, o := range n.Options {
		key := string(o.Key)
		if key == "constraints" || key == "lease_preferences" || key == "experimental_lease_preferences" {
			return nil, pgerror.Newf(pgcode.FeatureNotSupported, "set zone config constraints and lease_preferences is not supported")
		}
		if !slices.Contains([]string{"num_replicas", "range_min_bytes", "range_max_bytes", "gc.ttlseconds"}, key) {
			return nil, pgerror.Newf(pgcode.InvalidParameterValue, "unsupported zone config parameter: %q", key)
		}
		if o.Value == nil {
			return nil, refuse("COPY FROM PARENT")
		}
		d, err := p.constant(o.Value, types.Int)
		if err != nil {
			return nil, err
		}
		v, ok := d.(*tree.DInt)
		if !ok {
			return nil, pgerror.Newf(pgcode.InvalidParameterValue, "could not parse %s as type int", o.Value)
		}
		switch key {
		case "num_replicas":
			switch {
			case *v < 1:
				return nil, pgerror.Newf(pgcode.CheckViolation, "could not validate zone config: at least one replica is required")
			case *v == 2:
				return nil, pgerror.Newf(pgcode.CheckViolation, "could not validate zone config: at least 3 replicas are required for multi-replica configurations")
			}
			next.Replicas = ptr(int(*v))
		case "range_min_bytes":
			next.MinBytes = ptr(int64(*v))
		case "range_max_bytes":
			next.MaxBytes = ptr(int64(*v))
		default:
			if *v < 1 {
				return nil, pgerror.Newf(pgcode.CheckViolation, "could not validate zone config: GC.TTLSeconds minimum allowed is 1")
			}
			next.GCTTL = ptr(int(*v))
		}
	}
	return effect("CONFIGURE ZONE 1", func() error {
		err := p.change(func(c *catalog) ([]kv.Write, error) {
			if discard {
				return []kv.Write{c.put(keyZone+chain[0], nil)}, nil
			}
			return []kv.Write{c.put(keyZone+chain[0], next)}, nil
		})
		if err != nil {
			return err
		}
		if p.txn.explicit {
			p.txn.after = append(p.txn.after, p.sess.srv.applyZones)
			return nil
		}
		return p.sess.srv.applyZones(p.ctx)
	}), nil
}
