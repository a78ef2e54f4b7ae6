// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/auxten/postgresql-parser/pkg/sql/lex"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
	"gopkg.in/yaml.v2"

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
	{0, "RANGE default", born(90000, 3)},
	{1, "DATABASE system", born(90000, 5)},
	{16, "RANGE meta", born(3600, 5)},
	{17, "RANGE system", born(90000, 5)},
	{22, "RANGE liveness", born(600, 5)},
	{25, "TABLE system.public.replication_constraint_stats", zone{GCTTL: ptr(600), Constraints: &constraints{}, Preferences: ptr("[]")}},
	{27, "TABLE system.public.replication_stats", zone{GCTTL: ptr(600), Constraints: &constraints{}, Preferences: ptr("[]")}},
}

func born(ttl, replicas int) zone {
	return zone{MinBytes: ptr(defaultMin), MaxBytes: ptr(defaultMax), GCTTL: &ttl, Replicas: &replicas, Constraints: &constraints{}, Preferences: ptr("[]")}
}

func (c *catalog) zone(target string) (zone, bool) {
	if z, ok := c.zones[target]; ok {
		return z, true
	}
	for _, b := range bornZones {
		if b.target == target {
			if c.alone && b.zone.Replicas != nil {
				b.zone.Replicas = ptr(1) // set at the first boot of start-single-node (engine-facts 1.1)
			}
			return b.zone, true
		}
	}
	return zone{}, false
}

// placement is how many replicas a range of the first of these targets should have, and by which rules.
func (c *catalog) placement(targets ...string) (wanted int, rules []kv.Rule) {
	z, _ := c.effective(targets...)
	wanted = 3
	if z.Replicas != nil {
		wanted = *z.Replicas
	}
	if z.Constraints != nil {
		rules = *z.Constraints
	}
	return wanted, rules
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
		z = z.over(own)
	}
	return z, shown
}

// over fills what z leaves open from its parent.
func (z zone) over(parent zone) zone {
	return zone{or(z.MinBytes, parent.MinBytes), or(z.MaxBytes, parent.MaxBytes), or(z.GCTTL, parent.GCTTL), or(z.Replicas, parent.Replicas),
		or(z.Constraints, parent.Constraints), or(z.Preferences, parent.Preferences)}
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
	if z.Constraints != nil {
		add("constraints = %s", lex.EscapeSQLString(z.Constraints.flow()))
	}
	if z.Preferences != nil {
		add("lease_preferences = '%s'", *z.Preferences)
	}
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
	return b.String() + "constraints: " + or(z.Constraints, &constraints{}).flow() + "\nlease_preferences: []\n"
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
	if n.AllIndexes {
		return nil, refuse("zone configurations of indexes and partitions")
	}
	discard := n.YAMLConfig == tree.DNull
	if discard && chain[0] == "RANGE default" {
		return nil, pgerror.Newf(pgcode.CheckViolation, "cannot remove default zone")
	}
	next, _ := p.cat.zone(chain[0])
	if n.SetDefault || discard {
		next = zone{}
	}
	if n.SetDefault && chain[0] == "RANGE default" {
		next = bornZones[0].zone
	}
	if n.YAMLConfig != nil && !discard {
		d, err := p.constant(n.YAMLConfig, types.String)
		if err != nil {
			return nil, err
		}
		if err := next.read(textValue(d)); err != nil {
			return nil, pgerror.Newf(pgcode.CheckViolation, "could not parse zone config: %v", err)
		}
	}
	for _, o := range n.Options {
		key := string(o.Key)
		if key == "lease_preferences" || key == "constraints" && n.Database != "" {
			return nil, pgerror.Newf(pgcode.FeatureNotSupported, "set zone config constraints and lease_preferences is not supported")
		}
		if !slices.Contains([]string{"num_replicas", "range_min_bytes", "range_max_bytes", "gc.ttlseconds", "constraints"}, key) {
			return nil, pgerror.Newf(pgcode.InvalidParameterValue, "unsupported zone config parameter: %q", key)
		}
		if o.Value == nil {
			return nil, refuse("COPY FROM PARENT")
		}
		if key == "constraints" {
			d, err := p.constant(o.Value, types.String)
			if err != nil {
				return nil, err
			}
			next.Constraints = &constraints{}
			if err := yaml.UnmarshalStrict([]byte(textValue(d)), next.Constraints); err != nil {
				return nil, err
			}
			continue
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
			next.Replicas = ptr(int(*v))
		case "range_min_bytes":
			next.MinBytes = ptr(int64(*v))
		case "range_max_bytes":
			next.MaxBytes = ptr(int64(*v))
		default:
			next.GCTTL = ptr(int(*v))
		}
	}
	if !discard {
		parent, _ := p.cat.effective(chain[1:]...)
		if err := p.validate(next, next.over(parent)); err != nil {
			return nil, err
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
