// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
)

// datum turns plain Go values into row values; nil is NULL.
func datum(v any) tree.Datum {
	switch v := v.(type) {
	case nil:
		return tree.DNull
	case string:
		return tree.NewDString(v)
	case *string:
		if v == nil {
			return tree.DNull
		}
		return tree.NewDString(*v)
	case int:
		return tree.NewDInt(tree.DInt(v))
	case int64:
		return tree.NewDInt(tree.DInt(v))
	case uint64:
		return tree.NewDInt(tree.DInt(v))
	case bool:
		return tree.MakeDBool(tree.DBool(v))
	case float64:
		return tree.NewDFloat(tree.DFloat(v))
	case time.Time:
		if v.IsZero() {
			return tree.DNull
		}
		return tree.MakeDTimestamp(v.UTC(), time.Microsecond)
	case []byte:
		return tree.NewDBytes(tree.DBytes(v))
	case []int:
		a := tree.NewDArray(types.Int)
		for _, n := range v {
			_ = a.Append(tree.NewDInt(tree.DInt(n)))
		}
		return a
	case []string:
		a := tree.NewDArray(types.String)
		for _, s := range v {
			_ = a.Append(tree.NewDString(s))
		}
		return a
	case tree.Datum:
		return v
	}
	return tree.NewDString(fmt.Sprint(v))
}

func datums(vs ...any) tree.Datums {
	out := make(tree.Datums, len(vs))
	for i, v := range vs {
		out[i] = datum(v)
	}
	return out
}

func columns(spec string) (out [][2]string) {
	for _, c := range strings.Fields(spec) {
		name, typ, ok := strings.Cut(c, ":")
		if !ok {
			typ = "s"
		}
		out = append(out, [2]string{name, typ})
	}
	return out
}

// list is listing over rows of plain values.
func list(spec string, rows func(add func(...any)) error) *relation {
	return listing(columns(spec), func() (out []tree.Datums, err error) {
		err = rows(func(vs ...any) { out = append(out, datums(vs...)) })
		return out, err
	})
}

const jobColumns = "job_id:i job_type description statement user_name status running_status created:t started:t finished:t modified:t errord:t " +
	"fraction_completed:f error coordinator_id:i total_num_of_ex:i total_num_of_success:i total_num_of_fail:i time_of_last_success:t"

func (p *planner) jobs(add func(...any)) {
	for _, running := range []bool{true, false} {
		for _, j := range p.cat.jobs {
			if (j.Status == "running") != running {
				continue
			}
			modified, coordinator := j.Ended, any(nil)
			if modified.IsZero() {
				modified = j.Created
			}
			if j.Coordinator > 0 {
				coordinator = j.Coordinator
			}
			add(j.ID, j.Type, j.Description, "", j.User, j.Status, nil, j.Created, j.Started, j.Ended, modified, nil, 0.0, "", coordinator, j.Execs,
				pick2(running, 0, j.Succeeded), j.Failed, j.Ended)
		}
	}
}

func pick2(first bool, a, b int) int {
	if first {
		return a
	}
	return b
}

