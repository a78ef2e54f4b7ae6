// SPDX-License-Identifier: GPL-3.0-or-later

package cmd

import (
	"errors"
	"fmt"
	"net/rpc"
	"os"
	"time"

	"github.com/spf13/cobra"

	"kwdbstandin/internal/node"
	"kwdbstandin/internal/pgclient"
)

func init() { commands = append(commands, newQuit) }

func newDrain() *cobra.Command {
	var o pgclient.Options
	var wait time.Duration
	cmd := &cobra.Command{Use: "drain", Short: "drain a node without shutting it down", Args: cobra.NoArgs}
	o.AddFlags(cmd.Flags())
	cmd.Flags().DurationVar(&wait, "drain-wait", 10*time.Minute, "Maximum amount of time to wait for the node to drain.")
	cmd.RunE = func(*cobra.Command, []string) error {
		client, _, err := dialNode(&o)
		if err != nil {
			return err
		}
		defer client.Close()
		if err := drain(client, wait); err != nil {
			return err
		}
		fmt.Println("ok")
		return nil
	}
	return cmd
}

// drain repeats the request until nothing remains; only --drain-wait ends it before.
func drain(client *rpc.Client, wait time.Duration) error {
	deadline := time.After(wait)
	for {
		fmt.Fprint(os.Stderr, "node is draining... ")
		var remaining int
		call := client.Go("Node.Drain", struct{}{}, &remaining, make(chan *rpc.Call, 1))
		select {
		case <-call.Done:
			if call.Error != nil {
				fmt.Fprintln(os.Stderr)
				return call.Error
			}
		case <-deadline:
			fmt.Fprintln(os.Stderr)
			return errors.New("drain timeout")
		}
		if remaining == 0 {
			fmt.Fprintln(os.Stderr, "remaining: 0 (complete)")
			return nil
		}
		fmt.Fprintf(os.Stderr, "remaining: %d\n", remaining)
		select {
		case <-time.After(200 * time.Millisecond):
		case <-deadline:
			return errors.New("drain timeout")
		}
	}
}

func newQuit() *cobra.Command {
	var o pgclient.Options
	var wait time.Duration
	var decommission bool
	cmd := &cobra.Command{Use: "quit", Short: "drain and shut down a node", Hidden: true, Args: cobra.NoArgs}
	o.AddFlags(cmd.Flags())
	cmd.Flags().DurationVar(&wait, "drain-wait", 10*time.Minute, "Maximum amount of time to wait for the node to drain.")
	cmd.Flags().BoolVar(&decommission, "decommission", false, "deprecated")
	cmd.RunE = func(*cobra.Command, []string) error { return quit(&o, wait) }
	return cmd
}

func quit(o *pgclient.Options, wait time.Duration) error {
	client, addr, err := dialNode(o)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := drain(client, wait); err != nil {
		fmt.Fprintln(os.Stderr, node.LogLine('W', "cli/quit.go:110",
			"graceful shutdown may not have completed successfully; check the node's logs for details."))
		fmt.Fprintln(os.Stderr, node.LogLine('W', "cli/quit.go:114",
			"drain did not complete successfully; hard shutdown may cause disruption"))
	}
	if err := client.Call("Node.Shutdown", struct{}{}, &struct{}{}); err != nil {
		return hinted{fmt.Errorf("hard shutdown failed: %w", err),
			"You can still stop the process using a service manager or a signal."}
	}
	fmt.Fprintln(os.Stderr, node.LogLine('E', "rpc/context.go:1029",
		"removing connection to "+addr+" due to error: cannot reuse client connection"))
	fmt.Println("ok")
	return nil
}
