// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"context"
	"errors"
	"log"
	"math/rand/v2"
	"net"
	"regexp"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
)

// How old a schema may be for reads and row writes; a name it does not know is looked up again before it is an error.
const schemaAge = time.Second

// connected peeks at the socket: false once the client has closed it.
func (s *session) connected() bool {
	tcp, ok := s.conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	alive := true
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		alive = !(n == 0 && err == nil) && !errors.Is(err, syscall.ECONNRESET)
	})
	return alive && !errors.Is(err, net.ErrClosed)
}

// createTSDatabase is the one statement of the product that the 20.1 grammar lacks and the transcripts use.
type createTSDatabase struct{ tree.CreateDatabase }

func (*createTSDatabase) StatementTag() string { return "CREATE TS DATABASE" }

var tsDatabase = regexp.MustCompile(`(?is)^\s*create\s+ts\s+database\s+(?:(if\s+not\s+exists)\s+)?([a-z_][a-z0-9_]*)\s*;?\s*$`)

func productStatement(sql string) *statement {
	m := tsDatabase.FindStringSubmatch(sql)
	if m == nil {
		return nil
	}
	return &statement{ast: &createTSDatabase{tree.CreateDatabase{Name: tree.Name(m[2]), IfNotExists: m[1] != ""}}, sql: sql}
}

func endsTxn(st tree.Statement) bool {
	switch st.(type) {
	case *tree.CommitTransaction, *tree.RollbackTransaction, *tree.RollbackToSavepoint:
		return true
	}
	return false
}

// newPlanner prepares typing and evaluation of one statement.
func (s *session) newPlanner(ctx context.Context, cat *catalog, t *txn) *planner {
	sema := tree.MakeSemaContext()
	sema.SearchPath = s.data.SearchPath
	loc := s.data.DataConversion.Location
	sema.Location = &loc
	p := &planner{sess: s, ctx: ctx, cat: cat, txn: t, sema: &sema, eval: s.evalContext(ctx, t.at)}
	p.eval.Planner = evalPlanner{p}
	return p
}

func (p *planner) placeholders(n int, hints tree.PlaceholderTypes, args tree.QueryArguments) error {
	if len(hints) < n {
		hints = append(hints, make(tree.PlaceholderTypes, n-len(hints))...)
	}
	if err := p.sema.Placeholders.Init(n, hints[:n]); err != nil {
		return err
	}
	p.sema.Placeholders.Values = args
	p.eval.Placeholders = &p.sema.Placeholders
	return nil
}

// unpanic turns a panic of the evaluator into an error of its statement: a session's bug is no reason to lose the node.
func unpanic(err *error) {
	if r := recover(); r != nil {
		*err = pgerror.Newf(pgcode.Internal, "internal error: %v", r)
		log.Printf("sql: %v\n%s", r, debug.Stack())
	}
}

// prepare types a statement: its parameters and its result columns.
func (s *session) prepare(ctx context.Context, p *prepared) (err error) {
	defer unpanic(&err)
	hints := make(tree.PlaceholderTypes, p.stmt.n)
	for i := range hints {
		if i < len(p.hints) {
			hints[i] = typeOfOID(p.hints[i])
		}
	}
	if controls(p.stmt.ast) {
		return nil
	}
	for age := schemaAge; ; age = 0 {
		cat, err := s.srv.cat.get(ctx, age)
		if err != nil {
			return err
		}
		t := s.txn
		if t == nil {
			t = s.srv.begin(false, true)
		}
		if t.schema != nil {
			cat = t.schema.cat
		}
		ast, err := p.stmt.fresh()
		if err != nil {
			return err
		}
		pl := s.newPlanner(ctx, cat, t)
		if err := pl.placeholders(p.stmt.n, hints, nil); err != nil {
			return err
		}
		rel, err := pl.statement(ast)
		if err == nil {
			err = pl.sema.Placeholders.Types.AssertAllSet()
		}
		if err != nil {
			if age > 0 && mayBeStale(err) {
				continue
			}
			return err
		}
		p.types, p.cols = pl.sema.Placeholders.Types, rel.cols
		return nil
	}
}

