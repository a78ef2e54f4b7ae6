// SPDX-License-Identifier: GPL-3.0-or-later

package cmd

import (
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"kwdbstandin/internal/build"
)

func init() { commands = append(commands, newVersion) }

func newVersion() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "output version information", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			first := "KaiwuDB Version:"
			if build.Legacy() {
				first = "Build Tag:"
			}
			for _, line := range [][2]string{
				{first, build.Tag}, {"Build Time:", build.Time}, {"Distribution:", ""},
				{"Platform:", fmt.Sprintf("%s %s (x86_64-linux-gnu)", runtime.GOOS, runtime.GOARCH)},
				{"Go Version:", runtime.Version()}, {"C Compiler:", "none (lab stand-in)"}, {"Build SHA-1:", build.SHA},
			} {
				fmt.Fprintf(os.Stdout, "%-17s %s\n", line[0], line[1])
			}
			return nil
		}}
}
