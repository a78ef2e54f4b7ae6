// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"slices"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
)

// from compiles the FROM list; several tables are a cross join, none is one empty row.
func (p *planner) from(tables tree.TableExprs) (*relation, error) {
	if len(tables) == 0 {
		return &relation{rows: func() ([]tree.Datums, error) { return []tree.Datums{{}}, nil }}, nil
	}
	rel, err := p.tableExpr(tables[0])
	for _, t := range tables[1:] {
		if err != nil {
			return nil, err
		}
		var right *relation
		if right, err = p.tableExpr(t); err == nil {
			rel, err = p.join(rel, right, tree.AstCross, nil)
		}
	}
	return rel, err
}

func (p *planner) tableExpr(e tree.TableExpr) (*relation, error) {
	switch t := e.(type) {
	case *tree.AliasedTableExpr:
		if t.Ordinality || t.Lateral {
			return nil, refuse("WITH ORDINALITY and LATERAL")
		}
		rel, err := p.tableExpr(t.Expr)
		if err != nil || t.As.Alias == "" {
			return rel, err
		}
		return alias(rel, t.As)
	case *tree.ParenTableExpr:
		return p.tableExpr(t.Expr)
	case *tree.TableName:
		return p.tableName(t)
	case *tree.Subquery:
		return p.operand(t.Select)
	case *tree.StatementSource:
		return p.statement(t.Statement)
	case *tree.RowsFromExpr:
		return p.rowsFrom(t)
	case *tree.JoinTableExpr:
		l, err := p.tableExpr(t.Left)
		if err != nil {
			return nil, err
		}
		r, err := p.tableExpr(t.Right)
		if err != nil {
			return nil, err
		}
		return p.join(l, r, t.JoinType, t.Cond)
	}
	return nil, refuse("%T in FROM", e)
}

func alias(r *relation, a tree.AliasClause) (*relation, error) {
	cols := slices.Clone(r.cols)
	n := 0
	for i := range cols {
		cols[i].table, cols[i].schema, cols[i].db = string(a.Alias), "", ""
		if cols[i].hidden {
			continue
		}
		if n < len(a.Cols) {
			cols[i].name = string(a.Cols[n])
			n++
		} else if len(cols) == 1 && len(a.Cols) == 0 && r.tag == "srf" {
			cols[i].name = string(a.Alias)
		}
	}
	if n < len(a.Cols) {
		return nil, pgerror.Newf(pgcode.InvalidColumnReference, "source %q has %d columns available but %d columns specified", a.Alias, n, len(a.Cols))
	}
	return &relation{cols: cols, rows: r.rows, base: r.base}, nil
}

// tableName finds what a name in FROM means: a WITH query, an internal view, or a table.
func (p *planner) tableName(n *tree.TableName) (*relation, error) {
	if !n.ExplicitSchema {
		if r, ok := p.ctes[string(n.TableName)]; ok {
			return alias(r, tree.AliasClause{Alias: n.TableName})
		}
	}
	if rel, err := p.virtualTable(n); rel != nil || err != nil {
		return rel, err
	}
	t, err := p.lookup(n)
	if err != nil {
		return nil, err
	}
	return p.tableRelation(t, t.Name), nil
}

func (p *planner) tableRelation(t *tableDesc, name string) *relation {
	rel := &relation{base: t}
	for _, c := range t.Columns {
		rel.cols = append(rel.cols, col{name: c.Name, table: name, schema: "public", db: t.Database, typ: c.typ, hidden: c.Hidden})
	}
	rel.rows = func() ([]tree.Datums, error) {
		tt, err := p.txn.table(p.ctx, t)
		if err != nil {
			return nil, err
		}
		out := make([]tree.Datums, 0, tt.rows.Len())
		tt.rows.Scan(func(r *row) bool { out = append(out, r.vals); return true })
		return out, nil
	}
	return rel
}

