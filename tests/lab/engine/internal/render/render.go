// SPDX-License-Identifier: GPL-3.0-or-later

// Package render prints result tables in the formats of the real command line client (`--format`).
package render

import (
	"fmt"
	"html"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Format is a `--format` value; it implements pflag.Value.
type Format string

// The formats the real client knows, in the order of its error text.
const (
	TSV     Format = "tsv"
	CSV     Format = "csv"
	Table   Format = "table"
	Records Format = "records"
	SQL     Format = "sql"
	HTML    Format = "html"
	Raw     Format = "raw"
)

var formats = []Format{TSV, CSV, Table, Records, SQL, HTML, Raw}

// LegacyTables switches Table to the style of the older product (`bini`): outer `+` on the separator line.
var LegacyTables bool

// Default is the format of a command without --format: tables for people, TSV for pipes.
func Default(stdoutIsTTY bool) Format {
	if stdoutIsTTY {
		return Table
	}
	return TSV
}

func (f *Format) String() string { return string(*f) }

// Type names the value in the usage text.
func (f *Format) Type() string { return "string" }

// Set accepts one of the known formats; the error is the real client's.
func (f *Format) Set(s string) error {
	names := make([]string, len(formats))
	for i, known := range formats {
		if names[i] = string(known); names[i] == s {
			*f = known
			return nil
		}
	}
	return fmt.Errorf("invalid table display format: %s (possible values: %s)", s, strings.Join(names, ", "))
}

// Align is one column's alignment in the table format.
type Align byte

// Default aligns numbers right and everything else left, value by value.
const (
	AlignDefault Align = 'd'
	AlignLeft    Align = 'l'
	AlignCenter  Align = 'c'
	AlignRight   Align = 'r'
)

// Aligns turns a word such as "rcrcc" into alignments.
func Aligns(word string) []Align {
	out := make([]Align, len(word))
	for i := range word {
		out[i] = Align(word[i])
	}
	return out
}

// Write prints one result: cols may be shorter-lived than align (nil = default). Values are already text, NULL is "NULL".
func Write(w io.Writer, f Format, cols []string, align []Align, rows [][]string) error {
	var b strings.Builder
	switch f {
	case TSV:
		separated(&b, '\t', cols, rows)
	case CSV:
		separated(&b, ',', cols, rows)
	case Table:
		table(&b, cols, align, rows)
	case Records:
		records(&b, cols, rows)
	case SQL:
		statements(&b, cols, rows)
	case HTML:
		htmlTable(&b, cols, rows)
	default:
		raw(&b, cols, rows)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// separated follows the real client's own CSV writer: unlike Go's, it quotes an empty field.
func separated(b *strings.Builder, comma rune, cols []string, rows [][]string) {
	line := func(fields []string) {
		for i, f := range fields {
			if i > 0 {
				b.WriteRune(comma)
			}
			if f == "" || f == `\.` || strings.ContainsRune(f, comma) || strings.ContainsAny(f, "\"\r\n") || f[0] == ' ' || f[0] == '\t' {
				b.WriteString(`"` + strings.ReplaceAll(f, `"`, `""`) + `"`)
			} else {
				b.WriteString(f)
			}
		}
		b.WriteByte('\n')
	}
	line(cols)
	for _, r := range rows {
		line(r)
	}
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}

func table(b *strings.Builder, cols []string, align []Align, rows [][]string) {
	cells := make([][][]string, 0, len(rows)+1) // a cell is its lines
	width := make([]int, len(cols))
	split := func(r []string) {
		row := make([][]string, len(r))
		for i, v := range r {
			row[i] = strings.Split(strings.ReplaceAll(v, "\t", "    "), "\n")
			for _, l := range row[i] {
				width[i] = max(width[i], utf8.RuneCountInString(l))
			}
		}
		cells = append(cells, row)
	}
	split(cols)
	for _, r := range rows {
		split(r)
	}
	for n, row := range cells {
		height := 1
		for _, c := range row {
			height = max(height, len(c))
		}
		for l := 0; l < height; l++ {
			parts := make([]string, len(row))
			for i, c := range row {
				v := ""
				if l < len(c) {
					v = c[l]
				}
				a := AlignDefault
				if i < len(align) {
					a = align[i]
				}
				if n == 0 {
					a = AlignCenter
				} else if len(c) > 1 && l < len(c)-1 && a == AlignDefault {
					a = AlignLeft
				}
				parts[i] = " " + pad(v, width[i], a) + " "
			}
			text := " " + strings.Join(parts, "|")
			if LegacyTables {
				text += " "
			} else {
				text = strings.TrimRight(text, " ")
			}
			b.WriteString(text + "\n")
		}
		if n == 0 {
			dashes := make([]string, len(width))
			for i, w := range width {
				dashes[i] = strings.Repeat("-", w+2)
			}
			edge := "-"
			if LegacyTables {
				edge = "+"
			}
			b.WriteString(edge + strings.Join(dashes, "+") + edge + "\n")
		}
	}
	b.WriteString("(" + plural(len(rows), "row") + ")\n")
}

func pad(v string, width int, a Align) string {
	gap := width - utf8.RuneCountInString(v)
	if a == AlignDefault {
		a = AlignLeft
		if _, err := strconv.ParseFloat(v, 64); err == nil {
			a = AlignRight
		}
	}
	left := 0
	switch a {
	case AlignRight:
		left = gap
	case AlignCenter:
		left = gap / 2
	}
	return strings.Repeat(" ", left) + v + strings.Repeat(" ", gap-left)
}

func records(b *strings.Builder, cols []string, rows [][]string) {
	width := 0
	for _, c := range cols {
		width = max(width, utf8.RuneCountInString(c))
	}
	for n, r := range rows {
		fmt.Fprintf(b, "-[ RECORD %d ]\n", n+1)
		for i, v := range r {
			lines := strings.Split(v, "\n")
			for l, line := range lines {
				name, mark := cols[i], "|"
				if l > 0 {
					name = ""
				}
				if l < len(lines)-1 {
					mark = "|" // continuation is marked behind the line
					line += "+"
				}
				fmt.Fprintf(b, "%s %s %s\n", pad(name, width, AlignLeft), mark, line)
			}
		}
	}
}

func quoteSQL(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func statements(b *strings.Builder, cols []string, rows [][]string) {
	b.WriteString("CREATE TABLE results (\n")
	for i, c := range cols {
		end := ",\n"
		if i == len(cols)-1 {
			end = "\n"
		}
		b.WriteString("  " + identifier(c) + " STRING" + end)
	}
	b.WriteString(");\n\n")
	for _, r := range rows {
		vals := make([]string, len(r))
		for i, v := range r {
			if vals[i] = quoteSQL(v); v == "NULL" {
				vals[i] = v
			}
		}
		b.WriteString("INSERT INTO results VALUES (" + strings.Join(vals, ", ") + ");\n")
	}
	b.WriteString("-- " + plural(len(rows), "row") + "\n")
}

func identifier(s string) string {
	for i, c := range s {
		if !(c >= 'a' && c <= 'z' || c == '_' || i > 0 && c >= '0' && c <= '9') {
			return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
		}
	}
	return s
}

func htmlTable(b *strings.Builder, cols []string, rows [][]string) {
	esc := func(s string) string { return strings.ReplaceAll(html.EscapeString(s), "\n", "<br/>") }
	b.WriteString("<table>\n<thead><tr><th>row</th>")
	for _, c := range cols {
		b.WriteString("<th>" + esc(c) + "</th>")
	}
	b.WriteString("</tr></thead>\n<tbody>\n")
	for n, r := range rows {
		fmt.Fprintf(b, "<tr><td>%d</td>", n+1)
		for _, v := range r {
			b.WriteString("<td>" + esc(v) + "</td>")
		}
		b.WriteString("</tr>\n")
	}
	fmt.Fprintf(b, "</tbody>\n<tfoot><tr><td colspan=%d>%s</td></tr></tfoot></table>\n", len(cols)+1, plural(len(rows), "row"))
}

func raw(b *strings.Builder, cols []string, rows [][]string) {
	b.WriteString("# " + plural(len(cols), "column") + "\n")
	for n, r := range rows {
		fmt.Fprintf(b, "# row %d\n", n+1)
		for _, v := range r {
			fmt.Fprintf(b, "## %d\n%s\n", len(v), v)
		}
	}
	b.WriteString("# " + plural(len(rows), "row") + "\n")
}
