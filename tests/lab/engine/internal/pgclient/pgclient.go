// SPDX-License-Identifier: GPL-3.0-or-later

// Package pgclient is the command line's side of the SQL wire protocol: client flags, connection, results as text, errors as the real
// client prints them.
package pgclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/spf13/pflag"

	"kwdbstandin/internal/render"
)

// Options are the client flags every command has (engine-facts 1.0).
type Options struct {
	Host     string // host, host:port or empty (localhost)
	Port     string // default 26257
	Insecure bool
	CertsDir string
	URL      string
	User     string // default root
	Database string
}

func env(name, fallback string) string {
	if v := os.Getenv("KWBASE_" + name); v != "" {
		return v
	}
	return fallback
}

// AddFlags registers --host, --port, --insecure, --certs-dir and --url with the defaults of the KWBASE_* environment.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Host, "host", env("HOST", ""), "KwDB node to connect to, <addr/host>[:<port>].")
	fs.StringVarP(&o.Port, "port", "p", env("PORT", "26257"), "port to connect to")
	_ = fs.MarkHidden("port")
	insecure, _ := strconv.ParseBool(env("INSECURE", "false"))
	fs.BoolVar(&o.Insecure, "insecure", insecure, "Connect to an insecure cluster. This is strongly discouraged for production usage.")
	fs.StringVar(&o.CertsDir, "certs-dir", env("CERTS_DIR", ""), "Path to the directory containing SSL certificates and keys.")
	fs.StringVar(&o.URL, "url", env("URL", ""), "Connection URL, e.g. \"postgresql://myuser@localhost:26257/mydb\".")
}

// AddSQLFlags registers what only `sql` has: --user and --database.
func (o *Options) AddSQLFlags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.User, "user", "u", env("USER", ""), "Database user name.")
	fs.StringVarP(&o.Database, "database", "d", env("DATABASE", ""), "The name of the database to connect to.")
}

// Resolve returns host:port, user and database after --url and the defaults; it refuses what this build has not (TLS).
func (o Options) Resolve() (addr, user, database string, err error) {
	host, port := o.Host, o.Port
	user, database = o.User, o.Database
	insecure := o.Insecure
	if o.URL != "" {
		u, err := url.Parse(o.URL)
		if err != nil {
			return "", "", "", err
		}
		if u.Scheme != "postgresql" && u.Scheme != "postgres" {
			return "", "", "", fmt.Errorf("URL scheme must be \"postgresql\", not %q", u.Scheme)
		}
		host = u.Hostname()
		if u.Port() != "" {
			port = u.Port()
		}
		if name := u.User.Username(); name != "" {
			user = name
		}
		if db := strings.TrimPrefix(u.Path, "/"); db != "" {
			database = db
		}
		mode := u.Query().Get("sslmode")
		insecure = mode == "" || mode == "disable"
		if _, has := u.User.Password(); has && insecure {
			return "", "", "", errors.New("cannot specify a password in URL with an insecure connection")
		}
	} else if h, p, err := net.SplitHostPort(host); err == nil {
		host = h
		if p != "" {
			port = p
		}
	}
	if !insecure {
		return "", "", "", errors.New("cannot load certificates.\nCheck your certificate settings, set --certs-dir, " +
			"or use --insecure for insecure clusters.\n\nproblem with CA certificate: not found")
	}
	if host == "" {
		host = "127.0.0.1"
	}
	if port == "" {
		port = "26257"
	}
	if user == "" {
		user = "root"
	}
	if database == "" {
		database = "defaultdb"
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port), user, database, nil
}

// DialError says that no server answered; its text is the real client's.
func DialError(err error) error {
	return fmt.Errorf("cannot dial server.\nIs the server running?\nIf the server is running, check --host client-side and --advertise server-side.\n\n%v", err)
}

// Conn is one SQL session. Close it.
type Conn struct {
	pg   *pgconn.PgConn
	Addr string // host:port dialled
	User string
}

