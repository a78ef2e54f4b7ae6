// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
	"github.com/auxten/postgresql-parser/pkg/util/json"
	"github.com/auxten/postgresql-parser/pkg/util/uuid"
	"github.com/cockroachdb/apd"
)

// The parser library brings operators, casts and their typing; the functions are ours. What is missing is an unknown function (42883).

type fn = func(*tree.EvalContext, tree.Datums) (tree.Datum, error)

var rowIDLast atomic.Int64

// uniqueRowID is the product's row id: 10 µs ticks since 2015, 15 bits of node. Ascending within a node.
func uniqueRowID(node int) int64 {
	const epoch = 1420070400000000000
	for {
		now := (time.Now().UnixNano() - epoch) / 10000
		last := rowIDLast.Load()
		if now <= last {
			now = last + 1
		}
		if rowIDLast.CompareAndSwap(last, now) {
			return now<<15 | int64(node&0x7fff)
		}
	}
}

// backend is what functions may ask their session; it travels in the EvalContext.
type backend interface {
	versionText() string
	currentDatabase() string
	currentUser() string
	nodeID() int
	clusterID() string
	execVersion() string
}

type backendKey struct{}

func back(c *tree.EvalContext) backend { return c.Context.Value(backendKey{}).(backend) }

func args(ts ...*types.T) tree.ArgTypes {
	var out tree.ArgTypes
	for i, t := range ts {
		out = append(out, struct {
			Name string
			Typ  *types.T
		}{fmt.Sprintf("a%d", i), t})
	}
	return out
}

func over(ret *types.T, f fn, ts ...*types.T) tree.Overload {
	return tree.Overload{Types: args(ts...), ReturnType: tree.FixedReturnType(ret), Fn: f}
}

func str(s string) (tree.Datum, error)  { return tree.NewDString(s), nil }
func num(n int64) (tree.Datum, error)   { return tree.NewDInt(tree.DInt(n)), nil }
func s(d tree.Datum) string             { return string(tree.MustBeDString(d)) }
func i(d tree.Datum) int                { return int(tree.MustBeDInt(d)) }
func flt(f float64) (tree.Datum, error) { return tree.NewDFloat(tree.DFloat(f)), nil }

func define(name string, props tree.FunctionProperties, overloads ...tree.Overload) {
	tree.FunDefs[name] = tree.NewFunctionDefinition(name, &props, overloads)
}

func strFn(name string, f func(string) string) {
	define(name, tree.FunctionProperties{}, over(types.String, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) { return str(f(s(a[0]))) }, types.String))
}

func substring(a tree.Datums) (tree.Datum, error) {
	r, start, end := []rune(s(a[0])), i(a[1]), math.MaxInt32
	if len(a) == 3 {
		if end = start + i(a[2]); i(a[2]) < 0 {
			return nil, pgerror.Newf(pgcode.InvalidParameterValue, "negative substring length %d not allowed", i(a[2]))
		}
	}
	from, to := max(start-1, 0), min(max(end-1, 0), len(r))
	if from >= to {
		return str("")
	}
	return str(string(r[from:to]))
}

