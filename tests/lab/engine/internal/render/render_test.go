// SPDX-License-Identifier: GPL-3.0-or-later

package render

import (
	"strings"
	"testing"
)

// The expected texts are the real client's (engine-transcripts 4, 5, 24) and the article's for the older product.
func TestFormats(t *testing.T) {
	for _, c := range []struct {
		f     Format
		align string
		cols  []string
		rows  [][]string
		want  string
	}{
		{CSV, "", []string{"a", "b", "c"}, [][]string{{"1", "NULL", "x,y"}}, "a,b,c\n1,NULL,\"x,y\"\n"},
		{CSV, "", []string{"v", "w"}, [][]string{{"", `a"b`}}, "v,w\n\"\",\"a\"\"b\"\n"},
		{TSV, "", []string{"a", "b"}, [][]string{{"1", "NULL"}}, "a\tb\n1\tNULL\n"},
		{Table, "rd", []string{"a", "b"}, [][]string{{"1", "NULL"}}, "  a |  b\n----+-------\n  1 | NULL\n(1 row)\n"},
		{Records, "", []string{"a"}, [][]string{{"1"}}, "-[ RECORD 1 ]\na | 1\n"},
		{Table, "rcrcc", []string{"id", "is_live", "replicas", "is_decommissioning", "is_draining"}, [][]string{{"4", "true", "28", "true", "false"}},
			"  id | is_live | replicas | is_decommissioning | is_draining\n-----+---------+----------+--------------------+--------------\n" +
				"   4 |  true   |       28 |        true        |    false\n(1 row)\n"},
	} {
		var b strings.Builder
		if err := Write(&b, c.f, c.cols, Aligns(c.align), c.rows); err != nil || b.String() != c.want {
			t.Errorf("%s: got %v\n%s\nwant\n%s", c.f, err, b.String(), c.want)
		}
	}
}

func TestLegacyTable(t *testing.T) {
	LegacyTables = true
	defer func() { LegacyTables = false }()
	var b strings.Builder
	_ = Write(&b, Table, []string{"name", "balance"}, nil, [][]string{{"Andy", "100"}, {"Bob", "200"}, {"Chris", "300"}})
	want := "  name  | balance  \n+-------+---------+\n  Andy  |     100  \n  Bob   |     200  \n  Chris |     300  \n(3 rows)\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestFormatSet(t *testing.T) {
	var f Format
	err := f.Set("json")
	if err == nil || err.Error() != "invalid table display format: json (possible values: tsv, csv, table, records, sql, html, raw)" {
		t.Error(err)
	}
	if f.Set("csv") != nil || f != CSV {
		t.Error(f)
	}
}
