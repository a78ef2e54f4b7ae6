// SPDX-License-Identifier: GPL-3.0-or-later

package cmd

import (
	"testing"

	"kwdbstandin/internal/render"
)

func TestCompleteStatement(t *testing.T) {
	for text, want := range map[string][2]bool{"select 1;": {true, false}, "select 1": {false, false}, "select ';'": {false, false}, "select 1; -- end\n": {true, false},
		"": {false, true}, "  -- only a comment\n": {false, true}, "select 'a\n": {false, false}, "select 'a\n;'; ": {true, false}} {
		if done, blank := complete(text); done != want[0] || blank != want[1] {
			t.Errorf("%q: %v %v, want %v", text, done, blank, want)
		}
	}
}

func TestShellSettings(t *testing.T) {
	format := render.TSV
	sh := &shell{format: &format, errexit: true}
	for _, arg := range []string{"display_format=csv", "errexit=false", "show_times=true", "echo"} {
		if err := sh.set(arg); err != nil {
			t.Error(arg, err)
		}
	}
	if format != render.CSV || sh.errexit || !sh.times || !sh.echo {
		t.Errorf("%+v", sh)
	}
	if sh.set("nope=1") == nil || sh.set("display_format=json") == nil {
		t.Error("unknown settings are accepted")
	}
	for word, want := range map[string][2]bool{`\q`: {true, true}, "quit": {true, true}, `\set errexit=true`: {true, false}, "select 1;": {false, false}} {
		if handled, quit, err := sh.client(word); handled != want[0] || quit != want[1] || err != nil {
			t.Errorf("%q: %v %v %v", word, handled, quit, err)
		}
	}
}
