// SPDX-License-Identifier: GPL-3.0-or-later

// A stand-in for the database, honest about data, for tests that need a cluster and have no registry.
package main

import (
	"os"

	"kwdbstandin/cmd"
)

func main() { os.Exit(cmd.Run(os.Args[1:])) }
