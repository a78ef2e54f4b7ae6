// SPDX-License-Identifier: GPL-3.0-or-later

package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"kwdbstandin/internal/build"
	"kwdbstandin/internal/kv"
	"kwdbstandin/internal/replica"
)

func (n *Node) loadIdent() error {
	return n.db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucketIdent)
		if err != nil {
			return err
		}
		n.clusterID, n.active.version = string(b.Get(keyCluster)), string(b.Get(keyVersion))
		if v := b.Get(keyNode); v != nil {
			return json.Unmarshal(v, &n.id)
		}
		return nil
	})
}

func (n *Node) writeIdent(clusterID string, id int) error {
	err := n.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketIdent)
		if err := b.Put(keyCluster, []byte(clusterID)); err != nil {
			return err
		}
		return b.Put(keyNode, jsonBytes(id))
	})
	if err == nil {
		n.clusterID, n.id = clusterID, id
	}
	return err
}

// checkStartMode keeps a store with the command that made it (engine-facts 3.2).
func (n *Node) checkStartMode() error {
	if n.cfg.Legacy {
		return nil
	}
	path := filepath.Join(n.cfg.Store, "kwbase.start_mode")
	old, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && n.id != 0:
		return errors.New("cluster start mode file does not exist")
	case errors.Is(err, os.ErrNotExist):
		return os.WriteFile(path, []byte(n.cfg.StartMode), 0o640)
	case err != nil:
		return err
	case string(old) != n.cfg.StartMode:
		return fmt.Errorf("check start mode failed! Node start mode is %s, should be %s", n.cfg.StartMode, old)
	}
	return nil
}

// identify returns once the node belongs to a cluster: by its store, by init, or by joining.
func (n *Node) identify() error {
	n.startMu.Lock()
	known := n.id != 0
	if known {
		n.startStatus = "restarted pre-existing node"
		err := n.openEngine()
		n.started.Store(err == nil)
		n.startMu.Unlock()
		return err
	}
	n.startMu.Unlock()
	if n.cfg.StartMode == "start-single-node" || len(n.cfg.Join) == 0 {
		return n.bootstrap()
	}
	if err := n.tryJoin(); err != nil {
		return err
	}
	select {
	case <-n.identified:
		return nil // a living cluster took us in at once
	default:
	}
	if n.cfg.OnWaiting != nil {
		n.cfg.OnWaiting()
	}
	waiting := time.After(30 * time.Second)
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		if err := n.tryJoin(); err != nil {
			return err
		}
		select {
		case <-n.identified:
			return nil
		case <-n.ctx.Done():
			return n.ctx.Err()
		case <-waiting:
			if n.cfg.OnNoContact != nil {
				n.cfg.OnNoContact()
			}
		case <-ticker.C:
		}
	}
}

// hear remembers who talked to us while we wait: it may belong to a cluster.
func (n *Node) hear(addr string) {
	n.heardMu.Lock()
	defer n.heardMu.Unlock()
	if addr != "" && !slices.Contains(n.heard, addr) && len(n.heard) < 64 {
		n.heard = append(n.heard, addr)
	}
}

// tryJoin asks the join addresses for an identity. Only a start mode that differs and a version too old are errors.
func (n *Node) tryJoin() error {
	n.heardMu.Lock()
	addresses := append(slices.Clone(n.cfg.Join), n.heard...)
	n.heardMu.Unlock()
	for _, addr := range addresses {
		if addr == n.cfg.Advertise {
			continue
		}
		ctx, cancel := context.WithTimeout(n.ctx, 10*time.Second)
		var reply JoinReply
		err := n.rpc.call(ctx, addr, "Join",
			JoinArgs{n.cfg.Advertise, n.cfg.StartMode, n.cfg.ServerVersion, n.startedAt.Format(time.RFC3339Nano)}, &reply)
		cancel()
		if err != nil || reply.ClusterID == "" {
			continue
		}
		if reply.StartMode != n.cfg.StartMode {
			return fmt.Errorf("Check start mode failed! Node start mode is %s, should be %s", n.cfg.StartMode, reply.StartMode)
		}
		if build.VersionLess(n.cfg.ServerVersion, reply.Active) {
			return tooOld(n.cfg.ServerVersion, reply.Active)
		}
		return n.join(reply)
	}
	return nil
}

