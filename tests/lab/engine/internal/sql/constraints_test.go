// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"strings"
	"testing"

	"kwdbstandin/internal/kv"
)

// What a table's zone shows after CONFIGURE ZONE, and what its range is told.
func TestConstraints(t *testing.T) {
	f := newFake()
	_, addr := serve(t, f)
	cli(t, addr, "create table t (a int primary key)")
	must := func(sql string) {
		t.Helper()
		if got := cli(t, addr, sql); got != "CONFIGURE ZONE 1\n" {
			t.Fatalf("%s: %s", sql, got)
		}
	}
	line := func(sql string) string {
		t.Helper()
		for _, l := range strings.Split(cli(t, addr, sql), "\n") {
			if strings.Contains(l, "constraints") {
				return strings.TrimSpace(l)
			}
		}
		return ""
	}
	rules := func() (found []kv.Rule) {
		f.set(func() {
			for _, d := range f.desc {
				if d.Table == "t" {
					found = d.Rules
				}
			}
		})
		return found
	}
	one := kv.Constraint{Key: "region", Value: "NODE1"}
	two := kv.Constraint{Key: "region", Value: "NODE2"}
	for _, c := range []struct {
		sql, shown string
		rules      []kv.Rule
	}{
		{"alter table t configure zone using constraints = '[+region=NODE1]'", "constraints = '[+region=NODE1]',", []kv.Rule{{All: []kv.Constraint{one}}}},
		{"alter table t configure zone using num_replicas = 3, constraints = '{\"+region=NODE2\": 1, \"+region=NODE1\": 1}'",
			"constraints = '{+region=NODE1: 1, +region=NODE2: 1}',", []kv.Rule{{Replicas: 1, All: []kv.Constraint{one}}, {Replicas: 1, All: []kv.Constraint{two}}}},
		{"alter table t configure zone using constraints = '[-region=NODE2, +region=NODE1]'", "constraints = '[-region=NODE2, +region=NODE1]',",
			[]kv.Rule{{All: []kv.Constraint{{Prohibited: true, Key: "region", Value: "NODE2"}, one}}}},
		{"alter table t configure zone using constraints = '{\"+region=NODE1,-region=NODE2\": 3}'", `constraints = e'{\'+region=NODE1,-region=NODE2\': 3}',`,
			[]kv.Rule{{Replicas: 3, All: []kv.Constraint{one, {Prohibited: true, Key: "region", Value: "NODE2"}}}}},
		{"alter table t configure zone using constraints = '[]'", "constraints = '[]',", nil},
		{"alter table t configure zone discard", "constraints = '[]',", nil},
		{"alter range default configure zone using constraints = '[+region=NODE2]'", "constraints = '[+region=NODE2]',", []kv.Rule{{All: []kv.Constraint{two}}}},
		{"alter table t configure zone = 'constraints: [+region=NODE1]'", "constraints = '[+region=NODE1]',", []kv.Rule{{All: []kv.Constraint{one}}}},
	} {
		must(c.sql)
		if got := line("show zone configuration for table t"); got != c.shown {
			t.Errorf("%s: shows %s, want %s", c.sql, got, c.shown)
		}
		if got := rules(); !kv.SameRules(got, c.rules) {
			t.Errorf("%s: the range was told %v, want %v", c.sql, got, c.rules)
		}
	}
	if got := line("select raw_config_sql from kwdb_internal.zones where table_name = 't'"); got != `constraints = '[+region=NODE1]'"` {
		t.Errorf("kwdb_internal.zones shows %s", got)
	}
	if got := line("select full_config_yaml from kwdb_internal.zones where table_name = 't'"); got != "constraints: [+region=NODE1]" {
		t.Errorf("kwdb_internal.zones shows %s", got)
	}
	if got := cli(t, addr, "select raw_config_protobuf from kwdb_internal.zones where table_name = 't'"); got !=
		"raw_config_protobuf\n\\x3215321108011206726567696f6e1a054e4f44453138005000580160006800\n" {
		t.Errorf("as a message: %s", got)
	}
	// A table's zone that speaks of replicas only shows nothing else, and inherits the constraints.
	must("alter table t configure zone discard")
	must("alter table t configure zone using num_replicas = 5")
	if got := cli(t, addr, "select raw_config_sql from kwdb_internal.zones where table_name = 't'"); got !=
		"raw_config_sql\n\"ALTER TABLE defaultdb.public.t CONFIGURE ZONE USING\n\tnum_replicas = 5\"\n" {
		t.Errorf("own part of a table's zone: %s", got)
	}
	if got := rules(); !kv.SameRules(got, []kv.Rule{{All: []kv.Constraint{two}}}) {
		t.Errorf("inherited: %v", got)
	}
	cli(t, addr, "create table u (a int primary key)")
	f.set(func() {
		for _, d := range f.desc {
			if d.Table == "u" && len(d.Rules) != 1 {
				t.Errorf("a new table's range does not know its zone: %v", d)
			}
		}
	})
}

func TestConstraintsThatAreRefused(t *testing.T) {
	_, addr := serve(t, newFake())
	cli(t, addr, "create table t (a int primary key)")
	const invalid = "could not validate zone config: "
	for _, c := range [][2]string{
		{"alter database defaultdb configure zone using constraints = '[+region=NODE1]'", "set zone config constraints and lease_preferences is not supported\nSQLSTATE: 0A000"},
		{"alter table t configure zone using lease_preferences = '[[+region=NODE1]]'", "set zone config constraints and lease_preferences is not supported\nSQLSTATE: 0A000"},
		{"alter table t configure zone using constraints = '[+region=NODE9]'",
			"constraint \"+region=NODE9\" matches no existing nodes within the cluster - did you enter it correctly?\nSQLSTATE: 23514"},
		{"alter table t configure zone using constraints = '[region=NODE1]'", invalid + "constraints must either be required (prefixed with a '+') or prohibited"},
		{"alter table t configure zone using constraints = '[+region=NODE1, +region=NODE2]'", "incompatible zone constraints: \"+region=NODE1\" and \"+region=NODE2\"\nSQLSTATE: 23514"},
		{"alter table t configure zone using constraints = 'nonsense'", "invalid constraints format. expected an array of strings or a map of strings to ints"},
		{"alter table t configure zone using constraints = '{\"+region=NODE1\": 1}'", invalid + "when per-replica constraints are set, num_replicas must be set as well\nSQLSTATE: 22023"},
		{"alter table t configure zone using num_replicas = 3, constraints = '{\"+region=NODE1\": 2, \"+region=NODE2\": 2}'",
			invalid + "the number of replicas specified in constraints (4) cannot be greater than the number of replicas configured for the zone (3)"},
		{"alter table t configure zone using num_replicas = 3, constraints = '{\"-region=NODE1\": 1}'", invalid + "only required constraints (prefixed with a '+')"},
		{"alter table t configure zone using num_replicas = 2", invalid + "at least 3 replicas are required for multi-replica configurations\nSQLSTATE: 23514"},
		{"alter table t configure zone = 'replicas: 3'", "could not parse zone config: yaml: unmarshal errors"},
	} {
		if got := cli(t, addr, c[0]); !strings.Contains(got, "ERROR: "+c[1]) {
			t.Errorf("%s\n got: %s\nwant: %s", c[0], got, c[1])
		}
	}
	if got := cli(t, addr, "select count(*) from kwdb_internal.zones where table_name = 't'"); got != "count\n0\n" {
		t.Errorf("something was written: %s", got)
	}
}
