// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"kwdbstandin/internal/kv"
)

func dial(t testing.TB, addr string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, "postgres://root@"+addr+"/defaultdb?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func must(t testing.TB, c *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := c.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func state(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return fmt.Sprint(err)
}

// texts returns every value in the wire's text form, NULL as <nil>.
func texts(t testing.TB, c *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	rows, err := c.Query(context.Background(), sql, append([]any{pgx.QueryResultFormats{pgx.TextFormatCode}}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var line []string
		for _, v := range rows.RawValues() {
			if v == nil {
				line = append(line, "<nil>")
			} else {
				line = append(line, string(v))
			}
		}
		out = append(out, strings.Join(line, "|"))
	}
	if rows.Err() != nil {
		t.Fatalf("%s: %v", sql, rows.Err())
	}
	return strings.Join(out, "\n")
}

// What goes in comes back: through the extended protocol, through storage, and read by a node that decodes it from the range.
func TestValuesComeBack(t *testing.T) {
	f := newFake()
	_, addr := serve(t, f)
	c := dial(t, addr)
	must(t, c, `create table v (id int primary key, i int8, f float8, d decimal, b bool, s string, y bytes, ts timestamp, tz timestamptz, da date, u uuid, j jsonb, a int[], n decimal(10,2))`)
	tz := time.Date(2026, 1, 2, 3, 4, 5, 678000000, time.FixedZone("", 8*3600))
	insert := "insert into v values ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14)"
	must(t, c, insert, 1, int64(1)<<62, 1.25, "1.50", true, "a,\"b\"\n'c'", []byte{0, 0xff, ',', '\n'}, tz.UTC(), tz, tz, "00000000-0000-0000-0000-000000000005",
		`{"k": [1, 12345678901234567890]}`, []int64{1, 2}, "3.145")
	must(t, c, insert, 2, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil)
	must(t, c, insert, 3, int64(-1), 0.1, "-0.000", false, "NULL", []byte{}, tz.UTC(), tz, tz, "00000000-0000-0000-0000-000000000006", `null`, []int64{}, "0")
	want := `1|4611686018427387904|1.25|1.50|t|a,"b"` + "\n" + `'c'|\x00ff2c0a|2026-01-01 19:04:05.678|2026-01-01 19:04:05.678+00:00|2026-01-02|00000000-0000-0000-0000-000000000005|{"k": [1, 12345678901234567890]}|{1,2}|3.15` + "\n" +
		"2|<nil>|<nil>|<nil>|<nil>|<nil>|<nil>|<nil>|<nil>|<nil>|<nil>|<nil>|<nil>|<nil>\n" +
		`3|-1|0.1|0.000|f|NULL|\x|2026-01-01 19:04:05.678|2026-01-01 19:04:05.678+00:00|2026-01-02|00000000-0000-0000-0000-000000000006|null|{}|0.00`
	if got := texts(t, c, "select * from v order by id"); got != strings.Replace(want, "0.000|f", "-0.000|f", 1) && got != want {
		t.Errorf("same node:\n%s\nwant\n%s", got, want)
	}
	_, other := serve(t, f) // a second server decodes the same range
	if a, b := texts(t, dial(t, other), "select * from v order by id"), texts(t, c, "select * from v order by id"); a != b {
		t.Errorf("other node:\n%s\nfirst\n%s", a, b)
	}
	var n int64
	var when time.Time
	var raw []byte
	if err := c.QueryRow(context.Background(), "select i, tz, y from v where id = $1", 1).Scan(&n, &when, &raw); err != nil || n != 1<<62 || !when.Equal(tz) || len(raw) != 4 {
		t.Errorf("binary results: %v %v %v %v", err, n, when, raw)
	}
}

func TestRefusals(t *testing.T) {
	_, addr := serve(t, newFake())
	c := dial(t, addr)
	must(t, c, "create table t (a int primary key, b string unique, c int2 not null default 7, check (c > 0))")
	must(t, c, "create table u (a int primary key)")
	must(t, c, "insert into t (a, b) values (1, 'x')")
	for _, q := range [][2]string{
		{"insert into t (a, b) values (1, 'y')", "23505"}, {"insert into t (a, b) values (2, 'x')", "23505"}, {"insert into t (a, c) values (2, null)", "23502"},
		{"insert into t (a, c) values (2, 0)", "23514"}, {"insert into t (a, c) values (2, 99999)", "22003"}, {"insert into t (a) values ('x')", "22P02"},
		{"insert into t (nope) values (1)", "42703"}, {"select * from nope", "42P01"}, {"selec", "42601"}, {"select 1/0", "22012"}, {"select nope()", "42883"},
		{"create table t (a int)", "42P07"}, {"create database defaultdb", "42P04"}, {"create table nodb.t (a int)", "3D000"},
		{"select * from t where exists (select 1 from u where u.a = t.a)", "0A000"}, {"select row_number() over () from t", "0A000"},
		{"create table w (a int references t (a))", "0A000"}, {"create view w as select 1", "0A000"}, {"explain select 1", "0A000"},
		{"select a from t for update", "0A000"}, {"select a from t where count(*) > 1", "42803"}, {"select a, count(*) from t", "42803"},
		{"set nope = 1", "42704"}, {"set cluster setting nope = 1", "XXUUU"}, {"commit", "25P01"},
		{"alter database defaultdb configure zone using constraints = '[]'", "0A000"}, {"select pg_sleep('x')", "42883"},
	} {
		_, err := c.Exec(context.Background(), q[0], pgx.QueryExecModeSimpleProtocol)
		if state(err) != q[1] {
			t.Errorf("%s: %v, want %s", q[0], err, q[1])
		}
	}
	if got := texts(t, c, "select a, b, c from t"); got != "1|x|7" {
		t.Errorf("refused statements left %q", got)
	}
	tx, _ := c.Begin(context.Background())
	_, _ = tx.Exec(context.Background(), "insert into u values (1)")
	if _, err := tx.Exec(context.Background(), "insert into t (a) values (9)"); state(err) != "0A000" {
		t.Errorf("two tables in one transaction: %v", err)
	}
	if _, err := tx.Exec(context.Background(), "select 1"); state(err) != "25P02" {
		t.Errorf("after a failure: %v", err)
	}
	_ = tx.Rollback(context.Background())
	if got := texts(t, c, "select count(*) from u"); got != "0" {
		t.Errorf("rolled back, but %s rows", got)
	}
}

func TestQueries(t *testing.T) {
	_, addr := serve(t, newFake())
	c := dial(t, addr)
	must(t, c, "create table o (n string primary key, qty int, d decimal); create table p (o_n string, v int)", pgx.QueryExecModeSimpleProtocol)
	must(t, c, "insert into o values ('a', 1, 0.1), ('b', 2, 0.2), ('c', null, 1.0), ('d', 2, 1.00)")
	must(t, c, "insert into p values ('a', 10), ('a', 11), ('z', 12), (null, 13)")
	for _, q := range [][2]string{
		{"select n from o where n in ('c', 'a', 'nope') order by n desc", "c\na"},
		{"select n from o where qty is null or d > 0.15 order by 1", "b\nc\nd"},
		{"select sum(d), avg(qty), count(qty), count(*), min(n), max(d) from o", "2.30|1.6666666666666666667|3|4|a|1.0"},
		{"select qty, count(*) from o group by qty order by count(*) desc, qty", "2|2\n<nil>|1\n1|1"},
		{"select count(distinct d) from o", "3"},
		{"select qty + 1 as x, string_agg(n, ',') from o group by qty + 1 having count(*) > 1", "3|b,d"},
		{"select o.n, v from o join p on o_n = n order by v", "a|10\na|11"},
		{"select n, v from o left join p on o_n = n where n < 'c' order by 1, 2", "a|10\na|11\nb|<nil>"},
		{"select n, v from o full join p on o_n = n and v > 10 where n is null or n = 'a' order by v", "<nil>|10\na|11\n<nil>|12\n<nil>|13"},
		{"select a.n, b.n from o a, o b where a.qty < b.qty order by 2", "a|b\na|d"},
		{"select n from o where n in (select o_n from p)", "a"},
		{"select n from o where n not in (select o_n from p where o_n is not null) order by 1 limit 1 offset 1", "c"},
		{"select (select max(v) from p), exists (select 1 from p where v = 99), 12 = any(select v from p)", "13|f|t"},
		{"with x as (select qty from o where qty is not null) select count(*), sum(qty) from x", "3|5"},
		{"select 1 union select 1 union all select 2 order by 1", "1\n2"},
		{"select v from p except select 10 order by 1", "11\n12\n13"},
		{"select distinct qty from o order by qty", "<nil>\n1\n2"},
		{"select * from (values (1, 'x'), (2, 'y')) as t(k, w) where k > 1", "2|y"},
		{"select i, i * i from generate_series(3, 1, -1) as g(i)", "3|9\n2|4\n1|1"},
		{"select case when qty > 1 then 'big' end, coalesce(qty, -1) from o where n = 'c'", "<nil>|-1"},
		{"select n from o where n like '_' and n ilike 'A%'", "a"},
		{"select d = 1, d::string from o where n = 'd'", "t|1.00"},
	} {
		if got := texts(t, c, q[0]); got != q[1] {
			t.Errorf("%s\n got %q\nwant %q", q[0], got, q[1])
		}
	}
	must(t, c, "upsert into o (n, qty) values ('a', 50)")
	must(t, c, "insert into o (n, qty) values ('a', 5) on conflict (n) do update set qty = o.qty + excluded.qty, d = default")
	must(t, c, "insert into o (n, qty) values ('a', 5) on conflict do nothing")
	must(t, c, "update o set n = 'e', qty = qty * 10 where n = 'd'")
	must(t, c, "delete from o where n in ('b', 'c')")
	if got := texts(t, c, "select * from o order by n"); got != "a|55|<nil>\ne|20|1.00" {
		t.Errorf("after writes: %q", got)
	}
}

func TestConcurrentWriters(t *testing.T) {
	f := newFake()
	_, a1 := serve(t, f)
	_, a2 := serve(t, f)
	must(t, dial(t, a1), "create table n (id int primary key, v int)")
	must(t, dial(t, a1), "insert into n values (1, 0)")
	done := make(chan error)
	for _, addr := range []string{a1, a2, a1, a2} {
		c := dial(t, addr)
		go func() {
			var err error
			for range 50 {
				if _, e := c.Exec(context.Background(), "update n set v = v + 1 where id = 1"); e != nil {
					err = e
				}
			}
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := texts(t, dial(t, a2), "select v from n"); got != "200" {
		t.Errorf("200 increments made %s", got)
	}
	x, y := dial(t, a1), dial(t, a2)
	tx, _ := x.Begin(context.Background())
	ty, _ := y.Begin(context.Background())
	_, _ = tx.Exec(context.Background(), "update n set v = 1 where id = 1")
	_, _ = ty.Exec(context.Background(), "update n set v = 2 where id = 1")
	if err := tx.Commit(context.Background()); err != nil {
		t.Error(err)
	}
	if err := ty.Commit(context.Background()); state(err) != "40001" {
		t.Errorf("the second of two conflicting transactions: %v", err)
	}
	must(t, x, "create table q (k int primary key, s string unique)")
	tx, _ = x.Begin(context.Background())
	ty, _ = y.Begin(context.Background())
	_, _ = tx.Exec(context.Background(), "insert into q values (1, 'same')")
	_, _ = ty.Exec(context.Background(), "insert into q values (2, 'same')")
	_ = tx.Commit(context.Background())
	if err := ty.Commit(context.Background()); state(err) != "40001" {
		t.Errorf("two nodes made one unique value twice: %v", err)
	}
}

func TestTransactions(t *testing.T) {
	_, addr := serve(t, newFake())
	c := dial(t, addr)
	must(t, c, "create table t (a int primary key)")
	must(t, c, "begin; insert into t values (1); savepoint s; insert into t values (2); rollback to savepoint s; insert into t values (3); commit", pgx.QueryExecModeSimpleProtocol)
	if got := texts(t, c, "select * from t"); got != "1\n3" {
		t.Errorf("%q", got)
	}
	must(t, c, "begin", pgx.QueryExecModeSimpleProtocol)
	must(t, c, "delete from t; insert into t values (1)", pgx.QueryExecModeSimpleProtocol)
	if got := texts(t, dial(t, addr), "select count(*) from t"); got != "2" {
		t.Errorf("uncommitted writes are seen: %s", got)
	}
	must(t, c, "commit", pgx.QueryExecModeSimpleProtocol)
	if got := texts(t, dial(t, addr), "select * from t"); got != "1" {
		t.Errorf("%q", got)
	}
	must(t, c, "begin read only", pgx.QueryExecModeSimpleProtocol)
	if _, err := c.Exec(context.Background(), "delete from t"); state(err) != "25006" {
		t.Error(err)
	}
	must(t, c, "rollback", pgx.QueryExecModeSimpleProtocol)
	for q, want := range map[string]string{"insert into nosuch values (1)": "42P01", "drop table nosuch": "42P01", "drop table t": "25006", "truncate t": "25006",
		"create user x": "25006", "alter table t configure zone using num_replicas = 5": "25006", "select * from t": "<nil>", "upsert into t values (9)": "25006"} {
		must(t, c, "begin read only", pgx.QueryExecModeSimpleProtocol)
		if _, err := c.Exec(context.Background(), q, pgx.QueryExecModeSimpleProtocol); state(err) != want {
			t.Errorf("read only, %s: %v, want %s", q, err, want)
		}
		must(t, c, "rollback", pgx.QueryExecModeSimpleProtocol)
	}
	must(t, c, "set statement_timeout = '50ms'", pgx.QueryExecModeSimpleProtocol)
	if _, err := c.Exec(context.Background(), "select pg_sleep(5)"); state(err) != "57014" || !strings.Contains(err.Error(), "query execution canceled due to statement timeout") {
		t.Error(err)
	}
}

func TestSchemaInTransactions(t *testing.T) {
	f := newFake()
	_, addr := serve(t, f)
	c, other := dial(t, addr), dial(t, addr)
	simple := func(sql string) error {
		_, err := c.Exec(context.Background(), sql, pgx.QueryExecModeSimpleProtocol)
		return err
	}
	count := func() (n int) { f.set(func() { n = len(f.ranges) }); return n }
	before := count()
	if err := simple("begin; create database d; create table d.a (x int primary key); create table d.b (y int); insert into d.a values (1); insert into d.b values (2), (3)"); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(context.Background(), "select * from d.a"); state(err) != "42P01" {
		t.Errorf("an uncommitted table is seen: %v", err)
	}
	if err := simple("alter table d.a rename column x to z"); state(err) != "<nil>" {
		t.Error(err)
	}
	if err := simple("rollback"); err != nil || count() != before {
		t.Errorf("%v, ranges %d, want %d", err, count(), before)
	}
	if err := simple("begin; create table a (x int primary key, w string); savepoint s; create table gone (y int); insert into gone values (1); rollback to savepoint s; insert into a values (1, 'r'); create user app; grant select on a to app; commit"); err != nil {
		t.Fatal(err)
	}
	if got := texts(t, other, "select * from a"); got != "1|r" || count() != before+1 {
		t.Errorf("%q, ranges %d, want %d", got, count(), before+1)
	}
	for _, refused := range []string{"begin; insert into a values (2, ''); create table e (x int)", "begin; create table e (x int); insert into a values (2, '')"} {
		if err := simple(refused); state(err) != "0A000" {
			t.Errorf("%s: %v", refused, err)
		}
		_ = simple("rollback")
	}
	if err := simple("begin; drop table a; select * from a"); state(err) != "42P01" {
		t.Error(err)
	}
	_ = simple("rollback")
	if got := texts(t, other, "select count(*) from a"); got != "1" {
		t.Errorf("a dropped and rolled back table has %s rows", got)
	}
	if err := simple("begin; drop table a; commit"); err != nil || count() != before {
		t.Errorf("%v, ranges %d, want %d", err, count(), before)
	}
	_ = simple("begin; create table left_over (x int)")
	c.Close(context.Background())
	for n := 0; count() != before && n < 200; n++ {
		time.Sleep(5 * time.Millisecond)
	}
	if count() != before {
		t.Error("a session that left in a transaction leaves a range behind")
	}
}

// Without a quorum nothing is refused and nothing acknowledged: statements wait, new sessions wait; with it they go on.
func TestNoQuorum(t *testing.T) {
	f := newFake()
	_, addr := serve(t, f)
	c := dial(t, addr)
	must(t, c, "create table t (a int primary key)")
	f.set(func() { f.down = true })
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := pgx.Connect(ctx, "postgres://root@"+addr+"/defaultdb?sslmode=disable"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a session without quorum: %v", err)
	}
	time.Sleep(schemaAge) // so that the schema would be asked for again
	if got := texts(t, c, "select 1"); got != "1" {
		t.Errorf("a session that is there needs no range for select 1: %q", got)
	}
	got := make(chan error, 1)
	go func() { _, err := c.Exec(context.Background(), "insert into t values (1)"); got <- err }()
	select {
	case err := <-got:
		t.Fatalf("a write without quorum ended: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	f.set(func() { f.down = false })
	if err := <-got; err != nil {
		t.Error(err)
	}
	f.set(func() { f.lie = 1 }) // went through, but nobody could say so
	must(t, c, "insert into t values (2)")
	if got := texts(t, c, "select count(*) from t"); got != "2" {
		t.Errorf("rows: %s", got)
	}
}

func TestDrain(t *testing.T) {
	f := newFake()
	srv, addr := serve(t, f)
	idle, busy := dial(t, addr), dial(t, addr)
	must(t, busy, "create table t (a int primary key)")
	tx, err := busy.Begin(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = tx.Exec(context.Background(), "insert into t values (1)")
	drained := make(chan struct{})
	go func() { srv.Drain(context.Background(), 5*time.Second); close(drained) }()
	for !srv.draining.Load() {
		time.Sleep(time.Millisecond)
	}
	if _, err := pgx.Connect(context.Background(), "postgres://root@"+addr+"/defaultdb?sslmode=disable"); state(err) != "57P01" || !strings.Contains(err.Error(), "not accepting clients") {
		t.Errorf("new session: %v", err)
	}
	if _, err := idle.Exec(context.Background(), "select 1"); err == nil {
		t.Error("an idle session survived the drain")
	}
	if err := tx.Commit(context.Background()); err != nil {
		t.Errorf("the open transaction: %v", err)
	}
	select {
	case <-drained:
	case <-time.After(3 * time.Second):
		t.Error("drain did not end with the last transaction")
	}
	if d, _ := f.Read(context.Background(), 2, 0); len(d.Entries) != 1 {
		t.Errorf("the drained transaction's row is not there: %v", d)
	}
	_ = kv.Any
}

func TestDroppedUnderCache(t *testing.T) {
	f := newFake()
	_, a1 := serve(t, f)
	_, a2 := serve(t, f)
	x, y := dial(t, a1), dial(t, a2)
	must(t, x, "create table t (a int primary key)")
	must(t, y, "insert into t values (1)")
	must(t, x, "drop table t; create table t (b string)", pgx.QueryExecModeSimpleProtocol)
	must(t, y, "insert into t (b) values ('new')", pgx.QueryExecModeSimpleProtocol)
	if got := texts(t, x, "select * from t"); got != "new" {
		t.Errorf("%q", got)
	}
}

func BenchmarkPointUpsert(b *testing.B) {
	f := newFake()
	_, addr := serve(b, f)
	c := dial(b, addr)
	must(b, c, "create table w (id int primary key, v string)")
	must(b, c, "insert into w select i, repeat('x', 50) from generate_series(1, 20000) as g(i)")
	b.ResetTimer()
	for n := 0; b.Loop(); n++ {
		must(b, c, "upsert into w values ($1, $2)", n%20000, "y")
	}
}
