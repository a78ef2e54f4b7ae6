// SPDX-License-Identifier: GPL-3.0-or-later

// Package node is one server: its store, its place in the cluster, the ranges it holds, its HTTP face and its end.
package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/rpc"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	pb "go.etcd.io/raft/v3/raftpb"

	"kwdbstandin/internal/kv"
	"kwdbstandin/internal/replica"
)

// SQLServer is the SQL layer of a node that serves.
type SQLServer interface {
	Bootstrap(ctx context.Context) error
	NodeStarted(ctx context.Context) error
	ServeConn(ctx context.Context, conn net.Conn)
	Drain(ctx context.Context, wait time.Duration)
	Conns() int
}

// Timing holds every interval; tests shorten them.
type Timing struct {
	Expiration time.Duration // a liveness record holds this long; it is renewed at half of it
	Gossip     time.Duration // pace of exchanges
	GossipLive time.Duration // a node unheard of for longer is not live
	Metrics    time.Duration // pace of store figures
	Refresh    time.Duration // pace of looking at meta and liveness
	Scan       time.Duration // pace of the replicate queue
	Repair     time.Duration // least time between two up-replications of one leader
	Move       time.Duration // least time between two moves of one leader
}

// DefaultTiming follows the product (engine-facts 3.4, transcripts 6, 7, 11): records hold 15 s, store figures are
// taken every 10 s.
func DefaultTiming() Timing {
	return Timing{Expiration: 15 * time.Second, Gossip: time.Second, GossipLive: 8 * time.Second, Metrics: 10 * time.Second,
		Refresh: 3 * time.Second, Scan: 300 * time.Millisecond, Repair: 200 * time.Millisecond, Move: 2500 * time.Millisecond}
}

// Config is what the command line says.
type Config struct {
	StartMode               string // start, start-single-replica, start-single-node
	Store                   string
	Listen, Advertise       string // host:port
	SQLListen, AdvertiseSQL string // empty: shares Listen
	HTTPListen              string
	AdvertiseHTTP           string
	Join                    []string
	Locality                string
	Build, BuiltAt          string
	ServerVersion           string
	Legacy                  bool // the older product: Admin UI, no start modes
	LabDir                  string
	Timing                  Timing
	Log                     func(line string)
	NewSQL                  func(store kv.Store) SQLServer
	OnWaiting, OnNoContact  func()
	OnServing               func(status string)
}

// Node is a running server.
type Node struct {
	cfg    Config
	db     *bolt.DB
	lns    []net.Listener
	httpd  *http.Server
	ctx    context.Context
	cancel context.CancelFunc
	exit   chan error

	startMu     sync.Mutex
	joinedNow   bool // got its identity from others in this run
	identified  chan struct{}
	id          int
	clusterID   string
	active      active
	startStatus string
	startedAt   time.Time
	epoch       int

	started     atomic.Bool // has an identity and an engine
	operational atomic.Bool // has been alive once in this run
	draining    atomic.Bool
	drained     atomic.Bool
	expiration  atomic.Int64

	engine    *replica.Engine
	engineSet chan struct{}
	peers     *raftPeers
	rpc       *clients
	gossip    *gossip
	meta      *mirror
	live      *mirror
	publish   chan struct{}
	poked     chan struct{}
	beatMu    sync.Mutex
	drainMu   sync.Mutex

	lastHandover, lastRepair, nextMove time.Time
	lastWork                           map[kv.RangeID]time.Time

	sqlMu    sync.Mutex
	sql      SQLServer
	sqlQueue []net.Conn

	heardMu sync.Mutex
	heard   []string
}

// StoreLocked says that another process has the store open.
type StoreLocked struct{ Dir string }

func (e StoreLocked) Error() string {
	return fmt.Sprintf("could not cleanup temporary directories from record file: could not lock temporary directory %s, "+
		"may still be in use: IO error: lock: Resource temporarily unavailable", e.Dir)
}

var (
	bucketIdent = []byte("ident")
	keyCluster  = []byte("cluster")
	keyNode     = []byte("node")
)

