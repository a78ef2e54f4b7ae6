// SPDX-License-Identifier: GPL-3.0-or-later

package sql

import (
	"kwdbstandin/internal/kv"
	"slices"
	"strings"

	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgcode"
	"github.com/auxten/postgresql-parser/pkg/sql/pgwire/pgerror"
	"github.com/auxten/postgresql-parser/pkg/sql/sem/tree"
	"github.com/auxten/postgresql-parser/pkg/sql/types"
)

func (p *planner) roleName(e tree.Expr) (string, error) {
	d, err := p.constant(e, types.String)
	if err != nil {
		return "", err
	}
	if d == tree.DNull {
		return "", pgerror.Newf(pgcode.InvalidName, "no username specified")
	}
	return strings.ToLower(s(d)), nil
}

// roleOptions knows what an insecure cluster allows.
func (p *planner) roleOptions(opts tree.KVOptions) (string, error) {
	var out []string
	for _, o := range opts {
		switch k := strings.ToLower(string(o.Key)); k {
		case "password":
			return "", pgerror.Newf(pgcode.InvalidPassword, "setting or updating a password is not supported in insecure mode")
		case "createrole", "nologin":
			out = append(out, strings.ToUpper(k))
		case "login", "nocreaterole":
		default:
			return "", refuse("role option %s", k)
		}
	}
	return strings.Join(out, ", "), nil
}

// grant records table privileges. An insecure cluster does not enforce them; they are shown by SHOW GRANTS.
func (p *planner) grant(targets tree.TargetList, grantees tree.NameList, privs []string, give bool, tag string) (*relation, error) {
	if len(targets.Databases) > 0 || len(targets.Tables) == 0 {
		return nil, refuse("%s on anything but tables", tag)
	}
	return effect(tag, func() error {
		return p.change(func(c *catalog) ([]kv.Write, error) {
			at := *p
			at.cat = c
			for _, g := range grantees {
				if c.users[string(g)] == nil {
					return nil, pgerror.Newf(pgcode.UndefinedObject, "user or role %s does not exist", g)
				}
			}
			var w []kv.Write
			for _, pattern := range targets.Tables {
				ts, err := at.tables(pattern)
				if err != nil {
					return nil, err
				}
				for _, t := range ts {
					next := t.clone()
					if next.Grants == nil {
						next.Grants = map[string][]string{}
					}
					for _, g := range grantees {
						have := slices.DeleteFunc(slices.Clone(next.Grants[string(g)]), func(x string) bool {
							return slices.Contains(privs, x) || slices.Contains(privs, "ALL")
						})
						if give {
							have = append(have, privs...)
							slices.Sort(have)
						}
						next.Grants[string(g)] = have
					}
					w = append(w, c.put(tableKey(t.ID), next))
				}
			}
			return w, nil
		})
	}), nil
}
