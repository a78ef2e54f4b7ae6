// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"kwdbstandin/internal/kv"
	"kwdbstandin/internal/pgclient"
	"kwdbstandin/internal/render"
)

// cli runs one batch as `kwbase sql --format=csv -e` does.
func cli(t testing.TB, addr, sql string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := pgclient.Connect(ctx, pgclient.Options{Host: addr, Insecure: true})
	if err != nil {
		return "connect: " + err.Error()
	}
	defer c.Close()
	var out bytes.Buffer
	rows := false
	tag, err := c.Exec(ctx, sql, func(r pgclient.Result) error {
		rows = true
		return render.Write(&out, render.CSV, r.Columns, r.Aligns(), r.Rows)
	})
	if err != nil {
		pgclient.PrintError(&out, err)
	} else if !rows {
		out.WriteString(strings.Replace(tag, "INSERT 0 ", "INSERT ", 1) + "\n")
	}
	return out.String()
}

// The pairs are the real engine's (engine-transcripts 4, 20, 24).
func TestTranscripts(t *testing.T) {
	f := newFake()
	_, addr := serve(t, f)
	for _, c := range [][2]string{
		{"select 1 as a, NULL as b, 'x,y' as c", "a,b,c\n1,NULL,\"x,y\"\n"},
		{"select version()", "version\n\"KaiwuDB V3.2.1 (x86_64-linux-gnu, built 2026/11/23 08:46:34, go1.22.12, gcc 12.2.0)\"\n"},
		{"create table t (a int primary key); insert into t values (1),(2); select count(*) from t", "count\n2\n"},
		{"selec 1", "ERROR: at or near \"selec\": syntax error\nSQLSTATE: 42601\nDETAIL: source SQL:\nselec 1\n^\n"},
		{"select * from nosuch", "ERROR: relation \"nosuch\" does not exist\nSQLSTATE: 42P01\n"},
		{"select nope", "ERROR: column \"nope\" does not exist\nSQLSTATE: 42703\n"},
		{"show databases", "database_name,engine_type\ndefaultdb,RELATIONAL\npostgres,RELATIONAL\nsystem,RELATIONAL\n"},
		{"show cluster setting version", "version\n20.1-3\n"},
		{"select node_id, address, is_live, ranges, leases from kwdb_internal.gossip_nodes order by 1",
			"node_id,address,is_live,ranges,leases\n1,q1:26257,true,40,2\n2,q2:26257,true,40,2\n3,q3:26257,true,40,2\n"},
		{"show zone configuration for range default", "target,raw_config_sql\nRANGE default,\"ALTER RANGE default CONFIGURE ZONE USING\n\trange_min_bytes = 134217728,\n" +
			"\trange_max_bytes = 536870912,\n\tgc.ttlseconds = 90000,\n\tnum_replicas = 3,\n\tts_merge.days = 240h0m0s,\n\tconstraints = '[]',\n\tlease_preferences = '[]'\"\n"},
		{"select variable, value from [show cluster settings] where variable like 'server.%' and variable like '%time%'",
			"variable,value\nserver.rest.timeout,60\nserver.time_until_store_dead,30m0s\nserver.user_login.timeout,10s\nserver.web_session_timeout,168h0m0s\n"},
		{"select range_id, replicas, lease_holder from kwdb_internal.ranges order by 1 limit 1", "range_id,replicas,lease_holder\n1,\"{1,2,3}\",1\n"},
		{"select count(*) from kwdb_internal.ranges where array_length(replicas,1) < 3", "count\n0\n"},
		{"select pg_sleep(0.01), 1", "pg_sleep,?column?\ntrue,1\n"},
		{"select 1; select 2, 3", "?column?\n1\n?column?,?column?\n2,3\n"},
		{"create ts database tsdb", "CREATE TS DATABASE\n"},
		{"drop database tsdb", "DROP DATABASE\n"},
		{"select 1 where false", "?column?\n"},
		{"create table if not exists e (a int)", "CREATE TABLE\n"},
		{"create database bank; create table bank.accounts (name varchar(255), balance decimal)", "CREATE TABLE\n"},
		{"insert into bank.accounts values ('Andy',100),('Bob',200),('Chris',300)", "INSERT 3\n"},
		{"SELECT sum((metrics->>'ranges.unavailable')::DECIMAL)::INT AS ranges_unavailable, sum((metrics->>'ranges.underreplicated')::DECIMAL)::INT AS ranges_underreplicated FROM kwdb_internal.kv_store_status",
			"ranges_unavailable,ranges_underreplicated\n0,0\n"},
		{"select job_type, description, status, running_status, fraction_completed from kwdb_internal.jobs order by created desc limit 5",
			"job_type,description,status,running_status,fraction_completed\nTS TXN,handle ts txn record,running,NULL,0\n"},
		{"select range_id, range_type, database_name, table_name, replicas, learner_replicas from kwdb_internal.ranges_no_leases where 2 = any(replicas) and table_name = 'accounts'",
			"range_id,range_type,database_name,table_name,replicas,learner_replicas\n4,DEFAULT_RANGE,bank,accounts,\"{1,2,3}\",{}\n"},
		{"show ranges from table bank.accounts", "start_key,end_key,range_id,range_size_mb,lease_holder,lease_holder_locality,replicas,replica_localities\n" +
			"NULL,NULL,4,0.000123,1,region=NODE1,\"{1,2,3}\",\"{region=NODE1,region=NODE2,region=NODE3}\"\n"},
		{"select variable, value from kwdb_internal.cluster_settings where variable in ('server.time_until_store_dead','kv.snapshot_rebalance.max_rate','kv.snapshot_recovery.max_rate','server.shutdown.drain_wait','server.shutdown.query_wait','server.shutdown.lease_transfer_wait','cluster.preserve_downgrade_option','ts.raft_log.sync_period','version') order by 1",
			"variable,value\ncluster.preserve_downgrade_option,\"\"\nkv.snapshot_rebalance.max_rate,16 MiB\nkv.snapshot_recovery.max_rate,16 MiB\nserver.shutdown.drain_wait,0s\nserver.shutdown.lease_transfer_wait,5s\nserver.shutdown.query_wait,10s\nserver.time_until_store_dead,30m0s\nts.raft_log.sync_period,0s\n"},
		{"set cluster setting cluster.preserve_downgrade_option = '20.1-3'", "SET CLUSTER SETTING\n"},
		{"show cluster setting cluster.preserve_downgrade_option", "cluster.preserve_downgrade_option\n20.1-3\n"},
		{"set cluster setting cluster.preserve_downgrade_option = '19.2'", "ERROR: cannot set cluster.preserve_downgrade_option to 19.2 (cluster version is 20.1-3)\n"},
		{"reset cluster setting cluster.preserve_downgrade_option", "SET CLUSTER SETTING\n"},
		{"set cluster setting version = kwdb_internal.node_executable_version()", "SET CLUSTER SETTING\n"},
		{"select kwdb_internal.node_executable_version(), version()", "kwdb_internal.node_executable_version,version\n20.1-3,\"KaiwuDB V3.2.1 (x86_64-linux-gnu, built 2026/11/23 08:46:34, go1.22.12, gcc 12.2.0)\"\n"},
		{"begin read only; insert into bank.accounts values ('X',1); commit", "ERROR: cannot execute INSERT in a read-only transaction\nSQLSTATE: 25006\n"},
		{"begin read only; create table bank.t2 (a int); commit", "ERROR: cannot execute CREATE TABLE in a read-only transaction\nSQLSTATE: 25006\n"},
		{"begin read only; select * from bank.accounts; commit", "name,balance\nAndy,100\nBob,200\nChris,300\n"},
		{"begin transaction read only; set cluster setting server.shutdown.drain_wait='1s'; commit", "ERROR: SET CLUSTER SETTING cannot be used inside a transaction\n"},
		{"set default_transaction_read_only = on; insert into bank.accounts values ('Y',1)", "ERROR: cannot execute INSERT in a read-only transaction\nSQLSTATE: 25006\n"},
		{`select null as a, 'NULL' as b, 'x,y' as c, e'line1\nline2' as d, 'it''s' as e, 1.50::decimal as f, b'\\x00ff' as g, '2026-01-02 03:04:05.678+08:00'::timestamptz as h, array[1,2] as i, '{"k": 1}'::jsonb as j, true as k, 'a"b' as l`,
			"a,b,c,d,e,f,g,h,i,j,k,l\nNULL,NULL,\"x,y\",\"line1\nline2\",it's,1.50,\\x5c7830306666,2026-01-01 19:04:05.678+00:00,\"{1,2}\",\"{\"\"k\"\": 1}\",true,\"a\"\"b\"\n"},
		{"alter table bank.accounts configure zone using num_replicas = 5", "CONFIGURE ZONE 1\n"},
		{"alter database bank configure zone using constraints = '[+region=NODE2]'", "ERROR: set zone config constraints and lease_preferences is not supported\nSQLSTATE: 0A000\n"},
		{"show zone configuration for table bank.accounts", "target,raw_config_sql\nTABLE bank.public.accounts,\"ALTER TABLE bank.public.accounts CONFIGURE ZONE USING\n\trange_min_bytes = 134217728,\n" +
			"\trange_max_bytes = 536870912,\n\tgc.ttlseconds = 90000,\n\tnum_replicas = 5,\n\tconstraints = '[]',\n\tlease_preferences = '[]'\"\n"},
		{"show users", "username,options,member_of\nadmin,CREATEROLE,{}\nroot,CREATEROLE,{admin}\n"},
		{"create user app", "CREATE USER\n"},
		{"create user app", "ERROR: a role/user named app already exists\nSQLSTATE: 42710\n"},
		{"grant select on table bank.accounts to app", "GRANT\n"},
		{"show grants on bank.accounts", "database_name,schema_name,table_name,grantee,privilege_type\nbank,public,accounts,admin,ALL\nbank,public,accounts,app,SELECT\nbank,public,accounts,root,ALL\n"},
		{"alter user app with password 'x'", "ERROR: setting or updating a password is not supported in insecure mode\nSQLSTATE: 28P01\n"},
		{"show cluster setting server.time_until_store_dead", "server.time_until_store_dead\n00:30:00\n"},
		{"set cluster setting server.time_until_store_dead = '10s'", "ERROR: cannot set server.time_until_store_dead to less than 1m15s: 10s\n"},
		{"select * from kwdb_internal.node_build_info where node_id = 1", "node_id,field,value\n1,Name,KaiwuDB\n1,ClusterID,5ab255a6-8edf-486d-adef-c9c085f9f17f\n1,Organization,\"\"\n" +
			"1,Build,\"KaiwuDB V3.2.1 (x86_64-linux-gnu, built 2026/11/23 08:46:34, go1.22.12, gcc 12.2.0)\"\n1,Version,V3.2.1\n1,Channel,unknown\n"},
		{"select node_id, epoch, draining, decommissioning, upgrading from kwdb_internal.gossip_liveness order by 1", "node_id,epoch,draining,decommissioning,upgrading\n1,1,false,false,false\n2,1,false,false,false\n3,1,false,false,false\n"},
		{"select node_id, address, is_live, build_tag, start_mode, started_at, locality from kwdb_internal.gossip_nodes order by 1 limit 1",
			"node_id,address,is_live,build_tag,start_mode,started_at,locality\n1,q1:26257,true,V3.2.1,start,2026-11-23 09:35:03.301872,region=NODE1\n"},
		{"select kwdb_internal.node_id()", "ERROR: unknown function: kwdb_internal.node_id()\nSQLSTATE: 42883\n"},
		{"select crdb_internal.node_id()", "ERROR: unknown function: crdb_internal.node_id()\nSQLSTATE: 42883\n"},
		{"show node_id", "node_id\n1\n"},
		{"set cluster setting lab.replica_move_interval = '10s'", "SET CLUSTER SETTING\n"},
		{"set cluster setting lab.decommission.stuck = 'true'", "SET CLUSTER SETTING\n"},
		{"set cluster setting lab.decommission.stuck = false", "SET CLUSTER SETTING\n"},
		{"set cluster setting kv.snapshot_rebalance.max_rate = '256KiB'", "SET CLUSTER SETTING\n"},
		{"reset cluster setting kv.snapshot_recovery.max_rate", "SET CLUSTER SETTING\n"},
		{"select target, raw_config_protobuf from kwdb_internal.zones limit 3", "target,raw_config_protobuf\nRANGE default,\\x108080804018808080800222040890bf05280350005800608080d8e8dab9c4016800\n" +
			"DATABASE system,\\x108080804018808080800222040890bf0528055000580060006800\nRANGE meta,\\x1080808040188080808002220308901c28055000580060006800\n"},
	} {
		if got := cli(t, addr, c[0]); got != c[1] {
			t.Errorf("%s\n got: %s\nwant: %s", c[0], got, c[1])
		}
	}
	f.set(func() {
		for name, want := range map[string]string{"lab.replica_move_interval": "10s", "lab.decommission.stuck": "false", "kv.snapshot_rebalance.max_rate": "256 KiB",
			"kv.snapshot_recovery.max_rate": ""} {
			if got := f.settings[name]; got != want {
				t.Errorf("the store was told %s = %q", name, got)
			}
		}
		for _, d := range f.desc {
			if d.Table == "accounts" && d.Wanted != 5 {
				t.Errorf("range of accounts wants %d replicas after CONFIGURE ZONE", d.Wanted)
			}
		}
	})
	_ = kv.Any
}