func mayBeStale(err error) bool {
	switch codeOf(err) {
	case pgcode.UndefinedTable, pgcode.UndefinedColumn, pgcode.InvalidCatalogName:
		return true
	}
	return errors.Is(err, errStaleCatalog)
}

// controls says whether a statement only steers the session's transaction.
func controls(st tree.Statement) bool {
	switch st.(type) {
	case *tree.BeginTransaction, *tree.Savepoint, *tree.ReleaseSavepoint, *tree.SetTransaction:
		return true
	}
	return endsTxn(st)
}

// run executes one statement to its end, including the commit of an implicit transaction, again after conflicts.
func (s *session) run(ctx context.Context, st *statement, pr *prepared, args tree.QueryArguments) (rel *relation, rows []tree.Datums, err error) {
	err = s.within(ctx, func(ctx context.Context) error {
		if s.txn != nil && s.txn.failed && !endsTxn(st.ast) {
			return errAborted
		}
		if controls(st.ast) {
			rel, err = s.control(ctx, st.ast)
			return err
		}
		age := schemaAge
		for attempt := 0; ; attempt++ {
			rel, rows, err = s.once(ctx, st, pr, args, age)
			switch {
			case errors.Is(err, errRetry):
				if err := sleep(ctx, time.Duration(rand.IntN(1+min(attempt, 20)))*time.Millisecond); err != nil {
					return err
				}
			case err != nil && age > 0 && mayBeStale(err):
				age = 0
			default:
				return err
			}
		}
	})
	return rel, rows, err
}

func (s *session) once(ctx context.Context, st *statement, pr *prepared, args tree.QueryArguments, age time.Duration) (_ *relation, _ []tree.Datums, err error) {
	defer unpanic(&err)
	switch st.ast.(type) {
	case *tree.Select, *tree.ParenSelect, *tree.Insert, *tree.Update, *tree.Delete:
	default:
		age = 0
	}
	cat, err := s.srv.cat.get(ctx, age)
	if err != nil {
		return nil, nil, err
	}
	t := s.txn
	if t == nil {
		t = s.srv.begin(false, s.readOnly)
	}
	if t.schema != nil {
		cat = t.schema.cat
	}
	ast, err := st.fresh()
	if err != nil {
		return nil, nil, err
	}
	p := s.newPlanner(ctx, cat, t)
	var hints tree.PlaceholderTypes
	if pr != nil {
		hints = append(hints, pr.types...)
	}
	if err := p.placeholders(st.n, hints, args); err != nil {
		return nil, nil, err
	}
	rel, err := p.statement(ast) // names are judged before rights, as the product does
	if err != nil {
		return nil, nil, err
	}
	if t.readOnly && (tree.CanWriteData(ast) || tree.CanModifySchema(ast) || changes(ast)) {
		return nil, nil, pgerror.Newf(pgcode.ReadOnlySQLTransaction, "cannot execute %s in a read-only transaction", ast.StatementTag())
	}
	rows, err := rel.rows()
	if err != nil {
		return nil, nil, err
	}
	if !t.explicit {
		err = t.commit(ctx)
	}
	return rel, rows, err
}

// changes names the writing statements that the grammar does not class as such.
func changes(st tree.Statement) bool {
	switch st.(type) {
	case *tree.SetZoneConfig, *tree.Grant, *tree.Revoke, *tree.CreateRole, *tree.DropRole, *tree.AlterRole, *createTSDatabase:
		return true
	}
	return false
}

