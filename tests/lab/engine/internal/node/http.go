// SPDX-License-Identifier: GPL-3.0-or-later

package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"kwdbstandin/internal/build"
	"kwdbstandin/internal/kv"
)

// handler is the HTTP face: health from the first moment, everything else once the node is operational, and 404
// elsewhere. The open-source product has no Admin UI; the older one has.
func (n *Node) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", n.health)
	late := func(path string, f http.HandlerFunc) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if !n.operational.Load() {
				notFound(w, r)
				return
			}
			f(w, r)
		})
	}
	late("/_admin/v1/health", n.health)
	late("/_admin/v1/liveness", n.adminLiveness)
	late("/_admin/v1/cluster", n.adminCluster)
	late("/_status/vars", n.vars)
	late("/_status/nodes", n.statusNodes)
	late("/_status/nodes/", n.statusNode)
	late("/_status/details/", n.statusDetails)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if n.cfg.Legacy && r.URL.Path == "/" {
			n.adminUI(w, r)
			return
		}
		notFound(w, r)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("X-Frame-Options", "DENY")
		mux.ServeHTTP(w, r)
	})
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "404 page not found", http.StatusNotFound)
}

// health answers 200 as long as the process runs, and with ready=1 only while it can serve.
func (n *Node) health(w http.ResponseWriter, r *http.Request) {
	if ready := r.URL.Query().Get("ready"); ready == "1" || ready == "true" {
		reason := ""
		switch {
		case !n.operational.Load():
			reason = "node is waiting for cluster initialization"
		case n.draining.Load():
			reason = "node is shutting down"
		case !n.healthy():
			reason = "node is not healthy"
		}
		if reason != "" {
			unavailable(w, reason)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Grpc-Metadata-Content-Type", "application/grpc")
	fmt.Fprint(w, "{\n\n}")
}

func unavailable(w http.ResponseWriter, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Trailer", "Grpc-Trailer-Content-Type")
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintf(w, "{\n  \"error\": %q,\n  \"message\": %q,\n  \"code\": 14,\n  \"details\": [\n  ]\n}", reason, reason)
	w.Header().Set("Grpc-Trailer-Content-Type", "application/grpc")
}

// object keeps the order of its fields, as the product prints them.
type object []field

type field struct {
	name  string
	value any
}

// MarshalJSON writes the fields in order.
func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, f := range o {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(strconv.AppendQuote(b, f.name), ':')
		v, err := json.Marshal(f.value)
		if err != nil {
			return nil, err
		}
		b = append(b, v...)
	}
	return append(b, '}'), nil
}

// emptyList finds empty lists: the product's gateway closes them on a line of their own.
var emptyList = regexp.MustCompile(`(?m)^( *)(.*)\[\](,?)$`)

func writeJSON(w http.ResponseWriter, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var out bytes.Buffer
	_ = json.Indent(&out, raw, "", "  ")
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Grpc-Metadata-Content-Type", "application/grpc")
	_, _ = w.Write(emptyList.ReplaceAll(out.Bytes(), []byte("$1$2[\n$1]$3")))
}

// Liveness states as the product numbers them.
const (
	stateDead            = 1
	stateUnavailable     = 2
	stateLive            = 3
	stateDecommissioning = 4
	stateDecommissioned  = 5
)

func (n *Node) states() map[string]int {
	out := map[string]int{}
	for id, v := range n.views() {
		state := stateUnavailable
		switch {
		case v.Decommissioning && v.Dead:
			state = stateDecommissioned
		case v.Decommissioning:
			state = stateDecommissioning
		case v.Dead:
			state = stateDead
		case v.Live:
			state = stateLive
		}
		out[strconv.Itoa(id)] = state
	}
	return out
}

func (n *Node) adminLiveness(w http.ResponseWriter, _ *http.Request) {
	var list []object
	nodes, _ := n.Nodes(n.ctx)
	for _, v := range nodes {
		list = append(list, object{{"nodeId", v.ID}, {"epoch", strconv.Itoa(v.Epoch)},
			{"expiration", object{{"wallTime", nanos(v.Expiration)}, {"logical", 0}}},
			{"draining", v.Draining}, {"decommissioning", v.Decommissioning}, {"status", 0}, {"upgrading", v.Upgrading}})
	}
	writeJSON(w, object{{"livenesses", list}, {"statuses", n.states()}})
}

func (n *Node) adminCluster(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, object{{"clusterId", n.clusterID}, {"reportingEnabled", false}, {"enterpriseEnabled", false}})
}

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

func address(addr string) object { return object{{"networkField", "tcp"}, {"addressField", addr}} }

