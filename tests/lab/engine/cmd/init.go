// SPDX-License-Identifier: GPL-3.0-or-later

package cmd

import (
	"fmt"
	"net/rpc"
	"os"
	"time"

	"github.com/spf13/cobra"

	"kwdbstandin/internal/node"
	"kwdbstandin/internal/pgclient"
)

func init() { commands = append(commands, newInit) }

func newInit() *cobra.Command {
	var o pgclient.Options
	cmd := &cobra.Command{Use: "init", Short: "initialize a cluster", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runInit(&o) }}
	o.AddFlags(cmd.Flags())
	return cmd
}

// runInit waits for the node without limit, as the product does, and then asks it once.
func runInit(o *pgclient.Options) error {
	addr, _, _, err := o.Resolve()
	if err != nil {
		return err
	}
	var client *rpc.Client
	for {
		if client, err = node.DialRPC(addr, 5*time.Second); err == nil {
			break
		}
		fmt.Fprintf(os.Stderr, "warning: node not ready to perform cluster initialization: %v (retrying)\n", connectError(err))
		time.Sleep(time.Second)
	}
	defer client.Close()
	if err := client.Call("Node.Init", struct{}{}, &struct{}{}); err != nil {
		return shoutTwice(rpcError(err))
	}
	fmt.Println("Cluster successfully initialized")
	return nil
}

// hinted adds the product's hint to a refusal.
type hinted struct {
	error
	hint string
}

func (h hinted) Error() string { return h.error.Error() + "\nHINT: " + h.hint }

// shoutTwice prints an error in a box and as a log line; the caller's ERROR line makes it three.
func shoutTwice(err error) error {
	const already = "rpc error: code = Unknown desc = cluster has already been initialized"
	if err.Error() == already {
		err = hinted{err, "Please ensure all your start commands are using --join."}
	}
	box(os.Stderr, "ERROR: ERROR: "+err.Error())
	logError(err)
	return err
}
