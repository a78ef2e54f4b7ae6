// SPDX-License-Identifier: GPL-3.0-or-later

package cmd

import (
	"fmt"
	"net/rpc"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"kwdbstandin/internal/build"
	"kwdbstandin/internal/kv"
	"kwdbstandin/internal/node"
	"kwdbstandin/internal/pgclient"
	"kwdbstandin/internal/render"
)

func init() { commands = append(commands, newNode) }

func newNode() *cobra.Command {
	cmd := &cobra.Command{Use: "node [command]", Short: "list, inspect, drain or remove nodes\n",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Usage() }}
	cmd.AddCommand(newNodeLs(), newNodeStatus(), newDecommission(), newRecommission(), newDrain())
	return cmd
}

// visible hides what the default views hide: nodes that were decommissioned and are gone.
func visible(nodes []kv.Node, all bool) []kv.Node {
	var out []kv.Node
	for _, v := range nodes {
		if all || !v.Decommissioning || v.Available {
			out = append(out, v)
		}
	}
	return out
}

// fetchNodes asks for the gossip view after SQL has answered, as the product does.
func fetchNodes(o *pgclient.Options) (node.NodesReply, error) {
	var reply node.NodesReply
	if err := waitSQL(o); err != nil {
		return reply, err
	}
	client, _, err := dialNode(o)
	if err != nil {
		return reply, err
	}
	defer client.Close()
	if err := client.Call("Node.Nodes", struct{}{}, &reply); err != nil {
		return reply, rpcError(err)
	}
	return reply, nil
}

func newNodeLs() *cobra.Command {
	var o pgclient.Options
	cmd := &cobra.Command{Use: "ls", Short: "lists the IDs of all nodes in the cluster", Args: cobra.NoArgs}
	o.AddFlags(cmd.Flags())
	format := addFormat(cmd)
	cmd.Flags().Duration("timeout", 0, "If nonzero, return with an error if the operation does not conclude in time.")
	cmd.RunE = func(*cobra.Command, []string) error {
		reply, err := fetchNodes(&o)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, v := range visible(reply.Nodes, false) {
			rows = append(rows, []string{strconv.Itoa(v.ID)})
		}
		return render.Write(os.Stdout, *format, []string{"id"}, render.Aligns("r"), rows)
	}
	return cmd
}

const timestamp = "2006-01-02 15:04:05.999999"

func newNodeStatus() *cobra.Command {
	var o pgclient.Options
	var all, ranges, stats, decommission bool
	cmd := &cobra.Command{Use: "status [<node id>]", Short: "shows the status of a node or all nodes",
		Args: cobra.MaximumNArgs(1)}
	o.AddFlags(cmd.Flags())
	format := addFormat(cmd)
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "Show all node details. When no node ID is specified, also lists all\n"+
		"nodes that have been decommissioned in the history of the cluster.")
	f.BoolVar(&ranges, "ranges", false, "Show node details for ranges and replicas.")
	f.BoolVar(&stats, "stats", false, "Show node disk usage details.")
	f.BoolVar(&decommission, "decommission", false, "Show node decommissioning details.")
	f.Duration("timeout", 0, "If nonzero, return with an error if the operation does not conclude\nwithin the specified timeout.")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		want := 0
		if len(args) == 1 {
			id, err := strconv.Atoi(args[0])
			if err != nil {
				return fmt.Errorf("could not parse node_id %s", args[0])
			}
			want = id
		}
		reply, err := fetchNodes(&o)
		if err != nil {
			return err
		}
		nodes := visible(reply.Nodes, all || decommission)
		if want != 0 {
			var one []kv.Node
			for _, v := range nodes {
				if v.ID == want {
					one = append(one, v)
				}
			}
			if len(one) == 0 {
				return fmt.Errorf("node %d doesn't exist", want)
			}
			nodes = one
		}
		cols, align := statusColumns(all || ranges, all || stats, all || decommission)
		var rows [][]string
		for _, v := range nodes {
			rows = append(rows, statusRow(v, reply.Stats[v.ID], all || ranges, all || stats, all || decommission))
		}
		return render.Write(os.Stdout, *format, cols, align, rows)
	}
	return cmd
}

