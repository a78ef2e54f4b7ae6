// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"context"
	"slices"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/lib/pq/oid"
)

func (s *session) parse(ctx context.Context, m *pgproto3.Parse) error {
	stmts, err := parseSQL(m.Query)
	if err != nil {
		return err
	}
	if len(stmts) > 1 {
		return pgerror.Newf(pgcode.Syntax, "expected 1 statement, but found %d", len(stmts))
	}
	p := &prepared{}
	for _, o := range m.ParameterOIDs {
		p.hints = append(p.hints, oid.Oid(o))
	}
	if len(stmts) == 1 {
		p.stmt = stmts[0]
		if s.txn != nil && s.txn.failed && !endsTxn(p.stmt.ast) {
			return errAborted
		}
		if err := s.within(ctx, func(ctx context.Context) error { return s.prepare(ctx, p) }); err != nil {
			return err
		}
	}
	s.prepared[m.Name] = p
	s.be.Send(&pgproto3.ParseComplete{})
	return nil
}

func (s *session) bind(m *pgproto3.Bind) error {
	p := s.prepared[m.PreparedStatement]
	if p == nil {
		return pgerror.Newf(pgcode.InvalidSQLStatementName, "unknown prepared statement %q", m.PreparedStatement)
	}
	po := &portal{prepared: p, formats: m.ResultFormatCodes}
	if p.stmt != nil {
		if len(m.Parameters) != p.stmt.n {
			return pgerror.Newf(pgcode.ProtocolViolation, "expected %d arguments, got %d", p.stmt.n, len(m.Parameters))
		}
		if n := len(m.ResultFormatCodes); n > 1 && n != len(p.cols) {
			return pgerror.Newf(pgcode.ProtocolViolation, "expected 0, 1, or %d for number of format codes, got %d", len(p.cols), n)
		}
		if n := len(m.ParameterFormatCodes); n > 1 && n != len(m.Parameters) {
			return pgerror.Newf(pgcode.ProtocolViolation, "wrong number of parameter format codes specified: %d for %d arguments", n, len(m.Parameters))
		}
		for i, v := range m.Parameters {
			d, err := bindValue(wireType(p, i), formatOf(m.ParameterFormatCodes, i), v)
			if err != nil {
				return pgerror.Wrapf(err, codeOf(err), "error in argument for $%d", i+1)
			}
			po.args = append(po.args, d)
		}
	}
	s.portals[m.DestinationPortal] = po
	s.be.Send(&pgproto3.BindComplete{})
	return nil
}

// wireType is what the client says it sends, else what the statement needs.
func wireType(p *prepared, i int) *types.T {
	if i < len(p.hints) && p.hints[i] != 0 {
		if t := typeOfOID(p.hints[i]); t != nil {
			return t
		}
	}
	return p.types[i]
}

func typeOfOID(o oid.Oid) *types.T {
	switch o {
	case 0, oid.T_unknown:
		return nil
	case oid.T_json:
		return types.Jsonb
	}
	return types.OidToType[o]
}

func (s *session) describe(m *pgproto3.Describe) error {
	var p *prepared
	var formats []int16
	if m.ObjectType == 'S' {
		if p = s.prepared[m.Name]; p == nil {
			return pgerror.Newf(pgcode.InvalidSQLStatementName, "unknown prepared statement %q", m.Name)
		}
		d := &pgproto3.ParameterDescription{}
		for i := range p.types {
			d.ParameterOIDs = append(d.ParameterOIDs, uint32(wireType(p, i).Oid()))
		}
		s.be.Send(d)
	} else {
		po := s.portals[m.Name]
		if po == nil {
			return pgerror.Newf(pgcode.InvalidCursorName, "unknown portal %q", m.Name)
		}
		p, formats = po.prepared, po.formats
	}
	if len(p.cols) == 0 {
		s.be.Send(&pgproto3.NoData{})
	} else {
		s.be.Send(describeRow(p.cols, formats))
	}
	return nil
}

func (s *session) execute(ctx context.Context, m *pgproto3.Execute) error {
	po := s.portals[m.Portal]
	if po == nil {
		return pgerror.Newf(pgcode.InvalidCursorName, "unknown portal %q", m.Portal)
	}
	if po.stmt == nil {
		s.be.Send(&pgproto3.EmptyQueryResponse{})
		return nil
	}
	if !po.ran {
		rel, rows, err := s.run(ctx, po.stmt, po.prepared, po.args)
		if err != nil {
			return err
		}
		if !slices.EqualFunc(rel.cols, po.cols, func(a, b col) bool { return a.typ.Oid() == b.typ.Oid() }) {
			return pgerror.Newf(pgcode.FeatureNotSupported, "cached plan must not change result type")
		}
		po.ran, po.rows, po.tag = true, rows, tagOf(rel, len(rows))
	}
	end := len(po.rows)
	if m.MaxRows > 0 && len(po.cols) > 0 {
		end = min(end, po.sent+int(m.MaxRows))
	}
	if len(po.cols) > 0 {
		for ; po.sent < end; po.sent++ {
			if err := s.sendRow(po.cols, po.rows[po.sent], po.formats); err != nil {
				return err
			}
		}
	}
	if len(po.cols) > 0 && po.sent < len(po.rows) {
		s.be.Send(&pgproto3.PortalSuspended{})
		return nil
	}
	s.be.Send(&pgproto3.CommandComplete{CommandTag: []byte(po.tag)})
	return nil
}
