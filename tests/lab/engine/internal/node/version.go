// SPDX-License-Identifier: GPL-3.0-or-later

package node

import (
	"fmt"
	"sync"

	bolt "go.etcd.io/bbolt"

	"kwdbstandin/internal/build"
)

// active is the cluster version in force as this node knows it: by its own settings, or from others by gossip. The store
// keeps it: no older binary opens that store any more.
type active struct {
	mu      sync.Mutex
	version string
}

func (a *active) get() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.version
}

var keyVersion = []byte("version")

// checkStoreVersion refuses a store that a newer cluster version was in force on. A store that a newer binary has only
// opened is still good: that is the way back from an upgrade.
func (n *Node) checkStoreVersion() error {
	if v := n.Active(); build.VersionLess(n.cfg.ServerVersion, v) {
		return fmt.Errorf("inspecting engines: %s version v%s is incompatible with data in store <no-attributes>=%s; use version v%s or later",
			build.Product, n.cfg.ServerVersion, n.cfg.Store, v)
	}
	return nil
}

// tooOld is what the base of the product tells a peer that is too old for the cluster.
func tooOld(peer, active string) error {
	return fmt.Errorf("version compatibility check failed on ping request: cluster requires at least version %s, but peer has version %s", active, peer)
}

// Active is the cluster version in force as this node's store has it.
func (n *Node) Active() string { return n.active.get() }

// Activate implements kv.Store. The version only ever rises.
func (n *Node) Activate(version string) error {
	n.active.mu.Lock()
	defer n.active.mu.Unlock()
	if !build.VersionLess(n.active.version, version) {
		return nil
	}
	err := n.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketIdent).Put(keyVersion, []byte(version)) })
	if err == nil {
		n.active.version = version
	}
	return err
}

// learn takes the version in force from another node; a binary that is too old for it ends.
func (n *Node) learn(version string) {
	if build.VersionLess(n.cfg.ServerVersion, version) {
		n.quit(tooOld(n.cfg.ServerVersion, version))
		return
	}
	if err := n.Activate(version); err != nil {
		n.quit(fmt.Errorf("store %s: %w", n.cfg.Store, err))
	}
}