func (n *Node) nodeJSON(v kv.Node) object {
	m := Metrics{}
	i, _ := n.gossip.get(v.ID)
	m = i.Metrics
	updated := m.At
	if updated.IsZero() { // no figures yet
		updated = v.UpdatedAt
	}
	key, value, _ := strings.Cut(v.Locality, "=")
	version := build.Version(v.ServerVersion)
	figures := object{{"ranges", m.Ranges}, {"replicas", m.Ranges}, {"replicas.leaders", m.Leaders},
		{"replicas.leaseholders", m.Leases}, {"ranges.unavailable", m.Unavailable},
		{"ranges.underreplicated", m.Underreplicated}, {"capacity", m.Capacity}, {"capacity.available", m.Available},
		{"capacity.used", m.Used}, {"livebytes", m.LiveBytes}, {"keybytes", m.KeyBytes}, {"valbytes", m.ValueBytes},
		{"intentbytes", 0}, {"sysbytes", 0}}
	return object{
		{"desc", object{{"nodeId", v.ID}, {"address", address(v.Address)}, {"attrs", object{{"attrs", []string{}}}},
			{"locality", object{{"tiers", []object{{{"key", key}, {"value", value}}}}}},
			{"ServerVersion", object{{"majorVal", version[0]}, {"minorVal", version[1]}, {"patch", 0}, {"unstable", version[2]}}},
			{"buildTag", v.Build}, {"startedAt", nanos(v.StartedAt)}, {"localityAddress", []string{}}, {"clusterName", ""},
			{"sqlAddress", address(v.SQLAddress)}, {"startMode", v.StartMode}, {"nodeStatus", 0},
			{"rangeIndex", rangeIndex(m)}}},
		{"buildInfo", n.buildJSON(v.Build)},
		{"startedAt", nanos(v.StartedAt)}, {"updatedAt", nanos(updated)},
		{"metrics", object{{"exec.error", 0}}},
		{"storeStatuses", []object{{{"desc", object{{"storeId", v.ID}, {"attrs", object{{"attrs", []string{}}}},
			{"capacity", object{{"capacity", strconv.FormatInt(m.Capacity, 10)}, {"available", strconv.FormatInt(m.Available, 10)},
				{"used", strconv.FormatInt(m.Used, 10)}, {"logicalBytes", strconv.FormatInt(m.Logical, 10)},
				{"rangeCount", m.Ranges}, {"leaseCount", m.Leases}}}}}, {"metrics", figures}}}},
	}
}

// rangeIndex lists a store's replicas with what they had applied when its figures were taken.
func rangeIndex(m Metrics) []object {
	out := []object{}
	for _, r := range m.Applied {
		out = append(out, object{{"rangeId", strconv.FormatUint(uint64(r.ID), 10)},
			{"applyIndex", strconv.FormatUint(r.Index, 10)}})
	}
	return out
}

func (n *Node) buildJSON(tag string) object {
	return object{{"goVersion", runtime.Version()}, {"tag", tag}, {"time", n.cfg.BuiltAt}, {"revision", build.SHA},
		{"cgoCompiler", "none (lab)"}, {"cgoTargetTriple", "x86_64-linux-gnu"}, {"platform", "linux " + runtime.GOARCH},
		{"distribution", ""}, {"type", "Release"}, {"channel", "unknown"}, {"envChannel", "unknown"}, {"dependencies", nil}}
}

func (n *Node) statusNodes(w http.ResponseWriter, _ *http.Request) {
	list := []object{}
	nodes, _ := n.Nodes(n.ctx)
	for _, v := range nodes {
		if v.InGossip {
			list = append(list, n.nodeJSON(v))
		}
	}
	writeJSON(w, object{{"nodes", list}, {"livenessByNodeId", n.states()}})
}

// find resolves the last path element, an id or `local`.
func (n *Node) find(path string) (kv.Node, bool) {
	want, err := strconv.Atoi(path)
	if path == "local" {
		want, err = n.id, nil
	}
	nodes, _ := n.Nodes(n.ctx)
	for _, v := range nodes {
		if err == nil && v.ID == want && v.InGossip {
			return v, true
		}
	}
	return kv.Node{}, false
}

func (n *Node) statusNode(w http.ResponseWriter, r *http.Request) {
	v, ok := n.find(strings.TrimPrefix(r.URL.Path, "/_status/nodes/"))
	if !ok {
		notFound(w, r)
		return
	}
	writeJSON(w, n.nodeJSON(v))
}

func (n *Node) statusDetails(w http.ResponseWriter, r *http.Request) {
	v, ok := n.find(strings.TrimPrefix(r.URL.Path, "/_status/details/"))
	if !ok {
		notFound(w, r)
		return
	}
	writeJSON(w, object{{"nodeId", v.ID}, {"address", address(v.Address)}, {"buildInfo", n.buildJSON(v.Build)},
		{"systemInfo", object{{"systemInfo", uname()}, {"kernelInfo", ""}}}, {"sqlAddress", address(v.SQLAddress)}})
}

// uname describes the host as `uname -a` does.
func uname() string {
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return runtime.GOOS
	}
	var words []string
	for _, f := range [][65]int8{u.Sysname, u.Nodename, u.Release, u.Version, u.Machine} {
		word := []byte{}
		for _, c := range f {
			if c == 0 {
				break
			}
			word = append(word, byte(c))
		}
		words = append(words, string(word))
	}
	return strings.Join(append(words, "GNU/Linux"), " ")
}

