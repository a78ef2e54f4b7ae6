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
