// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/auxten/postgresql-parser/pkg/sql/parser"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/types"

	"kwdbstandin/internal/kv"
)

// The system range's keys: one JSON document each.
const (
	keyDatabase = "db/"      // + name
	keyTable    = "table/"   // + id (decimal)
	keySetting  = "setting/" // + name; the value is the canonical text
	keyZone     = "zone/"    // + target, e.g. "RANGE default"
	keyUser     = "user/"    // + name
	keyJob      = "job/"     // + id
	keyCounter  = "counter/descriptor"
)

type database struct {
	Name   string
	Engine string // RELATIONAL or TIME SERIES
	ID     uint64
}

type columnDesc struct {
	ID       int
	Name     string
	Type     string // the grammar's own spelling, e.g. DECIMAL(10,2)
	Default  string `json:",omitempty"`
	NotNull  bool   `json:",omitempty"`
	Hidden   bool   `json:",omitempty"`
	Computed bool   `json:",omitempty"`

	typ *types.T
}

// uniqueIndex is a secondary unique constraint; its entries are keys of the table's own range, so it is checked by the replicas.
type uniqueIndex struct {
	Name    string
	Columns []int // column ids
}

type checkConstraint struct{ Name, Expr string }

// tableDesc describes a table. It is immutable once read; changes write a new one.
type tableDesc struct {
	ID       uint64
	Database string
	Name     string
	Range    kv.RangeID
	Columns  []columnDesc
	NextCol  int
	Primary  []int // column ids
	PKName   string
	Unique   []uniqueIndex
	Indexes  []uniqueIndex // plain secondary indexes: names only, scans are in memory
	Checks   []checkConstraint
	Grants   map[string][]string `json:",omitempty"` // user -> privileges

	version uint64
}

type user struct {
	Name, Options string
	Password      string `json:",omitempty"`
	MemberOf      []string
	IsRole        bool
}

type job struct {
	ID                       int64
	Type, Description        string
	User, Status             string
	Created, Started, Ended  time.Time
	Coordinator              int
	Execs, Succeeded, Failed int
}

// zone is a configuration; nil is inherited.
type zone struct {
	MinBytes, MaxBytes *int64
	GCTTL              *int
	Replicas           *int
	Constraints        *constraints `json:",omitempty"`
	Preferences        *string      `json:",omitempty"` // of leases: nothing can be set
}

// catalog is one version of the system range, decoded. Immutable.
type catalog struct {
	alone     bool // one node without replication
	raw       map[string]kv.Entry
	version   uint64
	databases map[string]*database
	tables    map[string]*tableDesc // by database + "." + name
	settings  map[string]string
	zones     map[string]zone
	users     map[string]*user
	jobs      []job
}

type catalogCache struct {
	store   kv.Store
	alone   bool // one node without replication
	mu      sync.Mutex
	cur     *catalog
	at      time.Time
	refresh chan struct{} // closed when the refresh under way ends
}

func newCatalogCache(store kv.Store, alone bool) *catalogCache {
	return &catalogCache{store: store, alone: alone}
}

const (
	refreshWait = 250 * time.Millisecond // a statement waits so long for a newer schema …
	schemaLease = 5 * time.Minute        // … and works with the old one so long while the system range has no leader, as the product does
)

// get returns the catalog as of at most maxAge ago (longer only within schemaLease while the system range cannot be read); 0 asks the
// range and waits for a quorum as long as ctx lets it.
func (c *catalogCache) get(ctx context.Context, maxAge time.Duration) (*catalog, error) {
	c.mu.Lock()
	cur, age := c.cur, time.Since(c.at)
	switch {
	case cur == nil || maxAge == 0 || age > schemaLease:
		c.mu.Unlock()
		return c.load(ctx)
	case age < maxAge:
		c.mu.Unlock()
		return cur, nil
	}
	done := c.refresh
	if done == nil {
		done = make(chan struct{})
		c.refresh = done
		go func() {
			bounded, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			_, _ = c.load(bounded)
			c.mu.Lock()
			c.refresh = nil
			c.mu.Unlock()
			close(done)
		}()
	}
	c.mu.Unlock()
	t := time.NewTimer(refreshWait)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cur, nil
}

