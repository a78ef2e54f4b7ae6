// SPDX-License-Identifier: GPL-3.0-or-later

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"kwdbstandin/internal/kv"
)

// liveness is a node's record in the liveness range. A node that cannot reach a majority cannot renew it.
type liveness struct {
	ID                        int
	Epoch                     int
	Expiration, UpdatedAt     time.Time
	Draining, Decommissioning bool
}

// heartbeat is the part of the record that only the node itself writes; whether it is decommissioning is a key of its
// own, which others write.
type heartbeat struct {
	Epoch                 int
	Expiration, UpdatedAt time.Time
	Draining              bool
}

func heartbeatKey(id int) string { return fmt.Sprintf("hb/%d", id) }
func leavingKey(id int) string   { return fmt.Sprintf("dec/%d", id) }

// livenesses is the last seen content of the liveness range.
func (n *Node) livenesses() map[int]liveness {
	out := map[int]liveness{}
	n.live.each("hb/", func(key string, e kv.Entry) {
		id, err := strconv.Atoi(key)
		var hb heartbeat
		if err == nil && json.Unmarshal(e.Value, &hb) == nil {
			out[id] = liveness{ID: id, Epoch: hb.Epoch, Expiration: hb.Expiration, UpdatedAt: hb.UpdatedAt, Draining: hb.Draining}
		}
	})
	for id, l := range out {
		e, _ := n.live.get(leavingKey(id))
		l.Decommissioning = string(e.Value) == "true"
		out[id] = l
	}
	return out
}

// beat renews this node's record.
func (n *Node) beat(ctx context.Context) error {
	n.beatMu.Lock()
	defer n.beatMu.Unlock()
	now := time.Now().UTC()
	hb := heartbeat{Epoch: n.epoch, Expiration: now.Add(n.cfg.Timing.Expiration), UpdatedAt: now, Draining: n.draining.Load()}
	data, err := json.Marshal(hb)
	if err != nil {
		return err
	}
	if _, err := n.Commit(ctx, rangeLiveness, []kv.Write{{Key: heartbeatKey(n.id), Value: data, Expect: kv.Any}}); err != nil {
		return err
	}
	n.expiration.Store(hb.Expiration.UnixNano())
	return nil
}

// firstBeat makes this incarnation alive. It waits for a majority of the liveness range as long as it takes.
func (n *Node) firstBeat(ctx context.Context) error {
	for {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := n.live.refresh(try, n)
		if err == nil {
			old := n.livenesses()[n.id]
			n.epoch = max(old.Epoch, 1)
			if old.Epoch > 0 && time.Now().After(old.Expiration) && !old.Expiration.IsZero() {
				n.epoch++
			}
			err = n.beat(try)
		}
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, kv.ErrDraining) {
			return ctx.Err()
		}
	}
}

func (n *Node) heartbeatLoop(ctx context.Context) {
	wait := n.cfg.Timing.Expiration / 2
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := n.beat(try)
		cancel()
		wait = n.cfg.Timing.Expiration / 2
		if err != nil {
			n.logf('W', "server/node_liveness.go", "failed node liveness heartbeat: %v", err)
			wait = time.Second
		}
	}
}

// healthy is whether this node's own record still holds.
func (n *Node) healthy() bool { return time.Now().UnixNano() < n.expiration.Load() }

var errNotInTable = errors.New("node not in the liveness table")

// setDecommissioning marks a node; marking it again changes nothing.
func (n *Node) setDecommissioning(ctx context.Context, id int, leaving bool) error {
	if err := n.live.refresh(ctx, n); err != nil {
		return err
	}
	l, ok := n.livenesses()[id]
	if !ok {
		return fmt.Errorf("during liveness update %d -> %t: %w", id, leaving, errNotInTable)
	}
	if l.Decommissioning == leaving {
		return nil
	}
	value := []byte(strconv.FormatBool(leaving))
	if _, err := n.Commit(ctx, rangeLiveness, []kv.Write{{Key: leavingKey(id), Value: value, Expect: kv.Any}}); err != nil {
		return err
	}
	_ = n.live.refresh(ctx, n)
	n.poke()
	return nil
}
