// SPDX-License-Identifier: GPL-3.0-or-later

package node

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"kwdbstandin/internal/build"
	"kwdbstandin/internal/kv"
	"kwdbstandin/internal/replica"
)

// Service is what a node answers to other nodes and to the command line. Before init it answers little.
type Service struct{ n *Node }

// ReadArgs asks a range's leader for what changed.
type ReadArgs struct {
	ClusterID string
	ID        kv.RangeID
	Since     uint64
}

// CommitArgs proposes writes at a range's leader.
type CommitArgs struct {
	ClusterID string
	ID        kv.RangeID
	Proposal  uint64
	Writes    []byte
}

// CreateArgs makes a first replica.
type CreateArgs struct {
	ClusterID string
	Node      int // for whom: a new node may answer at the address of one that is gone
	ID        kv.RangeID
	Voters    []int
}

// DestroyArgs removes a replica that was placed before a membership change.
type DestroyArgs struct {
	ClusterID string
	Node      int
	ID        kv.RangeID
	OlderThan uint64
}

// RangeReply carries the errors the caller must tell apart as a code: net/rpc keeps only texts.
type RangeReply struct {
	Code    int
	Leader  int
	Version uint64
	Data    []byte
	Text    string
}

const (
	codeOK = iota
	codeNotLeader
	codeNotHere
	codeRetry
	codeConflict
	codeOther
)

func (r *RangeReply) fill(err error) {
	var other replica.NotLeader
	switch {
	case err == nil:
		r.Code = codeOK
	case errors.As(err, &other):
		r.Code, r.Leader = codeNotLeader, other.Leader
	case errors.Is(err, replica.ErrNotHere):
		r.Code = codeNotHere
	case errors.Is(err, kv.ErrConflict):
		r.Code = codeConflict
	case errors.Is(err, replica.ErrRetry), errors.Is(err, replica.ErrClosed):
		r.Code = codeRetry
	default:
		r.Code, r.Text = codeOther, err.Error()
	}
}

func (r *RangeReply) err() error {
	switch r.Code {
	case codeOK:
		return nil
	case codeNotLeader:
		return replica.NotLeader{Leader: r.Leader}
	case codeNotHere:
		return replica.ErrNotHere
	case codeConflict:
		return kv.ErrConflict
	case codeRetry:
		return replica.ErrRetry
	}
	return errors.New(r.Text)
}

// ErrWaiting is the answer of a node that waits for init to anything but init, health and gossip.
func errWaiting(method string) error {
	return fmt.Errorf("node waiting for init; %s not available", method)
}

func (s *Service) mine(clusterID string) error {
	if !s.n.started.Load() {
		return errWaiting("/kwbase.roachpb.Internal/Batch")
	}
	if clusterID != s.n.clusterID {
		return fmt.Errorf("client cluster ID %q doesn't match server cluster ID %q", clusterID, s.n.clusterID)
	}
	return nil
}

// meant refuses what is for another node, as the product's connections do.
func (s *Service) meant(clusterID string, node int) error {
	if err := s.mine(clusterID); err != nil {
		return err
	}
	if node != s.n.id {
		return fmt.Errorf("client requested node ID %d doesn't match server node ID %d", node, s.n.id)
	}
	return nil
}

// Gossip exchanges what both sides know.
func (s *Service) Gossip(a *GossipArgs, r *GossipReply) error {
	if !s.n.started.Load() {
		s.n.hear(a.From)
		return nil
	}
	r.ClusterID, r.Active = s.n.clusterID, s.n.Active()
	if a.ClusterID != "" && a.ClusterID != s.n.clusterID {
		return nil
	}
	s.n.gossip.merge(a.Infos)
	for _, i := range s.n.gossip.all() {
		r.Infos = append(r.Infos, i)
	}
	return nil
}

// Read serves a linearizable read if this node leads the range.
func (s *Service) Read(a *ReadArgs, r *RangeReply) error {
	if err := s.mine(a.ClusterID); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.n.ctx, attemptTimeout)
	defer cancel()
	d, err := s.n.engine.Read(ctx, a.ID, a.Since)
	if err == nil {
		r.Data = replica.EncodeDelta(d)
	}
	r.fill(err)
	return nil
}

// Commit proposes writes if this node leads the range.
func (s *Service) Commit(a *CommitArgs, r *RangeReply) error {
	if err := s.mine(a.ClusterID); err != nil {
		return err
	}
	writes, err := replica.DecodeWrites(a.Writes)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.n.ctx, attemptTimeout)
	defer cancel()
	version, err := s.n.engine.Propose(ctx, a.ID, a.Proposal, writes)
	r.Version = version
	r.fill(err)
	return nil
}

// CreateReplica makes a first replica of a new range.
func (s *Service) CreateReplica(a *CreateArgs, _ *struct{}) error {
	if err := s.meant(a.ClusterID, a.Node); err != nil {
		return err
	}
	return s.n.engine.Create(a.ID, a.Voters)
}

// DestroyReplica removes a replica.
func (s *Service) DestroyReplica(a *DestroyArgs, _ *struct{}) error {
	if err := s.meant(a.ClusterID, a.Node); err != nil {
		return err
	}
	return s.n.engine.Destroy(a.ID, a.OlderThan)
}

// Poke makes the node look at meta and liveness now.
func (s *Service) Poke(clusterID string, _ *struct{}) error {
	if err := s.mine(clusterID); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.n.ctx, time.Second)
	defer cancel()
	s.n.refreshMirrors(ctx)
	return nil
}