// control runs BEGIN, COMMIT and their kin.
func (s *session) control(ctx context.Context, ast tree.Statement) (*relation, error) {
	done := func(tag string) (*relation, error) { return &relation{tag: tag}, nil }
	modes := func(m tree.TransactionModes, t *txn) error {
		if m.AsOf.Expr != nil {
			return refuse("AS OF SYSTEM TIME")
		}
		switch m.ReadWriteMode {
		case tree.ReadOnly:
			t.readOnly = true
		case tree.ReadWrite:
			if t.readOnly && t.wrote {
				return pgerror.Newf(pgcode.ActiveSQLTransaction, "cannot set transaction read-write after it started")
			}
			t.readOnly = false
		}
		return nil
	}
	needTxn := func() error {
		if s.txn == nil {
			return pgerror.Newf(pgcode.NoActiveSQLTransaction, "there is no transaction in progress")
		}
		return nil
	}
	switch n := ast.(type) {
	case *tree.BeginTransaction:
		if s.txn != nil {
			return nil, pgerror.Newf(pgcode.ActiveSQLTransaction, "there is already a transaction in progress")
		}
		t := s.srv.begin(true, s.readOnly)
		if err := modes(n.Modes, t); err != nil {
			return nil, err
		}
		s.txn = t
		return done("BEGIN")
	case *tree.SetTransaction:
		if err := needTxn(); err != nil {
			return nil, err
		}
		if err := modes(n.Modes, s.txn); err != nil {
			return nil, err
		}
		return done("SET TRANSACTION")
	case *tree.CommitTransaction:
		if err := needTxn(); err != nil {
			return nil, err
		}
		t := s.txn
		s.txn = nil
		if t.failed {
			t.discard()
			return done("ROLLBACK")
		}
		if err := t.commit(ctx); err != nil {
			return nil, err
		}
		return done("COMMIT")
	case *tree.RollbackTransaction:
		if err := needTxn(); err != nil {
			return nil, err
		}
		s.txn.discard()
		s.txn = nil
		return done("ROLLBACK")
	case *tree.Savepoint:
		if err := needTxn(); err != nil {
			return nil, err
		}
		s.txn.savepoint(string(n.Name))
		return done("SAVEPOINT")
	case *tree.ReleaseSavepoint:
		if err := needTxn(); err != nil {
			return nil, err
		}
		if err := s.txn.release(string(n.Savepoint), false); err != nil {
			return nil, err
		}
		return done("RELEASE")
	case *tree.RollbackToSavepoint:
		if err := needTxn(); err != nil {
			return nil, err
		}
		if err := s.txn.release(string(n.Savepoint), true); err != nil {
			return nil, err
		}
		return done("ROLLBACK")
	}
	return nil, refuse("%s", ast.StatementTag())
}

// statement compiles any statement that yields rows or an effect.
func (p *planner) statement(ast tree.Statement) (*relation, error) {
	switch n := ast.(type) {
	case *tree.Select:
		return p.selectStmt(n)
	case *tree.ParenSelect:
		return p.selectStmt(n.Select)
	case *tree.Insert:
		return p.insert(n)
	case *tree.Update:
		return p.update(n)
	case *tree.Delete:
		return p.delete(n)
	case *tree.Truncate:
		return p.truncate(n)
	}
	for _, compile := range []func(tree.Statement) (*relation, error){p.ddl, p.show, p.settings} {
		if rel, err := compile(ast); rel != nil || err != nil {
			return rel, err
		}
	}
	return nil, refuse("%s", ast.StatementTag())
}

// effect is a statement without rows.
func effect(tag string, run func() error) *relation {
	return &relation{tag: tag, rows: func() ([]tree.Datums, error) { return nil, run() }}
}

// listing is a computed table; columns are "name type" pairs in the short words of colTypes.
func listing(columns [][2]string, rows func() ([]tree.Datums, error)) *relation {
	rel := &relation{rows: rows}
	for _, c := range columns {
		rel.cols = append(rel.cols, col{name: c[0], typ: colTypes[c[1]]})
	}
	return rel
}

var colTypes = map[string]*types.T{"s": types.String, "i": types.Int, "b": types.Bool, "f": types.Float, "d": types.Decimal, "t": types.Timestamp, "y": types.Bytes,
	"j": types.Jsonb, "i[]": types.IntArray, "s[]": types.StringArray, "v": types.Interval}
