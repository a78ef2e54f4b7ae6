// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"slices"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
)

// values compiles rows; want gives the desired column types, so that constants become what they are inserted as.
func (p *planner) values(v *tree.ValuesClause, want []*types.T) (*relation, error) {
	box := &rowBox{}
	n := len(v.Rows[0])
	exprs := make([][]tree.TypedExpr, len(v.Rows))
	cols := make([]col, n)
	for i, r := range v.Rows {
		if len(r) != n {
			return nil, pgerror.Newf(pgcode.Syntax, "VALUES lists must all be the same length, expected %d columns, found %d", n, len(r))
		}
		for j, e := range r {
			desired := types.Any
			if j < len(want) {
				desired = want[j]
			}
			t, err := p.typed(e, box, desired)
			if err != nil {
				return nil, err
			}
			exprs[i] = append(exprs[i], t)
			typ := t.ResolvedType()
			switch {
			case cols[j].typ == nil || cols[j].typ.Family() == types.UnknownFamily:
				cols[j] = col{name: "column" + string(rune('0'+(j+1)%10)), typ: typ}
				if j >= 9 {
					cols[j].name = "column" + tree.NewDInt(tree.DInt(j+1)).String()
				}
			case typ.Family() != types.UnknownFamily && !typ.Equivalent(cols[j].typ):
				return nil, pgerror.Newf(pgcode.DatatypeMismatch, "VALUES types %s and %s cannot be matched", typ, cols[j].typ)
			}
		}
	}
	return &relation{cols: cols, rows: func() ([]tree.Datums, error) {
		out := make([]tree.Datums, len(exprs))
		err := p.boxed(box, func() error {
			for i, r := range exprs {
				out[i] = make(tree.Datums, n)
				for j, e := range r {
					d, err := e.Eval(p.eval)
					if err != nil {
						return err
					}
					out[i][j] = d
				}
			}
			return nil
		})
		return out, err
	}}, nil
}

func (p *planner) union(u *tree.UnionClause) (*relation, error) {
	l, err := p.selectStmt(u.Left)
	if err != nil {
		return nil, err
	}
	r, err := p.selectStmt(u.Right)
	if err != nil {
		return nil, err
	}
	if len(l.cols) != len(r.cols) {
		return nil, pgerror.Newf(pgcode.Syntax, "each %v query must have the same number of columns: %d vs %d", u.Type, len(l.cols), len(r.cols))
	}
	cols := slices.Clone(l.cols)
	for i := range cols {
		cols[i].table, cols[i].hidden = "", false
		lt, rt := l.cols[i].typ, r.cols[i].typ
		switch {
		case lt.Family() == types.UnknownFamily:
			cols[i].typ = rt
		case rt.Family() != types.UnknownFamily && !lt.Equivalent(rt):
			return nil, pgerror.Newf(pgcode.DatatypeMismatch, "%v types %s and %s cannot be matched", u.Type, lt, rt)
		}
	}
	return &relation{cols: cols, rows: func() ([]tree.Datums, error) {
		a, err := l.rows()
		if err != nil {
			return nil, err
		}
		b, err := r.rows()
		if err != nil {
			return nil, err
		}
		if u.Type == tree.UnionOp {
			all := append(slices.Clip(a), b...)
			if u.All {
				return all, nil
			}
			return distinct(all), nil
		}
		count := map[string]int{}
		for _, row := range b {
			count[hashRow(row)]++
		}
		var out []tree.Datums
		for _, row := range a {
			h := hashRow(row)
			in := count[h] > 0
			if in && u.All {
				count[h]--
			}
			if in == (u.Type == tree.IntersectOp) {
				out = append(out, row)
			}
		}
		if !u.All {
			out = distinct(out)
		}
		return out, nil
	}}, nil
}

func distinct(rows []tree.Datums) []tree.Datums {
	seen := map[string]bool{}
	var out []tree.Datums
	for _, r := range rows {
		if h := hashRow(r); !seen[h] {
			seen[h] = true
			out = append(out, r)
		}
	}
	return out
}

type sortKey struct {
	expr tree.TypedExpr
	desc bool
}

func ordinalOf(o *tree.Order, n int) (int, error) {
	if o.OrderType != tree.OrderByColumn || o.NullsOrder != tree.DefaultNullsOrder {
		return 0, refuse("this ORDER BY")
	}
	e := o.Expr
	for {
		paren, ok := e.(*tree.ParenExpr)
		if !ok {
			break
		}
		e = paren.Expr
	}
	c, ok := e.(*tree.NumVal)
	if !ok {
		return -1, nil
	}
	k, err := c.AsInt64()
	if err != nil || k < 1 || int(k) > n {
		return 0, pgerror.Newf(pgcode.InvalidColumnReference, "ORDER BY position %s is not in select list", c)
	}
	return int(k) - 1, nil
}

func (p *planner) sort(rows []tree.Datums, box *rowBox, keys []sortKey) ([]tree.Datums, error) {
	if len(keys) == 0 {
		return rows, nil
	}
	type keyed struct{ key, row tree.Datums }
	all := make([]keyed, len(rows))
	err := p.boxed(box, func() error {
		for i, r := range rows {
			box.row = r
			all[i] = keyed{make(tree.Datums, len(keys)), r}
			for j, k := range keys {
				d, err := k.expr.Eval(p.eval)
				if err != nil {
					return err
				}
				all[i].key[j] = d
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b keyed) int {
		for j, k := range keys {
			if c := a.key[j].Compare(p.eval, b.key[j]); c != 0 {
				if k.desc {
					return -c
				}
				return c
			}
		}
		return 0
	})
	out := make([]tree.Datums, len(all))
	for i, a := range all {
		out[i] = a.row
	}
	return out, nil
}

// limit compiles LIMIT and OFFSET.
func (p *planner) limit(l *tree.Limit) (func([]tree.Datums) ([]tree.Datums, error), error) {
	none := func(r []tree.Datums) ([]tree.Datums, error) { return r, nil }
	if l == nil {
		return none, nil
	}
	box := &rowBox{}
	compile := func(e tree.Expr, where string) (tree.TypedExpr, error) {
		if e == nil {
			return nil, nil
		}
		return p.require(e, box, types.Int, where)
	}
	count, err := compile(l.Count, "LIMIT")
	if err != nil {
		return nil, err
	}
	offset, err := compile(l.Offset, "OFFSET")
	if err != nil {
		return nil, err
	}
	value := func(e tree.TypedExpr, where string, fallback int) (n int, err error) {
		if e == nil {
			return fallback, nil
		}
		err = p.boxed(box, func() error {
			d, err := e.Eval(p.eval)
			if err != nil || d == tree.DNull {
				n = fallback
				return err
			}
			if n = i(d); n < 0 {
				return pgerror.Newf(pgcode.InvalidRowCountInLimitClause, "negative value for %s", where)
			}
			return nil
		})
		return n, err
	}
	return func(rows []tree.Datums) ([]tree.Datums, error) {
		skip, err := value(offset, "OFFSET", 0)
		if err != nil {
			return nil, err
		}
		n, err := value(count, "LIMIT", len(rows))
		if err != nil {
			return nil, err
		}
		rows = rows[min(skip, len(rows)):]
		return rows[:min(n, len(rows))], nil
	}, nil
}
