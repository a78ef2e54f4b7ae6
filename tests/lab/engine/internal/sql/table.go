// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
	"github.com/auxten/postgresql-parser/pkg/util/encoding"
	"github.com/tidwall/btree"

	"kwdbstandin/internal/kv"
)

// A table's range holds rows ("r" + order-preserving primary key) and unique index entries ("u" + index number + key, value = row key).
type row struct {
	key     string
	version uint64      // 0 while only a transaction has it
	vals    tree.Datums // by the descriptor's column order
}

// rowSet is a sorted set of rows with cheap copies: readers keep theirs while others write on.
type rowSet = btree.BTreeG[*row]

func newRowSet() *rowSet {
	return btree.NewBTreeGOptions(func(a, b *row) bool { return a.key < b.key }, btree.Options{NoLocks: true})
}

type uniqueEntry struct {
	key, rowKey string
	version     uint64
}

type uniqueSet = btree.BTreeG[uniqueEntry]

func newUniqueSet() *uniqueSet {
	return btree.NewBTreeGOptions(func(a, b uniqueEntry) bool { return a.key < b.key }, btree.Options{NoLocks: true})
}

// tableCache keeps each table's decoded rows once per node; every use first asks the range for what changed. Rows are decoded by one version
// of the schema, which is part of the key.
type tableCache struct {
	store  kv.Store
	mu     sync.Mutex
	tables map[cacheKey]*cachedTable
}

type cacheKey struct {
	id   kv.RangeID
	desc uint64
}

type cachedTable struct {
	mu      sync.Mutex
	version uint64
	rows    *rowSet
	unique  *uniqueSet
}

func newTableCache(store kv.Store) *tableCache {
	return &tableCache{store: store, tables: map[cacheKey]*cachedTable{}}
}

func (c *tableCache) get(t *tableDesc) *cachedTable {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := cacheKey{t.Range, t.version}
	ct := c.tables[key]
	if ct == nil {
		for k := range c.tables {
			if k.id == t.Range && (k.desc < t.version || k.desc > uncommitted) {
				delete(c.tables, k) // of an older schema, or of a transaction; who still uses it keeps it or reads anew
			}
		}
		ct = &cachedTable{rows: newRowSet(), unique: newUniqueSet()}
		c.tables[key] = ct
	}
	return ct
}

// snapshot returns a private copy of the table as of now (a linearizable read).
func (c *tableCache) snapshot(ctx context.Context, t *tableDesc, gone func(context.Context) error) (*rowSet, *uniqueSet, error) {
	ct := c.get(t)
	ct.mu.Lock()
	since := ct.version
	ct.mu.Unlock()
	d, err := readRange(ctx, c.store, t.Range, since, gone)
	if err != nil {
		return nil, nil, err
	}
	ct.mu.Lock()
	defer ct.mu.Unlock()
	if whole := d.Full || since == 0; whole && d.Version >= ct.version {
		ct.rows, ct.unique, ct.version = newRowSet(), newUniqueSet(), 0
	}
	for _, e := range d.Entries {
		if err := ct.apply(t, e); err != nil {
			return nil, nil, err
		}
	}
	ct.version = max(ct.version, d.Version)
	return ct.rows.Copy(), ct.unique.Copy(), nil
}

// apply is idempotent and ignores what is older than what is there, so overlapping deltas do no harm.
func (ct *cachedTable) apply(t *tableDesc, e kv.Entry) error {
	if e.Version <= ct.version && ct.version > 0 {
		return nil
	}
	if strings.HasPrefix(e.Key, "u") {
		if e.Value == nil {
			ct.unique.Delete(uniqueEntry{key: e.Key})
		} else {
			ct.unique.Set(uniqueEntry{key: e.Key, rowKey: string(e.Value), version: e.Version})
		}
		return nil
	}
	if e.Value == nil {
		ct.rows.Delete(&row{key: e.Key})
		return nil
	}
	vals, err := decodeRow(t, e.Value)
	if err != nil {
		return fmt.Errorf("table %s: %w", t.full(), err)
	}
	ct.rows.Set(&row{key: e.Key, version: e.Version, vals: vals})
	return nil
}

func (c *tableCache) forget(id kv.RangeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.tables {
		if k.id == id {
			delete(c.tables, k)
		}
	}
}

