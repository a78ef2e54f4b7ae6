// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"

	"kwdbstandin/internal/kv"
)

func (p *planner) internalSchema() string {
	return pick(p.sess.srv.opt.Legacy, "crdb_internal", "kwdb_internal")
}

type rangeInfo struct {
	kv.Descriptor
	sorted []int
	size   int64
	desc   *tableDesc
}

// ranges is the store's ranges joined with the schema's names.
func (p *planner) ranges() ([]rangeInfo, error) {
	rs, err := p.sess.srv.store.Ranges(p.ctx)
	if err != nil {
		return nil, err
	}
	byRange := map[kv.RangeID]*tableDesc{}
	for _, t := range p.cat.tables {
		byRange[t.Range] = t
	}
	slices.SortFunc(rs, func(a, b kv.Descriptor) int { return int(a.ID) - int(b.ID) })
	out := make([]rangeInfo, len(rs))
	for i, r := range rs {
		out[i] = rangeInfo{Descriptor: r, sorted: slices.Sorted(slices.Values(r.Replicas)), desc: byRange[r.ID]}
		if t := out[i].desc; t != nil {
			out[i].Database, out[i].Table, out[i].TableID = t.Database, t.Name, t.ID
			out[i].size = p.sess.srv.data.size(r.ID)
		}
	}
	return out, nil
}

func (p *planner) nodes() []kv.Node {
	ns, err := p.sess.srv.store.Nodes(p.ctx)
	if err != nil {
		return nil
	}
	slices.SortFunc(ns, func(a, b kv.Node) int { return a.ID - b.ID })
	return ns
}

func (p *planner) locality(id int) string {
	for _, n := range p.nodes() {
		if n.ID == id {
			return n.Locality
		}
	}
	return ""
}

func (p *planner) localities(ids []int) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = p.locality(id)
	}
	return out
}

func rangeKeys(r rangeInfo) (startKey, endKey []byte, start, end string) {
	if r.desc == nil {
		name := "/" + strings.ToUpper(pick(r.Name != "", r.Name[:min(1, len(r.Name))], "")) + pick(len(r.Name) > 1, r.Name[min(1, len(r.Name)):], "")
		return []byte(r.Name), []byte(r.Name + "\xff"), name, name + "/Max"
	}
	return []byte{byte(136 + r.TableID)}, []byte{byte(137 + r.TableID)}, fmt.Sprintf("/Table/%d", r.TableID), fmt.Sprintf("/Table/%d", r.TableID+1)
}

const rangeColumns = "range_id:i range_type start_key:y start_pretty end_key:y end_pretty database_name table_name table_id:i index_name " +
	"replicas:i[] replica_localities:s[] learner_replicas:i[] split_enforced_until:t"

func (p *planner) rangeRow(r rangeInfo) []any {
	sk, ek, sp, ep := rangeKeys(r)
	return []any{int64(r.ID), "DEFAULT_RANGE", sk, sp, ek, ep, r.Database, r.Table, r.TableID, "", r.sorted, p.localities(r.sorted), []int{}, nil}
}

