// SPDX-License-Identifier: GPL-3.0-or-later

package node

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/rpc"
	"sync"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"kwdbstandin/internal/kv"
)

// SQL and everything between nodes share one port, as in the product. The first eight bytes tell them apart: a
// PostgreSQL client starts with a length and a request code, never with these words.
const (
	magicRaft = "KWRAFT01"
	magicRPC  = "KWNODE01"
)

const dialTimeout = 3 * time.Second

// serve accepts connections until the listener closes; SQL connections go to sql, which may let them wait. They end
// with ctx: a node that is closed inside a living process must not answer its peers any more.
func serve(ctx context.Context, ln net.Listener, raftStream func(net.Conn, *bufio.Reader), rpcs *rpc.Server, sql func(net.Conn)) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(50 * time.Millisecond) // out of descriptors: others may close
			continue
		}
		go func() {
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			r := bufio.NewReader(conn)
			head, err := r.Peek(8)
			if err != nil {
				conn.Close()
				return
			}
			switch string(head) {
			case magicRaft:
				_, _ = r.Discard(8)
				raftStream(conn, r)
			case magicRPC:
				_, _ = r.Discard(8)
				rpcs.ServeConn(&peekedConn{conn, r})
			default:
				sql(&peekedConn{conn, r})
			}
		}()
	}
}

// peekedConn gives back what was read ahead.
type peekedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *peekedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// DialRPC connects to the node-to-node service at an address.
func DialRPC(addr string, timeout time.Duration) (*rpc.Client, error) {
	conn, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, magicRPC); err != nil {
		conn.Close()
		return nil, err
	}
	return rpc.NewClient(conn), nil
}

// errUnreachable says that a call did not get through; it may or may not have had an effect.
var errUnreachable = errors.New("node unreachable")

// clients keeps one connection an address.
type clients struct {
	mu    sync.Mutex
	conns map[string]*rpc.Client
}

// call runs one method within ctx. An error of the method itself comes back as rpc.ServerError.
func (c *clients) call(ctx context.Context, addr, method string, args, reply any) error {
	client, err := c.get(ctx, addr)
	if err != nil {
		return errors.Join(errUnreachable, err)
	}
	call := client.Go("Node."+method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		var refused rpc.ServerError
		if call.Error != nil && !errors.As(call.Error, &refused) {
			c.drop(addr, client)
			return errors.Join(errUnreachable, call.Error)
		}
		return call.Error
	case <-ctx.Done():
		// A connection to a host that vanished never fails by itself.
		if context.Cause(ctx) == context.DeadlineExceeded {
			c.drop(addr, client)
		}
		return errors.Join(errUnreachable, ctx.Err())
	}
}

func (c *clients) get(ctx context.Context, addr string) (*rpc.Client, error) {
	c.mu.Lock()
	client := c.conns[addr]
	c.mu.Unlock()
	if client != nil {
		return client, nil
	}
	timeout := dialTimeout
	if d, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(d))
	}
	client, err := DialRPC(addr, timeout)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.conns[addr]; other != nil {
		client.Close()
		return other, nil
	}
	if c.conns == nil {
		c.conns = map[string]*rpc.Client{}
	}
	c.conns[addr] = client
	return client, nil
}

func (c *clients) drop(addr string, client *rpc.Client) {
	c.mu.Lock()
	if c.conns[addr] == client {
		delete(c.conns, addr)
	}
	c.mu.Unlock()
	client.Close()
}

type raftMessage struct {
	id kv.RangeID
	m  *pb.Message
}

// raftPeers sends raft messages: one stream and one bounded queue a node. Raft repeats what gets lost.
type raftPeers struct {
	mu      sync.Mutex
	queues  map[int]chan raftMessage
	address func(node int) string
	cluster string // its id begins every stream: an address may belong to a node of another cluster by now
	ctx     context.Context
}

func (p *raftPeers) send(node int, id kv.RangeID, m *pb.Message) bool {
	p.mu.Lock()
	q := p.queues[node]
	if q == nil {
		q = make(chan raftMessage, 2048)
		p.queues[node] = q
		go p.run(node, q)
	}
	p.mu.Unlock()
	select {
	case q <- raftMessage{id, m}:
		return true
	default:
		return false
	}
}

func (p *raftPeers) run(node int, q chan raftMessage) {
	var conn net.Conn
	var buf []byte
	var retryAt time.Time
	for {
		var msg raftMessage
		select {
		case <-p.ctx.Done():
			if conn != nil {
				conn.Close()
			}
			return
		case msg = <-q:
		}
		if conn == nil && time.Now().After(retryAt) {
			conn = p.dial(node)
			retryAt = time.Now().Add(500 * time.Millisecond)
		}
		buf = appendFrame(buf[:0], msg)
		for more := true; more && len(buf) < 1<<20; {
			select {
			case msg = <-q:
				buf = appendFrame(buf, msg)
			default:
				more = false
			}
		}
		if conn == nil {
			continue
		}
		_ = conn.SetWriteDeadline(time.Now().Add(3 * time.Second))
		if _, err := conn.Write(buf); err != nil {
			conn.Close()
			conn = nil
		}
		if cap(buf) > 4<<20 {
			buf = nil
		}
	}
}

func (p *raftPeers) dial(node int) net.Conn {
	addr := p.address(node)
	if addr == "" {
		return nil
	}
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return nil
	}
	if _, err := io.WriteString(conn, magicRaft+p.cluster); err != nil {
		conn.Close()
		return nil
	}
	go func() { // the other side never writes: a read ends when it is gone, and the next write must know
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}()
	return conn
}

func appendFrame(b []byte, msg raftMessage) []byte {
	data, err := proto.Marshal(msg.m)
	if err != nil {
		return b
	}
	b = binary.BigEndian.AppendUint64(b, uint64(msg.id))
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

// readFrames feeds an incoming stream to step until it ends.
func readFrames(conn net.Conn, r *bufio.Reader, step func(kv.RangeID, *pb.Message)) {
	defer conn.Close()
	var head [12]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(head[8:])
		if n > 1<<30 {
			return
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(r, data); err != nil {
			return
		}
		var m pb.Message
		if err := proto.Unmarshal(data, &m); err != nil {
			return
		}
		step(kv.RangeID(binary.BigEndian.Uint64(head[:8])), &m)
	}
}
