// SPDX-License-Identifier: GPL-3.0-or-later

package cmd

import (
	"time"

	"kwdbstandin/internal/build"
	"kwdbstandin/internal/kv"
	"kwdbstandin/internal/node"
	"kwdbstandin/internal/sql"
)

func init() {
	newSQLServer = func(store kv.Store, cfg node.Config) node.SQLServer {
		built, _ := time.Parse("2006/01/02 15:04:05", build.Time)
		return sql.New(store, sql.Options{Build: cfg.Build, BuiltAt: built, StartMode: cfg.StartMode, Version: cfg.ServerVersion, Legacy: cfg.Legacy})
	}
}