// views are the internal tables; their columns are the product's (engine-facts 3.3).
var views = map[string]struct {
	spec string
	rows func(p *planner, add func(...any)) error
}{
	"gossip_nodes": {"node_id:i network address advertise_address sql_network sql_address advertise_sql_address attrs:j locality start_mode cluster_name " +
		"server_version build_tag started_at:t is_live:b ranges:i leases:i", func(p *planner, add func(...any)) error {
		for _, n := range p.nodes() {
			if n.InGossip {
				add(n.ID, "tcp", n.Address, n.Address, "tcp", n.SQLAddress, n.SQLAddress, jsonDatum("[]"), n.Locality, n.StartMode, "", n.ServerVersion, n.Build, n.StartedAt,
					n.Live, n.GossipedReplicas, n.Leases)
			}
		}
		return nil
	}},
	"gossip_liveness": {"node_id:i epoch:i expiration draining:b decommissioning:b upgrading:b updated_at:t", func(p *planner, add func(...any)) error {
		for _, n := range p.nodes() {
			add(n.ID, n.Epoch, fmt.Sprintf("%d.%09d,0", n.Expiration.Unix(), n.Expiration.Nanosecond()), n.Draining, n.Decommissioning, n.Upgrading, n.UpdatedAt)
		}
		return nil
	}},
	"kv_node_status": {"node_id:i network address attrs:j locality server_version go_version tag time revision cgo_compiler platform distribution type dependencies " +
		"started_at:t updated_at:t metrics:j args:j env:j activity:j", func(p *planner, add func(...any)) error {
		for _, n := range p.nodes() {
			if !n.InGossip {
				continue
			}
			add(n.ID, "tcp", n.Address, jsonDatum("[]"), n.Locality, n.ServerVersion, "go1.22.12", n.Build, p.sess.srv.opt.BuiltAt.UTC().Format("2006/01/02 15:04:05"), "", "gcc 12.2.0",
				"linux amd64", "CCL", "release", "", n.StartedAt, n.UpdatedAt, jsonDatum(p.metrics(n.ID)), jsonDatum("[]"), jsonDatum("[]"), jsonDatum("{}"))
		}
		return nil
	}},
	"kv_store_status": {"node_id:i store_id:i attrs:j capacity:i available:i used:i logical_bytes:i range_count:i lease_count:i writes_per_second:f " +
		"bytes_per_replica:j writes_per_replica:j metrics:j", func(p *planner, add func(...any)) error {
		for _, n := range p.nodes() {
			if !n.InGossip {
				continue
			}
			add(n.ID, n.ID, jsonDatum("[]"), n.Capacity, n.CapacityAvailable, n.Used, n.LogicalBytes, n.Ranges, n.Leases, 0.0, jsonDatum("{}"), jsonDatum("{}"), jsonDatum(p.metrics(n.ID)))
		}
		return nil
	}},
	"ranges_no_leases": {rangeColumns, func(p *planner, add func(...any)) error {
		rs, err := p.ranges()
		for _, r := range rs {
			add(p.rangeRow(r)...)
		}
		return err
	}},
	"ranges": {rangeColumns + " lease_holder:i lease_holder_qps:f range_size:i", func(p *planner, add func(...any)) error {
		rs, err := p.ranges()
		for _, r := range rs {
			add(append(p.rangeRow(r), r.Leaseholder, 0.0, r.size)...)
		}
		return err
	}},
	"leases": {"node_id:i table_id:i name parent_id:i expiration:t deleted:b", func(p *planner, add func(...any)) error {
		for _, t := range p.cat.sortedTables() {
			add(p.sess.nodeID(), t.ID, t.Name, p.cat.databases[t.Database].ID, time.Now().UTC().Add(5*time.Minute), false)
		}
		return nil
	}},
	"node_build_info": {"node_id:i field value", func(p *planner, add func(...any)) error {
		id := p.sess.nodeID()
		for _, f := range [][2]string{{"Name", "KaiwuDB"}, {"ClusterID", p.sess.clusterID()}, {"Organization", p.cat.settings["cluster.organization"]},
			{"Build", p.sess.versionText()}, {"Version", p.sess.srv.opt.Build}, {"Channel", "unknown"}} {
			add(id, f[0], f[1])
		}
		return nil
	}},
	"jobs": {jobColumns, func(p *planner, add func(...any)) error { p.jobs(add); return nil }},
	"zones": {"zone_id:i subzone_id:i target range_name database_name table_name index_name partition_name raw_config_yaml raw_config_sql raw_config_protobuf:y " +
		"full_config_yaml full_config_sql", func(p *planner, add func(...any)) error {
		for _, z := range p.cat.listed() {
			kind, name, _ := strings.Cut(z.target, " ")
			var rangeName, db, table any
			chain := []string{z.target}
			switch kind {
			case "RANGE":
				rangeName = name
			case "DATABASE":
				db = name
			default:
				parts := strings.SplitN(name, ".", 3)
				db, table = parts[0], parts[2]
				chain = append(chain, "DATABASE "+parts[0])
			}
			full, _ := p.cat.effective(append(chain, "RANGE default")...)
			add(z.id, 0, z.target, rangeName, db, table, nil, nil, z.zone.yaml(), z.zone.sql(z.target), z.zone.protobuf(z.target), full.yaml(), full.sql(z.target))
		}
		return nil
	}},
	"tables": {"table_id:i parent_id:i name database_name version:i mod_time:t mod_time_logical:d format_version state sc_lease_node_id:i sc_lease_expiration_time:t drop_time:t audit_mode schema_name",
		func(p *planner, add func(...any)) error {
			for _, t := range p.cat.sortedTables() {
				add(t.ID, p.cat.databases[t.Database].ID, t.Name, t.Database, 1, nil, nil, "InterleavedFormatVersion", "PUBLIC", nil, nil, nil, "DISABLED", "public")
			}
			return nil
		}},
}

