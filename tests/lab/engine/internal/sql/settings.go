// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
	"github.com/auxten/postgresql-parser/pkg/util/humanizeutil"

	"kwdbstandin/internal/build"
	"kwdbstandin/internal/kv"
)

const serverVersion = "9.5.0"

// clusterSetting kinds as the product shows them: d duration, z bytes, b bool, i int, s string, m version.
type clusterSetting struct{ name, kind, value, about string }

// clusterSettings are those that operations read or write (engine-facts 1.7, 3.4, transcripts 20 and 24); any other is unknown here.
var clusterSettings = []clusterSetting{
	{"cluster.organization", "s", "", "organization name"},
	{"cluster.preserve_downgrade_option", "s", "", "disable (automatic or manual) cluster version upgrade from the specified version until reset"},
	{"diagnostics.reporting.enabled", "b", "false", "enable reporting diagnostic metrics"},
	{"kv.allocator.load_based_lease_rebalancing.enabled", "b", "true", "set to enable rebalancing of range leases based on load and latency"},
	{"kv.allocator.ts_consider_rebalance.enabled", "b", "true", "set to enable rebalancing of time series ranges"},
	{"kv.allocator.ts_store_dead_rebalance.enabled", "b", "true", "set to enable moving time series ranges off dead stores"},
	{"kv.rangefeed.enabled", "b", "false", "if set, rangefeed registration is enabled"},
	{"kv.snapshot_rebalance.max_rate", "z", "16 MiB", "the rate limit (bytes/sec) to use for rebalance and upreplication snapshots"},
	{"kv.snapshot_recovery.max_rate", "z", "16 MiB", "the rate limit (bytes/sec) to use for recovery snapshots"},
	{"lab.decommission.stuck", "b", "false", "fault of this stand-in: no decommission makes progress"},
	{"lab.replica_away", "s", "", "fault of this stand-in: range:node, …; that node's replica stays away and none takes its place"},
	{"lab.replica_move_interval", "d", "2.5s", "fault of this stand-in: pause between two moves of one leader"},
	{labJob, "s", "", "fault of this stand-in: a job of this type is running, e.g. SCHEMA CHANGE"},
	{"server.host_based_authentication.configuration", "s", "", "host-based authentication configuration to use during connection authentication"},
	{"server.rest.timeout", "i", "60", "time out for restful api(in minutes)"},
	{"server.shutdown.drain_wait", "d", "0s", "the amount of time a server waits in an unready state before proceeding with the rest of the shutdown process"},
	{"server.shutdown.lease_transfer_wait", "d", "5s", "the amount of time a server waits to transfer range leases before proceeding with the rest of the shutdown process"},
	{"server.shutdown.query_wait", "d", "10s", "the server will wait for at least this amount of time for active queries to finish"},
	{"server.sql_connections.max_limit", "i", "200", "the maximum number of SQL connections"},
	{"server.time_until_store_dead", "d", "30m0s", "the time after which if there is no new gossiped information about a store, it is considered dead"},
	{"server.user_login.timeout", "d", "10s", "timeout after which client authentication times out if some system range is unavailable (0 = no timeout)"},
	{"server.web_session_timeout", "d", "168h0m0s", "the duration that a newly created web session will be valid"},
	{"sql.defaults.statement_timeout", "d", "0s", "default value for the statement_timeout session variable"},
	{"sql.stats.automatic_collection.enabled", "b", "true", "automatic statistics collection mode"},
	{"ts.raft_log.sync_period", "d", "0s", "the period of syncing the raft log of time series ranges"},
	{"ts.raftlog_combine_wal.enabled", "b", "false", "whether raft log and WAL of time series ranges are one"},
	{"version", "m", "", "set the active cluster version in the format '<major>.<minor>'"},
}

func findSetting(name string) (*clusterSetting, error) {
	i := slices.IndexFunc(clusterSettings, func(c clusterSetting) bool { return c.name == strings.ToLower(name) })
	if i < 0 {
		return nil, pgerror.Newf(pgcode.Uncategorized, "unknown cluster setting '%s'", name)
	}
	return &clusterSettings[i], nil
}

