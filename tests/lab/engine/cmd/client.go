// SPDX-License-Identifier: GPL-3.0-or-later

package cmd

import (
	"context"
	"errors"
	"fmt"
	"net/rpc"
	"strings"
	"time"

	"kwdbstandin/internal/node"
	"kwdbstandin/internal/pgclient"
)

// connectError is the product's text for a node that does not take RPC connections.
func connectError(err error) error {
	return fmt.Errorf("initial connection heartbeat failed: rpc error: code = Unavailable desc = all SubConns are in "+
		"TransientFailure, latest connection error: connection error: desc = \"transport: Error while dialing %v\"", err)
}

// dialNode connects to the node the client flags name.
func dialNode(o *pgclient.Options) (*rpc.Client, string, error) {
	addr, _, _, err := o.Resolve()
	if err != nil {
		return nil, "", err
	}
	client, err := node.DialRPC(addr, 15*time.Second)
	if err != nil {
		return nil, "", pgclient.DialError(fmt.Errorf("Failed to connect to the node: %w", connectError(err)))
	}
	return client, addr, nil
}

// rpcError words a refusal as gRPC does.
func rpcError(err error) error {
	var refused rpc.ServerError
	if errors.As(err, &refused) {
		code := "Unknown"
		if strings.HasPrefix(err.Error(), "node waiting for init") {
			code = "Unavailable"
		}
		return fmt.Errorf("rpc error: code = %s desc = %w", code, err)
	}
	return fmt.Errorf("rpc error: code = Unavailable desc = transport is closing: %w", err)
}

// waitSQL proves that the node serves SQL, as the product's status commands do by reading over it.
func waitSQL(o *pgclient.Options) error {
	ctx := context.Background()
	conn, err := pgclient.Connect(ctx, *o)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Query(ctx, "SELECT 1")
	return err
}