// protobuf is a zone's wire form as the product prints it: sizes, GC, replicas, constraints and inheritance marks.
func (z zone) protobuf(target string) []byte {
	var b []byte
	varint := func(tag byte, n uint64) {
		b = append(b, tag)
		for ; n >= 0x80; n >>= 7 {
			b = append(b, byte(n)|0x80)
		}
		b = append(b, byte(n))
	}
	if z.MinBytes != nil {
		varint(0x10, uint64(*z.MinBytes))
	}
	if z.MaxBytes != nil {
		varint(0x18, uint64(*z.MaxBytes))
	}
	message := func(tag byte, fields func()) {
		outer := b
		b = nil
		fields()
		inner := b
		b = outer
		varint(tag, uint64(len(inner)))
		b = append(b, inner...)
	}
	text := func(tag byte, s string) { message(tag, func() { b = []byte(s) }) }
	if z.GCTTL != nil {
		message(0x22, func() { varint(0x08, uint64(*z.GCTTL)) })
	}
	if z.Replicas != nil {
		varint(0x28, uint64(*z.Replicas))
	}
	for _, r := range *or(z.Constraints, &constraints{}) {
		message(0x32, func() {
			for _, c := range r.All {
				message(0x32, func() {
					varint(0x08, uint64(pick2(c.Prohibited, 2, 1)))
					text(0x12, c.Key)
					text(0x1a, c.Value)
				})
			}
			varint(0x38, uint64(r.Replicas))
		})
	}
	varint(0x50, uint64(pick2(z.Constraints == nil, 1, 0)))
	varint(0x58, uint64(pick2(z.Preferences == nil, 1, 0)))
	varint(0x60, uint64(z.tsMerge(target)))
	varint(0x68, 0)
	return b
}

func jsonDatum(s string) tree.Datum {
	d, err := tree.ParseDJSON(s)
	if err != nil {
		return tree.DNull
	}
	return d
}

// idleMetrics are the first of the product's some two hundred store metrics, those that nothing here moves.
var idleMetrics = strings.Fields("addsstable.applications addsstable.copies addsstable.delay.enginebackpressure addsstable.delay.total addsstable.proposals " +
	"capacity.reserved capacity.tsdb_used compactor.compactingnanos compactor.compactions.failure compactor.compactions.success " +
	"compactor.suggestionbytes.compacted compactor.suggestionbytes.queued compactor.suggestionbytes.skipped follower_reads.success_count gcbytesage intentage " +
	"intentbytes intentcount intentresolver.async.throttled intents.abort-attempts intents.poison-attempts intents.resolve-attempts keycount " +
	"kv.closed_timestamp.max_behind_nanos kv.rangefeed.catchup_scan_nanos leases.error leases.expiration leases.transfers.error leases.transfers.success livecount " +
	"queue.consistency.pending queue.consistency.process.failure queue.consistency.process.success queue.consistency.processingnanos " +
	"queue.gc.info.abortspanconsidered queue.gc.info.abortspangcnum queue.gc.info.abortspanscanned queue.gc.info.intentsconsidered queue.raftsnapshot.pending " +
	"queue.replicate.pending ranges.overreplicated replicas.leaders_not_leaseholders replicas.quiescent replicas.reserved sysbytes syscount")