// join takes on an identity, unless `init` gave this node one in the meantime.
func (n *Node) join(reply JoinReply) error {
	n.startMu.Lock()
	defer n.startMu.Unlock()
	if n.id != 0 {
		return nil
	}
	if err := n.writeIdent(reply.ClusterID, reply.NodeID); err != nil {
		return err
	}
	if err := n.Activate(reply.Active); err != nil {
		return err
	}
	n.joinedNow = true
	n.startStatus = "initialized new node, joined pre-existing cluster"
	if err := n.openEngine(); err != nil {
		return err
	}
	n.gossip.merge(reply.Infos)
	n.started.Store(true)
	close(n.identified)
	return nil
}

// openEngine starts the replicas this store holds. It needs the identity.
func (n *Node) openEngine() error {
	n.gossip = &gossip{self: n.id, infos: map[int]Info{}}
	if n.cfg.Locality == "" {
		n.cfg.Locality = fmt.Sprintf("region=NODE%d", n.id)
	}
	n.gossip.put(Info{ID: n.id, Address: n.cfg.Advertise, SQLAddress: n.cfg.AdvertiseSQL, HTTPAddress: n.cfg.AdvertiseHTTP,
		Build: n.cfg.Build, Locality: n.cfg.Locality, StartMode: n.cfg.StartMode, ServerVersion: n.cfg.ServerVersion,
		StartedAt: n.startedAt, Stamp: time.Now()})
	n.peers = &raftPeers{queues: map[int]chan raftMessage{}, address: n.gossip.address, cluster: n.clusterID, ctx: n.ctx}
	engine, err := replica.Open(n.db, n.id, n.peers.send, func() {
		select {
		case n.publish <- struct{}{}:
		default:
		}
	}, func(err error) { n.quit(fmt.Errorf("store %s: %w", n.cfg.Store, err)) })
	if err != nil {
		return err
	}
	n.engine = engine
	close(n.engineSet)
	return nil
}

// bootstrap makes a new cluster of this node.
func (n *Node) bootstrap() error {
	n.startMu.Lock()
	defer n.startMu.Unlock()
	switch {
	case n.id != 0 && n.joinedNow:
		return errors.New(textConnected)
	case n.id != 0:
		return errors.New(textInitialized)
	}
	if err := n.writeIdent(newUUID(), 1); err != nil {
		return err
	}
	if err := n.Activate(n.cfg.ServerVersion); err != nil {
		return err
	}
	n.startStatus = "initialized new cluster"
	if err := n.openEngine(); err != nil {
		return err
	}
	// started stays false until the first records are written: who joined before would get the first node's id.
	ctx, cancel := context.WithTimeout(n.ctx, 30*time.Second)
	defer cancel()
	writes := []kv.Write{
		{Key: "seq/node", Value: []byte("1"), Expect: kv.Any},
		{Key: "set/cluster.id", Value: []byte(n.clusterID), Expect: kv.Any},
	}
	ranges := systemRanges(n.id)
	for _, d := range ranges {
		if n.cfg.StartMode != "start" {
			d.Wanted = 1
		}
		if err := n.engine.Create(d.ID, d.Voters); err != nil {
			return err
		}
		n.engine.Campaign(d.ID)
		writes = append(writes, kv.Write{Key: descKey(d.ID), Value: jsonBytes(d), Expect: kv.Any})
	}
	writes = append(writes, kv.Write{Key: "seq/range", Value: jsonBytes(len(ranges)), Expect: kv.Any})
	if _, err := n.Commit(ctx, rangeMeta, writes); err != nil {
		return err
	}
	n.started.Store(true)
	close(n.identified)
	return nil
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
