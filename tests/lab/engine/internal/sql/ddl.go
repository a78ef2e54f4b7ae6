// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"

	"kwdbstandin/internal/kv"
)

// ddl compiles statements that change the schema or users; nil for others.
func (p *planner) ddl(ast tree.Statement) (*relation, error) {
	tag := ast.StatementTag()
	change := func(fn func(*catalog) ([]kv.Write, error)) (*relation, error) {
		return effect(tag, func() error { return p.sess.srv.cat.change(p.ctx, fn) }), nil
	}
	switch n := ast.(type) {
	case *tree.CreateDatabase:
		return p.createDatabase(n, "RELATIONAL", tag)
	case *createTSDatabase:
		return p.createDatabase(&n.CreateDatabase, "TIME SERIES", tag)
	case *tree.DropDatabase:
		return effect(tag, func() error { return p.dropDatabase(n) }), nil
	case *tree.CreateTable:
		return p.createTable(n)
	case *tree.DropTable:
		return effect(tag, func() error { return p.dropTables(n) }), nil
	case *tree.AlterTable:
		return p.alterTable(n)
	case *tree.RenameTable:
		if n.IsView || n.IsSequence {
			return nil, refuse("%s", tag)
		}
		return effect(tag, func() error { return p.renameTable(n) }), nil
	case *tree.CreateIndex:
		return p.createIndex(n)
	case *tree.CreateRole:
		name, err := p.roleName(n.Name)
		if err != nil {
			return nil, err
		}
		if !n.IsRole {
			tag = "CREATE USER"
		}
		u := user{Name: name, IsRole: n.IsRole}
		if u.Options, err = p.roleOptions(n.KVOptions); err != nil {
			return nil, err
		}
		return change(func(c *catalog) ([]kv.Write, error) {
			if c.users[name] != nil {
				if n.IfNotExists {
					return nil, nil
				}
				return nil, pgerror.Newf(pgcode.DuplicateObject, "a role/user named %s already exists", name)
			}
			return []kv.Write{c.put(keyUser+name, u)}, nil
		})
	case *tree.AlterRole:
		name, err := p.roleName(n.Name)
		if err != nil {
			return nil, err
		}
		options, err := p.roleOptions(n.KVOptions)
		if err != nil {
			return nil, err
		}
		if !n.IsRole {
			tag = "ALTER USER"
		}
		return change(func(c *catalog) ([]kv.Write, error) {
			u := c.users[name]
			if u == nil {
				if n.IfExists {
					return nil, nil
				}
				return nil, pgerror.Newf(pgcode.UndefinedObject, "role/user %s does not exist", name)
			}
			next := *u
			next.Options = options
			return []kv.Write{c.put(keyUser+name, next)}, nil
		})
	case *tree.DropRole:
		var names []string
		for _, e := range n.Names {
			name, err := p.roleName(e)
			if err != nil {
				return nil, err
			}
			names = append(names, name)
		}
		if !n.IsRole {
			tag = fmt.Sprintf("DROP USER %d", len(names))
		}
		return change(func(c *catalog) ([]kv.Write, error) {
			var w []kv.Write
			for _, name := range names {
				switch {
				case name == "root" || name == "admin":
					return nil, pgerror.Newf(pgcode.InvalidParameterValue, "cannot drop special role %s", name)
				case c.users[name] != nil:
					for _, t := range c.tables {
						if len(t.Grants[name]) > 0 {
							return nil, pgerror.Newf(pgcode.DependentObjectsStillExist, "cannot drop user or role %s: grants still exist on %s", name, t.full())
						}
					}
					w = append(w, c.put(keyUser+name, nil))
				case !n.IfExists:
					return nil, pgerror.Newf(pgcode.UndefinedObject, "role/user %s does not exist", name)
				}
			}
			return w, nil
		})
	case *tree.Grant:
		return p.grant(n.Targets, n.Grantees, n.Privileges.SortedNames(), true, tag)
	case *tree.Revoke:
		return p.grant(n.Targets, n.Grantees, n.Privileges.SortedNames(), false, tag)
	case *tree.SetZoneConfig:
		return p.configureZone(n)
	}
	return nil, nil
}

func (p *planner) roleName(e tree.Expr) (string, error) {
	d, err := p.constant(e, types.String)
	if err != nil {
		return "", err
	}
	if d == tree.DNull {
		return "", pgerror.Newf(pgcode.InvalidName, "no username specified")
	}
	return strings.ToLower(s(d)), nil
}