// Start opens the store and the ports and goes on in the background. Done tells how it ended.
func Start(cfg Config) (*Node, error) {
	if err := os.MkdirAll(filepath.Join(cfg.Store, "logs"), 0o750); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, exit: make(chan error, 4), identified: make(chan struct{}), engineSet: make(chan struct{}),
		rpc: &clients{}, publish: make(chan struct{}, 1), poked: make(chan struct{}, 1), startedAt: time.Now().UTC(),
		meta: &mirror{id: rangeMeta}, live: &mirror{id: rangeLiveness}, lastWork: map[kv.RangeID]time.Time{}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.open(); err != nil {
		n.Close()
		return nil, err
	}
	go n.run()
	return n, nil
}

func (n *Node) open() error {
	db, err := bolt.Open(filepath.Join(n.cfg.Store, "ranges.db"), 0o640,
		&bolt.Options{Timeout: 50 * time.Millisecond, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, bolt.ErrTimeout) {
		return StoreLocked{n.cfg.Store}
	}
	if err != nil {
		return err
	}
	n.db = db
	if err := n.loadIdent(); err != nil {
		return err
	}
	if err := n.checkStoreVersion(); err != nil {
		return err
	}
	if err := n.checkStartMode(); err != nil {
		return err
	}
	main, err := net.Listen("tcp", n.cfg.Listen)
	if err != nil {
		return fmt.Errorf("consider changing the port via --listen-addr: %w", err)
	}
	n.lns = append(n.lns, main)
	rpcs := rpc.NewServer()
	if err := rpcs.RegisterName("Node", &Service{n}); err != nil {
		return err
	}
	web, err := net.Listen("tcp", n.cfg.HTTPListen)
	if err != nil {
		return fmt.Errorf("consider changing the port via --http-addr: %w", err)
	}
	n.httpd = &http.Server{Handler: n.handler()}
	go func() { _ = n.httpd.Serve(web) }()
	if n.cfg.SQLListen != "" {
		ln, err := net.Listen("tcp", n.cfg.SQLListen)
		if err != nil {
			return fmt.Errorf("consider changing the port via --sql-addr: %w", err)
		}
		n.lns = append(n.lns, ln)
	}
	for _, ln := range n.lns {
		go serve(n.ctx, ln, n.raftStream, rpcs, n.acceptSQL)
	}
	for name, value := range map[string]string{"advertise-addr": n.cfg.Advertise, "http-addr": n.cfg.AdvertiseHTTP,
		"listen-addr": n.cfg.Listen, "sql-addr": n.cfg.Listen, "advertise-sql-addr": n.cfg.AdvertiseSQL} {
		if err := os.WriteFile(filepath.Join(n.cfg.Store, "kwbase."+name), []byte(value), 0o640); err != nil {
			return err
		}
	}
	return nil
}

// Done delivers how the node ended: nil when it was told to.
func (n *Node) Done() <-chan error { return n.exit }

func (n *Node) quit(err error) {
	select {
	case n.exit <- err:
	default:
	}
}

// Started is whether the node has an identity, so that draining it means something.
func (n *Node) Started() bool { return n.operational.Load() }

// Close stops everything at once. What was acknowledged is on disk already.
func (n *Node) Close() {
	n.cancel()
	for _, ln := range n.lns {
		ln.Close()
	}
	if n.httpd != nil {
		n.httpd.Close()
	}
	select {
	case <-n.engineSet:
		n.engine.Close()
	default:
	}
	if n.db != nil {
		n.db.Close()
	}
}

func (n *Node) run() {
	if err := n.identify(); err != nil {
		n.quit(err)
		return
	}
	if err := n.takePart(); err != nil && n.ctx.Err() == nil {
		n.quit(err)
	}
}

func (n *Node) raftStream(conn net.Conn, r *bufio.Reader) {
	select {
	case <-n.engineSet:
	default:
		conn.Close()
		return
	}
	stop := context.AfterFunc(n.ctx, func() { conn.Close() })
	defer stop()
	whose := make([]byte, len(n.clusterID))
	if _, err := io.ReadFull(r, whose); err != nil || string(whose) != n.clusterID {
		conn.Close()
		return
	}
	readFrames(conn, r, func(id kv.RangeID, m *pb.Message) { n.engine.Step(id, m) })
}

// takePart runs the node's loops and serves SQL once the node is alive.
func (n *Node) takePart() error {
	for _, addr := range n.cfg.Join {
		if addr != n.cfg.Advertise {
			go n.exchange(n.ctx, addr)
		}
	}
	for _, m := range []*mirror{n.meta, n.live} { // what this disk knows, until the cluster says better
		if d, ok := n.engine.Local(m.id); ok {
			m.take(d)
		}
	}
	n.refreshInfo()
	go n.gossipLoop(n.ctx)
	go n.campaignOrphans()
	if err := n.firstBeat(n.ctx); err != nil {
		return err
	}
	go n.heartbeatLoop(n.ctx)
	n.refreshMirrors(n.ctx)
	go n.refreshLoop(n.ctx)
	go n.replicateLoop(n.ctx)
	go n.metricsLoop(n.ctx)
	n.operational.Store(true)
	n.poke()
	return n.serveSQL()
}

// campaignOrphans lets a cluster that was stopped as a whole find its leaders without waiting for timeouts: a range's
// voters ask one after the other. A vote is refused where a leader lives, so it disturbs nobody.
func (n *Node) campaignOrphans() {
	for turn := range 5 {
		select {
		case <-n.ctx.Done():
			return
		case <-time.After(300 * time.Millisecond):
		}
		for _, s := range n.engine.Statuses() {
			if s.Leader == 0 && slices.Index(s.Voters, n.id) == turn {
				n.engine.Campaign(s.ID)
			}
		}
	}
}

func (n *Node) serveSQL() error {
	if n.cfg.NewSQL == nil {
		if n.cfg.OnServing != nil {
			n.cfg.OnServing(n.startStatus)
		}
		return nil
	}
	server := n.cfg.NewSQL(n)
	if err := server.Bootstrap(n.ctx); err != nil {
		return fmt.Errorf("bootstrapping SQL: %w", err)
	}
	if err := server.NodeStarted(n.ctx); err != nil {
		return fmt.Errorf("recording the start: %w", err)
	}
	n.sqlMu.Lock()
	n.sql = server
	queue := n.sqlQueue
	n.sqlQueue = nil
	n.sqlMu.Unlock()
	for _, conn := range queue {
		go server.ServeConn(n.ctx, conn)
	}
	if n.cfg.OnServing != nil {
		n.cfg.OnServing(n.startStatus)
	}
	return nil
}

// acceptSQL serves a connection, or lets it wait without an answer as long as the node does not serve yet.
func (n *Node) acceptSQL(conn net.Conn) {
	n.sqlMu.Lock()
	server := n.sql
	if server == nil {
		if len(n.sqlQueue) < 1000 {
			n.sqlQueue = append(n.sqlQueue, conn)
		} else {
			conn.Close()
		}
	}
	n.sqlMu.Unlock()
	if server != nil {
		server.ServeConn(n.ctx, conn)
	}
}

// ClusterInfo is for the banner.
func (n *Node) ClusterInfo() (clusterID string, id int) { return n.clusterID, n.id }

// fault is whether the lab asked this node to misbehave: a file of that name in the lab directory.
func (n *Node) fault(name string) bool {
	if n.cfg.LabDir == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(n.cfg.LabDir, name))
	return err == nil
}

// logf writes one line in the product's format.
func (n *Node) logf(severity byte, source, format string, args ...any) {
	if n.cfg.Log == nil {
		return
	}
	n.cfg.Log(LogLine(severity, source, fmt.Sprintf(format, args...)))
}

// LogLine is a log line without its end: severity, time, goroutine, source, text.
func LogLine(severity byte, source, text string) string {
	now := time.Now().UTC()
	if !strings.Contains(source, ":") {
		source += ":1"
	}
	return fmt.Sprintf("%c%s 1 %s  %s", severity, now.Format("060102 15:04:05.000000"), source, text)
}

func diskSpace(dir string) (capacity, available int64) {
	var s syscall.Statfs_t
	if syscall.Statfs(dir, &s) != nil {
		return 0, 0
	}
	return int64(s.Blocks) * s.Bsize, int64(s.Bavail) * s.Bsize
}

func (n *Node) usedBytes() int64 {
	if fi, err := os.Stat(filepath.Join(n.cfg.Store, "ranges.db")); err == nil {
		return fi.Size()
	}
	return 0
}

// Context ends when the node closes.
func (n *Node) Context() context.Context { return n.ctx }
