// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/auxten/postgresql-parser/pkg/sql/parser"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/sessiondata"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/lib/pq/oid"
)

// session is one wire connection with its variables, transaction and prepared statements.
type session struct {
	srv      *Server
	conn     net.Conn
	be       *pgproto3.Backend
	user     string
	database string
	vars     map[string]string
	data     *sessiondata.SessionData
	timeout  time.Duration
	readOnly bool // default_transaction_read_only
	txn      *txn // the explicit one

	prepared map[string]*prepared
	portals  map[string]*portal
	skip     bool // after an error in the extended protocol, until Sync

	pid, secret uint32
	poke        chan struct{}
	mu          sync.Mutex
	cancel      context.CancelCauseFunc // of the running statement
}

type prepared struct {
	stmt  *statement
	hints []oid.Oid
	types tree.PlaceholderTypes
	cols  []col
}

type portal struct {
	*prepared
	args    tree.QueryArguments
	formats []int16
	rows    []tree.Datums // computed by the first Execute
	ran     bool
	tag     string
	sent    int
}

// statement is one parsed statement; its text is kept because typing changes a tree, so that each run parses anew.
type statement struct {
	ast tree.Statement
	sql string
	n   int // placeholders
}

func newSession(srv *Server, conn net.Conn) *session {
	s := &session{srv: srv, conn: conn, be: pgproto3.NewBackend(conn, conn), vars: map[string]string{}, prepared: map[string]*prepared{},
		portals: map[string]*portal{}, poke: make(chan struct{}, 1), database: "defaultdb"}
	s.data = &sessiondata.SessionData{SearchPath: sessiondata.MakeSearchPath([]string{"public"}), DataConversion: sessiondata.DataConversionConfig{Location: time.UTC}}
	return s
}

func (s *session) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

func (s *session) cut() {
	s.stop(errDraining)
	s.conn.Close()
}

// stop ends the running statement with the given reason.
func (s *session) stop(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		s.cancel(why)
	}
}

func (s *session) versionText() string {
	o := s.srv.opt
	return fmt.Sprintf("KaiwuDB %s (x86_64-linux-gnu, built %s, go1.22.12, gcc 12.2.0)", o.Build, o.BuiltAt.UTC().Format("2006/01/02 15:04:05"))
}
func (s *session) currentDatabase() string { return s.database }
func (s *session) currentUser() string     { return s.user }
func (s *session) nodeID() int             { return s.srv.store.NodeID() }
func (s *session) clusterID() string       { return s.srv.store.ClusterID() }
func (s *session) execVersion() string     { return s.srv.opt.Version }

// fatal sends an error that ends the session.
func (s *session) fatal(err error) {
	r := errorResponse(err)
	r.Severity, r.SeverityUnlocalized = "FATAL", "FATAL"
	s.be.Send(r)
	_ = s.be.Flush()
}

// startup does the handshake: no TLS, every user of an insecure cluster is trusted, and reading the users needs the system range, so that a
// node without quorum lets its clients wait.
func (s *session) startup(ctx context.Context) bool {
	var msg *pgproto3.StartupMessage
	for msg == nil {
		m, err := s.be.ReceiveStartupMessage()
		if err != nil {
			return false
		}
		switch m := m.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := s.conn.Write([]byte("N")); err != nil {
				return false
			}
		case *pgproto3.CancelRequest:
			s.srv.cancelQuery(m)
			return false
		case *pgproto3.StartupMessage:
			msg = m
		}
	}
	if s.srv.draining.Load() {
		s.fatal(errNotAccepting)
		return false
	}
	if s.user = msg.Parameters["user"]; s.user == "" {
		s.user = "root"
	}
	if db := msg.Parameters["database"]; db != "" {
		s.database = db
	}
	gone := make(chan struct{})
	defer close(gone)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // a client that gives up waiting closes; nothing else can arrive before the greeting
		for s.connected() {
			select {
			case <-gone:
				return
			case <-time.After(retryPause):
			}
		}
		cancel()
	}()
	cat, err := s.srv.cat.get(ctx, 0)
	if err != nil {
		return false
	}
	if cat.users[s.user] == nil {
		s.fatal(pgerror.Newf(pgcode.Uncategorized, "password authentication failed for user %s", s.user))
		return false
	}
	for k, v := range msg.Parameters {
		switch k {
		case "user", "database":
		case "options":
			for _, o := range strings.Split(v, "-c") {
				if name, value, ok := strings.Cut(strings.TrimSpace(o), "="); ok {
					if err := s.setVar(name, value); err != nil {
						s.fatal(err)
						return false
					}
				}
			}
		default:
			if err := s.setVar(strings.ToLower(k), v); err != nil {
				s.fatal(err)
				return false
			}
		}
	}
	s.pid, s.secret = s.srv.nextPID.Add(1), rand.Uint32()
	s.be.Send(&pgproto3.AuthenticationOk{})
	for _, kv := range [][2]string{{"client_encoding", "UTF8"}, {"server_encoding", "UTF8"}, {"DateStyle", "ISO"}, {"integer_datetimes", "on"}, {"intervalstyle", "postgres"},
		{"is_superuser", "on"}, {"server_version", serverVersion}, {"session_authorization", s.user}, {"standard_conforming_strings", "on"},
		{"TimeZone", s.data.DataConversion.Location.String()}, {"application_name", s.vars["application_name"]}} {
		s.be.Send(&pgproto3.ParameterStatus{Name: kv[0], Value: kv[1]})
	}
	s.be.Send(&pgproto3.BackendKeyData{ProcessID: s.pid, SecretKey: binaryKey(s.secret)})
	s.ready()
	return s.be.Flush() == nil
}