// show compiles the SHOW statements; nil for others.
func (p *planner) show(ast tree.Statement) (*relation, error) {
	switch n := ast.(type) {
	case *tree.ShowDatabases:
		if n.WithComment {
			return nil, refuse("SHOW DATABASES WITH COMMENT")
		}
		rel := list("database_name engine_type", func(add func(...any)) error {
			for _, name := range slices.Sorted(maps.Keys(p.cat.databases)) {
				add(name, p.cat.databases[name].Engine)
			}
			return nil
		})
		if p.sess.srv.opt.Legacy { // the older product has no engine types
			return only(rel, "database_name"), nil
		}
		return rel, nil
	case *tree.ShowTables:
		db := p.sess.database
		if n.ExplicitCatalog {
			db = string(n.CatalogName)
		} else if n.ExplicitSchema && n.SchemaName != "public" {
			db = string(n.SchemaName)
		}
		if _, err := p.cat.database(db); err != nil {
			return nil, err
		}
		return list("table_name table_type", func(add func(...any)) error {
			for _, t := range p.cat.sortedTables() {
				if t.Database == db {
					add(t.Name, "BASE TABLE")
				}
			}
			return nil
		}), nil
	case *tree.ShowColumns:
		t, err := p.lookupObject(n.Table)
		if err != nil {
			return nil, err
		}
		return list("column_name data_type is_nullable:b column_default generation_expression indices:s[] is_hidden:b is_tag:b", func(add func(...any)) error {
			for _, c := range t.Columns {
				indices := []string{}
				if slices.Contains(t.Primary, c.ID) {
					indices = append(indices, t.PKName)
				}
				for _, u := range append(slices.Clip(t.Unique), t.Indexes...) {
					if slices.Contains(u.Columns, c.ID) {
						indices = append(indices, u.Name)
					}
				}
				def := any(nil)
				if c.Default != "" {
					def = c.Default
				}
				add(c.Name, c.Type, !c.NotNull, def, "", indices, c.Hidden, false)
			}
			return nil
		}), nil
	case *tree.ShowIndexes:
		t, err := p.lookupObject(n.Table)
		if err != nil {
			return nil, err
		}
		return list("table_name index_name non_unique:b seq_in_index:i column_name direction storing:b implicit:b", func(add func(...any)) error {
			index := func(u uniqueIndex, nonUnique bool) {
				for k, id := range u.Columns {
					add(t.Name, u.Name, nonUnique, k+1, t.Columns[t.ordinal(id)].Name, "ASC", false, false)
				}
			}
			index(uniqueIndex{t.PKName, t.Primary}, false)
			for _, u := range t.Unique {
				index(u, false)
			}
			for _, u := range t.Indexes {
				index(u, true)
			}
			return nil
		}), nil
	case *tree.ShowCreate:
		t, err := p.lookupObject(n.Name)
		if err != nil {
			return nil, err
		}
		return list("table_name create_statement", func(add func(...any)) error { add(t.Name, t.create()); return nil }), nil
	case *tree.ShowSchemas:
		return list("schema_name", func(add func(...any)) error {
			for _, s := range []string{"information_schema", p.internalSchema(), "pg_catalog", "public"} {
				add(s)
			}
			return nil
		}), nil
	case *tree.ShowUsers, *tree.ShowRoles:
		return list("username options member_of:s[]", func(add func(...any)) error {
			for _, name := range slices.Sorted(maps.Keys(p.cat.users)) {
				u := p.cat.users[name]
				add(u.Name, u.Options, append([]string{}, u.MemberOf...))
			}
			return nil
		}), nil
	case *tree.ShowGrants:
		return p.showGrants(n)
	case *tree.ShowJobs:
		if n.Jobs != nil || n.Block {
			return nil, refuse("SHOW JOBS with a selection")
		}
		return list(jobColumns, func(add func(...any)) error {
			if !n.Automatic {
				p.jobs(add)
			}
			return nil
		}), nil
	case *tree.ShowZoneConfig:
		return p.showZones(n)
	case *tree.ShowRanges:
		return p.showRanges(n)
	case *tree.ShowSessions:
		return list("node_id:i session_id user_name client_address application_name active_queries last_active_query session_start:t oldest_query_start:t",
			func(add func(...any)) error {
				srv := p.sess.srv
				srv.mu.Lock()
				defer srv.mu.Unlock()
				for c := range srv.sessions {
					add(c.nodeID(), fmt.Sprintf("%08x%08x%016x", c.secret, c.pid, c.nodeID()), c.user, c.conn.RemoteAddr().String(), c.vars["application_name"], "", "", nil, nil)
				}
				return nil
			}), nil
	}
	return nil, nil
}

// only keeps one column of a listing.
func only(rel *relation, name string) *relation {
	at := slices.IndexFunc(rel.cols, func(c col) bool { return c.name == name })
	return &relation{cols: rel.cols[at : at+1], rows: func() ([]tree.Datums, error) {
		rows, err := rel.rows()
		out := make([]tree.Datums, len(rows))
		for i, r := range rows {
			out[i] = r[at : at+1]
		}
		return out, err
	}}
}

