// SPDX-License-Identifier: GPL-3.0-or-later

package node

import (
	"context"
	"kwdbstandin/internal/replica"
	"slices"
	"sync"
	"time"
)

// Drain takes this node out of service: others lead its ranges, SQL clients are sent away. It goes on until nothing is
// left, however long that takes: without a quorum, for ever, as in the product.
func (n *Node) Drain(ctx context.Context) error {
	for {
		left, err := n.drainStep(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && left == 0 {
			return nil
		}
		if err != nil || left > 0 {
			n.logf('I', "server/drain.go", "drain remaining: %d", left)
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
}

// drainStep does what can be done now and returns how much was left when it began.
func (n *Node) drainStep(ctx context.Context) (remaining int, err error) {
	n.drainMu.Lock()
	defer n.drainMu.Unlock()
	if n.drained.Load() && len(n.toHandOver()) == 0 {
		return 0, nil
	}
	if !n.draining.Swap(true) || !n.drained.Load() {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := n.beat(try)
		cancel()
		if err != nil {
			return max(len(n.toHandOver()), 1), nil
		}
		n.poke()
	}
	remaining = len(n.toHandOver()) + n.conns()
	// Leadership first: then the statements that are still running have somewhere to go.
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; {
		led := n.toHandOver()
		if len(led) == 0 {
			break
		}
		views := n.views()
		for _, s := range led {
			// Of those that have everything: one that came back a moment ago may not have been heard of in a quiet group.
			ready := slices.DeleteFunc(slices.Clone(s.Voters), func(id int) bool { return id != n.id && !s.CaughtUp[id] })
			if to := handover(n.id, ready, views); to != 0 && !s.Transferring {
				n.engine.Transfer(s.ID, to)
				v := views[to]
				v.Leads++
				views[to] = v
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	if len(n.toHandOver()) > 0 {
		return max(remaining, 1), nil
	}
	n.refreshInfo()
	n.tellAll(ctx) // the others ask the new leaders at once
	n.sqlMu.Lock()
	server := n.sql
	n.sqlMu.Unlock()
	if server != nil {
		time.Sleep(n.duration("server.shutdown.drain_wait", 0))
		server.Drain(ctx, n.duration("server.shutdown.query_wait", 10*time.Second))
	}
	n.drained.Store(true)
	return max(remaining, 1), nil
}

func (n *Node) conns() int {
	n.sqlMu.Lock()
	defer n.sqlMu.Unlock()
	if n.sql == nil {
		return 0
	}
	return n.sql.Conns()
}

// toHandOver lists the ranges this node leads and somebody else could: a range with one voter has no other leader.
func (n *Node) toHandOver() []replica.Status {
	return slices.DeleteFunc(n.engine.Statuses(), func(s replica.Status) bool { return !s.Leading || len(s.Voters) < 2 })
}

// tellAll pushes this node's gossip record.
func (n *Node) tellAll(ctx context.Context) {
	var wg sync.WaitGroup
	for id, i := range n.gossip.all() {
		if id != n.id && n.isLive(i) {
			wg.Go(func() { n.exchange(ctx, i.Address) })
		}
	}
	wg.Wait()
}
