// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"fmt"
	"slices"

	"github.com/auxten/postgresql-parser/pkg/sql/parser"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
)

// target is the table a write names, with its alias.
func (p *planner) target(e tree.TableExpr) (*tableDesc, string, error) {
	name := ""
	if a, ok := e.(*tree.AliasedTableExpr); ok {
		name, e = string(a.As.Alias), a.Expr
	}
	tn, ok := e.(*tree.TableName)
	if !ok {
		return nil, "", refuse("writing to %T", e)
	}
	if v, err := p.virtualTable(tn); v != nil || err != nil {
		if err == nil {
			err = pgerror.Newf(pgcode.WrongObjectType, "cannot write to the internal view %s", tn)
		}
		return nil, "", err
	}
	t, err := p.lookup(tn)
	if err == nil && name == "" {
		name = t.Name
	}
	return t, name, err
}

type defaults struct {
	p     *planner
	exprs []tree.TypedExpr // by ordinal, nil is NULL
}

func (p *planner) defaults(t *tableDesc) (*defaults, error) {
	d := &defaults{p: p, exprs: make([]tree.TypedExpr, len(t.Columns))}
	for i, c := range t.Columns {
		if c.Default == "" {
			continue
		}
		e, err := parser.ParseExpr(c.Default)
		if err != nil {
			return nil, err
		}
		if d.exprs[i], err = p.typed(e, &rowBox{}, c.typ); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *defaults) value(i int, c columnDesc) (tree.Datum, error) {
	if d.exprs[i] == nil {
		return tree.DNull, nil
	}
	return d.p.assign(d.exprs[i], c)
}

// assign evaluates an expression for a column: cast where the product casts, adjusted to width and precision.
func (p *planner) assign(e tree.TypedExpr, c columnDesc) (tree.Datum, error) {
	v, err := e.Eval(p.eval)
	if err != nil || v == tree.DNull {
		return v, err
	}
	return adjust(v, c.typ, c.Name)
}

func assignable(from *types.T, c columnDesc) error {
	if from.Family() != types.UnknownFamily && !from.Equivalent(c.typ) {
		return pgerror.Newf(pgcode.DatatypeMismatch, "value type %s doesn't match type %s of column %q", from, c.typ.SQLString(), c.Name)
	}
	return nil
}

// checker verifies NOT NULL and CHECK of a finished row.
func (p *planner) checker(t *tableDesc) (func(tree.Datums) error, error) {
	rel := p.tableRelation(t, t.Name)
	box := &rowBox{cols: rel.cols}
	checks := make([]tree.TypedExpr, len(t.Checks))
	for i, c := range t.Checks {
		e, err := parser.ParseExpr(c.Expr)
		if err != nil {
			return nil, err
		}
		if checks[i], err = p.require(e, box, types.Bool, "CHECK"); err != nil {
			return nil, err
		}
	}
	return func(vals tree.Datums) error {
		for i, c := range t.Columns {
			if vals[i] == tree.DNull && (c.NotNull || slices.Contains(t.Primary, c.ID)) {
				return pgerror.Newf(pgcode.NotNullViolation, "null value in column %q violates not-null constraint", c.Name)
			}
		}
		return p.boxed(box, func() error {
			box.row = vals
			for i, c := range checks {
				d, err := c.Eval(p.eval)
				if err != nil {
					return err
				}
				if d == tree.DBoolFalse {
					return pgerror.Newf(pgcode.CheckViolation, "failed to satisfy CHECK constraint (%s)", t.Checks[i].Expr)
				}
			}
			return nil
		})
	}, nil
}

// returning compiles RETURNING over the table's columns; nil outputs mean only a count.
func (p *planner) returning(r tree.ReturningClause, t *tableDesc, name string) ([]output, *rowBox, error) {
	box := &rowBox{cols: p.tableRelation(t, name).cols}
	exprs, ok := r.(*tree.ReturningExprs)
	if !ok {
		return nil, box, nil
	}
	outs, err := p.outputs(tree.SelectExprs(*exprs), box)
	return outs, box, err
}

// finish wraps a write into a relation: its rows are RETURNING's, its tag counts.
func (p *planner) finish(verb string, outs []output, box *rowBox, run func() ([]tree.Datums, error)) *relation {
	rel := &relation{tag: verb}
	for _, o := range outs {
		rel.cols = append(rel.cols, o.col)
	}
	rel.rows = func() ([]tree.Datums, error) {
		p.txn.wrote = true
		affected, err := run()
		if err != nil {
			return nil, err
		}
		rel.tag = fmt.Sprintf("%s %d", verb, len(affected))
		if outs == nil {
			return nil, nil
		}
		result := make([]tree.Datums, len(affected))
		err = p.boxed(box, func() error {
			for i, r := range affected {
				box.row = r
				for _, o := range outs {
					d, err := o.expr.Eval(p.eval)
					if err != nil {
						return err
					}
					result[i] = append(result[i], d)
				}
			}
			return nil
		})
		return result, err
	}
	return rel
}

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

// assignments compiles SET; the result computes a row's new values while box holds the old ones.
func (p *planner) assignments(exprs tree.UpdateExprs, t *tableDesc, box *rowBox) (func(tree.Datums) (tree.Datums, error), error) {
	type set struct {
		at   int
		expr tree.TypedExpr
	}
	var sets []set
	defs, err := p.defaults(t)
	if err != nil {
		return nil, err
	}
	for _, u := range exprs {
		values := tree.Exprs{u.Expr}
		if u.Tuple {
			tup, ok := u.Expr.(*tree.Tuple)
			if !ok || len(tup.Exprs) != len(u.Names) {
				return nil, refuse("SET (…) = with anything but a list of values")
			}
			values = tup.Exprs
		}
		for k, name := range u.Names {
			o := t.column(string(name))
			if o < 0 {
				return nil, pgerror.Newf(pgcode.UndefinedColumn, "column %q does not exist", name)
			}
			if slices.ContainsFunc(sets, func(s set) bool { return s.at == o }) {
				return nil, pgerror.Newf(pgcode.Syntax, "multiple assignments to the same column %q", name)
			}
			if _, ok := values[k].(tree.DefaultVal); ok {
				sets = append(sets, set{o, defs.exprs[o]})
				continue
			}
			e, err := p.typed(values[k], box, t.Columns[o].typ)
			if err != nil {
				return nil, err
			}
			if err := assignable(e.ResolvedType(), t.Columns[o]); err != nil {
				return nil, err
			}
			sets = append(sets, set{o, e})
		}
	}
	return func(old tree.Datums) (tree.Datums, error) {
		vals := slices.Clone(old)
		for _, s := range sets {
			vals[s.at] = tree.DNull
			if s.expr != nil {
				v, err := p.assign(s.expr, t.Columns[s.at])
				if err != nil {
					return nil, err
				}
				vals[s.at] = v
			}
		}
		return vals, nil
	}, nil
}

// chosen compiles the WHERE, ORDER BY and LIMIT of UPDATE and DELETE to the rows they mean.
func (p *planner) chosen(t *tableDesc, name string, where *tree.Where, order tree.OrderBy, lim *tree.Limit) (func() ([]*row, error), *rowBox, error) {
	if order != nil {
		return nil, nil, refuse("ORDER BY in UPDATE and DELETE")
	}
	box := &rowBox{cols: p.tableRelation(t, name).cols}
	var cond tree.TypedExpr
	if where != nil {
		var err error
		if cond, err = p.require(where.Expr, box, types.Bool, "WHERE"); err != nil {
			return nil, nil, err
		}
	}
	cut, err := p.limit(lim)
	if err != nil {
		return nil, nil, err
	}
	return func() ([]*row, error) {
		rows, err := p.find(t, cond, box)
		if err != nil || lim == nil {
			return rows, err
		}
		kept, err := cut(make([]tree.Datums, len(rows)))
		if err == nil && lim.Offset != nil {
			err = refuse("OFFSET in UPDATE and DELETE")
		}
		return rows[:len(kept)], err
	}, box, nil
}

func (p *planner) update(n *tree.Update) (*relation, error) {
	if n.With != nil || len(n.From) > 0 {
		return nil, refuse("UPDATE with WITH or FROM")
	}
	t, name, err := p.target(n.Table)
	if err != nil {
		return nil, err
	}
	rows, box, err := p.chosen(t, name, n.Where, n.OrderBy, n.Limit)
	if err != nil {
		return nil, err
	}
	sets, err := p.assignments(n.Exprs, t, box)
	if err != nil {
		return nil, err
	}
	check, err := p.checker(t)
	if err != nil {
		return nil, err
	}
	outs, outBox, err := p.returning(n.Returning, t, name)
	if err != nil {
		return nil, err
	}
	return p.finish("UPDATE", outs, outBox, func() ([]tree.Datums, error) {
		tt, err := p.txn.writable(p.ctx, t)
		if err != nil {
			return nil, err
		}
		found, err := rows()
		if err != nil {
			return nil, err
		}
		var done []tree.Datums
		for _, r := range found {
			var vals tree.Datums
			err := p.boxed(box, func() (err error) {
				box.row = r.vals
				vals, err = sets(r.vals)
				return err
			})
			if err == nil {
				err = check(vals)
			}
			if err == nil {
				err = tt.put(r, vals)
			}
			if err != nil {
				return nil, err
			}
			done = append(done, vals)
		}
		return done, nil
	}), nil
}

func (p *planner) delete(n *tree.Delete) (*relation, error) {
	if n.With != nil {
		return nil, refuse("WITH before DELETE")
	}
	t, name, err := p.target(n.Table)
	if err != nil {
		return nil, err
	}
	rows, _, err := p.chosen(t, name, n.Where, n.OrderBy, n.Limit)
	if err != nil {
		return nil, err
	}
	outs, outBox, err := p.returning(n.Returning, t, name)
	if err != nil {
		return nil, err
	}
	return p.finish("DELETE", outs, outBox, func() ([]tree.Datums, error) {
		tt, err := p.txn.writable(p.ctx, t)
		if err != nil {
			return nil, err
		}
		found, err := rows()
		if err != nil {
			return nil, err
		}
		var done []tree.Datums
		for _, r := range found {
			if err := tt.delete(r); err != nil {
				return nil, err
			}
			done = append(done, r.vals)
		}
		return done, nil
	}), nil
}

func (p *planner) truncate(n *tree.Truncate) (*relation, error) {
	if len(n.Tables) != 1 {
		return nil, refuse("TRUNCATE of several tables")
	}
	t, err := p.lookup(&n.Tables[0])
	if err != nil {
		return nil, err
	}
	return &relation{tag: "TRUNCATE", rows: func() ([]tree.Datums, error) {
		p.txn.wrote = true
		tt, err := p.txn.writable(p.ctx, t)
		if err != nil {
			return nil, err
		}
		var all []*row
		tt.rows.Scan(func(r *row) bool { all = append(all, r); return true })
		for _, r := range all {
			if err := tt.delete(r); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}}, nil
}
