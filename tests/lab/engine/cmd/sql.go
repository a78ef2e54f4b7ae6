// SPDX-License-Identifier: GPL-3.0-or-later

package cmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/auxten/postgresql-parser/pkg/sql/parser"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"kwdbstandin/internal/pgclient"
	"kwdbstandin/internal/render"
)

func init() { commands = append(commands, newSQL) }

// shell is one `sql` command: where it prints and what `--set` told it.
type shell struct {
	ctx     context.Context
	conn    *pgclient.Conn
	format  *render.Format
	errexit bool
	echo    bool
	times   bool
}

func newSQL() *cobra.Command {
	var o pgclient.Options
	var execute, set []string
	var echo, safe, debug bool
	cmd := &cobra.Command{Use: "sql [options]", Short: "open a sql shell\n", Args: cobra.NoArgs}
	f := cmd.Flags()
	o.AddFlags(f)
	o.AddSQLFlags(f)
	format := addFormat(cmd)
	f.StringArrayVarP(&execute, "execute", "e", nil, "Execute the SQL statement(s) on the command line, then exit. This flag may be\nspecified multiple times "+
		"and each value may contain multiple semicolon separated\nstatements.")
	f.StringArrayVar(&set, "set", nil, "Set a client-side configuration parameter before running the SQL shell.")
	f.BoolVar(&echo, "echo-sql", false, "Reveal the SQL statements sent implicitly by the command-line utility.")
	f.BoolVar(&safe, "safe-updates", false, "Disable SQL statements that may have undesired side effects.")
	f.BoolVar(&debug, "debug-sql-cli", false, "Simplify the SQL CLI to ease debugging of the SQL client code.")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		person := len(execute) == 0 && isTerminal(os.Stdin)
		sh := &shell{ctx: context.Background(), format: format, errexit: !person, echo: echo, times: person}
		for _, s := range set {
			if err := sh.set(s); err != nil {
				return err
			}
		}
		conn, err := pgclient.Connect(sh.ctx, o)
		if err != nil {
			return err
		}
		defer conn.Close()
		sh.conn = conn
		switch {
		case len(execute) > 0:
			for _, sql := range execute {
				if err := sh.check(sh.run(sql)); err != nil {
					return err
				}
			}
			return nil
		case person:
			return sh.interactive(os.Stdin)
		}
		return sh.script(os.Stdin)
	}
	return cmd
}

// set takes `name=value` or `name value`.
func (sh *shell) set(arg string) error {
	name, value, ok := strings.Cut(strings.TrimSpace(arg), "=")
	if !ok {
		name, value, _ = strings.Cut(strings.TrimSpace(arg), " ")
	}
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	on := value == "" || value == "true" || value == "on" || value == "yes" || value == "1"
	switch name {
	case "display_format":
		return sh.format.Set(value)
	case "errexit":
		sh.errexit = on
	case "echo":
		sh.echo = on
	case "show_times":
		sh.times = on
	case "auto_trace", "check_syntax", "smart_prompt", "prompt1":
	default:
		return fmt.Errorf("invalid syntax: \\set %s. Try \\? for help.", arg)
	}
	return nil
}

// run executes one batch and prints each result as it ends; a batch without rows prints the last statement's tag.
func (sh *shell) run(sql string) error {
	if sh.echo {
		fmt.Fprintln(os.Stderr, ">", sql)
	}
	rows, start := false, time.Now()
	tag, err := sh.conn.Exec(sh.ctx, sql, func(r pgclient.Result) error {
		rows = true
		return render.Write(os.Stdout, *sh.format, r.Columns, r.Aligns(), r.Rows)
	})
	if err != nil {
		return err
	}
	if !rows {
		if tag = strings.Replace(tag, "INSERT 0 ", "INSERT ", 1); tag == "" {
			tag = "OK"
		}
		fmt.Println(tag)
	}
	if sh.times {
		fmt.Printf("\nTime: %s\n\n", time.Since(start).Round(time.Microsecond))
	}
	return nil
}

