// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"context"
	"time"

	"github.com/auxten/postgresql-parser/pkg/sql/parser"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
)

// col is one column of a relation, with the names it can be reached by.
type col struct {
	name, table, schema, db string
	typ                     *types.T
	hidden                  bool // left out by `*`
	merged                  bool // the right twin of a USING column: reachable only with its table's name
}

// relation is a typed row source; rows runs it. A compiled relation of a prepared statement is never run twice.
type relation struct {
	cols []col
	rows func() ([]tree.Datums, error)
	base *tableDesc // set when it is a plain table, so that WHERE can be used to find rows
	tag  string     // command tag of statements that are no SELECT
}

func (r *relation) types() []*types.T {
	out := make([]*types.T, len(r.cols))
	for i, c := range r.cols {
		out[i] = c.typ
	}
	return out
}

// rowBox feeds one row at a time to compiled expressions.
type rowBox struct {
	cols []col
	row  tree.Datums
}

func (b *rowBox) IndexedVarEval(i int, _ *tree.EvalContext) (tree.Datum, error) { return b.row[i], nil }
func (b *rowBox) IndexedVarResolvedType(i int) *types.T                         { return b.cols[i].typ }
func (b *rowBox) IndexedVarNodeFormatter(i int) tree.NodeFormatter {
	n := tree.Name(b.cols[i].name)
	return &n
}

// subplan is a compiled, uncorrelated subquery; its value is computed once.
type subplan struct {
	rel      *relation
	multiRow bool
	value    tree.Datum
}

// planner compiles and runs one statement.
type planner struct {
	sess *session
	ctx  context.Context
	cat  *catalog
	txn  *txn
	eval *tree.EvalContext
	sema *tree.SemaContext
	ctes map[string]*relation
	subs []*subplan
	warn []string
}

func (p *planner) boxed(b *rowBox, fn func() error) error {
	p.eval.PushIVarContainer(b)
	defer p.eval.PopIVarContainer()
	return fn()
}

// resolver replaces names by columns, subqueries by plans.
type resolver struct {
	p   *planner
	box *rowBox
	err error
}

func (v *resolver) VisitPost(e tree.Expr) tree.Expr { return e }

func (v *resolver) VisitPre(e tree.Expr) (bool, tree.Expr) {
	if v.err != nil {
		return false, e
	}
	switch t := e.(type) {
	case *tree.UnresolvedName:
		vn, err := t.NormalizeVarName()
		if err != nil {
			v.err = err
			return false, e
		}
		return v.VisitPre(vn)
	case *tree.ColumnItem:
		i, err := v.box.find(t)
		if err != nil {
			v.err = err
			return false, e
		}
		return false, tree.NewTypedOrdinalReference(i, v.box.cols[i].typ)
	case *tree.FuncExpr:
		if t.WindowDef != nil {
			v.err = refuse("window functions")
			return false, e
		}
		if len(t.Exprs) == 1 && isStar(t.Exprs[0]) {
			if def, err := t.Func.Resolve(v.p.sema.SearchPath); err != nil || def.Name != "count" {
				v.err = pgerror.Newf(pgcode.Syntax, `cannot use "*" in this context`)
				return false, e
			}
			c := *t
			c.Func, c.Exprs = tree.WrapFunction("count_rows"), nil
			return true, &c
		}
	case *tree.ComparisonExpr:
		switch t.Operator {
		case tree.In, tree.NotIn, tree.Any, tree.Some, tree.All:
			if sub, ok := t.Right.(*tree.Subquery); ok {
				c := *t
				c.Right, v.err = v.p.subquery(sub, true)
				return true, &c
			}
		}
	case *tree.Subquery:
		if t.Idx > 0 {
			return false, t // already planned by the comparison above
		}
		sub, err := v.p.subquery(t, false)
		v.err = err
		return false, sub
	}
	return true, e
}

func isStar(e tree.Expr) bool {
	switch t := e.(type) {
	case tree.UnqualifiedStar:
		return true
	case *tree.UnresolvedName:
		return t.Star && t.NumParts == 1
	}
	return false
}

func (b *rowBox) find(c *tree.ColumnItem) (int, error) {
	found, source := -1, c.TableName == nil
	for i, k := range b.cols {
		if c.TableName != nil {
			if !matches(c.TableName, k) {
				continue
			}
			source = true
		} else if k.merged {
			continue
		}
		if k.name != string(c.ColumnName) {
			continue
		}
		if found >= 0 {
			return 0, pgerror.Newf(pgcode.AmbiguousColumn, "column reference %q is ambiguous (candidates: %s.%s, %s.%s)", c.ColumnName,
				b.cols[found].table, c.ColumnName, k.table, c.ColumnName)
		}
		found = i
	}
	switch {
	case !source:
		return 0, pgerror.Newf(pgcode.UndefinedTable, "no data source matches prefix: %s", c.TableName)
	case found < 0:
		return 0, pgerror.Newf(pgcode.UndefinedColumn, "column %q does not exist", tree.ErrString(c))
	}
	return found, nil
}

func matches(n *tree.UnresolvedObjectName, c col) bool {
	if n.Parts[0] != c.table {
		return false
	}
	switch n.NumParts {
	case 2:
		return n.Parts[1] == c.schema || n.Parts[1] == c.db
	case 3:
		return n.Parts[1] == c.schema && n.Parts[2] == c.db
	}
	return true
}