// Connect opens a session within KWBASE_CONNECT_TIMEOUT seconds (default 15).
func Connect(ctx context.Context, o Options) (*Conn, error) {
	addr, user, database, err := o.Resolve()
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(addr)
	cfg, err := pgconn.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, DialError(fmt.Errorf("dial tcp: address tcp/%s: unknown port", port))
	}
	cfg.Host, cfg.Port, cfg.User, cfg.Database, cfg.Password = host, uint16(n), user, database, ""
	cfg.Fallbacks = nil
	cfg.RuntimeParams = map[string]string{"application_name": "$ kwbase sql"}
	cfg.ConnectTimeout = 15 * time.Second
	if s, err := strconv.Atoi(env("CONNECT_TIMEOUT", "15")); err == nil && s > 0 {
		cfg.ConnectTimeout = time.Duration(s) * time.Second
	}
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) {
			return nil, pgErr
		}
		var op *net.OpError
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return nil, DialError(fmt.Errorf("dial tcp %s: i/o timeout", addr))
		case errors.As(err, &op) && op.Op == "dial":
			return nil, DialError(op)
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, errors.New("server closed the connection.\nIs this a KwDB node?\nEOF")
		}
		var dns *net.DNSError
		if errors.As(err, &dns) {
			return nil, DialError(fmt.Errorf("dial tcp: %w", dns))
		}
		return nil, DialError(err)
	}
	return &Conn{pg: pg, Addr: addr, User: user}, nil
}

// Close ends the session politely, within a second.
func (c *Conn) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.pg.Close(ctx)
}

// Result is one statement's answer. Columns is nil for statements without rows.
type Result struct {
	Columns []string
	OIDs    []uint32
	Rows    [][]string // text; NULL is "NULL", booleans are true/false
	Tag     string
}

// Aligns gives the real client's alignment per column type.
func (r Result) Aligns() []render.Align {
	out := make([]render.Align, len(r.OIDs))
	for i, oid := range r.OIDs {
		switch oid {
		case pgtype.Int8OID, pgtype.Float8OID:
			out[i] = render.AlignRight
		case pgtype.BoolOID:
			out[i] = render.AlignCenter
		case pgtype.TextOID, pgtype.VarcharOID, pgtype.ByteaOID:
			out[i] = render.AlignLeft
		default:
			out[i] = render.AlignDefault
		}
	}
	return out
}

// Exec sends a batch by the simple protocol and hands each result with columns to each as it ends. tag is the last statement's tag.
// A *pgconn.PgError is the server's refusal.
func (c *Conn) Exec(ctx context.Context, sql string, each func(Result) error) (tag string, err error) {
	m := c.pg.Exec(ctx, sql)
	for m.NextResult() {
		rr := m.ResultReader()
		var res Result
		for _, f := range rr.FieldDescriptions() {
			res.Columns = append(res.Columns, f.Name)
			res.OIDs = append(res.OIDs, f.DataTypeOID)
		}
		for rr.NextRow() {
			row := make([]string, len(res.Columns))
			for i, v := range rr.Values() {
				row[i] = text(v, res.OIDs[i])
			}
			res.Rows = append(res.Rows, row)
		}
		t, err := rr.Close()
		if err != nil {
			break // Close below reports it
		}
		tag, res.Tag = t.String(), t.String()
		if res.Columns != nil {
			if err := each(res); err != nil {
				_ = m.Close()
				return tag, err
			}
		}
	}
	return tag, m.Close()
}

// Query runs one statement and returns its rows.
func (c *Conn) Query(ctx context.Context, sql string) (out Result, err error) {
	tag, err := c.Exec(ctx, sql, func(r Result) error { out = r; return nil })
	if out.Columns == nil {
		out.Tag = tag
	}
	return out, err
}

// TxStatus is 'I' idle, 'T' in a transaction, 'E' in a failed one.
func (c *Conn) TxStatus() byte { return c.pg.TxStatus() }

func text(v []byte, oid uint32) string {
	switch {
	case v == nil:
		return "NULL"
	case oid == pgtype.BoolOID && len(v) == 1:
		return strconv.FormatBool(v[0] == 't')
	}
	return string(v)
}

// PrintError writes `ERROR: …` with SQLSTATE, DETAIL and HINT on lines of their own (engine-facts 1.0).
func PrintError(w io.Writer, err error) {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		msg := err.Error()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || pgconn.Timeout(err) || isNetwork(err) {
			msg = "connection lost.\n\n" + msg
		}
		fmt.Fprintf(w, "ERROR: %s\n", msg)
		return
	}
	fmt.Fprintf(w, "ERROR: %s\n", pgErr.Message)
	if pgErr.Code != "" && pgErr.Code != "XXUUU" {
		fmt.Fprintf(w, "SQLSTATE: %s\n", pgErr.Code)
	}
	if pgErr.Detail != "" {
		fmt.Fprintf(w, "DETAIL: %s\n", pgErr.Detail)
	}
	if pgErr.Hint != "" {
		fmt.Fprintf(w, "HINT: %s\n", pgErr.Hint)
	}
}

func isNetwork(err error) bool {
	var ne net.Error
	return errors.As(err, &ne)
}