// check makes an error final under errexit, and only says it otherwise.
func (sh *shell) check(err error) error {
	if err == nil || sh.errexit {
		return err
	}
	pgclient.PrintError(os.Stderr, err)
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return exitCode(1) // the connection is gone
	}
	return nil
}

// complete says whether a text ends with a semicolon outside of quotes and comments; blank is true for nothing but space and comments.
func complete(text string) (done, blank bool) {
	last, any := parser.LastLexicalToken(text)
	return last == ';', !any
}

// client runs a backslash command; handled is false for SQL.
func (sh *shell) client(line string) (handled, quit bool, err error) {
	word := strings.TrimSpace(line)
	switch {
	case word == "quit" || word == "exit" || word == `\q`:
		return true, true, nil
	case strings.HasPrefix(word, `\set`):
		return true, false, sh.set(strings.TrimPrefix(word, `\set`))
	case word == `\?` || word == "help":
		fmt.Println("You are using 'kwbase sql', KWDB's lightweight SQL client.\nType: \\q to exit, \\set [NAME] to set a client-side flag. Statements end with a semicolon.")
		return true, false, nil
	case strings.HasPrefix(word, `\`):
		return true, false, fmt.Errorf("invalid syntax: %s. Try \\? for help.", word)
	}
	return false, false, nil
}

// script runs standard input statement by statement.
func (sh *shell) script(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	text := ""
	for lines.Scan() {
		if text == "" {
			handled, quit, err := sh.client(lines.Text())
			if quit {
				return nil
			}
			if handled {
				if err := sh.check(err); err != nil {
					return err
				}
				continue
			}
		}
		text += lines.Text() + "\n"
		done, blank := complete(text)
		if done {
			if err := sh.check(sh.run(strings.TrimSpace(text))); err != nil {
				return err
			}
		}
		if done || blank {
			text = ""
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if text = strings.TrimSpace(text); text != "" {
		fmt.Fprintf(os.Stderr, "missing semicolon at end of statement: %s\n", text)
		return fmt.Errorf("last statement was not executed: %s", text)
	}
	return nil
}

// interactive is the shell a person types into.
func (sh *shell) interactive(in io.Reader) error {
	fmt.Print("#\n# Welcome to the KWDB SQL shell.\n# All statements must be terminated by a semicolon.\n# To exit, type: \\q.\n#\n")
	if r, err := sh.conn.Query(sh.ctx, "SELECT version()"); err == nil && len(r.Rows) == 1 {
		fmt.Printf("# Server version: %s (same version as client)\n#\n# Enter \\? for a brief introduction.\n#\n", r.Rows[0][0])
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	text := ""
	for {
		sh.prompt(text != "")
		if !lines.Scan() {
			fmt.Println()
			return lines.Err()
		}
		if text == "" {
			handled, quit, err := sh.client(lines.Text())
			if quit {
				return nil
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			if handled {
				continue
			}
		}
		text += lines.Text() + "\n"
		done, blank := complete(text)
		if done {
			if err := sh.check(sh.run(strings.TrimSpace(text))); err != nil {
				return err
			}
		}
		if done || blank {
			text = ""
		}
	}
}

// prompt shows user, server, database and an open transaction.
func (sh *shell) prompt(more bool) {
	database := "?"
	if sh.conn.TxStatus() != 'E' {
		if r, err := sh.conn.Query(sh.ctx, "SHOW database"); err == nil && len(r.Rows) == 1 {
			database = r.Rows[0][0]
		}
	}
	state := map[byte]string{'T': "  OPEN", 'E': " ERROR"}[sh.conn.TxStatus()]
	text := fmt.Sprintf("%s@%s/%s%s", sh.conn.User, sh.conn.Addr, database, state)
	if more {
		text = strings.Repeat(" ", max(len(text)-1, 0)) + "-"
	}
	fmt.Print(text + "> ")
}