// qualify returns database and table of a possibly short name: t, schema.t, db.t, db.schema.t.
func (p *planner) qualify(n *tree.TableName) (db, name string, err error) {
	db, name = p.sess.database, string(n.TableName)
	if n.ExplicitCatalog {
		db = string(n.CatalogName)
		if s := string(n.SchemaName); s != "public" {
			return "", "", &missingTable{pgerror.Newf(pgcode.UndefinedTable, "relation %q does not exist", tree.ErrString(n))}
		}
	} else if n.ExplicitSchema && n.SchemaName != "public" {
		db = string(n.SchemaName)
	}
	return db, name, nil
}

func (p *planner) lookup(n *tree.TableName) (*tableDesc, error) {
	db, name, err := p.qualify(n)
	if err != nil {
		return nil, err
	}
	if t := p.cat.tables[db+"."+name]; t != nil {
		return t, nil
	}
	return nil, &missingTable{pgerror.Newf(pgcode.UndefinedTable, "relation %q does not exist", tree.ErrString(n))}
}

func (p *planner) lookupObject(n *tree.UnresolvedObjectName) (*tableDesc, error) {
	tn := n.ToTableName()
	return p.lookup(&tn)
}

func (p *planner) rowsFrom(r *tree.RowsFromExpr) (*relation, error) {
	if len(r.Items) != 1 {
		return nil, refuse("ROWS FROM with several functions")
	}
	box := &rowBox{}
	t, err := p.typed(r.Items[0], box, types.Any)
	if err != nil {
		return nil, err
	}
	name, err := tree.GetRenderColName(p.sema.SearchPath, tree.SelectExpr{Expr: r.Items[0]})
	if err != nil {
		return nil, err
	}
	rel := &relation{cols: []col{{name: name, table: name, typ: t.ResolvedType()}}, tag: "srf"}
	f, isFn := t.(*tree.FuncExpr)
	var def *tree.FunctionDefinition
	if isFn {
		def, _ = f.Func.FunctionReference.(*tree.FunctionDefinition)
	}
	if def == nil || def.Class != tree.GeneratorClass {
		rel.rows = func() (out []tree.Datums, err error) {
			err = p.boxed(box, func() error {
				d, err := t.Eval(p.eval)
				out = []tree.Datums{{d}}
				return err
			})
			return out, err
		}
		return rel, nil
	}
	rel.rows = func() (out []tree.Datums, err error) {
		var in tree.Datums
		err = p.boxed(box, func() error {
			for _, e := range f.Exprs {
				d, err := e.(tree.TypedExpr).Eval(p.eval)
				if err != nil {
					return err
				}
				in = append(in, d)
			}
			return nil
		})
		if err != nil || slices.Contains(in, tree.DNull) {
			return nil, err
		}
		if def.Name == "unnest" {
			for _, d := range tree.MustBeDArray(in[0]).Array {
				out = append(out, tree.Datums{d})
			}
			return out, nil
		}
		step := 1
		if len(in) == 3 {
			step = i(in[2])
		}
		if step == 0 {
			return nil, pgerror.Newf(pgcode.InvalidParameterValue, "step cannot be 0")
		}
		for n := i(in[0]); step > 0 && n <= i(in[1]) || step < 0 && n >= i(in[1]); n += step {
			if out = append(out, tree.Datums{tree.NewDInt(tree.DInt(n))}); len(out) > 5_000_000 {
				return nil, refuse("more than five million generated rows")
			}
		}
		return out, nil
	}
	return rel, nil
}

