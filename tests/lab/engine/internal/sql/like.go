// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"regexp"
	"strings"
	"sync"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
)

// The parser library left the pattern operators without a body; these are theirs.

var patterns sync.Map // source → *regexp.Regexp

func matchPattern(source string, text tree.Datum) (tree.Datum, error) {
	re, ok := patterns.Load(source)
	if !ok {
		c, err := regexp.Compile(source)
		if err != nil {
			return nil, pgerror.Newf(pgcode.InvalidRegularExpression, "invalid regular expression: %v", err)
		}
		re, _ = patterns.LoadOrStore(source, c)
	}
	return tree.MakeDBool(tree.DBool(re.(*regexp.Regexp).MatchString(s(text)))), nil
}

// likeSource translates a LIKE pattern: % any text, _ one character, \ takes the next one literally.
func likeSource(p string) (string, error) {
	var b strings.Builder
	escaped := false
	for _, r := range p {
		switch {
		case escaped:
			b.WriteString(regexp.QuoteMeta(string(r)))
			escaped = false
		case r == '\\':
			escaped = true
		case r == '%':
			b.WriteString(".*")
		case r == '_':
			b.WriteString(".")
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	if escaped {
		return "", pgerror.Newf(pgcode.InvalidEscapeSequence, "LIKE pattern must not end with escape character")
	}
	return b.String(), nil
}

func init() {
	give := func(op tree.ComparisonOperator, source func(string) (string, error)) {
		for _, o := range tree.CmpOps[op] {
			o.(*tree.CmpOp).Fn = func(_ *tree.EvalContext, left, right tree.Datum) (tree.Datum, error) {
				src, err := source(s(right))
				if err != nil {
					return nil, err
				}
				return matchPattern(src, left)
			}
		}
	}
	like := func(flags string) func(string) (string, error) {
		return func(p string) (string, error) {
			src, err := likeSource(p)
			return "(?s" + flags + ")^(?:" + src + ")$", err
		}
	}
	plain := func(prefix string) func(string) (string, error) {
		return func(p string) (string, error) { return prefix + p, nil }
	}
	give(tree.Like, like(""))
	give(tree.ILike, like("i"))
	give(tree.RegMatch, plain(""))
	give(tree.RegIMatch, plain("(?i)"))
	give(tree.SimilarTo, func(string) (string, error) { return "", refuse("SIMILAR TO") })
}
