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