// roleOptions knows what an insecure cluster allows.
func (p *planner) roleOptions(opts tree.KVOptions) (string, error) {
	var out []string
	for _, o := range opts {
		switch k := strings.ToLower(string(o.Key)); k {
		case "password":
			return "", pgerror.Newf(pgcode.InvalidPassword, "setting or updating a password is not supported in insecure mode")
		case "createrole", "nologin":
			out = append(out, strings.ToUpper(k))
		case "login", "nocreaterole":
		default:
			return "", refuse("role option %s", k)
		}
	}
	return strings.Join(out, ", "), nil
}

func (p *planner) createDatabase(n *tree.CreateDatabase, engine, tag string) (*relation, error) {
	if n.Template != "" || n.Encoding != "" && !strings.EqualFold(n.Encoding, "UTF8") || n.Collate != "" || n.CType != "" {
		return nil, refuse("options of CREATE DATABASE")
	}
	name := string(n.Name)
	return effect(tag, func() error {
		return p.sess.srv.cat.change(p.ctx, func(c *catalog) ([]kv.Write, error) {
			if c.databases[name] != nil {
				if n.IfNotExists {
					return nil, nil
				}
				return nil, pgerror.Newf(pgcode.DuplicateDatabase, "database %q already exists", name)
			}
			id, count := c.nextID()
			return []kv.Write{count, c.put(keyDatabase+name, database{Name: name, Engine: engine, ID: id})}, nil
		})
	}), nil
}

func tableKey(id uint64) string { return fmt.Sprintf("%s%d", keyTable, id) }

// dropRanges removes the data of tables whose descriptors are gone already.
func (p *planner) dropRanges(tables []*tableDesc) error {
	var failed error
	for _, t := range tables {
		if err := p.sess.srv.store.DropRange(p.ctx, t.Range); err != nil {
			failed = err
		}
		p.sess.srv.data.forget(t.Range)
	}
	return failed
}

func (p *planner) dropDatabase(n *tree.DropDatabase) error {
	name := string(n.Name)
	var gone []*tableDesc
	err := p.sess.srv.cat.change(p.ctx, func(c *catalog) ([]kv.Write, error) {
		if c.databases[name] == nil && n.IfExists {
			return nil, nil
		}
		if _, err := c.database(name); err != nil {
			return nil, err
		}
		if name == "system" {
			return nil, pgerror.Newf(pgcode.InsufficientPrivilege, "user root does not have DROP privilege on database system")
		}
		gone = nil
		w := []kv.Write{c.put(keyDatabase+name, nil)}
		for _, t := range c.sortedTables() {
			if t.Database == name {
				gone = append(gone, t)
				w = append(w, c.put(tableKey(t.ID), nil))
			}
		}
		if len(gone) > 0 && n.DropBehavior == tree.DropRestrict {
			return nil, pgerror.Newf(pgcode.DependentObjectsStillExist, "database %q is not empty and RESTRICT was specified", name)
		}
		if _, ok := c.zones["DATABASE "+name]; ok {
			w = append(w, c.put(keyZone+"DATABASE "+name, nil))
		}
		return w, nil
	})
	if err != nil {
		return err
	}
	return p.dropRanges(gone)
}

func (p *planner) dropTables(n *tree.DropTable) error {
	var gone []*tableDesc
	err := p.sess.srv.cat.change(p.ctx, func(c *catalog) ([]kv.Write, error) {
		gone = nil
		var w []kv.Write
		at := *p
		at.cat = c
		for i := range n.Names {
			t, err := at.lookup(&n.Names[i])
			if err != nil {
				if n.IfExists {
					continue
				}
				return nil, err
			}
			gone = append(gone, t)
			w = append(w, c.put(tableKey(t.ID), nil))
			if _, ok := c.zones["TABLE "+t.full()]; ok {
				w = append(w, c.put(keyZone+"TABLE "+t.full(), nil))
			}
		}
		return w, nil
	})
	if err != nil {
		return err
	}
	return p.dropRanges(gone)
}

