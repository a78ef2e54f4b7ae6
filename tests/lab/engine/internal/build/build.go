// SPDX-License-Identifier: GPL-3.0-or-later

// Package build says what this binary is. The image build sets the variables at link time, one set an image.
package build

// Product is kwbase or, for the older product, bini. Crash makes `start` end with this log line at once: the lab's
// broken release.
var (
	Product = "kwbase"
	Tag     = "V3.2.1"
	Time    = "2026/11/23 00:00:00"
	SHA     = "0000000000000000000000000000000000000000"
	Crash   = ""
)

// ServerVersion is the cluster version both releases of the 3.2 line have (engine-facts 3.4).
const ServerVersion = "20.1-3"

// Legacy is whether this is the older product.
func Legacy() bool { return Product == "bini" }
