// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"slices"

	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
)

// find returns a table's rows that satisfy where, by key when where names the whole primary key.
func (p *planner) find(t *tableDesc, where tree.TypedExpr, box *rowBox) ([]*row, error) {
	tt, err := p.txn.table(p.ctx, t)
	if err != nil {
		return nil, err
	}
	var out []*row
	err = p.boxed(box, func() error {
		var failed error
		keep := func(r *row) bool {
			if where != nil {
				box.row = r.vals
				d, err := where.Eval(p.eval)
				if err != nil {
					failed = err
					return false
				}
				if d != tree.DBoolTrue {
					return true
				}
			}
			out = append(out, r)
			return true
		}
		keys, err := p.pointKeys(t, where)
		switch {
		case err != nil:
			return err
		case keys != nil:
			for _, k := range keys {
				if r, ok := tt.rows.Get(&row{key: k}); ok && !keep(r) {
					break
				}
			}
		default:
			n := 0
			tt.rows.Scan(func(r *row) bool {
				if n++; n%1024 == 0 && p.ctx.Err() != nil {
					failed = p.ctx.Err()
					return false
				}
				return keep(r)
			})
		}
		return failed
	})
	return out, err
}

// pointKeys derives the row keys from `pk = const` conjuncts (also `IN`, for a key of one column); nil means scan.
func (p *planner) pointKeys(t *tableDesc, where tree.TypedExpr) ([]string, error) {
	fixed := map[int]tree.Datums{}
	var walk func(e tree.TypedExpr) error
	walk = func(e tree.TypedExpr) error {
		switch c := e.(type) {
		case *tree.ParenExpr:
			return walk(c.TypedInnerExpr())
		case *tree.AndExpr:
			if err := walk(c.TypedLeft()); err != nil {
				return err
			}
			return walk(c.TypedRight())
		case *tree.ComparisonExpr:
			v, ok := c.TypedLeft().(*tree.IndexedVar)
			right := c.TypedRight()
			if !ok && c.Operator == tree.EQ {
				v, ok = right.(*tree.IndexedVar)
				right = c.TypedLeft()
			}
			if !ok || !isConst(right) || fixed[v.Idx] != nil {
				return nil
			}
			d, err := right.Eval(p.eval)
			if err != nil {
				return err
			}
			switch {
			case c.Operator == tree.EQ:
				fixed[v.Idx] = tree.Datums{d}
			case c.Operator == tree.In:
				if tup, ok := d.(*tree.DTuple); ok {
					fixed[v.Idx] = append(tree.Datums{}, tup.D...)
				}
			}
		}
		return nil
	}
	if where == nil {
		return nil, nil
	}
	if err := walk(where); err != nil {
		return nil, err
	}
	var keys []string
	vals := make(tree.Datums, len(t.Columns))
	for n, id := range t.Primary {
		i := t.ordinal(id)
		ds, ok := fixed[i]
		if !ok || len(ds) > 1 && len(t.Primary) > 1 {
			return nil, nil
		}
		for _, d := range ds {
			if d != tree.DNull && d.ResolvedType().Family() != t.Columns[i].typ.Family() {
				return nil, nil // e.g. int compared with decimal: let the comparison decide
			}
			vals[i] = d
			if n == len(t.Primary)-1 && d != tree.DNull {
				k, err := rowKey(t, vals)
				if err != nil {
					return nil, err
				}
				keys = append(keys, k)
			}
		}
		if len(ds) == 1 && ds[0] == tree.DNull {
			return []string{}, nil
		}
	}
	if keys == nil {
		keys = []string{}
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

type constFinder struct{ varies bool }

func (c *constFinder) VisitPre(e tree.Expr) (bool, tree.Expr) {
	switch t := e.(type) {
	case *tree.IndexedVar, *tree.Subquery:
		c.varies = true
	case *tree.FuncExpr:
		c.varies = c.varies || t.IsImpure()
	}
	return !c.varies, e
}
func (c *constFinder) VisitPost(e tree.Expr) tree.Expr { return e }

func isConst(e tree.Expr) bool {
	c := &constFinder{}
	tree.WalkExprConst(c, e)
	return !c.varies
}
