// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"context"
	"errors"
	"fmt"
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
		return effect(tag, func() error { return p.change(fn) }), nil
	}
	switch n := ast.(type) {
	case *tree.CreateDatabase:
		return p.createDatabase(n, "RELATIONAL", tag)
	case *createTSDatabase:
		return p.createDatabase(&n.CreateDatabase, "TIME SERIES", tag)
	case *tree.DropDatabase:
		if _, err := p.cat.database(string(n.Name)); err != nil && !n.IfExists {
			return nil, err
		}
		return effect(tag, func() error { return p.dropDatabase(n) }), nil
	case *tree.CreateTable:
		return p.createTable(n)
	case *tree.DropTable:
		for i := range n.Names {
			if _, err := p.lookup(&n.Names[i]); err != nil && !n.IfExists {
				return nil, err
			}
		}
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

func (p *planner) createDatabase(n *tree.CreateDatabase, engine, tag string) (*relation, error) {
	if n.Template != "" || n.Encoding != "" && !strings.EqualFold(n.Encoding, "UTF8") || n.Collate != "" || n.CType != "" {
		return nil, refuse("options of CREATE DATABASE")
	}
	name := string(n.Name)
	return effect(tag, func() error {
		return p.change(func(c *catalog) ([]kv.Write, error) {
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

// dropRanges removes the data of tables whose descriptors are gone already; inside a transaction that is once it has committed.
func (p *planner) dropRanges(tables []*tableDesc) error {
	drop := func(ctx context.Context) error {
		var failed error
		for _, t := range tables {
			if err := p.sess.srv.store.DropRange(ctx, t.Range); err != nil {
				failed = err
			}
			p.sess.srv.data.forget(t.Range)
		}
		return failed
	}
	if p.txn.explicit {
		p.txn.after = append(p.txn.after, drop)
		return nil
	}
	return drop(p.ctx)
}

func (p *planner) dropDatabase(n *tree.DropDatabase) error {
	name := string(n.Name)
	var gone []*tableDesc
	err := p.change(func(c *catalog) ([]kv.Write, error) {
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
	err := p.change(func(c *catalog) ([]kv.Write, error) {
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
	err := p.change(func(c *catalog) ([]kv.Write, error) {
		var w kv.Write
		id, w = c.nextID()
		return []kv.Write{w}, nil
	})
	if err != nil {
		return err
	}
	t.ID = id
	wanted, rules := p.cat.placement("TABLE "+t.full(), "DATABASE "+t.Database, "RANGE default")
	for {
		t.Range, err = store.CreateRange(p.ctx, kv.Descriptor{Name: t.full(), Database: t.Database, Table: t.Name, TableID: t.ID,
			Wanted: wanted, Rules: rules})
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
	if p.txn.explicit {
		p.txn.created = append(p.txn.created, t.Range)
	}
	lost := false
	err = p.change(func(c *catalog) ([]kv.Write, error) {
		there, err := exists(c)
		if lost = there || err != nil; lost {
			return nil, err
		}
		return []kv.Write{c.put(tableKey(t.ID), t)}, nil
	})
	if lost && !p.txn.explicit {
		_ = store.DropRange(context.WithoutCancel(p.ctx), t.Range)
	}
	return err
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
