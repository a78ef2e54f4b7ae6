// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"kwdbstandin/internal/kv"
	"slices"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
)

// edit changes one table's descriptor.
func (p *planner) edit(n *tree.UnresolvedObjectName, ifExists bool, fn func(c *catalog, t *tableDesc) error) error {
	return p.change(func(c *catalog) ([]kv.Write, error) {
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
	if _, err := p.lookupObject(n.Table); err != nil && !n.IfExists {
		return nil, err
	}
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