func (c *catalog) setting(d *clusterSetting) string {
	if v, ok := c.settings[d.name]; ok {
		return v
	}
	return d.value
}

// Setting is a cluster setting's canonical text as this node knows it (at most one second old while a quorum answers), for the node's own
// use, e.g. server.shutdown.drain_wait.
func (s *Server) Setting(name string) string {
	d, err := findSetting(name)
	if err != nil {
		return ""
	}
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	if s.cat.cur == nil {
		return d.value
	}
	return s.cat.cur.setting(d)
}

// canonical parses a new value and returns its text; the refusals are the product's.
func (p *planner) canonical(d *clusterSetting, v tree.Datum) (string, error) {
	text := textValue(v)
	switch d.kind {
	case "b":
		b, err := tree.ParseDBool(text)
		if err != nil {
			return "", pgerror.Newf(pgcode.DatatypeMismatch, "argument of %s must be type bool", d.name)
		}
		return b.String(), nil
	case "i":
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return "", pgerror.Newf(pgcode.DatatypeMismatch, "argument of %s must be type int", d.name)
		}
		if d.name == "server.sql_connections.max_limit" && (n < 4 || n > 50000) {
			return "", pgerror.Newf(pgcode.Uncategorized, "cannot set %s to a value out of [4, 50000]: %d", d.name, n)
		}
		return strconv.FormatInt(n, 10), nil
	case "d":
		dur, err := time.ParseDuration(text)
		if err != nil {
			iv, err := tree.ParseDInterval(text)
			if err != nil {
				return "", pgerror.Newf(pgcode.InvalidParameterValue, "could not parse %q as a duration", text)
			}
			dur = time.Duration(iv.Duration.Nanos()) + time.Duration(iv.Duration.Days)*24*time.Hour
		}
		if d.name == "server.time_until_store_dead" && dur < 75*time.Second {
			return "", pgerror.Newf(pgcode.Uncategorized, "cannot set %s to less than 1m15s: %s", d.name, dur)
		}
		if dur < 0 {
			return "", pgerror.Newf(pgcode.Uncategorized, "cannot set %s to a negative duration: %s", d.name, dur)
		}
		return dur.String(), nil
	case "z":
		n, err := humanizeutil.ParseBytes(text)
		if err != nil {
			return "", pgerror.Newf(pgcode.InvalidParameterValue, "could not parse %q as a size", text)
		}
		return humanizeutil.IBytes(n), nil
	case "m":
		return p.newVersion(text)
	}
	if d.name == "cluster.preserve_downgrade_option" && text != "" {
		if active := p.cat.settings["version"]; text != active {
			return "", pgerror.Newf(pgcode.Uncategorized, "cannot set cluster.preserve_downgrade_option to %s (cluster version is %s)", text, active)
		}
	}
	return text, nil
}

func (p *planner) newVersion(want string) (string, error) {
	active, exec := p.cat.settings["version"], p.sess.srv.opt.Version
	switch {
	case build.VersionLess(want, active):
		return "", pgerror.Newf(pgcode.Uncategorized, "versions cannot be downgraded (attempting to downgrade from %s to %s)", active, want)
	case build.VersionLess(exec, want):
		return "", pgerror.Newf(pgcode.Uncategorized, "cannot upgrade to %s: node running %s", want, exec)
	}
	nodes, err := p.sess.srv.store.Nodes(p.ctx)
	if err != nil {
		return "", err
	}
	for _, n := range nodes {
		if n.InGossip && !n.Decommissioning && n.ServerVersion != "" && build.VersionLess(n.ServerVersion, want) {
			return "", pgerror.Newf(pgcode.Uncategorized, "cannot upgrade to %s: node %d is running %s", want, n.ID, n.ServerVersion)
		}
	}
	return want, nil
}