// size estimates a cached table's bytes; a table this node never read counts 0.
func (c *tableCache) size(id kv.RangeID) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var n int64
	for k, ct := range c.tables {
		if k.id == id {
			ct.mu.Lock()
			n = int64(ct.rows.Len()) * 41 // the real engine's rows of two short columns
			ct.mu.Unlock()
		}
	}
	return n
}

// encodeRow keeps each value as the text of its type, by column id: exact for decimals, times and bytes alike.
func encodeRow(t *tableDesc, vals tree.Datums) []byte {
	out := make([]*string, t.NextCol)
	for i, c := range t.Columns {
		if vals[i] != tree.DNull {
			s := textValue(vals[i])
			out[c.ID] = &s
		}
	}
	b, _ := json.Marshal(out)
	return b
}

func decodeRow(t *tableDesc, value []byte) (tree.Datums, error) {
	var in []*string
	if err := json.Unmarshal(value, &in); err != nil {
		return nil, err
	}
	vals := make(tree.Datums, len(t.Columns))
	for i, c := range t.Columns {
		if c.ID >= len(in) || in[c.ID] == nil {
			vals[i] = tree.DNull
			continue
		}
		d, err := parseText(c.typ, *in[c.ID])
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.Name, err)
		}
		vals[i] = d
	}
	return vals, nil
}

// encodeKey appends a value so that bytes sort as values do. The families it lacks cannot be keys (0A000 at CREATE TABLE).
func encodeKey(b []byte, d tree.Datum) ([]byte, error) {
	switch v := tree.UnwrapDatum(nil, d).(type) {
	case *tree.DInt:
		return encoding.EncodeVarintAscending(b, int64(*v)), nil
	case *tree.DString:
		return encoding.EncodeStringAscending(b, string(*v)), nil
	case *tree.DBytes:
		return encoding.EncodeStringAscending(b, string(*v)), nil
	case *tree.DBool:
		if *v {
			return encoding.EncodeVarintAscending(b, 1), nil
		}
		return encoding.EncodeVarintAscending(b, 0), nil
	case *tree.DFloat:
		return encoding.EncodeFloatAscending(b, float64(*v)), nil
	case *tree.DDecimal:
		return encoding.EncodeDecimalAscending(b, &v.Decimal), nil
	case *tree.DTimestamp:
		return encoding.EncodeTimeAscending(b, v.Time), nil
	case *tree.DTimestampTZ:
		return encoding.EncodeTimeAscending(b, v.Time), nil
	case *tree.DDate:
		return encoding.EncodeVarintAscending(b, int64(v.UnixEpochDaysWithOrig())), nil
	case *tree.DTime:
		return encoding.EncodeVarintAscending(b, int64(*v)), nil
	case *tree.DUuid:
		return encoding.EncodeBytesAscending(b, v.GetBytes()), nil
	}
	return nil, refuse("key columns of type %s", d.ResolvedType())
}

func keyable(t *types.T) bool {
	switch t.Family() {
	case types.IntFamily, types.StringFamily, types.BytesFamily, types.BoolFamily, types.FloatFamily, types.DecimalFamily, types.TimestampFamily,
		types.TimestampTZFamily, types.DateFamily, types.TimeFamily, types.UuidFamily:
		return true
	}
	return false
}

// rowKey is a row's place in its range.
func rowKey(t *tableDesc, vals tree.Datums) (string, error) {
	b := []byte("r")
	var err error
	for _, id := range t.Primary {
		if b, err = encodeKey(b, vals[t.ordinal(id)]); err != nil {
			return "", err
		}
	}
	return string(b), nil
}

// uniqueKeys lists the index entries of a row; one with a NULL has none, NULLs are never equal.
func uniqueKeys(t *tableDesc, vals tree.Datums) ([]string, error) {
	keys := make([]string, len(t.Unique))
next:
	for i, u := range t.Unique {
		b := []byte(fmt.Sprintf("u%d/", i))
		for _, id := range u.Columns {
			v := vals[t.ordinal(id)]
			if v == tree.DNull {
				continue next
			}
			var err error
			if b, err = encodeKey(b, v); err != nil {
				return nil, err
			}
		}
		keys[i] = string(b)
	}
	return keys, nil
}
