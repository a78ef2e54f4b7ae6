// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"encoding/hex"
	"math"
	"strconv"
	"time"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
	"github.com/cockroachdb/apd"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/lib/pq/oid"
)

const timestampLayout = "2006-01-02 15:04:05.999999"

// textValue is a value in the wire protocol's text form. It is also how rows are stored: it loses nothing.
func textValue(d tree.Datum) string {
	switch v := tree.UnwrapDatum(nil, d).(type) {
	case *tree.DBool:
		if *v {
			return "t"
		}
		return "f"
	case *tree.DString:
		return string(*v)
	case *tree.DBytes:
		return `\x` + hex.EncodeToString([]byte(*v))
	case *tree.DFloat:
		f := float64(*v)
		switch {
		case math.IsInf(f, 1):
			return "Infinity"
		case math.IsInf(f, -1):
			return "-Infinity"
		}
		return strconv.FormatFloat(f, 'g', -1, 64)
	case *tree.DDecimal:
		return v.Decimal.String()
	case *tree.DTimestamp:
		return v.Time.UTC().Format(timestampLayout)
	case *tree.DTimestampTZ:
		return v.Time.UTC().Format(timestampLayout + "-07:00")
	case *tree.DJSON:
		return v.JSON.String()
	}
	return tree.AsStringWithFlags(d, tree.FmtPgwireText)
}

// parseTime resolves `now`-like words in literals; stored and bound values do not hold any.
type parseTime struct{ now time.Time }

func (p parseTime) GetRelativeParseTime() time.Time { return p.now }

// parseText is textValue's inverse for a known type.
func parseText(t *types.T, s string) (tree.Datum, error) {
	if t.Family() == types.StringFamily {
		return tree.NewDString(s), nil // no truncation: widths are checked on the way in
	}
	return tree.ParseAndRequireString(t, s, parseTime{time.Now().UTC()})
}

var wireTypes = pgtype.NewMap()

// bindValue decodes a bound parameter of either format to a value of type t.
func bindValue(t *types.T, format int16, src []byte) (tree.Datum, error) {
	if src == nil {
		return tree.DNull, nil
	}
	if format == pgtype.BinaryFormatCode {
		switch t.Family() {
		case types.StringFamily:
		case types.BytesFamily:
			return tree.NewDBytes(tree.DBytes(src)), nil
		case types.JsonFamily:
			if t.Oid() == oid.T_jsonb && len(src) > 0 {
				src = src[1:] // version byte
			}
		case types.IntFamily: // drivers send the width they have
			var n int64
			for i, b := range src {
				if n = n<<8 | int64(b); i == 0 && b&0x80 != 0 {
					n = -1<<8 | int64(b)
				}
			}
			return tree.NewDInt(tree.DInt(n)), nil
		default:
			id := uint32(t.Oid())
			typ, ok := wireTypes.TypeForOID(id)
			if !ok {
				return nil, refuse("binary parameters of type %s", t)
			}
			v, err := typ.Codec.DecodeValue(wireTypes, id, pgtype.BinaryFormatCode, src)
			if err != nil {
				return nil, pgerror.Newf(pgcode.InvalidBinaryRepresentation, "%v", err)
			}
			if src, err = wireTypes.Encode(id, pgtype.TextFormatCode, v, nil); err != nil {
				return nil, pgerror.Newf(pgcode.InvalidBinaryRepresentation, "%v", err)
			}
		}
	}
	d, err := parseText(t, string(src))
	if err != nil && codeOf(err) == pgcode.Uncategorized {
		err = pgerror.Newf(pgcode.InvalidTextRepresentation, "%v", err)
	}
	return d, err
}

// wireValue encodes a result value in the asked-for format.
func wireValue(d tree.Datum, t *types.T, format int16) ([]byte, error) {
	if d == tree.DNull {
		return nil, nil
	}
	text := []byte(textValue(d))
	if format != pgtype.BinaryFormatCode {
		return text, nil
	}
	switch v := tree.UnwrapDatum(nil, d).(type) {
	case *tree.DString:
		return text, nil
	case *tree.DBytes:
		return []byte(*v), nil
	case *tree.DJSON:
		return append([]byte{1}, text...), nil
	}
	id := uint32(t.Oid())
	typ, ok := wireTypes.TypeForOID(id)
	if !ok {
		return nil, refuse("binary results of type %s", t)
	}
	v, err := typ.Codec.DecodeValue(wireTypes, id, pgtype.TextFormatCode, text)
	if err != nil {
		return nil, err
	}
	return wireTypes.Encode(id, pgtype.BinaryFormatCode, v, []byte{})
}

// adjust fits a value to its column as the product does: widths are errors, scales and precisions round.
func adjust(d tree.Datum, t *types.T, column string) (tree.Datum, error) {
	switch v := tree.UnwrapDatum(nil, d).(type) {
	case *tree.DString:
		if t.Width() > 0 && len([]rune(string(*v))) > int(t.Width()) {
			return nil, pgerror.Newf(pgcode.StringDataRightTruncation, "value too long for type %s (column %q)", t.SQLString(), column)
		}
	case *tree.DInt:
		if w := uint(t.Width()); t.Family() == types.IntFamily && w > 0 && w < 64 {
			if n := int64(*v); n > 1<<(w-1)-1 || n < -1<<(w-1) {
				return nil, pgerror.Newf(pgcode.NumericValueOutOfRange, "integer out of range for type %s (column %q)", t.SQLString(), column)
			}
		}
	case *tree.DDecimal:
		if t.Precision() > 0 && v.Form == apd.Finite {
			out := &tree.DDecimal{}
			out.Set(&v.Decimal)
			if err := tree.LimitDecimalWidth(&out.Decimal, int(t.Precision()), int(t.Scale())); err != nil {
				return nil, pgerror.Wrapf(err, pgcode.NumericValueOutOfRange, "type %s (column %q)", t.SQLString(), column)
			}
			return out, nil
		}
	case *tree.DTimestamp:
		return tree.MakeDTimestamp(v.Time, tree.TimeFamilyPrecisionToRoundDuration(t.Precision())), nil
	case *tree.DTimestampTZ:
		return tree.MakeDTimestampTZ(v.Time, tree.TimeFamilyPrecisionToRoundDuration(t.Precision())), nil
	}
	return d, nil
}