// statusColumns are the columns in the product's order (engine-facts 1.4, 1.10).
func statusColumns(ranges, stats, decommission bool) ([]string, []render.Align) {
	cols := []string{"id", "address", "sql_address", "build", "started_at", "updated_at", "locality", "start_mode",
		"is_available", "is_live"}
	if build.Legacy() {
		cols = []string{"id", "address", "build", "started_at", "updated_at", "is_available", "is_live"}
	}
	if ranges {
		cols = append(cols, "replicas_leaders", "replicas_leaseholders", "ranges", "ranges_unavailable",
			"ranges_underreplicated")
	}
	if stats {
		cols = append(cols, "live_bytes", "key_bytes", "value_bytes", "intent_bytes", "system_bytes")
	}
	if decommission {
		cols = append(cols, "gossiped_replicas", "is_decommissioning", "is_draining")
	}
	align := make([]render.Align, len(cols))
	for i, c := range cols {
		align[i] = render.AlignLeft
		switch c {
		case "id", "replicas_leaders", "replicas_leaseholders", "ranges", "ranges_unavailable", "ranges_underreplicated",
			"live_bytes", "key_bytes", "value_bytes", "intent_bytes", "system_bytes", "gossiped_replicas":
			align[i] = render.AlignRight
		}
	}
	return cols, align
}

func statusRow(v kv.Node, m node.Metrics, ranges, stats, decommission bool) []string {
	text := func(s string) string { // what gossip has forgotten is NULL
		if !v.InGossip {
			return "NULL"
		}
		return s
	}
	number := func(i int64) string { return text(strconv.FormatInt(i, 10)) }
	started, updated := text(v.StartedAt.UTC().Format(timestamp)), v.UpdatedAt.UTC().Format(timestamp)
	available, live := strconv.FormatBool(v.Available), strconv.FormatBool(v.Live)
	row := []string{strconv.Itoa(v.ID), text(v.Address), text(v.SQLAddress), text(v.Build), started, updated,
		text(v.Locality), text(v.StartMode), available, live}
	if build.Legacy() {
		row = []string{strconv.Itoa(v.ID), text(v.Address), text(v.Build), started, updated, available, live}
	}
	if ranges {
		row = append(row, number(int64(m.Leaders)), number(int64(m.Leases)), number(int64(m.Ranges)),
			number(int64(m.Unavailable)), number(int64(m.Underreplicated)))
	}
	if stats {
		row = append(row, number(m.LiveBytes), number(m.KeyBytes), number(m.ValueBytes), number(0), number(0))
	}
	if decommission {
		row = append(row, number(int64(v.GossipedReplicas)), strconv.FormatBool(v.Decommissioning),
			strconv.FormatBool(v.Draining))
	}
	return row
}

func parseIDs(args []string) ([]int, error) {
	var ids []int
	for _, a := range args {
		id, err := strconv.ParseInt(a, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("unable to parse %s: %w", a, err)
		}
		ids = append(ids, int(id))
	}
	return ids, nil
}

// waitKind is --wait.
type waitKind string

func (w *waitKind) String() string { return string(*w) }
func (w *waitKind) Type() string   { return "string" }
func (w *waitKind) Set(s string) error {
	switch s {
	case "all", "none", "live":
		*w = waitKind(s)
		return nil
	}
	return fmt.Errorf("invalid node decommission parameter: %s (possible values: all, none)", s)
}

func newDecommission() *cobra.Command {
	var o pgclient.Options
	wait := waitKind("all")
	cmd := &cobra.Command{Use: "decommission <node id 1> [<node id 2> ...]",
		Short: "decommissions the node(s)", Args: minArgs(1)}
	o.AddFlags(cmd.Flags())
	format := addFormat(cmd)
	cmd.Flags().Var(&wait, "wait", "Specifies when to return during the decommissioning process.\nTakes any of the "+
		"following values: all, none.")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		ids, err := parseIDs(args)
		if err != nil {
			return err
		}
		if wait == "live" {
			fmt.Fprintln(os.Stderr, "--wait=live is deprecated and is treated as --wait=all")
		}
		client, _, err := dialNode(&o)
		if err != nil {
			return err
		}
		defer client.Close()
		if err := warn(client, ids, true); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr)
		return watchDecommission(client, ids, wait == "none", *format)
	}
	return cmd
}