// newColumn checks a column definition and its default.
func (p *planner) newColumn(d *tree.ColumnTableDef, id int) (columnDesc, error) {
	c := columnDesc{ID: id, Name: string(d.Name), typ: d.Type}
	switch {
	case d.Computed.Computed:
		return c, refuse("computed columns")
	case d.References.Table != nil:
		return c, refuse("foreign keys")
	case d.Type == nil:
		return c, refuse("columns without a type")
	case d.Type.Family() == types.CollatedStringFamily, d.Type.Family() == types.TupleFamily, d.Type.Family() == types.OidFamily, d.Type.Family() == types.BitFamily:
		return c, refuse("columns of type %s", d.Type.SQLString())
	}
	c.Type = d.Type.SQLString()
	c.NotNull = d.Nullable.Nullability == tree.NotNull
	if d.IsSerial {
		c.Default, c.NotNull = "unique_rowid()", true
	}
	if d.HasDefaultExpr() {
		t, err := p.typed(d.DefaultExpr.Expr, &rowBox{}, d.Type)
		if err != nil {
			return c, err
		}
		if err := assignable(t.ResolvedType(), c); err != nil {
			return c, err
		}
		c.Default = tree.AsStringWithFlags(d.DefaultExpr.Expr, tree.FmtParsable)
	}
	return c, nil
}

func (p *planner) createTable(n *tree.CreateTable) (*relation, error) {
	switch {
	case n.As():
		return nil, refuse("CREATE TABLE … AS")
	case n.Temporary, n.Interleave != nil, n.PartitionBy != nil, len(n.StorageParams) > 0:
		return nil, refuse("temporary, interleaved and partitioned tables, storage parameters")
	}
	db, name, err := p.qualify(&n.Table)
	if err != nil {
		return nil, err
	}
	t := &tableDesc{Database: db, Name: name, PKName: "primary"}
	ids := func(elems tree.IndexElemList) ([]int, error) {
		var out []int
		for _, e := range elems {
			o := t.column(string(e.Column))
			if o < 0 {
				return nil, pgerror.Newf(pgcode.UndefinedColumn, "column %q does not exist", e.Column)
			}
			if e.Direction == tree.Descending {
				return nil, refuse("descending index columns")
			}
			if !keyable(t.Columns[o].typ) {
				return nil, refuse("index columns of type %s", t.Columns[o].Type)
			}
			out = append(out, t.Columns[o].ID)
		}
		return out, nil
	}
	elems := func(name tree.Name) tree.IndexElemList { return tree.IndexElemList{{Column: name}} }
	add := func(unique bool, name tree.Name, cols tree.IndexElemList) error {
		at, err := ids(cols)
		if err != nil {
			return err
		}
		if name == "" {
			word := t.Name
			for _, id := range at {
				word += "_" + t.Columns[t.ordinal(id)].Name
			}
			name = tree.Name(word + pick(unique, "_key", "_idx"))
		}
		if unique {
			t.Unique = append(t.Unique, uniqueIndex{string(name), at})
		} else {
			t.Indexes = append(t.Indexes, uniqueIndex{string(name), at})
		}
		return nil
	}
	primary := func(cols tree.IndexElemList, name tree.Name) error {
		if t.Primary != nil {
			return pgerror.Newf(pgcode.InvalidTableDefinition, "multiple primary keys for table %q are not allowed", t.Name)
		}
		if name != "" {
			t.PKName = string(name)
		}
		t.Primary, err = ids(cols)
		for _, id := range t.Primary {
			t.Columns[t.ordinal(id)].NotNull = true
		}
		return err
	}
	check := func(name tree.Name, e tree.Expr) {
		if name == "" {
			name = tree.Name(fmt.Sprintf("check_%d", len(t.Checks)+1))
		}
		t.Checks = append(t.Checks, checkConstraint{string(name), tree.AsStringWithFlags(e, tree.FmtParsable)})
	}
	for _, def := range n.Defs {
		if d, ok := def.(*tree.ColumnTableDef); ok {
			if t.column(string(d.Name)) >= 0 {
				return nil, pgerror.Newf(pgcode.DuplicateColumn, "duplicate column name: %q", d.Name)
			}
			c, err := p.newColumn(d, t.NextCol)
			if err != nil {
				return nil, err
			}
			t.NextCol++
			t.Columns = append(t.Columns, c)
		}
	}
	for _, def := range n.Defs {
		var err error
		switch d := def.(type) {
		case *tree.ColumnTableDef:
			if d.PrimaryKey.Sharded {
				return nil, refuse("sharded keys")
			}
			if d.PrimaryKey.IsPrimaryKey {
				err = primary(elems(d.Name), "")
			}
			if err == nil && d.Unique {
				err = add(true, d.UniqueConstraintName, elems(d.Name))
			}
			for _, c := range d.CheckExprs {
				check(c.ConstraintName, c.Expr)
			}
		case *tree.UniqueConstraintTableDef:
			if d.Sharded != nil || d.Interleave != nil || d.PartitionBy != nil {
				return nil, refuse("sharded, interleaved and partitioned indexes")
			}
			if d.PrimaryKey {
				err = primary(d.Columns, d.Name)
			} else {
				err = add(true, d.Name, d.Columns)
			}
		case *tree.IndexTableDef:
			if d.Inverted || d.Sharded != nil || d.Interleave != nil || d.PartitionBy != nil {
				return nil, refuse("inverted, sharded, interleaved and partitioned indexes")
			}
			err = add(false, d.Name, d.Columns)
		case *tree.CheckConstraintTableDef:
			check(d.Name, d.Expr)
		case *tree.FamilyTableDef: // a storage layout, without meaning for what is read
		default:
			return nil, refuse("%T in CREATE TABLE", def)
		}
		if err != nil {
			return nil, err
		}
	}
	if t.Primary == nil {
		t.Columns = append(t.Columns, columnDesc{ID: t.NextCol, Name: "rowid", Type: "INT8", Default: "unique_rowid()", NotNull: true, Hidden: true, typ: types.Int})
		t.Primary = []int{t.NextCol}
		t.NextCol++
	}
	if _, err := p.checker(t); err != nil {
		return nil, err
	}
	return effect("CREATE TABLE", func() error { return p.saveTable(n, t) }), nil
}

