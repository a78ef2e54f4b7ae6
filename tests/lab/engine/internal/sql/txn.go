// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"

	"kwdbstandin/internal/kv"
)

// txn is a snapshot of each table it touched, with its own writes on top. COMMIT sends the writes of its one written table, each with the
// version it was based on, so that a concurrent change of the same key refuses the whole transaction (snapshot isolation).
type txn struct {
	srv      *Server
	explicit bool
	readOnly bool
	failed   bool
	wrote    bool
	at       time.Time
	tables   map[kv.RangeID]*txnTable
	saves    []savepoint
	schema   *schemaChange                 // of an explicit transaction, nil while it has changed none
	created  []kv.RangeID                  // ranges made here; without a committed descriptor they go again
	after    []func(context.Context) error // what follows from the schema once it is committed
}

type savepoint struct {
	name   string
	tables map[kv.RangeID]*txnTable
	schema *schemaChange
	after  int
}

type txnTable struct {
	desc    *tableDesc
	rows    *rowSet
	unique  *uniqueSet
	pending map[string]kv.Write
}

func (s *Server) begin(explicit, readOnly bool) *txn {
	return &txn{srv: s, explicit: explicit, readOnly: readOnly, at: time.Now().UTC(), tables: map[kv.RangeID]*txnTable{}}
}

// table is the transaction's view of a table, read when first touched.
func (t *txn) table(ctx context.Context, d *tableDesc) (*txnTable, error) {
	if tt := t.tables[d.Range]; tt != nil {
		if tt.desc.version != d.version && len(tt.pending) > 0 {
			if t.schema != nil {
				return nil, refuse("changing the schema of a table after writing to it in one transaction")
			}
			return nil, kv.ErrConflict // its schema changed under this transaction's writes
		}
		if tt.desc.version == d.version {
			return tt, nil
		}
	}
	rows, unique, err := t.srv.data.snapshot(ctx, d, t.srv.cat.dropped(d))
	if err != nil {
		return nil, err
	}
	tt := &txnTable{desc: d, rows: rows, unique: unique, pending: map[string]kv.Write{}}
	t.tables[d.Range] = tt
	return tt, nil
}

// writable is table for a write. A transaction can only commit one range at once: the rows of one table, or the schema, with which
// tables made in the same transaction become visible, rows and all. What would need more is refused.
func (t *txn) writable(ctx context.Context, d *tableDesc) (*txnTable, error) {
	if slices.Contains(t.created, d.Range) {
		if old := t.written(); old != nil {
			return nil, refuse("one transaction that writes %s and makes %s", old.full(), d.full())
		}
		return t.table(ctx, d)
	}
	if t.schema != nil {
		return nil, refuse("one transaction that changes the schema and writes %s", d.full())
	}
	if old := t.written(); old != nil && old.Range != d.Range {
		return nil, refuse("one transaction that writes two tables (%s and %s)", old.full(), d.full())
	}
	return t.table(ctx, d)
}

// written is the table with writes that existed before this transaction, if any.
func (t *txn) written() *tableDesc {
	for id, tt := range t.tables {
		if len(tt.pending) > 0 && !slices.Contains(t.created, id) {
			return tt.desc
		}
	}
	return nil
}

func (tt *txnTable) write(key string, value []byte, base uint64) {
	if w, ok := tt.pending[key]; ok {
		base = w.Expect // the version this transaction first saw
	}
	if value == nil && base == 0 {
		delete(tt.pending, key) // inserted and deleted here: nothing to tell
		return
	}
	tt.pending[key] = kv.Write{Key: key, Value: value, Expect: base}
}

func duplicate(t *tableDesc, index string, ids []int, vals tree.Datums) error {
	names, texts := "", ""
	for n, id := range ids {
		if n > 0 {
			names, texts = names+",", texts+","
		}
		o := t.ordinal(id)
		names, texts = names+t.Columns[o].Name, texts+tree.AsString(vals[o])
	}
	return pgerror.Newf(pgcode.UniqueViolation, "duplicate key value (%s)=(%s) violates unique constraint %q", names, texts, index)
}

// put inserts vals, or replaces old by it; every unique constraint is checked.
func (tt *txnTable) put(old *row, vals tree.Datums) error {
	t := tt.desc
	key, err := rowKey(t, vals)
	if err != nil {
		return err
	}
	if old == nil || old.key != key {
		if _, taken := tt.rows.Get(&row{key: key}); taken {
			return duplicate(t, t.PKName, t.Primary, vals)
		}
	}
	if old != nil {
		if err := tt.unindex(old); err != nil {
			return err
		}
		if old.key != key {
			tt.remove(old)
			old = nil
		}
	}
	entries, err := uniqueKeys(t, vals)
	if err != nil {
		return err
	}
	for i, k := range entries {
		if k == "" {
			continue
		}
		if _, taken := tt.unique.Get(uniqueEntry{key: k}); taken {
			return duplicate(t, t.Unique[i].Name, t.Unique[i].Columns, vals)
		}
		tt.unique.Set(uniqueEntry{key: k, rowKey: key})
		tt.writeUnique(k, []byte(key))
	}
	var base uint64
	if old != nil {
		base = old.version
	}
	tt.rows.Set(&row{key: key, version: base, vals: vals})
	tt.write(key, encodeRow(t, vals), base)
	return nil
}

// writeUnique keeps the version the range has for an index entry; one that this transaction freed first is in pending already.
func (tt *txnTable) writeUnique(key string, value []byte) { tt.write(key, value, 0) }

