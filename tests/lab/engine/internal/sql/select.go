// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"slices"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
)

// selectStmt compiles a whole SELECT, VALUES or set operation with its ORDER BY and LIMIT.
func (p *planner) selectStmt(s *tree.Select) (*relation, error) {
	if s.Locking != nil {
		return nil, refuse("row locks (FOR UPDATE)")
	}
	if s.With != nil {
		if s.With.Recursive {
			return nil, refuse("recursive common table expressions")
		}
		old := p.ctes
		p.ctes = map[string]*relation{}
		for k, v := range old {
			p.ctes[k] = v
		}
		defer func() { p.ctes = old }()
		for _, c := range s.With.CTEList {
			sel, ok := c.Stmt.(*tree.Select)
			if !ok {
				return nil, refuse("%s in WITH", c.Stmt.StatementTag())
			}
			rel, err := p.selectStmt(sel)
			if err != nil {
				return nil, err
			}
			if rel, err = alias(rel, c.Name); err != nil {
				return nil, err
			}
			p.ctes[string(c.Name.Alias)] = once(rel)
		}
	}
	if c, ok := s.Select.(*tree.SelectClause); ok {
		return p.selectClause(c, s.OrderBy, s.Limit)
	}
	rel, err := p.operand(s.Select)
	if err != nil {
		return nil, err
	}
	box := &rowBox{cols: rel.cols}
	var keys []sortKey
	for _, o := range s.OrderBy {
		i, err := ordinalOf(o, len(rel.cols))
		if err != nil {
			return nil, err
		}
		if i >= 0 {
			keys = append(keys, sortKey{expr: tree.NewTypedOrdinalReference(i, rel.cols[i].typ), desc: o.Direction == tree.Descending})
			continue
		}
		t, err := p.typed(o.Expr, box, types.Any)
		if err != nil {
			return nil, err
		}
		keys = append(keys, sortKey{expr: t, desc: o.Direction == tree.Descending})
	}
	cut, err := p.limit(s.Limit)
	if err != nil {
		return nil, err
	}
	return &relation{cols: rel.cols, rows: func() ([]tree.Datums, error) {
		rows, err := rel.rows()
		if err != nil {
			return nil, err
		}
		if rows, err = p.sort(rows, box, keys); err != nil {
			return nil, err
		}
		return cut(rows)
	}}, nil
}

func once(r *relation) *relation {
	var rows []tree.Datums
	var err error
	done := false
	return &relation{cols: r.cols, rows: func() ([]tree.Datums, error) {
		if !done {
			rows, err = r.rows()
			done = true
		}
		return rows, err
	}}
}

func (p *planner) operand(s tree.SelectStatement) (*relation, error) {
	switch t := s.(type) {
	case *tree.SelectClause:
		return p.selectClause(t, nil, nil)
	case *tree.ParenSelect:
		return p.selectStmt(t.Select)
	case *tree.ValuesClause:
		return p.values(t, nil)
	case *tree.UnionClause:
		return p.union(t)
	}
	return nil, refuse("%T", s)
}

type output struct {
	expr tree.TypedExpr
	text string // as written, to find it again in ORDER BY
	col  col
}

