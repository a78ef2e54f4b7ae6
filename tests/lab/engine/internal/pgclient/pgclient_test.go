// SPDX-License-Identifier: GPL-3.0-or-later

package pgclient

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string // addr user database, or a part of the error
	}{
		{Options{Insecure: true}, "127.0.0.1:26257 root defaultdb"},
		{Options{Insecure: true, Host: "h", Port: "1", User: "u", Database: "d"}, "h:1 u d"},
		{Options{Insecure: true, Host: "h:2", Port: "1"}, "h:2 root defaultdb"},
		{Options{Insecure: true, Host: "[::1]:2"}, "[::1]:2 root defaultdb"},
		{Options{URL: "postgresql://u@h:3/bank?sslmode=disable"}, "h:3 u bank"},
		{Options{URL: "postgresql://h"}, "h:26257 root defaultdb"},
		{Options{URL: "postgresql://u:p@h/?sslmode=disable"}, "cannot specify a password in URL with an insecure connection"},
		{Options{URL: "postgresql://u@h/?sslmode=verify-full"}, "cannot load certificates."},
		{Options{Host: "h"}, "cannot load certificates."},
		{Options{URL: "mysql://h"}, "URL scheme must be"},
	} {
		addr, user, db, err := c.o.Resolve()
		got := addr + " " + user + " " + db
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.o, got, c.want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("KWBASE_CONNECT_TIMEOUT", "1")
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing, as a node before init
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Connect(context.Background(), Options{Host: l.Addr().String(), Insecure: true})
	if err == nil || !strings.HasPrefix(err.Error(), "cannot dial server.\nIs the server running?\n") {
		t.Errorf("a silent server: %v", err)
	}
	addr := l.Addr().String()
	l.Close()
	_, err = Connect(context.Background(), Options{Host: addr, Insecure: true})
	if want := "dial tcp " + addr + ": connect: connection refused"; err == nil || !strings.HasSuffix(err.Error(), "\n\n"+want) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestPrintError(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("x"), "ERROR: x\n"},
		{&pgconn.PgError{Message: "m", Code: "42601", Detail: "source SQL:\nm\n^", Hint: "h"}, "ERROR: m\nSQLSTATE: 42601\nDETAIL: source SQL:\nm\n^\nHINT: h\n"},
		{&pgconn.PgError{Message: "m", Code: "XXUUU"}, "ERROR: m\n"},
	} {
		var b strings.Builder
		if PrintError(&b, c.err); b.String() != c.want {
			t.Errorf("%q, want %q", b.String(), c.want)
		}
	}
}