func (tt *txnTable) unindex(r *row) error {
	entries, err := uniqueKeys(tt.desc, r.vals)
	if err != nil {
		return err
	}
	for _, k := range entries {
		if e, ok := tt.unique.Get(uniqueEntry{key: k}); k != "" && ok {
			tt.unique.Delete(e)
			tt.write(k, nil, e.version)
		}
	}
	return nil
}

func (tt *txnTable) remove(r *row) {
	tt.rows.Delete(r)
	tt.write(r.key, nil, r.version)
}

func (tt *txnTable) delete(r *row) error {
	if err := tt.unindex(r); err != nil {
		return err
	}
	tt.remove(r)
	return nil
}

// commit sends the writes; nothing to write is nothing to wait for. New tables' rows go first: nobody sees them before the schema.
func (t *txn) commit(ctx context.Context) error {
	for id, tt := range t.tables {
		if len(tt.pending) == 0 || t.schema != nil && !t.schema.has(id) {
			continue
		}
		writes := make([]kv.Write, 0, len(tt.pending))
		for _, w := range tt.pending {
			writes = append(writes, w)
		}
		err := commitRange(ctx, t.srv.store, id, writes, func(ctx context.Context) error {
			if t.schema != nil {
				return nil // its own range, which only this transaction knows
			}
			return t.srv.cat.dropped(tt.desc)(ctx)
		})
		if err != nil {
			if errors.Is(err, kv.ErrConflict) && !t.explicit {
				return errRetry
			}
			t.discard()
			return err
		}
	}
	if t.schema == nil {
		return nil
	}
	writes := make([]kv.Write, 0, len(t.schema.writes))
	for _, w := range t.schema.writes {
		writes = append(writes, w)
	}
	if len(writes) > 0 {
		if err := commitRange(ctx, t.srv.store, t.srv.store.SystemRange(), writes, nil); err != nil {
			if !errors.Is(err, errAmbiguous) && ctx.Err() == nil {
				t.discard() // else nobody knows whether a descriptor names them
			}
			return err
		}
	}
	for _, id := range t.created {
		if !t.schema.has(id) {
			_ = t.srv.store.DropRange(ctx, id)
		}
	}
	t.created = nil
	var failed error
	if _, err := t.srv.cat.get(ctx, 0); err != nil {
		failed = err
	}
	for _, fn := range t.after {
		if err := fn(ctx); err != nil {
			failed = err
		}
	}
	return failed
}

// discard removes ranges that no descriptor will name.
func (t *txn) discard() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, id := range t.created {
		_ = t.srv.store.DropRange(ctx, id)
	}
	t.created = nil
}

// schemaChange is the catalog as the transaction sees it, and the writes that make it so.
type schemaChange struct {
	cat    *catalog
	writes map[string]kv.Write
}

// uncommittedVersions numbers descriptors that only their transaction sees, above every version of a range.
var uncommittedVersions atomic.Uint64

const uncommitted = 1 << 62

func (c *schemaChange) has(id kv.RangeID) bool {
	for _, t := range c.cat.tables {
		if t.Range == id {
			return true
		}
	}
	return false
}

// change edits the catalog: at once, or within the explicit transaction.
func (p *planner) change(fn func(*catalog) ([]kv.Write, error)) error {
	if !p.txn.explicit {
		return p.sess.srv.cat.change(p.ctx, fn)
	}
	if old := p.txn.written(); old != nil {
		return refuse("one transaction that writes %s and changes the schema", old.full())
	}
	from := &schemaChange{writes: map[string]kv.Write{}, cat: p.cat}
	if p.txn.schema != nil {
		from = p.txn.schema
	}
	writes, err := fn(from.cat)
	if err != nil || len(writes) == 0 {
		return err
	}
	next := &schemaChange{writes: maps.Clone(from.writes)}
	raw := maps.Clone(from.cat.raw)
	for _, w := range writes {
		if first, ok := next.writes[w.Key]; ok {
			w.Expect = first.Expect // what the range holds
		}
		next.writes[w.Key] = w
		if w.Value == nil {
			delete(raw, w.Key)
			if w.Expect == 0 {
				delete(next.writes, w.Key)
			}
			continue
		}
		raw[w.Key] = kv.Entry{Key: w.Key, Value: w.Value, Version: uncommitted + uncommittedVersions.Add(1)}
	}
	if next.cat, err = decodeCatalog(raw, from.cat.version, from.cat.alone); err != nil {
		return err
	}
	p.txn.schema, p.cat = next, next.cat
	return nil
}

var errRetry = errors.New("conflict in an implicit transaction")

func copyTables(in map[kv.RangeID]*txnTable) map[kv.RangeID]*txnTable {
	out := make(map[kv.RangeID]*txnTable, len(in))
	for id, tt := range in {
		n := &txnTable{desc: tt.desc, rows: tt.rows.Copy(), unique: tt.unique.Copy(), pending: make(map[string]kv.Write, len(tt.pending))}
		for k, w := range tt.pending {
			n.pending[k] = w
		}
		out[id] = n
	}
	return out
}

func (t *txn) savepoint(name string) {
	t.saves = append(t.saves, savepoint{name, copyTables(t.tables), t.schema, len(t.after)})
}

// release forgets a savepoint and later ones; rollbackTo also restores what was then.
func (t *txn) release(name string, restore bool) error {
	for i := len(t.saves) - 1; i >= 0; i-- {
		if t.saves[i].name != name {
			continue
		}
		if restore {
			t.tables, t.failed = copyTables(t.saves[i].tables), false
			t.schema, t.after = t.saves[i].schema, t.after[:t.saves[i].after]
			t.saves = t.saves[:i+1]
		} else {
			t.saves = t.saves[:i]
		}
		return nil
	}
	return pgerror.Newf(pgcode.InvalidSavepointSpecification, "savepoint %s does not exist", name)
}
