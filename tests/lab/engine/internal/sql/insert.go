// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"fmt"
	"slices"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
)

func (p *planner) insert(n *tree.Insert) (*relation, error) {
	if n.With != nil {
		return nil, refuse("WITH before INSERT")
	}
	t, name, err := p.target(n.Table)
	if err != nil {
		return nil, err
	}
	// the columns that are given
	var target []int
	for _, c := range n.Columns {
		o := t.column(string(c))
		if o < 0 {
			return nil, pgerror.Newf(pgcode.UndefinedColumn, "column %q does not exist", c)
		}
		if slices.Contains(target, o) {
			return nil, pgerror.Newf(pgcode.Syntax, "multiple assignments to the same column %q", c)
		}
		target = append(target, o)
	}
	if len(n.Columns) == 0 {
		for o, c := range t.Columns {
			if !c.Hidden {
				target = append(target, o)
			}
		}
	}
	want := make([]*types.T, len(target))
	for k, o := range target {
		want[k] = t.Columns[o].typ
	}
	defs, err := p.defaults(t)
	if err != nil {
		return nil, err
	}
	var src *relation
	isDefault := map[[2]int]bool{} // row, position: the word DEFAULT
	if n.Rows.Select == nil {
		src = &relation{rows: func() ([]tree.Datums, error) { return []tree.Datums{{}}, nil }}
	} else if v, ok := n.Rows.Select.(*tree.ValuesClause); ok && n.Rows.OrderBy == nil && n.Rows.Limit == nil {
		plain := &tree.ValuesClause{}
		for i, r := range v.Rows {
			r = slices.Clone(r)
			for k, e := range r {
				if _, ok := e.(tree.DefaultVal); ok {
					isDefault[[2]int{i, k}] = true
					r[k] = tree.DNull
				}
			}
			plain.Rows = append(plain.Rows, r)
		}
		src, err = p.values(plain, want)
	} else {
		src, err = p.selectStmt(n.Rows)
	}
	if err != nil {
		return nil, err
	}
	switch got := len(src.cols); {
	case got > len(target) || got < len(target) && len(n.Columns) > 0:
		expressions := func(k int) string {
			if k == 1 {
				return "1 expression"
			}
			return fmt.Sprintf("%d expressions", k)
		}
		return nil, pgerror.Newf(pgcode.Syntax, "INSERT has more %s than %s, %s for %d targets", pick(got > len(target), "expressions", "target columns"),
			pick(got > len(target), "target columns", "expressions"), expressions(got), len(target))
	default:
		target = target[:got]
	}
	for k, c := range src.cols {
		if err := assignable(c.typ, t.Columns[target[k]]); err != nil {
			return nil, err
		}
	}
	resolve, err := p.onConflict(n, t, name, target)
	if err != nil {
		return nil, err
	}
	check, err := p.checker(t)
	if err != nil {
		return nil, err
	}
	outs, box, err := p.returning(n.Returning, t, name)
	if err != nil {
		return nil, err
	}
	return p.finish("INSERT 0", outs, box, func() ([]tree.Datums, error) {
		tt, err := p.txn.writable(p.ctx, t)
		if err != nil {
			return nil, err
		}
		rows, err := src.rows()
		if err != nil {
			return nil, err
		}
		var done []tree.Datums
		for i, r := range rows {
			vals := make(tree.Datums, len(t.Columns))
			given := make([]bool, len(t.Columns))
			for k, o := range target {
				if given[o] = !isDefault[[2]int{i, k}]; !given[o] {
					continue
				}
				vals[o] = r[k]
				if r[k] != tree.DNull {
					if vals[o], err = adjust(r[k], t.Columns[o].typ, t.Columns[o].Name); err != nil {
						return nil, err
					}
				}
			}
			for o, c := range t.Columns {
				if !given[o] {
					if vals[o], err = defs.value(o, c); err != nil {
						return nil, err
					}
				}
			}
			if err := check(vals); err != nil {
				return nil, err
			}
			old, skip := (*row)(nil), false
			if resolve != nil {
				if old, vals, skip, err = resolve(tt, vals); err != nil {
					return nil, err
				}
				if skip {
					continue
				}
				if old != nil {
					if err := check(vals); err != nil {
						return nil, err
					}
				}
			}
			if err := tt.put(old, vals); err != nil {
				return nil, err
			}
			done = append(done, vals)
		}
		return done, nil
	}), nil
}