// The zones of a new cluster are what the store gives its system ranges: three for `timeseries`, five for the others.
func TestZonesReachTheirRanges(t *testing.T) {
	f := newFake()
	for _, d := range []kv.Descriptor{{Name: "meta", Wanted: 5}, {Name: "timeseries", Wanted: 3}, {Database: "system", Table: "lease", Wanted: 5}} {
		_, _ = f.CreateRange(context.Background(), d)
	}
	_, addr := serve(t, f)
	wanted := func() string {
		out := map[string]int{}
		f.set(func() {
			for _, d := range f.desc {
				out[d.Name+d.Database+"."+d.Table] = d.Wanted
			}
		})
		return strings.Trim(strings.TrimPrefix(fmt.Sprint(out), "map"), "[]")
	}
	for _, c := range [][2]string{
		{"create table a (x int); create table b (x int)", "a:3 b:3 meta.:5 system.:5 lease:5 timeseries.:3"},
		{"alter table a configure zone using num_replicas = 5", "a:5 b:3 timeseries.:3"},
		{"alter range default configure zone using num_replicas = 7", "a:5 b:7 lease:5 timeseries.:7"},
		{"alter database defaultdb configure zone using num_replicas = 1", "a:5 b:1 meta.:5"},
		{"alter table a configure zone discard", "a:1 b:1"},
		{"alter database system configure zone using num_replicas = 3", "lease:3 meta.:5"},
	} {
		if got := cli(t, addr, c[0]); strings.Contains(got, "ERROR") {
			t.Fatal(c[0], got)
		}
		got := wanted()
		for _, want := range strings.Fields(c[1]) {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %s, want %s", c[0], got, want)
			}
		}
	}
}