// session variables that are kept and shown but steer nothing here
var plainVars = map[string]string{
	"application_name": "", "bytea_output": "hex", "client_encoding": "UTF8", "client_min_messages": "notice", "datestyle": "ISO, MDY", "default_int_size": "8",
	"default_tablespace": "", "default_transaction_isolation": "serializable", "distsql": "auto", "experimental_enable_temp_tables": "off", "extra_float_digits": "0",
	"idle_in_transaction_session_timeout": "0", "intervalstyle": "postgres", "lock_timeout": "0", "row_security": "off", "search_path": "public",
	"sql_safe_updates": "false", "standard_conforming_strings": "on", "synchronize_seqscans": "on", "tracing": "off", "transaction_isolation": "serializable",
	"transaction_priority": "normal",
}

func (s *session) setVar(name, value string) error {
	switch name {
	case "database":
		s.database = value
	case "statement_timeout":
		if ms, err := strconv.ParseInt(value, 10, 64); err == nil {
			s.timeout = time.Duration(ms) * time.Millisecond
		} else if iv, err := tree.ParseDInterval(value); err == nil {
			s.timeout = time.Duration(iv.Duration.Nanos()) + time.Duration(iv.Duration.Days)*24*time.Hour
		} else {
			return pgerror.Newf(pgcode.InvalidParameterValue, "invalid value for parameter %q: %q", name, value)
		}
		if s.timeout < 0 {
			s.timeout = 0
			return pgerror.Newf(pgcode.InvalidParameterValue, "cannot set statement_timeout to a negative duration")
		}
	case "default_transaction_read_only", "transaction_read_only":
		b, err := tree.ParseDBool(value)
		if err != nil {
			return pgerror.Newf(pgcode.InvalidParameterValue, "parameter %q requires a Boolean value", name)
		}
		if name == "transaction_read_only" {
			if s.txn != nil {
				s.txn.readOnly = bool(*b)
			}
			return nil
		}
		s.readOnly = bool(*b)
	case "timezone":
		if strings.EqualFold(value, "default") {
			value = "UTC"
		}
		loc, err := time.LoadLocation(value)
		if err != nil {
			return pgerror.Newf(pgcode.InvalidParameterValue, "cannot find time zone %q", value)
		}
		s.data.DataConversion.Location = loc
	case "client_encoding":
		if v := strings.ToUpper(strings.NewReplacer("-", "", "_", "").Replace(strings.Trim(value, "'"))); v != "UTF8" && v != "UNICODE" {
			return refuse("client encoding %s", value)
		}
	case "search_path":
		if value != "public" {
			return refuse("search_path other than public")
		}
	case "server_version", "server_version_num", "node_id", "session_id", "transaction_status", "session_user", "is_superuser", "integer_datetimes", "server_encoding", "max_index_keys":
		return pgerror.Newf(pgcode.CantChangeRuntimeParam, "parameter %q cannot be changed", name)
	default:
		if _, ok := plainVars[name]; !ok {
			return pgerror.Newf(pgcode.UndefinedObject, "unrecognized configuration parameter %q", name)
		}
		s.vars[name] = value
	}
	return nil
}

func onOff(b bool) string { return pick(b, "on", "off") }

func (s *session) getVar(name string) (string, error) {
	switch name {
	case "database":
		return s.database, nil
	case "statement_timeout":
		return strconv.FormatInt(s.timeout.Milliseconds(), 10), nil
	case "default_transaction_read_only":
		return onOff(s.readOnly), nil
	case "transaction_read_only":
		return onOff(s.txn != nil && s.txn.readOnly || s.txn == nil && s.readOnly), nil
	case "timezone":
		return s.data.DataConversion.Location.String(), nil
	case "server_version":
		return serverVersion, nil
	case "server_version_num":
		return "90500", nil
	case "server_encoding":
		return "UTF8", nil
	case "integer_datetimes", "is_superuser":
		return "on", nil
	case "max_index_keys":
		return "32", nil
	case "node_id":
		return strconv.Itoa(s.nodeID()), nil
	case "session_id":
		return fmt.Sprintf("%08x%08x%016x", s.secret, s.pid, s.nodeID()), nil
	case "session_user":
		return s.user, nil
	case "transaction_status":
		switch {
		case s.txn == nil:
			return "NoTxn", nil
		case s.txn.failed:
			return "Aborted", nil
		}
		return "Open", nil
	}
	if v, ok := s.vars[name]; ok {
		return v, nil
	}
	if v, ok := plainVars[name]; ok {
		return v, nil
	}
	return "", pgerror.Newf(pgcode.UndefinedObject, "unrecognized configuration parameter %q", name)
}