// join is a hash join on the columns of USING and on `left = right` conjuncts of ON, a nested loop otherwise.
func (p *planner) join(l, r *relation, kind string, cond tree.JoinCond) (*relation, error) {
	nl := len(l.cols)
	cols := append(slices.Clone(l.cols), r.cols...)
	box := &rowBox{cols: cols}
	var on tree.TypedExpr
	var lk, rk []int // equal columns, by position in their side
	using := func(names tree.NameList) error {
		for _, n := range names {
			a := slices.IndexFunc(l.cols, func(c col) bool { return c.name == string(n) && !c.merged })
			b := slices.IndexFunc(r.cols, func(c col) bool { return c.name == string(n) && !c.merged })
			if a < 0 || b < 0 {
				return pgerror.Newf(pgcode.UndefinedColumn, "column %q specified in USING clause does not exist", n)
			}
			if kind == tree.AstFull || kind == tree.AstRight {
				return refuse("USING with %s JOIN", kind)
			}
			lk, rk = append(lk, a), append(rk, b)
			cols[nl+b].merged = true
		}
		return nil
	}
	switch c := cond.(type) {
	case nil:
	case *tree.OnJoinCond:
		var err error
		if on, err = p.require(c.Expr, box, types.Bool, "ON"); err != nil {
			return nil, err
		}
		var walk func(e tree.TypedExpr)
		walk = func(e tree.TypedExpr) {
			switch c := e.(type) {
			case *tree.ParenExpr:
				walk(c.TypedInnerExpr())
			case *tree.AndExpr:
				walk(c.TypedLeft())
				walk(c.TypedRight())
			case *tree.ComparisonExpr:
				a, ok1 := c.TypedLeft().(*tree.IndexedVar)
				b, ok2 := c.TypedRight().(*tree.IndexedVar)
				if !ok1 || !ok2 || c.Operator != tree.EQ || cols[a.Idx].typ.Family() != cols[b.Idx].typ.Family() {
					return
				}
				if a.Idx > b.Idx {
					a, b = b, a
				}
				if a.Idx < nl && b.Idx >= nl {
					lk, rk = append(lk, a.Idx), append(rk, b.Idx-nl)
				}
			}
		}
		walk(on)
	case *tree.UsingJoinCond:
		if err := using(c.Cols); err != nil {
			return nil, err
		}
	case tree.NaturalJoinCond, *tree.NaturalJoinCond:
		var names tree.NameList
		for _, a := range l.cols {
			if !a.hidden && slices.ContainsFunc(r.cols, func(b col) bool { return b.name == a.name && !b.hidden }) {
				names = append(names, tree.Name(a.name))
			}
		}
		if err := using(names); err != nil {
			return nil, err
		}
	default:
		return nil, refuse("%T", cond)
	}
	pick := func(row tree.Datums, at []int) (tree.Datums, bool) {
		out := make(tree.Datums, len(at))
		for i, k := range at {
			if out[i] = row[k]; out[i] == tree.DNull {
				return nil, false
			}
		}
		return out, true
	}
	nulls := func(n int) tree.Datums {
		out := make(tree.Datums, n)
		for i := range out {
			out[i] = tree.DNull
		}
		return out
	}
	return &relation{cols: cols, rows: func() ([]tree.Datums, error) {
		left, err := l.rows()
		if err != nil {
			return nil, err
		}
		right, err := r.rows()
		if err != nil {
			return nil, err
		}
		index := map[string][]int{}
		all := make([]int, len(right))
		for i, row := range right {
			all[i] = i
			if k, ok := pick(row, rk); ok && len(rk) > 0 {
				index[hashRow(k)] = append(index[hashRow(k)], i)
			}
		}
		var out []tree.Datums
		matched := make([]bool, len(right))
		err = p.boxed(box, func() error {
			for n, row := range left {
				if n%256 == 0 && p.ctx.Err() != nil {
					return p.ctx.Err()
				}
				candidates := all
				if len(lk) > 0 {
					candidates = nil
					if k, ok := pick(row, lk); ok {
						candidates = index[hashRow(k)]
					}
				}
				hit := false
				for _, i := range candidates {
					both := append(slices.Clip(row), right[i]...)
					if on != nil {
						box.row = both
						d, err := on.Eval(p.eval)
						if err != nil {
							return err
						}
						if d != tree.DBoolTrue {
							continue
						}
					}
					hit, matched[i] = true, true
					out = append(out, both)
				}
				if !hit && (kind == tree.AstLeft || kind == tree.AstFull) {
					out = append(out, append(slices.Clip(row), nulls(len(r.cols))...))
				}
			}
			return nil
		})
		if kind == tree.AstRight || kind == tree.AstFull {
			for i, row := range right {
				if !matched[i] {
					out = append(out, append(nulls(nl), row...))
				}
			}
		}
		return out, err
	}}, nil
}
