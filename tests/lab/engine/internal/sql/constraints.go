// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	crdberrors "github.com/cockroachdb/errors"
	"gopkg.in/yaml.v2"

	"kwdbstandin/internal/kv"
)

// constraints are a zone's rules with the product's two YAML forms: [+region=NODE1] for all replicas, {+region=NODE1: 2} for so many.
type constraints []kv.Rule

func constraintText(c kv.Constraint) string {
	return pick(c.Prohibited, "-", "+") + pick(c.Key != "", c.Key+"=", "") + c.Value
}

// conjunction reads the words of one rule.
func conjunction(words []string) (all []kv.Constraint, err error) {
	for _, word := range words {
		if word == "" {
			return nil, errors.New("the empty string is not a valid constraint")
		}
		if !strings.ContainsAny(word[:1], "+-") {
			return nil, pgerror.Newf(pgcode.CheckViolation,
				"could not validate zone config: constraints must either be required (prefixed with a '+') or prohibited (prefixed with a '-')")
		}
		c := kv.Constraint{Prohibited: word[0] == '-', Value: word[1:]}
		switch parts := strings.Split(word[1:], "="); len(parts) {
		case 1:
		case 2:
			c.Key, c.Value = parts[0], parts[1]
		default:
			return nil, fmt.Errorf("constraint needs to be in the form \"(key=)value\", not %q", word[1:])
		}
		all = append(all, c)
	}
	return all, nil
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (c *constraints) UnmarshalYAML(unmarshal func(any) error) error {
	*c = constraints{}
	var words []string
	if unmarshal(&words) == nil {
		all, err := conjunction(words)
		if err == nil && len(all) > 0 {
			*c = constraints{{All: all}}
		}
		return err
	}
	counts := map[string]int{}
	if unmarshal(&counts) != nil {
		return errors.New("invalid constraints format. expected an array of strings or a map of strings to ints")
	}
	for text, replicas := range counts {
		all, err := conjunction(strings.Split(text, ","))
		if err != nil {
			return err
		}
		*c = append(*c, kv.Rule{Replicas: replicas, All: all})
	}
	slices.SortFunc(*c, func(a, b kv.Rule) int { return strings.Compare(ruleText(a), ruleText(b)) })
	return nil
}

func ruleText(r kv.Rule) string {
	words := make([]string, len(r.All))
	for i, one := range r.All {
		words[i] = constraintText(one)
	}
	return strings.Join(words, ",")
}

// flow is the form the product shows.
func (c constraints) flow() string {
	var form any = []string{}
	switch {
	case len(c) == 1 && c[0].Replicas == 0:
		form = strings.Split(ruleText(c[0]), ",")
	case len(c) > 0:
		counts := map[string]int{}
		for _, r := range c {
			counts[ruleText(r)] = r.Replicas
		}
		form = counts
	}
	out, _ := yaml.Marshal(struct {
		F any `yaml:"f,flow"`
	}{form})
	return strings.TrimSpace(strings.TrimPrefix(string(out), "f: "))
}

// read takes a configuration as YAML, as CONFIGURE ZONE = '…' has it.
func (z *zone) read(text string) error {
	var form struct {
		MinBytes *int64 `yaml:"range_min_bytes"`
		MaxBytes *int64 `yaml:"range_max_bytes"`
		GC       *struct {
			TTL int `yaml:"ttlseconds"`
		}
		Replicas    *int         `yaml:"num_replicas"`
		Constraints *constraints `yaml:"constraints"`
	}
	if err := yaml.UnmarshalStrict([]byte(text), &form); err != nil {
		return err
	}
	next := zone{MinBytes: form.MinBytes, MaxBytes: form.MaxBytes, Replicas: form.Replicas, Constraints: form.Constraints}
	if form.GC != nil {
		next.GCTTL = &form.GC.TTL
	}
	*z = next.over(*z)
	return nil
}

// validate refuses what the product refuses: own is the zone that is written, whole has its parents' values too.
func (p *planner) validate(own, whole zone) error {
	var rules constraints
	if whole.Constraints != nil {
		rules = *whole.Constraints
	}
	for _, r := range rules {
		for i, a := range r.All {
			for _, b := range r.All[i+1:] {
				both := !a.Prohibited && !b.Prohibited && a.Key != ""
				if a.Key == b.Key && (both || a.Value == b.Value && (a.Prohibited != b.Prohibited || a.Key == "")) {
					return pgerror.Newf(pgcode.CheckViolation, "incompatible zone constraints: %q and %q", constraintText(a), constraintText(b))
				}
			}
		}
	}
	nodes := p.nodes()
	for _, r := range rules {
		for _, c := range r.All {
			there := slices.ContainsFunc(nodes, func(n kv.Node) bool {
				return c.Key != "" && slices.Contains(strings.Split(n.Locality, ","), c.Key+"="+c.Value)
			})
			if !c.Prohibited && !there {
				return pgerror.Newf(pgcode.CheckViolation, "constraint %q matches no existing nodes within the cluster - did you enter it correctly?", constraintText(c))
			}
		}
	}
	bad := func(format string, args ...any) error {
		return pgerror.Newf(pgcode.CheckViolation, "could not validate zone config: "+format, args...)
	}
	spoken := 0
	for _, r := range rules {
		spoken += r.Replicas
	}
	wanted := whole.Replicas
	switch {
	case wanted != nil && *wanted < 1:
		return bad("at least one replica is required")
	case wanted != nil && *wanted == 2:
		return bad("at least 3 replicas are required for multi-replica configurations")
	case whole.GCTTL != nil && *whole.GCTTL < 1:
		return bad("GC.TTLSeconds %d less than minimum allowed 1", *whole.GCTTL)
	}
	if len(rules) > 1 || spoken != 0 {
		for _, r := range rules {
			if r.Replicas <= 0 {
				return bad("constraints must apply to at least one replica")
			}
			some := wanted != nil && r.Replicas != *wanted
			if some && slices.ContainsFunc(r.All, func(c kv.Constraint) bool { return c.Prohibited }) {
				return bad("only required constraints (prefixed with a '+') can be applied to a subset of replicas")
			}
		}
		if wanted != nil && spoken > *wanted {
			return bad("the number of replicas specified in constraints (%d) cannot be greater than the number of replicas configured for the zone (%d)", spoken, *wanted)
		}
	}
	if own.Constraints != nil && spoken > 0 && own.Replicas == nil {
		err := pgerror.Newf(pgcode.InvalidParameterValue, "could not validate zone config: when per-replica constraints are set, num_replicas must be set as well")
		return crdberrors.WithHint(err, "try ALTER ... CONFIGURE ZONE USING <field_name> = COPY FROM PARENT [, ...] to populate the field")
	}
	return nil
}