// load reads what changed in the system range.
func (c *catalogCache) load(ctx context.Context) (*catalog, error) {
	c.mu.Lock()
	cur := c.cur
	c.mu.Unlock()
	var since uint64
	if cur != nil {
		since = cur.version
	}
	asked := time.Now()
	d, err := readRange(ctx, c.store, c.store.SystemRange(), since, nil)
	if err != nil {
		return nil, err
	}
	next := cur
	if cur == nil || d.Full || len(d.Entries) > 0 {
		raw := map[string]kv.Entry{}
		if cur != nil && !d.Full {
			raw = maps.Clone(cur.raw)
		}
		for _, e := range d.Entries {
			if e.Value == nil {
				delete(raw, e.Key)
			} else {
				raw[e.Key] = e
			}
		}
		if next, err = decodeCatalog(raw, d.Version, c.alone); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cur == nil || next.version >= c.cur.version {
		c.cur, c.at = next, asked
	}
	return next, nil
}

// dropped answers errStaleCatalog once the newest catalog has no such table on that range any more.
func (c *catalogCache) dropped(t *tableDesc) func(context.Context) error {
	return func(ctx context.Context) error {
		cat, err := c.get(ctx, 0)
		if err != nil {
			return err
		}
		for _, now := range cat.tables {
			if now.Range == t.Range {
				return nil
			}
		}
		return errStaleCatalog
	}
}

func decodeCatalog(raw map[string]kv.Entry, version uint64, alone bool) (*catalog, error) {
	c := &catalog{raw: raw, alone: alone, version: version, databases: map[string]*database{}, tables: map[string]*tableDesc{}, settings: map[string]string{},
		zones: map[string]zone{}, users: map[string]*user{}}
	for key, e := range raw {
		var err error
		switch {
		case strings.HasPrefix(key, keyDatabase):
			var d database
			err = json.Unmarshal(e.Value, &d)
			c.databases[d.Name] = &d
		case strings.HasPrefix(key, keyTable):
			t := tableDesc{version: e.Version}
			if err = json.Unmarshal(e.Value, &t); err == nil {
				for i := range t.Columns {
					if t.Columns[i].typ, err = parser.ParseType(t.Columns[i].Type); err != nil {
						break
					}
				}
			}
			c.tables[t.Database+"."+t.Name] = &t
		case strings.HasPrefix(key, keySetting):
			c.settings[strings.TrimPrefix(key, keySetting)] = string(e.Value)
		case strings.HasPrefix(key, keyZone):
			var z zone
			err = json.Unmarshal(e.Value, &z)
			c.zones[strings.TrimPrefix(key, keyZone)] = z
		case strings.HasPrefix(key, keyUser):
			var u user
			err = json.Unmarshal(e.Value, &u)
			c.users[u.Name] = &u
		case strings.HasPrefix(key, keyJob):
			var j job
			err = json.Unmarshal(e.Value, &j)
			c.jobs = append(c.jobs, j)
		}
		if err != nil {
			return nil, fmt.Errorf("system range key %s: %w", key, err)
		}
	}
	slices.SortFunc(c.jobs, func(a, b job) int { return int(min(1, max(-1, b.ID-a.ID))) })
	return c, nil
}

// put is a write of one document that expects the version this catalog saw.
func (c *catalog) put(key string, doc any) kv.Write {
	var value []byte
	switch d := doc.(type) {
	case nil:
	case string:
		value = []byte(d)
	default:
		value, _ = json.Marshal(doc)
	}
	return kv.Write{Key: key, Value: value, Expect: c.raw[key].Version}
}

// change runs fn on the newest catalog and commits its writes, again when somebody else was faster.
func (c *catalogCache) change(ctx context.Context, fn func(*catalog) ([]kv.Write, error)) error {
	for attempt := 0; ; attempt++ {
		cat, err := c.get(ctx, 0)
		if err != nil {
			return err
		}
		writes, err := fn(cat)
		if err != nil || len(writes) == 0 {
			return err
		}
		err = commitRange(ctx, c.store, c.store.SystemRange(), writes, nil)
		if err == nil {
			_, err = c.get(ctx, 0)
			return err
		}
		if !errors.Is(err, kv.ErrConflict) || attempt > 20 {
			return err
		}
	}
}

// nextID reserves a descriptor id together with the writes that use it.
func (c *catalog) nextID() (uint64, kv.Write) {
	var id uint64 = 53 // the real first user table
	if e, ok := c.raw[keyCounter]; ok {
		_, _ = fmt.Sscan(string(e.Value), &id)
	}
	return id, c.put(keyCounter, fmt.Sprint(id+1))
}

func (c *catalogCache) bootstrap(ctx context.Context, version string) error {
	return c.change(ctx, func(cat *catalog) ([]kv.Write, error) {
		if len(cat.databases) > 0 {
			return nil, nil
		}
		var w []kv.Write
		for i, name := range []string{"system", "defaultdb", "postgres"} {
			w = append(w, cat.put(keyDatabase+name, database{Name: name, Engine: "RELATIONAL", ID: uint64([]int{1, 50, 51}[i])}))
		}
		w = append(w, cat.put(keyUser+"admin", user{Name: "admin", Options: "CREATEROLE", IsRole: true}),
			cat.put(keyUser+"root", user{Name: "root", Options: "CREATEROLE", MemberOf: []string{"admin"}}),
			cat.put(keySetting+"version", version))
		now := time.Now().UTC()
		j := job{ID: uniqueRowID(1), Type: "TS TXN", Description: "handle ts txn record", User: "root", Status: "running", Created: now, Coordinator: 1, Execs: 1, Succeeded: 1}
		return append(w, cat.put(fmt.Sprintf("%s%d", keyJob, j.ID), j)), nil
	})
}

// recordRestart adds the job that every start leaves, and forgets the oldest beyond a hundred.
func (c *catalogCache) recordRestart(ctx context.Context, node int) error {
	now := time.Now().UTC()
	j := job{ID: uniqueRowID(node), Type: "RESTART HISTORY", Description: "Start KWBASE SERVICE", User: "root", Status: "succeeded",
		Created: now, Started: now, Ended: now, Execs: 1, Succeeded: 1}
	return c.change(ctx, func(cat *catalog) ([]kv.Write, error) {
		w := []kv.Write{cat.put(fmt.Sprintf("%s%d", keyJob, j.ID), j)}
		for i, old := range cat.jobs {
			if i >= 100 && old.Type == j.Type {
				w = append(w, cat.put(fmt.Sprintf("%s%d", keyJob, old.ID), nil))
			}
		}
		return w, nil
	})
}

// labJob is the setting of that name, and what marks its job in the list.
const labJob = "lab.running_job"

// labJob ends the job that an earlier value of the setting started, and starts one of the new type.
func (c *catalog) labJob(setting, kind string, node int) (w []kv.Write) {
	if setting != labJob {
		return nil
	}
	now := time.Now().UTC()
	for _, j := range c.jobs {
		if j.Description == labJob && j.Status == "running" {
			j.Status, j.Ended = "succeeded", now
			w = append(w, c.put(fmt.Sprintf("%s%d", keyJob, j.ID), j))
		}
	}
	if kind != "" {
		j := job{ID: uniqueRowID(node), Type: kind, Description: labJob, User: "root", Status: "running", Created: now, Started: now, Coordinator: node, Execs: 1}
		w = append(w, c.put(fmt.Sprintf("%s%d", keyJob, j.ID), j))
	}
	return w
}

func (c *catalog) database(name string) (*database, error) {
	if d := c.databases[name]; d != nil {
		return d, nil
	}
	return nil, pgerror.Newf(pgcode.InvalidCatalogName, "database %q does not exist", name)
}

func (c *catalog) sortedTables() []*tableDesc {
	return slices.SortedFunc(maps.Values(c.tables), func(a, b *tableDesc) int {
		return strings.Compare(a.Database+"\x00"+a.Name, b.Database+"\x00"+b.Name)
	})
}

func (t *tableDesc) full() string { return t.Database + ".public." + t.Name }

func (t *tableDesc) column(name string) int {
	return slices.IndexFunc(t.Columns, func(c columnDesc) bool { return c.Name == name })
}

func (t *tableDesc) ordinal(id int) int {
	return slices.IndexFunc(t.Columns, func(c columnDesc) bool { return c.ID == id })
}

// clone copies what changes of a descriptor edit.
func (t *tableDesc) clone() *tableDesc {
	n := *t
	n.Columns, n.Unique, n.Indexes = slices.Clone(t.Columns), slices.Clone(t.Unique), slices.Clone(t.Indexes)
	n.Checks, n.Grants = slices.Clone(t.Checks), maps.Clone(t.Grants)
	return &n
}