func allVars() []string {
	names := []string{"database", "statement_timeout", "default_transaction_read_only", "transaction_read_only", "timezone", "server_version", "server_version_num",
		"server_encoding", "integer_datetimes", "max_index_keys", "node_id", "session_id", "session_user", "transaction_status"}
	for n := range plainVars {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// settings compiles SET, RESET, SHOW of variables and cluster settings; nil for others.
func (p *planner) settings(ast tree.Statement) (*relation, error) {
	switch n := ast.(type) {
	case *tree.SetVar:
		name := strings.ToLower(n.Name)
		var words []string
		for _, e := range n.Values {
			if _, ok := e.(tree.DefaultVal); ok {
				v := map[string]string{"database": "defaultdb", "statement_timeout": "0", "default_transaction_read_only": "off", "timezone": "UTC"}[name]
				words = append(words, pick(v != "", v, plainVars[name]))
				continue
			}
			if u, ok := e.(*tree.UnresolvedName); ok { // SET x = y: the word itself
				words = append(words, u.Parts[0])
				continue
			}
			d, err := p.constant(e, types.String)
			if err != nil {
				return nil, err
			}
			words = append(words, strings.Trim(textValue(d), "'"))
		}
		value := strings.Join(words, ", ")
		if name == "database" {
			if _, err := p.cat.database(value); err != nil && value != "" {
				return nil, err
			}
		}
		for short, long := range map[string]string{"t": "on", "f": "off"} {
			if value == short {
				value = long
			}
		}
		return effect("SET", func() error { return p.sess.setVar(name, value) }), nil
	case *tree.SetSessionCharacteristics:
		return effect("SET", func() error {
			p.sess.readOnly = n.Modes.ReadWriteMode == tree.ReadOnly || p.sess.readOnly && n.Modes.ReadWriteMode == tree.UnspecifiedReadWriteMode
			return nil
		}), nil
	case *tree.Discard:
		return effect("DISCARD", func() error {
			p.sess.vars, p.sess.prepared = map[string]string{}, map[string]*prepared{}
			p.sess.timeout, p.sess.readOnly = 0, false
			return nil
		}), nil
	case *tree.Deallocate:
		return effect(n.StatementTag(), func() error {
			if n.Name == "" {
				p.sess.prepared = map[string]*prepared{}
				return nil
			}
			if p.sess.prepared[string(n.Name)] == nil {
				return pgerror.Newf(pgcode.InvalidSQLStatementName, "prepared statement %q does not exist", n.Name)
			}
			delete(p.sess.prepared, string(n.Name))
			return nil
		}), nil
	case *tree.ShowVar:
		name := strings.ToLower(n.Name)
		if name == "all" {
			return listing([][2]string{{"variable", "s"}, {"value", "s"}}, func() (out []tree.Datums, err error) {
				for _, v := range allVars() {
					value, err := p.sess.getVar(v)
					if err != nil {
						return nil, err
					}
					out = append(out, tree.Datums{tree.NewDString(v), tree.NewDString(value)})
				}
				return out, nil
			}), nil
		}
		if _, err := p.sess.getVar(name); err != nil {
			return nil, err
		}
		rel := listing([][2]string{{name, "s"}}, func() ([]tree.Datums, error) {
			v, err := p.sess.getVar(name)
			return []tree.Datums{{tree.NewDString(v)}}, err
		})
		return rel, nil
	case *tree.ShowTransactionStatus:
		return p.settings(&tree.ShowVar{Name: "transaction_status"})
	case *tree.SetClusterSetting:
		return p.setCluster(n)
	case *tree.ShowClusterSetting:
		d, err := findSetting(n.Name)
		if err != nil {
			return nil, err
		}
		kind := map[string]string{"b": "b", "i": "i", "d": "v"}[d.kind]
		rel := listing([][2]string{{d.name, pick(kind != "", kind, "s")}}, nil)
		rel.rows = func() ([]tree.Datums, error) {
			text := p.cat.setting(d)
			switch d.kind {
			case "b":
				return []tree.Datums{{tree.MakeDBool(text == "true")}}, nil
			case "i":
				n, err := tree.ParseDInt(text)
				return []tree.Datums{{n}}, err
			case "d":
				iv, err := tree.ParseDInterval(text)
				return []tree.Datums{{iv}}, err
			}
			return []tree.Datums{{tree.NewDString(text)}}, nil
		}
		return rel, nil
	case *tree.ShowClusterSettingList:
		return p.clusterSettings(columns("variable value setting_type public:b description"), n.All), nil
	}
	return nil, nil
}

// clusterSettings lists them as SHOW and the internal view do; `version` has its own place and is left out, as in the product.
func (p *planner) clusterSettings(columns [][2]string, all bool) *relation {
	return listing(columns, func() (out []tree.Datums, err error) {
		for i := range clusterSettings {
			d := &clusterSettings[i]
			public := !strings.HasPrefix(d.name, "lab.")
			if d.kind == "m" || !public && !all {
				continue
			}
			out = append(out, tree.Datums{tree.NewDString(d.name), tree.NewDString(p.cat.setting(d)), tree.NewDString(d.kind), datum(public), tree.NewDString(d.about)})
		}
		return out, nil
	})
}

func (p *planner) setCluster(n *tree.SetClusterSetting) (*relation, error) {
	d, err := findSetting(n.Name)
	if err != nil {
		return nil, err
	}
	if p.txn.explicit {
		return nil, pgerror.Newf(pgcode.Uncategorized, "SET CLUSTER SETTING cannot be used inside a transaction")
	}
	return effect("SET CLUSTER SETTING", func() error {
		if p.txn.readOnly {
			return pgerror.Newf(pgcode.ReadOnlySQLTransaction, "cannot execute SET CLUSTER SETTING in a read-only transaction")
		}
		value := d.value
		reset := n.Value == nil
		if _, ok := n.Value.(tree.DefaultVal); ok {
			reset = true
		}
		if reset && d.kind == "m" {
			return pgerror.Newf(pgcode.Uncategorized, "cannot RESET cluster version setting")
		}
		if !reset {
			want := types.String
			if _, ok := n.Value.(*tree.NumVal); ok {
				want = types.Any
			}
			if n.Value == tree.DBoolTrue || n.Value == tree.DBoolFalse {
				want = types.Bool
			}
			e := n.Value
			if u, ok := e.(*tree.UnresolvedName); ok {
				e = tree.NewStrVal(u.Parts[0])
			}
			v, err := p.constant(e, want)
			if err != nil {
				return err
			}
			if value, err = p.canonical(d, v); err != nil {
				return err
			}
		}
		err := p.sess.srv.cat.change(p.ctx, func(c *catalog) ([]kv.Write, error) {
			if reset {
				if _, ok := c.settings[d.name]; !ok {
					return nil, nil
				}
				return append(c.labJob(d.name, "", p.sess.nodeID()), c.put(keySetting+d.name, nil)), nil
			}
			return append(c.labJob(d.name, value, p.sess.nodeID()), c.put(keySetting+d.name, value)), nil
		})
		if err != nil {
			return err
		}
		p.sess.srv.activate()
		if reset {
			value = "" // the store has defaults of its own
		}
		return p.sess.srv.store.SetSetting(p.ctx, d.name, value)
	}), nil
}
