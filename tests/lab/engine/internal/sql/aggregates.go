// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"context"
	"strings"

	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
	"github.com/cockroachdb/apd"
)

type aggregate struct {
	add    func(tree.Datum, ...tree.Datum) error
	result func() (tree.Datum, error)
}

func (a *aggregate) Add(_ context.Context, d tree.Datum, more ...tree.Datum) error {
	return a.add(d, more...)
}
func (a *aggregate) Result() (tree.Datum, error) { return a.result() }
func (a *aggregate) Reset(context.Context)       {}
func (a *aggregate) Close(context.Context)       {}
func (a *aggregate) Size() int64                 { return 0 }

type makeAgg func(c *tree.EvalContext) *aggregate

func defineAgg(name string, nullableArgs bool, overloads ...tree.Overload) {
	define(name, tree.FunctionProperties{Class: tree.AggregateClass, NullableArgs: nullableArgs, Impure: true}, overloads...)
}

func aggOver(ret tree.ReturnTyper, m makeAgg, ts ...*types.T) tree.Overload {
	return tree.Overload{Types: args(ts...), ReturnType: ret,
		AggregateFunc: func(_ []*types.T, c *tree.EvalContext, _ tree.Datums) tree.AggregateFunc { return m(c) }}
}

var scalarTypes = []*types.T{types.Int, types.Float, types.Decimal, types.String, types.Bytes, types.Bool, types.Timestamp, types.TimestampTZ, types.Date,
	types.Time, types.Interval, types.Uuid, types.INet, types.Jsonb}

// decimalSum adds exactly; ints and decimals share it.
func decimalSum(average bool) makeAgg {
	return func(*tree.EvalContext) *aggregate {
		var sum apd.Decimal
		var n int64
		return &aggregate{func(d tree.Datum, _ ...tree.Datum) error {
			if d == tree.DNull {
				return nil
			}
			n++
			v := new(apd.Decimal)
			if k, ok := d.(*tree.DInt); ok {
				v.SetInt64(int64(*k))
			} else {
				v = &d.(*tree.DDecimal).Decimal
			}
			_, err := tree.ExactCtx.Add(&sum, &sum, v)
			return err
		}, func() (tree.Datum, error) {
			if n == 0 {
				return tree.DNull, nil
			}
			out := &tree.DDecimal{}
			out.Set(&sum)
			if average {
				if _, err := tree.DecimalCtx.Quo(&out.Decimal, &sum, apd.New(n, 0)); err != nil {
					return nil, err
				}
			}
			return out, nil
		}}
	}
}

func floatSum(average bool) makeAgg {
	return func(*tree.EvalContext) *aggregate {
		var sum float64
		var n int64
		return &aggregate{func(d tree.Datum, _ ...tree.Datum) error {
			if d != tree.DNull {
				n++
				sum += float64(*d.(*tree.DFloat))
			}
			return nil
		}, func() (tree.Datum, error) {
			switch {
			case n == 0:
				return tree.DNull, nil
			case average:
				return flt(sum / float64(n))
			}
			return flt(sum)
		}}
	}
}

func extreme(sign int) makeAgg {
	return func(c *tree.EvalContext) *aggregate {
		best := tree.Datum(tree.DNull)
		return &aggregate{func(d tree.Datum, _ ...tree.Datum) error {
			if d != tree.DNull && (best == tree.DNull || sign*d.Compare(c, best) > 0) {
				best = d
			}
			return nil
		}, func() (tree.Datum, error) { return best, nil }}
	}
}

func defineAggregates() {
	fixed := tree.FixedReturnType
	count := func(all bool) makeAgg {
		return func(*tree.EvalContext) *aggregate {
			var n int64
			return &aggregate{func(d tree.Datum, _ ...tree.Datum) error {
				if all || d != tree.DNull {
					n++
				}
				return nil
			}, func() (tree.Datum, error) { return num(n) }}
		}
	}
	defineAgg("count", true, aggOver(fixed(types.Int), count(false), types.Any))
	defineAgg("count_rows", true, aggOver(fixed(types.Int), count(true)))
	defineAgg("sum", false, aggOver(fixed(types.Decimal), decimalSum(false), types.Int), aggOver(fixed(types.Decimal), decimalSum(false), types.Decimal),
		aggOver(fixed(types.Float), floatSum(false), types.Float))
	defineAgg("avg", false, aggOver(fixed(types.Decimal), decimalSum(true), types.Int), aggOver(fixed(types.Decimal), decimalSum(true), types.Decimal),
		aggOver(fixed(types.Float), floatSum(true), types.Float))
	defineAgg("sum_int", false, aggOver(fixed(types.Int), func(*tree.EvalContext) *aggregate {
		var sum int64
		seen := false
		return &aggregate{func(d tree.Datum, _ ...tree.Datum) error {
			if d != tree.DNull {
				sum += int64(i(d))
				seen = true
			}
			return nil
		}, func() (tree.Datum, error) {
			if !seen {
				return tree.DNull, nil
			}
			return num(sum)
		}}
	}, types.Int))
	var mins, maxs, arrays []tree.Overload
	for _, t := range scalarTypes {
		mins = append(mins, aggOver(fixed(t), extreme(-1), t))
		maxs = append(maxs, aggOver(fixed(t), extreme(1), t))
		arrays = append(arrays, aggOver(fixed(types.MakeArray(t)), func(*tree.EvalContext) *aggregate {
			arr := tree.NewDArray(t)
			return &aggregate{func(d tree.Datum, _ ...tree.Datum) error { return arr.Append(d) }, func() (tree.Datum, error) {
				if arr.Len() == 0 {
					return tree.DNull, nil
				}
				return arr, nil
			}}
		}, t))
	}
	defineAgg("min", false, mins...)
	defineAgg("max", false, maxs...)
	defineAgg("array_agg", true, arrays...)
	boolean := func(all bool) makeAgg {
		return func(*tree.EvalContext) *aggregate {
			out := tree.Datum(tree.DNull)
			return &aggregate{func(d tree.Datum, _ ...tree.Datum) error {
				if d != tree.DNull {
					v := bool(*d.(*tree.DBool))
					if out != tree.DNull {
						old := bool(*out.(*tree.DBool))
						if all {
							v = v && old
						} else {
							v = v || old
						}
					}
					out = tree.MakeDBool(tree.DBool(v))
				}
				return nil
			}, func() (tree.Datum, error) { return out, nil }}
		}
	}
	defineAgg("bool_and", false, aggOver(fixed(types.Bool), boolean(true), types.Bool))
	defineAgg("every", false, aggOver(fixed(types.Bool), boolean(true), types.Bool))
	defineAgg("bool_or", false, aggOver(fixed(types.Bool), boolean(false), types.Bool))
	defineAgg("string_agg", true, aggOver(fixed(types.String), func(*tree.EvalContext) *aggregate {
		var b strings.Builder
		seen := false
		return &aggregate{func(d tree.Datum, more ...tree.Datum) error {
			if d == tree.DNull {
				return nil
			}
			if seen && more[0] != tree.DNull {
				b.WriteString(s(more[0]))
			}
			seen = true
			b.WriteString(s(d))
			return nil
		}, func() (tree.Datum, error) {
			if !seen {
				return tree.DNull, nil
			}
			return str(b.String())
		}}
	}, types.String, types.String))
}