func (n *Node) vars(w http.ResponseWriter, _ *http.Request) {
	m := n.measure() // the exporter reads live gauges; only the stored figures lag
	up := time.Since(n.startedAt).Seconds()
	livenodes := 0
	if n.healthy() {
		for _, v := range n.views() {
			if v.Live {
				livenodes++
			}
		}
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	store := fmt.Sprintf("{store=\"%d\"}", n.id)
	w.Header().Set("Content-Type", "text/plain")
	if f, ok := w.(http.Flusher); ok {
		f.Flush() // the length is not known before: chunked, as in the product
	}
	gauge := func(name, labels, help string, value float64) {
		text := strconv.FormatFloat(value, 'f', -1, 64)
		if !strings.Contains(text, ".") {
			text += ".0"
		}
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s gauge\n%s%s %s\n", name, help, name, name, labels, text)
	}
	gauge("ranges", store, "Number of ranges", float64(m.Ranges))
	gauge("replicas", store, "Number of replicas", float64(m.Ranges))
	gauge("replicas_leaders", store, "Number of raft leaders", float64(m.Leaders))
	gauge("replicas_leaseholders", store, "Number of lease holders", float64(m.Leases))
	gauge("ranges_unavailable", store, "Number of ranges with fewer live replicas than needed for quorum", float64(m.Unavailable))
	gauge("ranges_underreplicated", store, "Number of ranges with fewer live replicas than the replication target",
		float64(m.Underreplicated))
	gauge("capacity", store, "Total storage capacity", float64(m.Capacity))
	gauge("capacity_available", store, "Available storage capacity", float64(m.Available))
	gauge("capacity_used", store, "Used storage capacity", float64(m.Used))
	gauge("livebytes", store, "Number of bytes of live data (keys plus values)", float64(m.LiveBytes))
	gauge("node_id", fmt.Sprintf("{advertise_addr=%q,http_addr=%q,sql_addr=%q}", n.cfg.Advertise, n.cfg.AdvertiseHTTP,
		n.cfg.AdvertiseSQL), "node ID with labels for advertised RPC and HTTP addresses", float64(n.id))
	gauge("liveness_livenodes", "", "Number of live nodes in the cluster (will be 0 if this node is not itself live)",
		float64(livenodes))
	gauge("sql_conns", "", "Number of active sql connections", float64(n.conns()))
	gauge("sys_uptime", "", "Process uptime", float64(int(up)))
	gauge("sys_rss", "", "Current process RSS", float64(mem.Sys))
	gauge("sys_goroutines", "", "Current number of goroutines", float64(runtime.NumGoroutine()))
	gauge("build_timestamp", fmt.Sprintf("{tag=%q}", n.cfg.Build), "Build information", 1)
}

var page = template.Must(template.New("ui").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Admin UI</title><meta http-equiv="refresh" content="5">
<style>body{font-family:sans-serif;margin:2rem;color:#222}table{border-collapse:collapse}
th,td{border-bottom:1px solid #ccc;padding:.4rem .8rem;text-align:left}.live{color:#0a7d32}.dead{color:#b00020}</style>
</head><body><h1>Cluster overview</h1>
{{if .ClusterID}}<p>Cluster {{.ClusterID}}, {{.Live}} of {{len .Nodes}} nodes live, {{.Ranges}} ranges,
{{.Under}} under-replicated, {{.Unavailable}} unavailable</p>
<table id="nodes"><thead><tr><th>id</th><th>address</th><th>build</th><th>started</th><th>replicas</th><th>state</th></tr></thead><tbody>
{{range .Nodes}}<tr><td>{{.ID}}</td><td>{{.Address}}</td><td>{{.Build}}</td><td>{{.StartedAt.Format "2006-01-02 15:04:05"}}</td>
<td>{{.Ranges}}</td><td class="{{if .Live}}live{{else}}dead{{end}}">{{if .Decommissioning}}decommissioning{{else if .Live}}live{{else}}not live{{end}}</td></tr>
{{end}}</tbody></table>{{else}}<p>This node waits for the cluster to be initialised.</p>{{end}}
</body></html>
`))

// adminUI is the older product's page, with what this node really knows.
func (n *Node) adminUI(w http.ResponseWriter, _ *http.Request) {
	data := struct {
		ClusterID                        string
		Nodes                            []kv.Node
		Live, Ranges, Under, Unavailable int
	}{}
	if n.operational.Load() {
		data.ClusterID = n.clusterID
		data.Nodes, _ = n.Nodes(n.ctx)
		for _, v := range data.Nodes {
			if v.Live {
				data.Live++
			}
			data.Under += v.RangesUnderreplicated
			data.Unavailable += v.RangesUnavailable
		}
		data.Ranges = len(n.descriptors())
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, data)
}