// saveTable makes the range first: a descriptor never names one that does not exist. A range whose descriptor lost is dropped again.
func (p *planner) saveTable(n *tree.CreateTable, t *tableDesc) error {
	store := p.sess.srv.store
	exists := func(c *catalog) (bool, error) {
		d, err := c.database(t.Database)
		if err != nil {
			return false, err
		}
		if d.Engine != "RELATIONAL" {
			return false, refuse("tables in a TIME SERIES database")
		}
		if d.Name == "system" {
			return false, pgerror.Newf(pgcode.InsufficientPrivilege, "user root does not have CREATE privilege on database system")
		}
		if c.tables[t.Database+"."+t.Name] == nil {
			return false, nil
		}
		if n.IfNotExists {
			return true, nil
		}
		return true, pgerror.Newf(pgcode.DuplicateRelation, "relation %q already exists", t.Name)
	}
	if there, err := exists(p.cat); there || err != nil {
		return err
	}
	var id uint64
	err := p.sess.srv.cat.change(p.ctx, func(c *catalog) ([]kv.Write, error) {
		var w kv.Write
		id, w = c.nextID()
		return []kv.Write{w}, nil
	})
	if err != nil {
		return err
	}
	t.ID = id
	for {
		t.Range, err = store.CreateRange(p.ctx, kv.Descriptor{Name: t.full(), Database: t.Database, Table: t.Name, TableID: t.ID,
			Wanted: p.cat.wanted("TABLE "+t.full(), "DATABASE "+t.Database, "RANGE default")})
		if !errors.Is(err, kv.ErrUnavailable) {
			break
		}
		if err := sleep(p.ctx, retryPause); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	lost := false
	err = p.sess.srv.cat.change(p.ctx, func(c *catalog) ([]kv.Write, error) {
		there, err := exists(c)
		if lost = there || err != nil; lost {
			return nil, err
		}
		return []kv.Write{c.put(tableKey(t.ID), t)}, nil
	})
	if lost {
		_ = store.DropRange(context.WithoutCancel(p.ctx), t.Range)
	}
	return err
}

// edit changes one table's descriptor.
func (p *planner) edit(n *tree.UnresolvedObjectName, ifExists bool, fn func(c *catalog, t *tableDesc) error) error {
	return p.sess.srv.cat.change(p.ctx, func(c *catalog) ([]kv.Write, error) {
		at := *p
		at.cat = c
		t, err := at.lookupObject(n)
		if err != nil {
			if ifExists {
				return nil, nil
			}
			return nil, err
		}
		next := t.clone()
		if err := fn(c, next); err != nil {
			return nil, err
		}
		return []kv.Write{c.put(tableKey(t.ID), next)}, nil
	})
}

// alterTable does what needs no rewriting of rows; the rest is refused.
func (p *planner) alterTable(n *tree.AlterTable) (*relation, error) {
	for _, cmd := range n.Cmds {
		switch c := cmd.(type) {
		case *tree.AlterTableAddColumn:
			if c.ColumnDef.PrimaryKey.IsPrimaryKey || c.ColumnDef.Unique || len(c.ColumnDef.CheckExprs) > 0 {
				return nil, refuse("ADD COLUMN with PRIMARY KEY, UNIQUE or CHECK")
			}
			if c.ColumnDef.HasDefaultExpr() || c.ColumnDef.IsSerial || c.ColumnDef.Nullable.Nullability == tree.NotNull {
				return nil, refuse("ADD COLUMN with DEFAULT or NOT NULL")
			}
		case *tree.AlterTableDropColumn, *tree.AlterTableRenameColumn, *tree.AlterTableSetDefault, *tree.AlterTableDropNotNull:
		default:
			return nil, refuse("this ALTER TABLE")
		}
	}
	return effect("ALTER TABLE", func() error {
		return p.edit(n.Table, n.IfExists, func(_ *catalog, t *tableDesc) error {
			at := func(name tree.Name) (int, error) {
				o := t.column(string(name))
				if o < 0 {
					return o, pgerror.Newf(pgcode.UndefinedColumn, "column %q does not exist", name)
				}
				return o, nil
			}
			for _, cmd := range n.Cmds {
				switch c := cmd.(type) {
				case *tree.AlterTableAddColumn:
					if t.column(string(c.ColumnDef.Name)) >= 0 {
						if c.IfNotExists {
							continue
						}
						return pgerror.Newf(pgcode.DuplicateColumn, "column %q of relation %q already exists", c.ColumnDef.Name, t.Name)
					}
					col, err := p.newColumn(c.ColumnDef, t.NextCol)
					if err != nil {
						return err
					}
					t.NextCol++
					t.Columns = append(t.Columns, col)
				case *tree.AlterTableDropColumn:
					o, err := at(c.Column)
					if err != nil {
						if c.IfExists {
							continue
						}
						return err
					}
					id := t.Columns[o].ID
					used := slices.Contains(t.Primary, id) || len(t.Checks) > 0
					for _, u := range append(slices.Clip(t.Unique), t.Indexes...) {
						used = used || slices.Contains(u.Columns, id)
					}
					if used {
						return refuse("dropping a column of a key, or of a table with CHECK")
					}
					t.Columns = slices.Delete(t.Columns, o, o+1)
				case *tree.AlterTableRenameColumn:
					o, err := at(c.Column)
					if err != nil {
						return err
					}
					if t.column(string(c.NewName)) >= 0 {
						return pgerror.Newf(pgcode.DuplicateColumn, "column name %q already exists", c.NewName)
					}
					if len(t.Checks) > 0 {
						return refuse("renaming a column of a table with CHECK")
					}
					t.Columns[o].Name = string(c.NewName)
				case *tree.AlterTableSetDefault:
					o, err := at(c.Column)
					if err != nil {
						return err
					}
					t.Columns[o].Default = ""
					if c.Default != nil {
						e, err := p.typed(c.Default, &rowBox{}, t.Columns[o].typ)
						if err != nil {
							return err
						}
						if err := assignable(e.ResolvedType(), t.Columns[o]); err != nil {
							return err
						}
						t.Columns[o].Default = tree.AsStringWithFlags(c.Default, tree.FmtParsable)
					}
				case *tree.AlterTableDropNotNull:
					o, err := at(c.Column)
					if err != nil {
						return err
					}
					if slices.Contains(t.Primary, t.Columns[o].ID) {
						return pgerror.Newf(pgcode.InvalidTableDefinition, "column %q is in a primary index", c.Column)
					}
					t.Columns[o].NotNull = false
				}
			}
			return nil
		})
	}), nil
}

func (p *planner) renameTable(n *tree.RenameTable) error {
	return p.edit(n.Name, n.IfExists, func(c *catalog, t *tableDesc) error {
		tn := n.NewName.ToTableName()
		db, name, err := p.qualify(&tn)
		if err != nil {
			return err
		}
		if tn.ExplicitSchema && db != t.Database {
			return refuse("moving a table to another database")
		}
		if c.tables[t.Database+"."+name] != nil {
			return pgerror.Newf(pgcode.DuplicateRelation, "relation %q already exists", name)
		}
		if _, ok := c.zones["TABLE "+t.full()]; ok {
			return refuse("renaming a table with a zone configuration")
		}
		t.Name = name
		return nil
	})
}

// createIndex records a plain index (scans are in memory anyway); a unique one would have to prove the rows that exist.
func (p *planner) createIndex(n *tree.CreateIndex) (*relation, error) {
	if n.Unique || n.Inverted || n.Sharded != nil || n.Interleave != nil || n.PartitionBy != nil {
		return nil, refuse("CREATE UNIQUE INDEX and special indexes")
	}
	return effect("CREATE INDEX", func() error {
		obj, err := tree.NewUnresolvedObjectName(1, [3]string{string(n.Table.TableName)}, tree.NoAnnotation)
		if err != nil {
			return err
		}
		if n.Table.ExplicitSchema {
			obj.NumParts, obj.Parts[1] = 2, string(n.Table.SchemaName)
		}
		if n.Table.ExplicitCatalog {
			obj.NumParts, obj.Parts[2] = 3, string(n.Table.CatalogName)
		}
		return p.edit(obj, false, func(_ *catalog, t *tableDesc) error {
			u := uniqueIndex{Name: string(n.Name)}
			word := t.Name
			for _, e := range n.Columns {
				o := t.column(string(e.Column))
				if o < 0 {
					return pgerror.Newf(pgcode.UndefinedColumn, "column %q does not exist", e.Column)
				}
				word += "_" + t.Columns[o].Name
				u.Columns = append(u.Columns, t.Columns[o].ID)
			}
			if u.Name == "" {
				u.Name = word + "_idx"
			}
			if slices.ContainsFunc(t.Indexes, func(x uniqueIndex) bool { return x.Name == u.Name }) && !n.IfNotExists {
				return pgerror.Newf(pgcode.DuplicateRelation, "index with name %q already exists", u.Name)
			}
			t.Indexes = append(t.Indexes, u)
			return nil
		})
	}), nil
}

// grant records table privileges. An insecure cluster does not enforce them; they are shown by SHOW GRANTS.
func (p *planner) grant(targets tree.TargetList, grantees tree.NameList, privs []string, give bool, tag string) (*relation, error) {
	if len(targets.Databases) > 0 || len(targets.Tables) == 0 {
		return nil, refuse("%s on anything but tables", tag)
	}
	return effect(tag, func() error {
		return p.sess.srv.cat.change(p.ctx, func(c *catalog) ([]kv.Write, error) {
			at := *p
			at.cat = c
			for _, g := range grantees {
				if c.users[string(g)] == nil {
					return nil, pgerror.Newf(pgcode.UndefinedObject, "user or role %s does not exist", g)
				}
			}
			var w []kv.Write
			for _, pattern := range targets.Tables {
				ts, err := at.tables(pattern)
				if err != nil {
					return nil, err
				}
				for _, t := range ts {
					next := t.clone()
					if next.Grants == nil {
						next.Grants = map[string][]string{}
					}
					for _, g := range grantees {
						have := slices.DeleteFunc(slices.Clone(next.Grants[string(g)]), func(x string) bool {
							return slices.Contains(privs, x) || slices.Contains(privs, "ALL")
						})
						if give {
							have = append(have, privs...)
							slices.Sort(have)
						}
						next.Grants[string(g)] = have
					}
					w = append(w, c.put(tableKey(t.ID), next))
				}
			}
			return w, nil
		})
	}), nil
}

// tables resolves a name or db.* pattern.
func (p *planner) tables(pattern tree.TablePattern) ([]*tableDesc, error) {
	n, err := pattern.NormalizeTablePattern()
	if err != nil {
		return nil, err
	}
	switch n := n.(type) {
	case *tree.TableName:
		t, err := p.lookup(n)
		return []*tableDesc{t}, err
	case *tree.AllTablesSelector:
		db := p.sess.database
		if n.ExplicitCatalog {
			db = string(n.CatalogName)
		} else if n.ExplicitSchema && n.SchemaName != "public" {
			db = string(n.SchemaName)
		}
		if _, err := p.cat.database(db); err != nil {
			return nil, err
		}
		var out []*tableDesc
		for _, t := range p.cat.sortedTables() {
			if t.Database == db {
				out = append(out, t)
			}
		}
		return out, nil
	}
	return nil, refuse("%T", n)
}
