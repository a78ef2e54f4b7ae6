// SPDX-License-Identifier: GPL-3.0-or-later

// Package kv is the replicated store as the SQL layer sees it.
package kv

import (
	"context"
	"errors"
	"slices"
	"time"
)

type RangeID uint64

// Entry is a key's newest value. A nil Value is a deletion. Version is the raft index that wrote it.
type Entry struct {
	Key     string
	Value   []byte
	Version uint64
}

// Delta is what changed in a range after the version asked for; Full says it is the whole content instead.
type Delta struct {
	Version uint64
	Full    bool
	Entries []Entry
}

// Write is one key's new value (nil deletes). Expect is the Version the writer read: 0 = must not exist, Any = unconditional.
type Write struct {
	Key    string
	Value  []byte
	Expect uint64
}

const Any = ^uint64(0)

var (
	ErrConflict    = errors.New("conflict")          // an Expect did not hold; nothing was written
	ErrUnavailable = errors.New("range unavailable") // no majority answered in time; nothing was acknowledged
	ErrDraining    = errors.New("server is shutting down")
)

// Descriptor: a range, its replicas (node ids), leaseholder; Table 0 for system ranges; one range a table.
type Descriptor struct {
	ID                    RangeID
	Name, Database, Table string
	TableID               uint64
	Replicas              []int
	Leaseholder           int
	Wanted                int    /* num_replicas of its zone */
	Rules                 []Rule /* constraints of its zone */
}

// Rule is one conjunction of a zone's constraints: so many replicas, or all of them (0), sit where every constraint holds.
type Rule struct {
	Replicas int
	All      []Constraint
}

// Constraint names a tier of a node's locality that is required or prohibited.
type Constraint struct {
	Prohibited bool
	Key, Value string
}

// SameRules is whether two zones place replicas alike.
func SameRules(a, b []Rule) bool {
	return slices.EqualFunc(a, b, func(x, y Rule) bool { return x.Replicas == y.Replicas && slices.Equal(x.All, y.All) })
}

type Node struct {
	ID                                                                          int
	Address, SQLAddress, HTTPAddress, Build, Locality, StartMode, ServerVersion string
	StartedAt, UpdatedAt                                                        time.Time
	Available, Live, Dead, Decommissioning, Draining, Upgrading                 bool // Dead: expired for server.time_until_store_dead
	Epoch                                                                       int
	Expiration                                                                  time.Time
	Ranges, Leases, GossipedReplicas                                            int
	InGossip                                                                    bool
	Capacity, CapacityAvailable, Used, LogicalBytes                             int64
	RangesUnavailable, RangesUnderreplicated                                    int
}

// Store is what a started, initialised node gives the SQL layer.
type Store interface {
	NodeID() int
	ClusterID() string
	// SystemRange holds schema, settings, zones, jobs, users; keys are the SQL layer's own.
	SystemRange() RangeID
	// Read is linearizable: served by the range's leader after it proved it still leads; forwarded there if elsewhere.
	Read(ctx context.Context, id RangeID, since uint64) (Delta, error)
	// Commit replicates writes of ONE range atomically; returns when a majority has them on disk (fsync).
	Commit(ctx context.Context, id RangeID, writes []Write) (version uint64, err error)
	CreateRange(ctx context.Context, d Descriptor) (RangeID, error) // placed on min(wanted,nodes) (odd) live non-decommissioning nodes
	DropRange(ctx context.Context, id RangeID) error
	SetZone(ctx context.Context, id RangeID, wanted int, rules []Rule) error
	Nodes(ctx context.Context) ([]Node, error) // gossip view incl. dead, decommissioned ones; needs no quorum
	Ranges(ctx context.Context) ([]Descriptor, error)
	// Setting reads a cluster setting the store itself obeys are pushed with SetSetting (kv.snapshot_*, server.time_until_store_dead, version ...).
	SetSetting(ctx context.Context, name, value string) error
	// Activate tells this node's store the cluster version that is in force: no older binary may open it from then on.
	Activate(version string) error
}
