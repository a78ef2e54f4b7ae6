// SPDX-License-Identifier: GPL-3.0-or-later

// Package cmd is the command line: `start`, `init`, `node …`, `sql` and what belongs to them, with the texts and exit
// codes of the product (engine-transcripts.md).
package cmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kwdbstandin/internal/build"
	"kwdbstandin/internal/node"
	"kwdbstandin/internal/pgclient"
	"kwdbstandin/internal/render"
)

// commands makes the subcommands; files of this package add theirs.
var commands []func() *cobra.Command

// severity is --logtostderr: a flag that may stand alone.
type severity struct{ value string }

func (s *severity) String() string {
	if s.value == "" {
		return "NONE"
	}
	return s.value
}
func (s *severity) Set(v string) error { s.value = strings.ToUpper(v); return nil }
func (s *severity) Type() string       { return "Severity" }

type moduleSpec string

func (s *moduleSpec) String() string     { return string(*s) }
func (s *moduleSpec) Set(v string) error { *s = moduleSpec(v); return nil }
func (s *moduleSpec) Type() string       { return "moduleSpec" }

var logToStderr severity

// exitCode is an error that only sets the exit code: everything has been said.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit %d", int(e)) }

func newRoot() *cobra.Command {
	name := build.Product
	root := &cobra.Command{
		Use: name, Short: name + " command-line interface and server", SilenceUsage: true, SilenceErrors: true,
		DisableSuggestions: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			_ = cmd.Help()
			return nil
		},
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Name() != "version" && !strings.HasPrefix(cmd.Name(), "start") {
				hangIfAsked()
			}
			return nil
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	flags := root.PersistentFlags()
	flags.SortFlags = true
	flags.Var(&logToStderr, "logtostderr", "logs at or above this threshold go to stderr")
	flags.Lookup("logtostderr").NoOptDefVal = "DEFAULT"
	flags.Bool("no-color", false, "disable standard error log colorization")
	flags.Var(new(moduleSpec), "vmodule",
		"comma-separated list of pattern=N settings for file-filtered logging (significantly hurts performance)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		cmd.SetOut(os.Stderr)
		cmd.SetErr(os.Stderr)
		_ = cmd.Usage()
		fmt.Fprintln(os.Stderr)
		return err
	})
	for _, make := range commands {
		root.AddCommand(make())
	}
	return root
}

// Run executes one command line and returns the process's exit code.
func Run(args []string) int {
	render.LegacyTables = build.Legacy()
	root := newRoot()
	root.SetArgs(args)
	cmd, err := root.ExecuteC()
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	pgclient.PrintError(os.Stderr, err)
	failed := strings.TrimPrefix(cmd.CommandPath(), build.Product+" ")
	fmt.Fprintf(os.Stderr, "Failed running %q\n", failed)
	return 1
}

// minArgs refuses too few arguments with the text of the product's older library.
func minArgs(least int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least {
			return fmt.Errorf("requires at least %d arg(s), only received %d", least, len(args))
		}
		return nil
	}
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && info.Name() != os.DevNull
}

// addFormat registers --format; the value is right after parsing.
func addFormat(cmd *cobra.Command) *render.Format {
	format := render.Default(isTerminal(os.Stdout))
	cmd.Flags().Var(&format, "format", "Selects how to display table rows in results. Possible values: tsv, csv, table, "+
		"records, sql, raw, html.\nIf left unspecified, defaults to tsv for non-interactive sessions and table for "+
		"interactive sessions.")
	return &format
}

// box is the product's way to shout.
func box(w io.Writer, text string) {
	fmt.Fprintf(w, "*\n* %s\n*\n", strings.ReplaceAll(text, "\n", "\n* "))
}

// labDir holds the lab's fault switches: files in it make this container misbehave.
func labDir() string {
	if dir, ok := os.LookupEnv("KWDB_LAB_DIR"); ok {
		return dir
	}
	return "/kaiwudb/lab"
}

// hangIfAsked is the lab's hanging command line: it never ends by itself.
func hangIfAsked() {
	if _, err := os.Stat(filepath.Join(labDir(), "cli-hang")); err == nil {
		for { // not `select {}`: alone, the runtime calls that a deadlock and ends
			time.Sleep(time.Hour)
		}
	}
}

// logError writes an error the way the product logs it.
func logError(err error) {
	fmt.Fprintln(os.Stderr, node.LogLine('E', "cli/error.go:391", "ERROR: "+err.Error()))
}