// metrics is a store's metrics as of the last refresh; before the first they are all zero.
func (p *planner) metrics(id int) string {
	n, _ := p.sess.srv.stats.get(id)
	m := map[string]any{
		"capacity": n.Capacity, "capacity.available": n.CapacityAvailable, "capacity.relational_used": n.Used, "capacity.used": n.Used, "keybytes": n.LogicalBytes / 4,
		"lastupdatenanos": json.RawMessage(strconv.FormatFloat(float64(time.Now().UnixNano()), 'E', -1, 64)), "leases.epoch": n.Leases, "leases.success": n.Leases,
		"livebytes": n.LogicalBytes, "ranges": n.Leases, "ranges.unavailable": n.RangesUnavailable, "ranges.underreplicated": n.RangesUnderreplicated,
		"replicas": n.Ranges, "replicas.leaders": n.Leases, "replicas.leaseholders": n.Leases, "valbytes": n.LogicalBytes - n.LogicalBytes/4,
	}
	for _, name := range idleMetrics {
		m[name] = 0
	}
	b, _ := json.Marshal(m)
	return string(b)
}

// virtualTable is an internal view, or nil for names that are tables.
func (p *planner) virtualTable(n *tree.TableName) (*relation, error) {
	if !n.ExplicitSchema {
		return nil, nil
	}
	name, schema := string(n.TableName), string(n.SchemaName)
	var rel *relation
	switch schema {
	case p.internalSchema():
		if name == "cluster_settings" {
			rel = p.clusterSettings(columns("variable value type public:b description"), true)
		} else if v, ok := views[name]; ok {
			rel = list(v.spec, func(add func(...any)) error { return v.rows(p, add) })
		}
	case "information_schema":
		rel = p.informationSchema(name)
	case "pg_catalog":
		return nil, refuse("pg_catalog.%s", name)
	case "kwdb_internal", "crdb_internal":
	default:
		return nil, nil
	}
	if rel == nil {
		return nil, &missingTable{pgerror.Newf(pgcode.UndefinedTable, "relation %q does not exist", tree.ErrString(n))}
	}
	for i := range rel.cols {
		rel.cols[i].table, rel.cols[i].schema, rel.cols[i].db = name, schema, p.sess.database
	}
	return rel, nil
}

func (p *planner) informationSchema(name string) *relation {
	db := p.sess.database
	switch name {
	case "tables":
		return list("table_catalog table_schema table_name table_type is_insertable_into version:i", func(add func(...any)) error {
			for _, t := range p.cat.sortedTables() {
				if t.Database == db {
					add(db, "public", t.Name, "BASE TABLE", "YES", 1)
				}
			}
			return nil
		})
	case "columns":
		return list("table_catalog table_schema table_name column_name ordinal_position:i column_default is_nullable data_type", func(add func(...any)) error {
			for _, t := range p.cat.sortedTables() {
				if t.Database != db {
					continue
				}
				for i, c := range t.Columns {
					def := any(nil)
					if c.Default != "" {
						def = c.Default
					}
					if !c.Hidden {
						add(db, "public", t.Name, c.Name, i+1, def, pick(c.NotNull, "NO", "YES"), c.typ.SQLStandardName())
					}
				}
			}
			return nil
		})
	case "schemata":
		return list("catalog_name schema_name", func(add func(...any)) error {
			for _, s := range []string{"information_schema", p.internalSchema(), "pg_catalog", "public"} {
				add(db, s)
			}
			return nil
		})
	}
	return nil
}