// typed resolves, types and checks an expression over the box's columns.
func (p *planner) typed(e tree.Expr, box *rowBox, want *types.T) (tree.TypedExpr, error) {
	v := &resolver{p: p, box: box}
	e, _ = tree.WalkExpr(v, e)
	if v.err != nil {
		return nil, v.err
	}
	old := p.sema.IVarContainer
	p.sema.IVarContainer = box
	defer func() { p.sema.IVarContainer = old }()
	return tree.TypeCheck(e, p.sema, want)
}

// require is typed for places that accept one type only.
func (p *planner) require(e tree.Expr, box *rowBox, want *types.T, where string) (tree.TypedExpr, error) {
	p.sema.Properties.Derived = tree.ScalarProperties{}
	t, err := p.typed(e, box, want)
	if err != nil {
		return nil, err
	}
	if p.sema.Properties.Derived.SeenAggregate && where != "HAVING" {
		return nil, pgerror.Newf(pgcode.Grouping, "aggregate functions are not allowed in %s", where)
	}
	if got := t.ResolvedType(); got.Family() != types.UnknownFamily && !got.Equivalent(want) {
		return nil, pgerror.Newf(pgcode.DatatypeMismatch, "argument of %s must be type %s, not type %s", where, want, got)
	}
	return t, nil
}

// constant evaluates an expression without columns.
func (p *planner) constant(e tree.Expr, want *types.T) (tree.Datum, error) {
	box := &rowBox{}
	t, err := p.typed(e, box, want)
	if err != nil {
		return nil, err
	}
	var d tree.Datum
	err = p.boxed(box, func() (err error) { d, err = t.Eval(p.eval); return })
	return d, err
}

func (p *planner) subquery(s *tree.Subquery, multiRow bool) (*tree.Subquery, error) {
	seen := p.sema.Properties.Derived
	rel, err := p.statement(&tree.ParenSelect{Select: &tree.Select{Select: s.Select}})
	p.sema.Properties.Derived = seen // its aggregates are its own
	if err != nil {
		if c := codeOf(err); c == pgcode.UndefinedColumn || c == pgcode.UndefinedTable {
			if _, isTable := err.(*missingTable); !isTable && c == pgcode.UndefinedTable {
				err = refuse("correlated subqueries (%v)", err)
			}
		}
		return nil, err
	}
	p.subs = append(p.subs, &subplan{rel: rel, multiRow: multiRow && !s.Exists})
	out := &tree.Subquery{Select: s.Select, Exists: s.Exists, Idx: len(p.subs)}
	ts := rel.types()
	switch {
	case s.Exists:
		out.SetType(types.Bool)
	case multiRow && len(ts) == 1:
		out.SetType(tupleOf(ts))
	case multiRow:
		out.SetType(tupleOf([]*types.T{tupleOf(ts)}))
	case len(ts) == 1:
		out.SetType(ts[0])
	default:
		out.SetType(tupleOf(ts))
	}
	return out, nil
}

// missingTable lets a subquery tell an unknown table from an outer column.
type missingTable struct{ error }

func (m *missingTable) Unwrap() error { return m.error }
func (m *missingTable) Cause() error  { return m.error }

// evalPlanner is what the evaluator asks of its planner.
type evalPlanner struct{ p *planner }

func (e evalPlanner) EvalSubquery(s *tree.Subquery) (tree.Datum, error) {
	sub := e.p.subs[s.Idx-1]
	if sub.value != nil {
		return sub.value, nil
	}
	rows, err := sub.rel.rows()
	if err != nil {
		return nil, err
	}
	one := func(r tree.Datums) tree.Datum {
		if len(r) == 1 {
			return r[0]
		}
		return tree.NewDTuple(tupleOf(sub.rel.types()), r...)
	}
	switch {
	case s.Exists:
		sub.value = tree.MakeDBool(tree.DBool(len(rows) > 0))
	case sub.multiRow:
		t := tree.NewDTupleWithLen(s.ResolvedType(), 0)
		for _, r := range rows {
			t.D = append(t.D, one(r))
		}
		t.Normalize(e.p.eval)
		sub.value = t
	case len(rows) == 0:
		sub.value = tree.DNull
	case len(rows) == 1:
		sub.value = one(rows[0])
	default:
		return nil, pgerror.Newf(pgcode.CardinalityViolation, "more than one row returned by a subquery used as an expression")
	}
	return sub.value, nil
}

func (evalPlanner) ParseQualifiedTableName(string) (*tree.TableName, error) {
	return nil, refuse("casts to object identifiers")
}

func (evalPlanner) ResolveTableName(context.Context, *tree.TableName) (tree.ID, error) {
	return 0, refuse("casts to object identifiers")
}

func (evalPlanner) LookupSchema(context.Context, string, string) (bool, tree.SchemaMeta, error) {
	return false, nil, refuse("schemas")
}

func (evalPlanner) ParseType(sql string) (*types.T, error) { return parser.ParseType(sql) }

func (s *session) evalContext(ctx context.Context, txnTime time.Time) *tree.EvalContext {
	c := &tree.EvalContext{SessionData: s.data, NodeID: tree.NodeID(s.srv.store.NodeID()), Context: context.WithValue(ctx, backendKey{}, backend(s))}
	c.SetTxnTimestamp(txnTime)
	c.SetStmtTimestamp(time.Now().UTC())
	return c
}

func tupleOf(ts []*types.T) *types.T {
	out := make([]types.T, len(ts))
	for i, t := range ts {
		out[i] = *t
	}
	return types.MakeTuple(out)
}