// warn says on stderr what is odd about the nodes named; nothing of it stops the command.
func warn(client *rpc.Client, ids []int, leaving bool) error {
	var reply node.NodesReply
	if err := client.Call("Node.Nodes", struct{}{}, &reply); err != nil {
		return rpcError(err)
	}
	for _, id := range ids {
		known := false
		for _, v := range reply.Nodes {
			if v.ID != id {
				continue
			}
			known = true
			switch {
			case leaving && v.Decommissioning:
				fmt.Fprintf(os.Stderr, "warning: node %d is already decommissioning or decommissioned\n", id)
			case !leaving && !v.Decommissioning:
				fmt.Fprintf(os.Stderr, "warning: node %d is not decommissioned\n", id)
			}
		}
		if !known {
			fmt.Fprintf(os.Stderr, "warning: cannot find status of node %d\n", id)
		}
	}
	return nil
}

var decommissionColumns = []string{"id", "is_live", "replicas", "is_decommissioning", "is_draining"}

func decommissionRows(list []node.DecommissionStatus) [][]string {
	var rows [][]string
	for _, s := range list {
		rows = append(rows, []string{strconv.Itoa(s.ID), strconv.FormatBool(s.Live), strconv.Itoa(s.Replicas),
			strconv.FormatBool(s.Decommissioning), strconv.FormatBool(s.Draining)})
	}
	return rows
}

// watchDecommission repeats the request without limit until nothing is left; a table is printed when it changed.
func watchDecommission(client *rpc.Client, ids []int, once bool, format render.Format) error {
	last := ""
	pause := 5 * time.Millisecond
	for {
		var list []node.DecommissionStatus
		if err := client.Call("Node.Decommission", node.DecommissionArgs{IDs: ids, Decommissioning: true}, &list); err != nil {
			return fmt.Errorf("while trying to mark as decommissioning: %w", rpcError(err))
		}
		rows := decommissionRows(list)
		if now := fmt.Sprint(rows); now != last {
			if last != "" {
				fmt.Fprintln(os.Stderr)
			}
			last = now
			pause = 5 * time.Millisecond
			if err := render.Write(os.Stdout, format, decommissionColumns, render.Aligns("rcrcc"), rows); err != nil {
				return err
			}
		} else {
			fmt.Fprint(os.Stderr, ".")
		}
		left := 0
		for _, s := range list {
			left += s.Replicas
		}
		if left == 0 {
			fmt.Fprintln(os.Stdout, "\nNo more data reported on target nodes. Please verify cluster health before removing the nodes.")
			return nil
		}
		if once {
			return nil
		}
		time.Sleep(pause)
		pause = min(2*pause, 2*time.Second)
	}
}

func newRecommission() *cobra.Command {
	var o pgclient.Options
	cmd := &cobra.Command{Use: "recommission <node id 1> [<node id 2> ...]",
		Short: "recommissions the node(s)", Args: minArgs(1)}
	o.AddFlags(cmd.Flags())
	format := addFormat(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		ids, err := parseIDs(args)
		if err != nil {
			return err
		}
		client, _, err := dialNode(&o)
		if err != nil {
			return err
		}
		defer client.Close()
		if err := warn(client, ids, false); err != nil {
			return err
		}
		var list []node.DecommissionStatus
		if err := client.Call("Node.Decommission", node.DecommissionArgs{IDs: ids}, &list); err != nil {
			return rpcError(err)
		}
		return render.Write(os.Stdout, *format, decommissionColumns, render.Aligns("rcrcc"), decommissionRows(list))
	}
	return cmd
}