// selectClause compiles FROM, WHERE, GROUP BY, HAVING, DISTINCT with the ORDER BY and LIMIT that belong to it.
func (p *planner) selectClause(c *tree.SelectClause, order tree.OrderBy, lim *tree.Limit) (*relation, error) {
	switch {
	case len(c.DistinctOn) > 0:
		return nil, refuse("DISTINCT ON")
	case len(c.Window) > 0:
		return nil, refuse("WINDOW")
	case c.From.AsOf.Expr != nil:
		return nil, refuse("AS OF SYSTEM TIME")
	}
	from, err := p.from(c.From.Tables)
	if err != nil {
		return nil, err
	}
	box := &rowBox{cols: from.cols}
	var where tree.TypedExpr
	if c.Where != nil {
		if where, err = p.require(c.Where.Expr, box, types.Bool, "WHERE"); err != nil {
			return nil, err
		}
	}
	p.sema.Properties.Derived = tree.ScalarProperties{}
	outs, err := p.outputs(c.Exprs, box)
	if err != nil {
		return nil, err
	}
	visible := len(outs)
	aggregates := p.sema.Properties.Derived.SeenAggregate
	var having tree.TypedExpr
	if c.Having != nil {
		if having, err = p.require(c.Having.Expr, box, types.Bool, "HAVING"); err != nil {
			return nil, err
		}
	}
	var keys []sortKey
	for _, o := range order {
		at, err := p.orderTarget(o, outs[:visible])
		if err != nil {
			return nil, err
		}
		if at < 0 {
			t, err := p.typed(o.Expr, box, types.Any)
			if err != nil {
				return nil, err
			}
			aggregates = aggregates || p.sema.Properties.Derived.SeenAggregate
			if c.Distinct {
				return nil, pgerror.Newf(pgcode.InvalidColumnReference, "for SELECT DISTINCT, ORDER BY expressions must appear in select list")
			}
			outs = append(outs, output{expr: t, col: col{typ: t.ResolvedType()}})
			at = len(outs) - 1
		}
		keys = append(keys, sortKey{expr: tree.NewTypedOrdinalReference(at, outs[at].col.typ), desc: o.Direction == tree.Descending})
	}

	var agg *aggregation
	if len(c.GroupBy) > 0 || having != nil || aggregates {
		agg = &aggregation{p: p, in: box, keyText: map[string]int{}}
		for _, g := range c.GroupBy {
			var t tree.TypedExpr
			at, err := p.orderTarget(&tree.Order{Expr: g}, nil)
			if n, ok := g.(*tree.NumVal); ok {
				k, _ := n.AsInt64()
				if k < 1 || int(k) > visible {
					return nil, pgerror.Newf(pgcode.InvalidColumnReference, "GROUP BY position %s is not in select list", n)
				}
				t = outs[k-1].expr
			} else if err != nil || at >= 0 {
				return nil, err
			} else if t, err = p.typed(g, box, types.Any); err != nil {
				if at, err2 := p.orderTarget(&tree.Order{Expr: g}, outs[:visible]); err2 == nil && at >= 0 {
					t, err = outs[at].expr, nil // an output's alias
				}
				if err != nil {
					return nil, err
				}
			}
			agg.keyText[tree.AsStringWithFlags(t, tree.FmtCheckEquivalence)] = len(agg.keys)
			agg.keys = append(agg.keys, t)
		}
		for i := range outs {
			if outs[i].expr, err = agg.rewrite(outs[i].expr); err != nil {
				return nil, err
			}
		}
		if having != nil {
			if having, err = agg.rewrite(having); err != nil {
				return nil, err
			}
		}
		agg.out = &rowBox{}
		for _, k := range agg.keys {
			agg.out.cols = append(agg.out.cols, col{typ: k.ResolvedType()})
		}
		for _, k := range agg.calls {
			agg.out.cols = append(agg.out.cols, col{typ: k.typ})
		}
	}
	cut, err := p.limit(lim)
	if err != nil {
		return nil, err
	}

	rel := &relation{}
	outBox := &rowBox{}
	for i, o := range outs {
		outBox.cols = append(outBox.cols, o.col)
		if i < visible {
			rel.cols = append(rel.cols, o.col)
		}
	}
	rel.rows = func() ([]tree.Datums, error) {
		var rows []tree.Datums
		var err error
		if from.base != nil {
			found, err := p.find(from.base, where, box)
			if err != nil {
				return nil, err
			}
			rows = make([]tree.Datums, len(found))
			for i, r := range found {
				rows[i] = r.vals
			}
		} else {
			if rows, err = from.rows(); err == nil {
				rows, err = p.filter(rows, where, box)
			}
			if err != nil {
				return nil, err
			}
		}
		in := box
		if agg != nil {
			if rows, err = agg.run(rows); err != nil {
				return nil, err
			}
			in = agg.out
			if rows, err = p.filter(rows, having, in); err != nil {
				return nil, err
			}
		}
		out := make([]tree.Datums, len(rows))
		err = p.boxed(in, func() error {
			for i, r := range rows {
				in.row = r
				out[i] = make(tree.Datums, len(outs))
				for j, o := range outs {
					if out[i][j], err = o.expr.Eval(p.eval); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if c.Distinct {
			out = distinct(out)
		}
		if out, err = p.sort(out, outBox, keys); err != nil {
			return nil, err
		}
		if out, err = cut(out); err != nil {
			return nil, err
		}
		if visible < len(outs) {
			for i := range out {
				out[i] = out[i][:visible]
			}
		}
		return out, nil
	}
	return rel, nil
}

// outputs expands stars and types the select list.
func (p *planner) outputs(exprs tree.SelectExprs, box *rowBox) ([]output, error) {
	var outs []output
	for _, e := range exprs {
		target := e.Expr
		if n, ok := target.(*tree.UnresolvedName); ok && n.Star {
			vn, err := n.NormalizeVarName()
			if err != nil {
				return nil, err
			}
			target = vn
		}
		var prefix *tree.UnresolvedObjectName
		switch t := target.(type) {
		case tree.UnqualifiedStar:
		case *tree.AllColumnsSelector:
			prefix = t.TableName
		default:
			typed, err := p.typed(e.Expr, box, types.Any)
			if err != nil {
				return nil, err
			}
			name, err := tree.GetRenderColName(p.sema.SearchPath, e)
			if err != nil {
				return nil, err
			}
			outs = append(outs, output{typed, tree.AsString(e.Expr), col{name: name, typ: typed.ResolvedType()}})
			continue
		}
		n := len(outs)
		for i, c := range box.cols {
			if c.hidden || prefix == nil && c.merged || prefix != nil && !matches(prefix, c) {
				continue
			}
			outs = append(outs, output{tree.NewTypedOrdinalReference(i, c.typ), c.name, col{name: c.name, typ: c.typ}})
		}
		if n == len(outs) && prefix != nil {
			return nil, pgerror.Newf(pgcode.UndefinedTable, "no data source matches pattern: %s.*", prefix)
		}
	}
	return outs, nil
}

// orderTarget finds the output an ORDER BY item means: by position, alias or text; -1 for an expression of its own.
func (p *planner) orderTarget(o *tree.Order, outs []output) (int, error) {
	if outs == nil {
		return -1, nil
	}
	if at, err := ordinalOf(o, len(outs)); err != nil || at >= 0 {
		return at, err
	}
	text := tree.AsString(o.Expr)
	if n, ok := o.Expr.(*tree.UnresolvedName); ok && n.NumParts == 1 {
		for i, out := range outs {
			if out.col.name == n.Parts[0] {
				return i, nil
			}
		}
	}
	return slices.IndexFunc(outs, func(x output) bool { return x.text == text }), nil
}

func (p *planner) filter(rows []tree.Datums, where tree.TypedExpr, box *rowBox) ([]tree.Datums, error) {
	if where == nil {
		return rows, nil
	}
	var out []tree.Datums
	err := p.boxed(box, func() error {
		for _, r := range rows {
			box.row = r
			d, err := where.Eval(p.eval)
			if err != nil {
				return err
			}
			if d == tree.DBoolTrue {
				out = append(out, r)
			}
		}
		return nil
	})
	return out, err
}