func (t *tableDesc) create() string {
	var lines []string
	names := func(ids []int) string {
		var out []string
		for _, id := range ids {
			out = append(out, ident(t.Columns[t.ordinal(id)].Name)+" ASC")
		}
		return strings.Join(out, ", ")
	}
	for _, c := range t.Columns {
		if c.Hidden {
			continue
		}
		line := "\t" + ident(c.Name) + " " + c.Type + pick(c.NotNull, " NOT NULL", " NULL")
		if c.Default != "" {
			line += " DEFAULT " + c.Default
		}
		lines = append(lines, line)
	}
	if !t.Columns[t.ordinal(t.Primary[0])].Hidden {
		lines = append(lines, fmt.Sprintf("\tCONSTRAINT %q PRIMARY KEY (%s)", t.PKName, names(t.Primary)))
	}
	for _, u := range t.Unique {
		lines = append(lines, fmt.Sprintf("\tUNIQUE INDEX %s (%s)", ident(u.Name), names(u.Columns)))
	}
	for _, u := range t.Indexes {
		lines = append(lines, fmt.Sprintf("\tINDEX %s (%s)", ident(u.Name), names(u.Columns)))
	}
	for _, c := range t.Checks {
		lines = append(lines, fmt.Sprintf("\tCONSTRAINT %s CHECK (%s)", ident(c.Name), c.Expr))
	}
	return "CREATE TABLE " + ident(t.Name) + " (\n" + strings.Join(lines, ",\n") + "\n)"
}

func ident(s string) string { n := tree.Name(s); return n.String() }

func (p *planner) showGrants(n *tree.ShowGrants) (*relation, error) {
	if n.Targets == nil || len(n.Targets.Tables) == 0 {
		return nil, refuse("SHOW GRANTS on anything but tables")
	}
	var ts []*tableDesc
	for _, pattern := range n.Targets.Tables {
		more, err := p.tables(pattern)
		if err != nil {
			return nil, err
		}
		ts = append(ts, more...)
	}
	return list("database_name schema_name table_name grantee privilege_type", func(add func(...any)) error {
		for _, t := range ts {
			all := map[string][]string{"admin": {"ALL"}, "root": {"ALL"}}
			for u, privs := range t.Grants {
				if len(privs) > 0 && all[u] == nil {
					all[u] = privs
				}
			}
			for _, u := range slices.Sorted(maps.Keys(all)) {
				if len(n.Grantees) > 0 && !slices.Contains(n.Grantees, tree.Name(u)) {
					continue
				}
				for _, priv := range all[u] {
					add(t.Database, "public", t.Name, u, priv)
				}
			}
		}
		return nil
	}), nil
}

func (p *planner) showZones(n *tree.ShowZoneConfig) (*relation, error) {
	const spec = "target raw_config_sql"
	if n.ZoneSpecifier == (tree.ZoneSpecifier{}) {
		return list(spec, func(add func(...any)) error {
			for _, z := range p.cat.listed() {
				add(z.target, z.zone.sql(z.target))
			}
			return nil
		}), nil
	}
	chain, err := p.zoneChain(&n.ZoneSpecifier)
	if err != nil {
		return nil, err
	}
	return list(spec, func(add func(...any)) error {
		z, shown := p.cat.effective(chain...)
		add(shown, z.sql(shown))
		return nil
	}), nil
}

func (p *planner) showRanges(n *tree.ShowRanges) (*relation, error) {
	if n.DatabaseName != "" || n.TableOrIndex.Index != "" {
		return nil, refuse("SHOW RANGES of anything but a table")
	}
	t, err := p.lookup(&n.TableOrIndex.Table)
	if err != nil {
		return nil, err
	}
	return list("start_key end_key range_id:i range_size_mb:f lease_holder:i lease_holder_locality replicas:i[] replica_localities:s[]", func(add func(...any)) error {
		if _, err := p.txn.table(p.ctx, t); err != nil { // so that its size is known here
			return err
		}
		rs, err := p.ranges()
		if err != nil {
			return err
		}
		for _, r := range rs {
			if r.ID == t.Range {
				add(nil, nil, int64(r.ID), float64(r.size)/1e6, r.Leaseholder, p.locality(r.Leaseholder), r.sorted, p.localities(r.sorted))
			}
		}
		return nil
	}), nil
}
