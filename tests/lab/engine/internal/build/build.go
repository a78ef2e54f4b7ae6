// SPDX-License-Identifier: GPL-3.0-or-later

// Package build says what this binary is. The image build sets the variables at link time, one set an image.
package build

import (
	"fmt"
	"slices"
	"strings"
)

// Product is kwbase or, for the older product, bini. ServerVersion is the cluster version that the binary brings: 20.1-3
// in all releases of the 3.x line (engine-facts 3.4). Crash makes `start` end with this log line at once: the lab's broken
// release.
var (
	Product       = "kwbase"
	Tag           = "V3.2.1"
	ServerVersion = "20.1-3"
	Time          = "2026/11/23 00:00:00"
	SHA           = "0000000000000000000000000000000000000000"
	Crash         = ""
)

// Legacy is whether this is the older product.
func Legacy() bool { return Product == "bini" }

// Version takes a cluster version apart: 20.1-3 is major 20, minor 1, unstable 3. What is missing is 0.
func Version(text string) (parts [3]int) {
	_, _ = fmt.Sscanf(strings.NewReplacer(".", " ", "-", " ").Replace(text), "%d %d %d", &parts[0], &parts[1], &parts[2])
	return parts
}

// VersionLess orders cluster versions: nothing < 20.1 < 20.1-3 < 20.1-4.
func VersionLess(a, b string) bool {
	x, y := Version(a), Version(b)
	return slices.Compare(x[:], y[:]) < 0
}
