// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
)

// aggregation rewrites typed expressions over input rows into ones over [group keys..., aggregates...].
type aggregation struct {
	p       *planner
	in      *rowBox
	keys    []tree.TypedExpr
	keyText map[string]int
	calls   []aggCall
	out     *rowBox
	err     error
}

type aggCall struct {
	text   string
	fn     *tree.FuncExpr
	args   []tree.TypedExpr
	filter tree.TypedExpr
	typ    *types.T
}

func (a *aggregation) VisitPost(e tree.Expr) tree.Expr { return e }

func (a *aggregation) VisitPre(e tree.Expr) (bool, tree.Expr) {
	if a.err != nil {
		return false, e
	}
	if i, ok := a.keyText[tree.AsStringWithFlags(e, tree.FmtCheckEquivalence)]; ok {
		return false, tree.NewTypedOrdinalReference(i, a.keys[i].ResolvedType())
	}
	switch t := e.(type) {
	case *tree.FuncExpr:
		def, ok := t.Func.FunctionReference.(*tree.FunctionDefinition)
		if !ok || def.Class != tree.AggregateClass {
			break
		}
		if t.OrderBy != nil {
			a.err = refuse("ORDER BY inside aggregates")
			return false, e
		}
		text := tree.AsStringWithFlags(t, tree.FmtCheckEquivalence)
		for i, c := range a.calls {
			if c.text == text {
				return false, tree.NewTypedOrdinalReference(len(a.keys)+i, c.typ)
			}
		}
		c := aggCall{text: text, fn: t, typ: t.ResolvedType()}
		for _, x := range t.Exprs {
			c.args = append(c.args, x.(tree.TypedExpr))
		}
		if t.Filter != nil {
			c.filter = t.Filter.(tree.TypedExpr)
		}
		a.calls = append(a.calls, c)
		return false, tree.NewTypedOrdinalReference(len(a.keys)+len(a.calls)-1, c.typ)
	case *tree.Subquery:
		return false, e
	case *tree.IndexedVar:
		a.err = pgerror.Newf(pgcode.Grouping, "column %q must appear in the GROUP BY clause or be used in an aggregate function", a.in.cols[t.Idx].name)
		return false, e
	}
	return true, e
}

func (a *aggregation) rewrite(e tree.TypedExpr) (tree.TypedExpr, error) {
	out, _ := tree.WalkExpr(a, e)
	if a.err != nil {
		return nil, a.err
	}
	return out.(tree.TypedExpr), nil
}

// run groups the input rows; without GROUP BY there is exactly one group.
func (a *aggregation) run(rows []tree.Datums) ([]tree.Datums, error) {
	type group struct {
		keys tree.Datums
		aggs []tree.AggregateFunc
		seen []map[string]bool
	}
	groups, order := map[string]*group{}, []*group{}
	open := func(hash string, keys tree.Datums) *group {
		g := &group{keys: keys, seen: make([]map[string]bool, len(a.calls))}
		for i, c := range a.calls {
			g.aggs = append(g.aggs, c.fn.ResolvedOverload().AggregateFunc(nil, a.p.eval, nil))
			if c.fn.Type == tree.DistinctFuncType {
				g.seen[i] = map[string]bool{}
			}
		}
		groups[hash] = g
		order = append(order, g)
		return g
	}
	if len(a.keys) == 0 {
		open("", nil)
	}
	err := a.p.boxed(a.in, func() error {
		for _, r := range rows {
			a.in.row = r
			keys := make(tree.Datums, len(a.keys))
			for i, k := range a.keys {
				d, err := k.Eval(a.p.eval)
				if err != nil {
					return err
				}
				keys[i] = d
			}
			h := hashRow(keys)
			g := groups[h]
			if g == nil {
				g = open(h, keys)
			}
			for i, c := range a.calls {
				if c.filter != nil {
					if d, err := c.filter.Eval(a.p.eval); err != nil {
						return err
					} else if d != tree.DBoolTrue {
						continue
					}
				}
				vals := make(tree.Datums, len(c.args))
				for k, x := range c.args {
					d, err := x.Eval(a.p.eval)
					if err != nil {
						return err
					}
					vals[k] = d
				}
				if g.seen[i] != nil {
					h := hashRow(vals)
					if g.seen[i][h] {
						continue
					}
					g.seen[i][h] = true
				}
				var first tree.Datum
				if len(vals) > 0 {
					first, vals = vals[0], vals[1:]
				}
				if err := g.aggs[i].Add(a.p.ctx, first, vals...); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]tree.Datums, len(order))
	for i, g := range order {
		out[i] = append(out[i], g.keys...)
		for _, f := range g.aggs {
			d, err := f.Result()
			if err != nil {
				return nil, err
			}
			out[i] = append(out[i], d)
		}
	}
	return out, nil
}

// hashRow maps equal rows to equal strings (1.0 and 1.00 are one decimal).
func hashRow(ds tree.Datums) string {
	var b []byte
	for _, d := range ds {
		if d == tree.DNull {
			b = append(b, 0)
			continue
		}
		b = append(b, 1)
		if k, err := encodeKey(b, d); err == nil {
			b = k
		} else {
			t := textValue(d)
			b = append(append(b, byte(len(t)>>24), byte(len(t)>>16), byte(len(t)>>8), byte(len(t))), t...)
		}
	}
	return string(b)
}