func init() {
	tree.FunDefs = map[string]*tree.FunctionDefinition{}
	none := tree.FunctionProperties{}
	impure := tree.FunctionProperties{Impure: true}
	nullable := tree.FunctionProperties{NullableArgs: true}

	// session and time
	session := func(name string, f func(backend) string) {
		define(name, none, over(types.String, func(c *tree.EvalContext, _ tree.Datums) (tree.Datum, error) { return str(f(back(c))) }))
	}
	session("version", backend.versionText)
	session("current_database", backend.currentDatabase)
	session("current_user", backend.currentUser)
	session("session_user", backend.currentUser)
	session("current_schema", func(backend) string { return "public" })
	for _, schema := range []string{"kwdb_internal", "crdb_internal"} {
		if schema == "kwdb_internal" {
			session(schema+".node_executable_version", backend.execVersion)
		}
		define(schema+".cluster_id", none, over(types.Uuid, func(c *tree.EvalContext, _ tree.Datums) (tree.Datum, error) {
			return tree.ParseDUuidFromString(back(c).clusterID())
		}))
	}
	now := []tree.Overload{
		{Types: args(), ReturnType: tree.FixedReturnType(types.TimestampTZ), PreferredOverload: true,
			Fn: func(c *tree.EvalContext, _ tree.Datums) (tree.Datum, error) {
				return c.GetTxnTimestamp(time.Microsecond), nil
			}},
		over(types.Timestamp, func(c *tree.EvalContext, _ tree.Datums) (tree.Datum, error) {
			return c.GetTxnTimestampNoZone(time.Microsecond), nil
		}),
		over(types.Date, func(c *tree.EvalContext, _ tree.Datums) (tree.Datum, error) {
			return tree.NewDDateFromTime(c.GetTxnTimestamp(time.Microsecond).Time)
		}),
	}
	for _, name := range []string{"now", "current_timestamp", "transaction_timestamp", "statement_timestamp", "localtimestamp"} {
		define(name, none, now...)
	}
	define("clock_timestamp", impure, over(types.TimestampTZ, func(*tree.EvalContext, tree.Datums) (tree.Datum, error) {
		return tree.MakeDTimestampTZ(time.Now().UTC(), time.Microsecond), nil
	}))
	define("current_date", none, over(types.Date, now[2].Fn))
	define("pg_sleep", impure, over(types.Bool, func(c *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
		if err := sleep(c.Context, time.Duration(float64(*a[0].(*tree.DFloat))*float64(time.Second))); err != nil {
			return nil, err
		}
		return tree.DBoolTrue, nil
	}, types.Float))
	extract := func(t time.Time, field string) (tree.Datum, error) {
		switch strings.ToLower(field) {
		case "epoch":
			return flt(float64(t.UnixNano()) / 1e9)
		case "year":
			return flt(float64(t.Year()))
		case "month":
			return flt(float64(t.Month()))
		case "day":
			return flt(float64(t.Day()))
		case "hour":
			return flt(float64(t.Hour()))
		case "minute":
			return flt(float64(t.Minute()))
		case "second":
			return flt(float64(t.Second()) + float64(t.Nanosecond())/1e9)
		}
		return nil, pgerror.Newf(pgcode.InvalidParameterValue, "unsupported timespan: %s", field)
	}
	for _, name := range []string{"extract", "date_part"} {
		define(name, none,
			over(types.Float, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
				return extract(a[1].(*tree.DTimestamp).Time, s(a[0]))
			}, types.String, types.Timestamp),
			over(types.Float, func(c *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
				return extract(a[1].(*tree.DTimestampTZ).Time.In(c.GetLocation()), s(a[0]))
			}, types.String, types.TimestampTZ),
			over(types.Float, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
				t, err := a[1].(*tree.DDate).ToTime()
				if err != nil {
					return nil, err
				}
				return extract(t, s(a[0]))
			}, types.String, types.Date))
	}

	// ids
	define("unique_rowid", impure, over(types.Int, func(c *tree.EvalContext, _ tree.Datums) (tree.Datum, error) {
		return num(uniqueRowID(back(c).nodeID()))
	}))
	define("gen_random_uuid", impure, over(types.Uuid, func(*tree.EvalContext, tree.Datums) (tree.Datum, error) {
		return tree.NewDUuid(tree.DUuid{UUID: uuid.MakeV4()}), nil
	}))
	define("random", impure, over(types.Float, func(*tree.EvalContext, tree.Datums) (tree.Datum, error) { return flt(rand.Float64()) }))

	// strings and bytes
	strFn("lower", strings.ToLower)
	strFn("upper", strings.ToUpper)
	strFn("reverse", func(v string) string {
		r := []rune(v)
		for a, b := 0, len(r)-1; a < b; a, b = a+1, b-1 {
			r[a], r[b] = r[b], r[a]
		}
		return string(r)
	})
	for name, f := range map[string]func(string, string) string{"btrim": strings.Trim, "ltrim": strings.TrimLeft, "rtrim": strings.TrimRight} {
		define(name, none,
			over(types.String, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) { return str(f(s(a[0]), s(a[1]))) }, types.String, types.String),
			over(types.String, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) { return str(f(s(a[0]), " ")) }, types.String))
	}
	for _, name := range []string{"length", "char_length", "character_length"} {
		define(name, none,
			over(types.Int, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
				return num(int64(utf8.RuneCountInString(s(a[0]))))
			}, types.String),
			over(types.Int, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
				return num(int64(len(*a[0].(*tree.DBytes))))
			}, types.Bytes))
	}
	define("octet_length", none,
		over(types.Int, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) { return num(int64(len(s(a[0])))) }, types.String),
		over(types.Int, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
			return num(int64(len(*a[0].(*tree.DBytes))))
		}, types.Bytes))
	for _, name := range []string{"substr", "substring"} {
		define(name, none,
			over(types.String, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) { return substring(a) }, types.String, types.Int),
			over(types.String, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) { return substring(a) }, types.String, types.Int, types.Int))
	}
	define("replace", none, over(types.String, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
		return str(strings.ReplaceAll(s(a[0]), s(a[1]), s(a[2])))
	}, types.String, types.String, types.String))
	define("repeat", none, over(types.String, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
		if n := i(a[1]); n > 0 {
			if n*len(s(a[0])) > 64<<20 {
				return nil, pgerror.Newf(pgcode.ProgramLimitExceeded, "requested length too large")
			}
			return str(strings.Repeat(s(a[0]), n))
		}
		return str("")
	}, types.String, types.Int))
	pad := func(left bool) fn {
		return func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
			v, fill := []rune(s(a[0])), []rune(" ")
			if len(a) == 3 {
				fill = []rune(s(a[2]))
			}
			n := min(max(i(a[1]), 0), 1<<20)
			if len(v) >= n || len(fill) == 0 {
				return str(string(v[:min(n, len(v))]))
			}
			gap := make([]rune, n-len(v))
			for k := range gap {
				gap[k] = fill[k%len(fill)]
			}
			if left {
				return str(string(gap) + string(v))
			}
			return str(string(v) + string(gap))
		}
	}
	for name, left := range map[string]bool{"lpad": true, "rpad": false} {
		define(name, none, over(types.String, pad(left), types.String, types.Int), over(types.String, pad(left), types.String, types.Int, types.String))
	}
	define("left", none, over(types.String, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
		r := []rune(s(a[0]))
		return str(string(r[:min(max(i(a[1]), 0), len(r))]))
	}, types.String, types.Int))
	define("right", none, over(types.String, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
		r := []rune(s(a[0]))
		return str(string(r[len(r)-min(max(i(a[1]), 0), len(r)):]))
	}, types.String, types.Int))
	define("strpos", none, over(types.Int, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
		at := strings.Index(s(a[0]), s(a[1]))
		if at >= 0 {
			at = utf8.RuneCountInString(s(a[0])[:at])
		}
		return num(int64(at + 1))
	}, types.String, types.String))
	define("split_part", none, over(types.String, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
		parts := strings.Split(s(a[0]), s(a[1]))
		if n := i(a[2]); n >= 1 && n <= len(parts) {
			return str(parts[n-1])
		}
		return str("")
	}, types.String, types.String, types.Int))
	define("concat", nullable, tree.Overload{Types: tree.VariadicType{VarType: types.String}, ReturnType: tree.FixedReturnType(types.String),
		Fn: func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
			var b strings.Builder
			for _, d := range a {
				if d != tree.DNull {
					b.WriteString(s(d))
				}
			}
			return str(b.String())
		}})
	define("concat_ws", nullable, tree.Overload{Types: tree.VariadicType{VarType: types.String}, ReturnType: tree.FixedReturnType(types.String),
		Fn: func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
			if len(a) == 0 || a[0] == tree.DNull {
				return tree.DNull, nil
			}
			var parts []string
			for _, d := range a[1:] {
				if d != tree.DNull {
					parts = append(parts, s(d))
				}
			}
			return str(strings.Join(parts, s(a[0])))
		}})
	hash := func(name string, sum func([]byte) string) {
		define(name, none,
			over(types.String, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) { return str(sum([]byte(s(a[0])))) }, types.String),
			over(types.String, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
				return str(sum([]byte(*a[0].(*tree.DBytes))))
			}, types.Bytes))
	}
	hash("md5", func(b []byte) string { v := md5.Sum(b); return hex.EncodeToString(v[:]) })
	hash("sha256", func(b []byte) string { v := sha256.Sum256(b); return hex.EncodeToString(v[:]) })
	hash("to_hex", hex.EncodeToString)

	// numbers
	define("mod", none, over(types.Int, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
		if i(a[1]) == 0 {
			return nil, tree.ErrDivByZero
		}
		return num(int64(i(a[0]) % i(a[1])))
	}, types.Int, types.Int))
	define("abs", none,
		over(types.Int, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
			return num(int64(max(i(a[0]), -i(a[0]))))
		}, types.Int),
		over(types.Float, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
			return flt(math.Abs(float64(*a[0].(*tree.DFloat))))
		}, types.Float),
		over(types.Decimal, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
			out := &tree.DDecimal{}
			out.Abs(&a[0].(*tree.DDecimal).Decimal)
			return out, nil
		}, types.Decimal))
	for name, f := range map[string]struct {
		f func(float64) float64
		d func(*apd.Context, *apd.Decimal, *apd.Decimal) (apd.Condition, error)
	}{"ceil": {math.Ceil, (*apd.Context).Ceil}, "floor": {math.Floor, (*apd.Context).Floor}, "round": {math.RoundToEven, (*apd.Context).RoundToIntegralValue}, "sqrt": {math.Sqrt, (*apd.Context).Sqrt}} {
		define(name, none,
			over(types.Float, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
				return flt(f.f(float64(*a[0].(*tree.DFloat))))
			}, types.Float),
			over(types.Decimal, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
				out := &tree.DDecimal{}
				_, err := f.d(tree.DecimalCtx, &out.Decimal, &a[0].(*tree.DDecimal).Decimal)
				return out, err
			}, types.Decimal))
	}
	round := tree.FunDefs["round"]
	digits := over(types.Decimal, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
		out := &tree.DDecimal{}
		_, err := tree.HighPrecisionCtx.Quantize(&out.Decimal, &a[0].(*tree.DDecimal).Decimal, -int32(i(a[1])))
		return out, err
	}, types.Decimal, types.Int)
	define("round", none, *round.Definition[0].(*tree.Overload), *round.Definition[1].(*tree.Overload), digits)
	pick := func(sign int) fn {
		return func(c *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
			best := tree.Datum(tree.DNull)
			for _, d := range a {
				if d != tree.DNull && (best == tree.DNull || sign*d.Compare(c, best) > 0) {
					best = d
				}
			}
			return best, nil
		}
	}
	for name, sign := range map[string]int{"greatest": 1, "least": -1} {
		define(name, nullable, tree.Overload{Types: tree.HomogeneousType{}, ReturnType: tree.FirstNonNullReturnType(), Fn: pick(sign)})
	}

	// arrays and JSON
	define("array_length", none, over(types.Int, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
		arr := tree.MustBeDArray(a[0])
		if i(a[1]) != 1 || arr.Len() == 0 {
			return tree.DNull, nil
		}
		return num(int64(arr.Len()))
	}, types.AnyArray, types.Int))
	define("cardinality", none, over(types.Int, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
		return num(int64(tree.MustBeDArray(a[0]).Len()))
	}, types.AnyArray))
	define("array_to_string", none, over(types.String, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
		var parts []string
		for _, d := range tree.MustBeDArray(a[0]).Array {
			if d != tree.DNull {
				parts = append(parts, textValue(d))
			}
		}
		return str(strings.Join(parts, s(a[1])))
	}, types.AnyArray, types.String))
	define("jsonb_typeof", none, over(types.String, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
		switch a[0].(*tree.DJSON).JSON.Type() {
		case json.NullJSONType:
			return str("null")
		case json.StringJSONType:
			return str("string")
		case json.NumberJSONType:
			return str("number")
		case json.FalseJSONType, json.TrueJSONType:
			return str("boolean")
		case json.ArrayJSONType:
			return str("array")
		}
		return str("object")
	}, types.Jsonb))
	define("pg_typeof", nullable, over(types.String, func(_ *tree.EvalContext, a tree.Datums) (tree.Datum, error) {
		return str(a[0].ResolvedType().SQLStandardName())
	}, types.Any))

	// set returning, in FROM only (select.go)
	srf := tree.FunctionProperties{Class: tree.GeneratorClass, NullableArgs: true}
	unusable := func(*tree.EvalContext, tree.Datums) (tree.Datum, error) {
		return nil, refuse("set-returning functions outside FROM")
	}
	define("generate_series", srf, over(types.Int, unusable, types.Int, types.Int), over(types.Int, unusable, types.Int, types.Int, types.Int))
	define("unnest", srf, tree.Overload{Types: args(types.AnyArray), ReturnType: func(a []tree.TypedExpr) *types.T {
		if len(a) == 0 || a[0].ResolvedType().Family() != types.ArrayFamily {
			return tree.UnknownReturnType
		}
		return a[0].ResolvedType().ArrayContents()
	}, Fn: unusable})

	defineAggregates()
}