func pick(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// onConflict compiles UPSERT and ON CONFLICT: which existing row a new one meets, and what becomes of it (nil: a plain INSERT).
func (p *planner) onConflict(n *tree.Insert, t *tableDesc, name string, target []int) (func(*txnTable, tree.Datums) (*row, tree.Datums, bool, error), error) {
	oc := n.OnConflict
	if oc == nil {
		return nil, nil
	}
	byPrimary := func(tt *txnTable, vals tree.Datums) (*row, error) {
		k, err := rowKey(t, vals)
		if err != nil {
			return nil, err
		}
		r, _ := tt.rows.Get(&row{key: k})
		return r, nil
	}
	byUnique := func(i int) func(*txnTable, tree.Datums) (*row, error) {
		return func(tt *txnTable, vals tree.Datums) (*row, error) {
			ks, err := uniqueKeys(t, vals)
			if err != nil || ks[i] == "" {
				return nil, err
			}
			e, ok := tt.unique.Get(uniqueEntry{key: ks[i]})
			if !ok {
				return nil, nil
			}
			r, _ := tt.rows.Get(&row{key: e.rowKey})
			return r, nil
		}
	}
	if oc.IsUpsertAlias() {
		return func(tt *txnTable, vals tree.Datums) (*row, tree.Datums, bool, error) {
			old, err := byPrimary(tt, vals)
			if old == nil || err != nil {
				return nil, vals, false, err
			}
			if len(n.Columns) > 0 { // columns that were not named keep what they hold
				merged := slices.Clone(old.vals)
				for _, o := range target {
					merged[o] = vals[o]
				}
				vals = merged
			}
			return old, vals, false, nil
		}, nil
	}
	// the constraint that is meant
	var finders []func(*txnTable, tree.Datums) (*row, error)
	if len(oc.Columns) == 0 {
		if !oc.DoNothing {
			return nil, pgerror.Newf(pgcode.Syntax, "ON CONFLICT DO UPDATE requires a conflict target")
		}
		finders = append(finders, byPrimary)
		for i := range t.Unique {
			finders = append(finders, byUnique(i))
		}
	} else {
		var ids []int
		for _, c := range oc.Columns {
			o := t.column(string(c))
			if o < 0 {
				return nil, pgerror.Newf(pgcode.UndefinedColumn, "column %q does not exist", c)
			}
			ids = append(ids, t.Columns[o].ID)
		}
		same := func(a []int) bool {
			a, b := slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(ids))
			return slices.Equal(a, b)
		}
		if same(t.Primary) {
			finders = append(finders, byPrimary)
		}
		for i, u := range t.Unique {
			if same(u.Columns) && len(finders) == 0 {
				finders = append(finders, byUnique(i))
			}
		}
		if len(finders) == 0 {
			return nil, pgerror.Newf(pgcode.InvalidColumnReference, "there is no unique or exclusion constraint matching the ON CONFLICT specification")
		}
	}
	cols := p.tableRelation(t, name).cols
	for _, c := range p.tableRelation(t, "excluded").cols {
		c.schema, c.db, c.merged = "", "", true // reached as excluded.x only
		cols = append(cols, c)
	}
	box := &rowBox{cols: cols}
	sets, err := p.assignments(oc.Exprs, t, box)
	if err != nil {
		return nil, err
	}
	var where tree.TypedExpr
	if oc.Where != nil {
		if where, err = p.require(oc.Where.Expr, box, types.Bool, "WHERE"); err != nil {
			return nil, err
		}
	}
	return func(tt *txnTable, vals tree.Datums) (*row, tree.Datums, bool, error) {
		for _, find := range finders {
			old, err := find(tt, vals)
			if err != nil {
				return nil, nil, false, err
			}
			if old == nil {
				continue
			}
			if oc.DoNothing {
				return nil, nil, true, nil
			}
			var next tree.Datums
			skip := false
			err = p.boxed(box, func() error {
				box.row = append(slices.Clip(old.vals), vals...)
				if where != nil {
					if d, err := where.Eval(p.eval); err != nil || d != tree.DBoolTrue {
						skip = true
						return err
					}
				}
				next, err = sets(old.vals)
				return err
			})
			return old, next, skip, err
		}
		return nil, vals, false, nil
	}, nil
}
