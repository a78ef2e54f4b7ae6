// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"context"
	"errors"
	"strings"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/jackc/pgx/v5/pgproto3"

	"kwdbstandin/internal/kv"
)

// refuse is the answer to what this stand-in cannot do: never a made-up success.
func refuse(format string, args ...any) error {
	return pgerror.Newf(pgcode.FeatureNotSupported, "unimplemented in this stand-in: "+format, args...)
}

var (
	errDraining     = pgerror.Newf(pgcode.AdminShutdown, "server is shutting down")
	errNotAccepting = pgerror.Newf(pgcode.AdminShutdown, "server is not accepting clients")
	errTimeout      = pgerror.Newf(pgcode.QueryCanceled, "query execution canceled due to statement timeout")
	errCanceled     = pgerror.Newf(pgcode.QueryCanceled, "query execution canceled")
	errAborted      = pgerror.Newf(pgcode.InFailedSQLTransaction, "current transaction is aborted, commands ignored until end of transaction block")
	errAmbiguous    = pgerror.Newf(pgcode.StatementCompletionUnknown, "result is ambiguous: no majority answered in time")
	errStaleCatalog = errors.New("stale catalog")
)

// errorResponse turns any error into the wire's form; what has no SQLSTATE gets the product's XXUUU.
func errorResponse(err error) *pgproto3.ErrorResponse {
	switch {
	case errors.Is(err, kv.ErrDraining):
		err = errDraining
	case errors.Is(err, kv.ErrConflict), errors.Is(err, errStaleCatalog):
		err = pgerror.Newf(pgcode.SerializationFailure, "restart transaction: TransactionRetryWithProtoRefreshError: WriteTooOldError: a newer version of the row was committed")
	case errors.Is(err, context.DeadlineExceeded):
		err = errTimeout
	case errors.Is(err, context.Canceled):
		err = errCanceled
	}
	flat := pgerror.Flatten(err)
	if flat.Code == pgcode.Internal {
		flat.Detail = "" // a stack of ours
	}
	severity := "ERROR"
	return &pgproto3.ErrorResponse{
		Severity: severity, SeverityUnlocalized: severity, Code: flat.Code, Message: strings.TrimSuffix(flat.Message, "\n"),
		Detail: flat.Detail, Hint: flat.Hint,
	}
}

func codeOf(err error) string { return pgerror.GetPGCode(err) }