// A gate that trusts the store metrics is fooled until they are written: ten seconds after a node's start.
func TestMetricsComeLate(t *testing.T) {
	f := newFake()
	f.set(func() {
		f.nodes[0].StartedAt, f.nodes[0].RangesUnderreplicated = time.Now(), 16
		f.nodes[1].RangesUnderreplicated = 2
	})
	srv, addr := serve(t, f)
	const ask = "select sum((metrics->>'ranges.underreplicated')::int), sum((metrics->>'capacity')::int) > 0 from kwdb_internal.kv_store_status"
	if got := cli(t, addr, ask); got != "sum,?column?\n0,false\n" {
		t.Errorf("before any metrics: %s", got)
	}
	srv.stats.refresh(context.Background(), metricsPeriod)
	if got := cli(t, addr, ask); got != "sum,?column?\n2,true\n" {
		t.Errorf("node 1 has run for less than ten seconds: %s", got)
	}
	f.set(func() {
		f.nodes[0].StartedAt = time.Now().Add(-metricsPeriod)
		f.nodes[1].Live = false
		f.nodes[1].RangesUnderreplicated = 9
	})
	srv.stats.refresh(context.Background(), metricsPeriod)
	if got := cli(t, addr, ask); got != "sum,?column?\n18,true\n" {
		t.Errorf("a dead node's last figures stay: %s", got)
	}
}