func binaryKey(n uint32) []byte { return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }

func (srv *Server) cancelQuery(m *pgproto3.CancelRequest) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for c := range srv.sessions {
		if c.pid == m.ProcessID && slices.Equal(binaryKey(c.secret), m.SecretKey) {
			c.stop(errCanceled)
		}
	}
}

func (s *session) ready() {
	status := byte('I')
	if s.txn != nil {
		if status = 'T'; s.txn.failed {
			status = 'E'
		}
	}
	s.be.Send(&pgproto3.ReadyForQuery{TxStatus: status})
}

// loop answers messages until the client leaves or the node drains.
func (s *session) loop(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := make(chan pgproto3.FrontendMessage, 16)
	go func() {
		defer cancel()
		defer close(in)
		for {
			m, err := s.be.Receive()
			if err != nil {
				return
			}
			select {
			case in <- keep(m):
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		if s.srv.draining.Load() && s.txn == nil {
			s.fatal(errDraining)
			return
		}
		select {
		case <-s.poke:
		case m, ok := <-in:
			if !ok || !s.handle(ctx, m) {
				return
			}
		}
	}
}

// keep copies a message that the reader's next one would overwrite.
func keep(m pgproto3.FrontendMessage) pgproto3.FrontendMessage {
	switch m := m.(type) {
	case *pgproto3.Query:
		c := *m
		return &c
	case *pgproto3.Parse:
		c := *m
		c.ParameterOIDs = slices.Clone(m.ParameterOIDs)
		return &c
	case *pgproto3.Bind:
		c := *m
		c.ParameterFormatCodes, c.ResultFormatCodes = slices.Clone(m.ParameterFormatCodes), slices.Clone(m.ResultFormatCodes)
		c.Parameters = make([][]byte, len(m.Parameters))
		for i, p := range m.Parameters {
			if p != nil {
				c.Parameters[i] = append([]byte{}, p...)
			}
		}
		return &c
	case *pgproto3.Describe:
		c := *m
		return &c
	case *pgproto3.Execute:
		c := *m
		return &c
	case *pgproto3.Close:
		c := *m
		return &c
	}
	return m // without content
}

func (s *session) handle(ctx context.Context, m pgproto3.FrontendMessage) bool {
	if s.skip {
		switch m.(type) {
		case *pgproto3.Sync, *pgproto3.Terminate:
		default:
			return true
		}
	}
	var err error
	switch m := m.(type) {
	case *pgproto3.Query:
		s.simple(ctx, m.String)
		s.ready()
		return s.be.Flush() == nil
	case *pgproto3.Parse:
		err = s.parse(ctx, m)
	case *pgproto3.Bind:
		err = s.bind(m)
	case *pgproto3.Describe:
		err = s.describe(m)
	case *pgproto3.Execute:
		err = s.execute(ctx, m)
	case *pgproto3.Close:
		if m.ObjectType == 'S' {
			delete(s.prepared, m.Name)
		} else {
			delete(s.portals, m.Name)
		}
		s.be.Send(&pgproto3.CloseComplete{})
	case *pgproto3.Sync:
		s.skip = false
		s.ready()
		return s.be.Flush() == nil
	case *pgproto3.Flush:
		return s.be.Flush() == nil
	case *pgproto3.Terminate:
		return false
	default:
		err = refuse("%T", m)
	}
	if err != nil {
		s.skip = true
		s.be.Send(errorResponse(err))
		if s.txn != nil {
			s.txn.failed = true
		}
	}
	return true
}

// parseSQL splits a batch into statements.
func parseSQL(sql string) ([]*statement, error) {
	if st := productStatement(sql); st != nil {
		return []*statement{st}, nil
	}
	parsed, err := parser.Parse(sql)
	if err != nil {
		return nil, err
	}
	out := make([]*statement, len(parsed))
	for i, p := range parsed {
		out[i] = &statement{ast: p.AST, sql: p.SQL, n: p.NumPlaceholders}
	}
	return out, nil
}

// fresh is the statement's tree anew.
func (st *statement) fresh() (tree.Statement, error) {
	if c, ok := st.ast.(*createTSDatabase); ok {
		return c, nil
	}
	p, err := parser.ParseOne(st.sql)
	return p.AST, err
}

func (s *session) simple(ctx context.Context, sql string) {
	stmts, err := parseSQL(sql)
	if err == nil && len(stmts) == 0 {
		s.be.Send(&pgproto3.EmptyQueryResponse{})
		return
	}
	for _, st := range stmts {
		var rel *relation
		var rows []tree.Datums
		if rel, rows, err = s.run(ctx, st, nil, nil); err != nil {
			break
		}
		if len(rel.cols) > 0 {
			s.be.Send(describeRow(rel.cols, nil))
			for _, r := range rows {
				if err = s.sendRow(rel.cols, r, nil); err != nil {
					break
				}
			}
		}
		if err != nil {
			break
		}
		s.be.Send(&pgproto3.CommandComplete{CommandTag: []byte(tagOf(rel, len(rows)))})
		if len(stmts) > 1 {
			_ = s.be.Flush()
		}
	}
	if err != nil {
		if s.txn != nil {
			s.txn.failed = true
		}
		s.be.Send(errorResponse(err))
	}
}

func tagOf(rel *relation, n int) string {
	if rel.tag == "" || rel.tag == "srf" {
		return fmt.Sprintf("SELECT %d", n)
	}
	return rel.tag
}

func describeRow(cols []col, formats []int16) *pgproto3.RowDescription {
	d := &pgproto3.RowDescription{}
	for i, c := range cols {
		id, size := c.typ.Oid(), int16(-1)
		switch c.typ.Family() {
		case types.UnknownFamily:
			id = oid.T_text // a bare NULL
		case types.IntFamily, types.FloatFamily, types.TimestampFamily, types.TimestampTZFamily:
			size = 8
		case types.BoolFamily:
			size = 1
		}
		d.Fields = append(d.Fields, pgproto3.FieldDescription{Name: []byte(c.name), DataTypeOID: uint32(id), DataTypeSize: size, TypeModifier: -1, Format: formatOf(formats, i)})
	}
	return d
}

func formatOf(formats []int16, i int) int16 {
	switch len(formats) {
	case 0:
		return 0
	case 1:
		return formats[0]
	}
	return formats[i]
}

func (s *session) sendRow(cols []col, r tree.Datums, formats []int16) error {
	row := &pgproto3.DataRow{Values: make([][]byte, len(r))}
	for i, d := range r {
		v, err := wireValue(d, cols[i].typ, formatOf(formats, i))
		if err != nil {
			return err
		}
		row.Values[i] = v
	}
	s.be.Send(row)
	return nil
}

// within runs fn under the statement timeout; stop() ends it early.
func (s *session) within(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.mu.Lock()
	s.cancel = cancel
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.cancel = nil
		s.mu.Unlock()
	}()
	if s.timeout > 0 {
		t := time.AfterFunc(s.timeout, func() { cancel(errTimeout) })
		defer t.Stop()
	}
	err := fn(ctx)
	if err != nil && ctx.Err() != nil {
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			err = cause // why it was stopped, not where
		}
	}
	return err
}