// JoinArgs introduces a new node. Nonce is the same while it asks, and another's or a later start's is another.
type JoinArgs struct{ Address, StartMode, ServerVersion, Nonce string }

// JoinReply gives it its identity; an empty ClusterID means that this node waits for init as well.
type JoinReply struct {
	ClusterID string
	NodeID    int
	StartMode string
	Active    string // the cluster version in force
	Infos     []Info
}

// Join allocates a node id. Ids are never used again.
func (s *Service) Join(a *JoinArgs, r *JoinReply) error {
	n := s.n
	if !n.started.Load() {
		n.hear(a.Address)
		return nil
	}
	r.ClusterID, r.StartMode, r.Active = n.clusterID, n.cfg.StartMode, n.Active()
	if a.StartMode != n.cfg.StartMode || build.VersionLess(a.ServerVersion, r.Active) {
		return nil
	}
	ctx, cancel := context.WithTimeout(n.ctx, 8*time.Second)
	defer cancel()
	id, err := n.identityOf(ctx, a.Address+" "+a.Nonce)
	if err != nil {
		return err
	}
	first := kv.Write{Key: heartbeatKey(id), Value: jsonBytes(heartbeat{UpdatedAt: time.Now().UTC()})}
	if _, err := n.Commit(ctx, rangeLiveness, []kv.Write{first}); err != nil && !errors.Is(err, kv.ErrConflict) {
		return err
	}
	r.NodeID = id
	for _, i := range n.gossip.all() {
		r.Infos = append(r.Infos, i)
	}
	return nil
}

// identityOf is the id of whoever asks under this name: a new one the first time. One that did not hear the answer asks
// again, perhaps another node, and must not become two: so the cluster remembers it, not the node that was asked.
func (n *Node) identityOf(ctx context.Context, asked string) (id int, err error) {
	err = n.update(ctx, n.meta, "join/"+asked, func(old []byte) ([]byte, bool, error) {
		var err error
		if old != nil {
			id, err = strconv.Atoi(string(old))
			return nil, false, err
		}
		id, err = n.next(ctx, "node")
		return []byte(strconv.Itoa(id)), true, err
	})
	return id, err
}

// The two answers of a node that needs no init; which one depends on how it got its identity.
const (
	textInitialized = "cluster has already been initialized"
	textConnected   = "already connected to cluster"
)

// Init bootstraps the cluster on this node.
func (s *Service) Init(_ struct{}, _ *struct{}) error { return s.n.bootstrap() }

// NodesReply is the gossip view for `node ls` and `node status`.
type NodesReply struct {
	Nodes []kv.Node
	Stats map[int]Metrics
}

// Nodes answers from gossip, without a quorum.
func (s *Service) Nodes(_ struct{}, r *NodesReply) (err error) {
	if !s.n.operational.Load() {
		return errWaiting("/kwbase.server.serverpb.Status/Nodes")
	}
	r.Nodes, err = s.n.Nodes(s.n.ctx)
	r.Stats = map[int]Metrics{}
	for id, i := range s.n.gossip.all() {
		r.Stats[id] = i.Metrics
	}
	return err
}

// DecommissionArgs marks nodes, or takes the mark away.
type DecommissionArgs struct {
	IDs             []int
	Decommissioning bool
}

// DecommissionStatus is one node's row.
type DecommissionStatus struct {
	ID                              int
	Known                           bool
	Live, Decommissioning, Draining bool
	Available                       bool
	Replicas                        int
}

// Decommission marks nodes and counts their replicas in the recorded placement.
func (s *Service) Decommission(a *DecommissionArgs, r *[]DecommissionStatus) error {
	n := s.n
	if !n.operational.Load() {
		return errWaiting("/kwbase.server.serverpb.Admin/Decommission")
	}
	if n.cfg.StartMode == "start-single-replica" && a.Decommissioning {
		return errors.New("node cannot be decommissioned in mpp mode")
	}
	ctx := n.ctx
	for _, id := range a.IDs {
		if err := n.setDecommissioning(ctx, id, a.Decommissioning); err != nil {
			return err
		}
	}
	counts := map[int]int{}
	ranges, err := n.Ranges(ctx)
	if err != nil {
		return err
	}
	for _, d := range ranges {
		for _, v := range d.Replicas {
			counts[v]++
		}
	}
	nodes, err := n.Nodes(ctx)
	if err != nil {
		return err
	}
	byID := map[int]kv.Node{}
	for _, v := range nodes {
		byID[v.ID] = v
	}
	for _, id := range a.IDs {
		v, known := byID[id]
		*r = append(*r, DecommissionStatus{ID: id, Known: known, Live: v.Available, Available: v.Available,
			Decommissioning: v.Decommissioning, Draining: v.Draining, Replicas: counts[id]})
	}
	return nil
}

// Drain takes one step of draining this node and says how much was left before it.
func (s *Service) Drain(_ struct{}, remaining *int) error {
	if !s.n.operational.Load() {
		return errors.New("node cannot be drained before it has been initialized")
	}
	left, err := s.n.drainStep(s.n.ctx)
	*remaining = left
	return err
}

// Shutdown ends the process after the answer is out.
func (s *Service) Shutdown(_ struct{}, _ *struct{}) error {
	if !s.n.operational.Load() {
		return errors.New("node cannot be shut down before it has been initialized")
	}
	time.AfterFunc(100*time.Millisecond, func() { s.n.quit(nil) })
	return nil
}
