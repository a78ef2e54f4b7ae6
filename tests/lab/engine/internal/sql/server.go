// SPDX-License-Identifier: GPL-3.0-or-later

// Package sql is the SQL layer over the replicated store: PostgreSQL's wire protocol, CockroachDB 20.1's grammar, types and scalar
// semantics (the product's own base, taken from its parser library), and an executor over the ranges' rows.
//
// Statements that it cannot do are refused with SQLSTATE 0A000; none is acknowledged without its effect.
package sql

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"kwdbstandin/internal/build"
	"kwdbstandin/internal/kv"
)

// Options are what the SQL layer must know about its node besides the store.
type Options struct {
	Build     string    // build tag, e.g. V3.2.1
	BuiltAt   time.Time // shown by version()
	StartMode string    // start, start-single-node, …
	Version   string    // cluster version this binary brings, default build.ServerVersion
	Legacy    bool      // the older product: crdb_internal instead of kwdb_internal
}

// Server serves SQL connections of one node. Create it once the node is initialised.
type Server struct {
	store kv.Store
	opt   Options
	cat   *catalogCache
	data  *tableCache
	stats *storeMetrics

	mu       sync.Mutex
	sessions map[*session]struct{}
	draining atomic.Bool
	idle     *sync.Cond // signalled whenever a session ends
	nextPID  atomic.Uint32
}

// New makes a server over a store; it reads nothing yet.
func New(store kv.Store, opt Options) *Server {
	if opt.Version == "" {
		opt.Version = build.ServerVersion
	}
	s := &Server{store: store, opt: opt, sessions: map[*session]struct{}{}}
	s.cat = newCatalogCache(store, opt.StartMode == "start-single-node")
	s.data = newTableCache(store)
	s.stats = newStoreMetrics(store)
	s.idle = sync.NewCond(&s.mu)
	return s
}

// Bootstrap writes what a new cluster starts with (databases, users, the internal job). Idempotent; called by the node that was told to
// init, and harmless from any other.
func (s *Server) Bootstrap(ctx context.Context) error { return s.cat.bootstrap(ctx, s.opt.Version) }

// NodeStarted records the RESTART HISTORY job that each start leaves behind, and works in the background until ctx ends.
func (s *Server) NodeStarted(ctx context.Context) error {
	go s.run(ctx)
	return s.cat.recordRestart(ctx, s.store.NodeID())
}

// Conns counts open SQL sessions.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Drain refuses new sessions (57P01 `server is not accepting clients`), ends idle ones and those between transactions
// (`server is shutting down`), waits up to wait for the rest and then cuts them. It returns early when ctx ends.
func (s *Server) Drain(ctx context.Context, wait time.Duration) {
	s.draining.Store(true)
	s.mu.Lock()
	for c := range s.sessions {
		c.wake()
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { s.idle.Broadcast() })
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.sessions) > 0 && ctx.Err() == nil {
		s.idle.Wait()
	}
	for c := range s.sessions {
		c.cut()
	}
}

// ServeConn speaks the wire protocol on one accepted connection until either side ends it; it closes the connection.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	c := newSession(s, conn)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if !c.startup(ctx) {
		return
	}
	s.mu.Lock()
	s.sessions[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.sessions, c)
		s.idle.Broadcast()
		s.mu.Unlock()
	}()
	c.loop(ctx)
	if c.txn != nil {
		c.txn.discard()
	}
}
