// SPDX-License-Identifier: GPL-3.0-or-later

package cmd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kwdbstandin/internal/build"
	"kwdbstandin/internal/kv"
	"kwdbstandin/internal/node"
)

func init() {
	for _, mode := range []string{"start", "start-single-replica", "start-single-node"} {
		commands = append(commands, func() *cobra.Command { return newStart(mode) })
	}
}

// newSQLServer makes the SQL layer of a serving node.
var newSQLServer func(store kv.Store, cfg node.Config) node.SQLServer

// startOptions are the flags of the start commands.
type startOptions struct {
	mode                                  string
	insecure, background, upgradeComplete bool
	certsDir                              string
	listen, advertise, sql, advertiseSQL  string
	http, advertiseHTTP, brpc             string
	listenHost, listenPort, httpHost      string
	httpPort, advertiseHost               string
	stores, join                          []string
	locality, pidFile, urlFile            string
}

func newStart(mode string) *cobra.Command {
	o := &startOptions{mode: mode}
	cmd := &cobra.Command{Use: mode, Args: cobra.NoArgs,
		Short:   "start a node",
		Example: fmt.Sprintf("  %s %s --insecure --store=attrs=ssd,path=/mnt/ssd1 --join=host:port,[host:port]", build.Product, mode),
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run() }}
	f := cmd.Flags()
	f.BoolVar(&o.insecure, "insecure", false, "Start an insecure node, using unencrypted (non-TLS) connections, listening on\n"+
		"all IP addresses (unless --listen-addr is provided).")
	f.StringVar(&o.certsDir, "certs-dir", "", "Path to the directory containing SSL certificates and keys.")
	f.StringVar(&o.listen, "listen-addr", ":26257", "The address/hostname and port to listen on for intra-cluster communication.")
	f.StringVar(&o.advertise, "advertise-addr", "", "The address/hostname and port to advertise to other nodes.")
	f.StringVar(&o.sql, "sql-addr", "", "The hostname or IP address to bind to for SQL clients, if not shared with --listen-addr.")
	f.StringVar(&o.advertiseSQL, "advertise-sql-addr", "", "The SQL address/hostname and port to advertise to clients.")
	f.StringVar(&o.http, "http-addr", ":8080", "The hostname or IP address to bind to for HTTP requests.")
	f.StringVar(&o.listenHost, "host", "", "alias of the host of --listen-addr")
	f.StringVar(&o.listenPort, "port", "", "alias of the port of --listen-addr")
	f.StringVar(&o.advertiseHost, "advertise-host", "", "alias of --advertise-addr")
	f.StringVar(&o.httpHost, "http-host", "", "alias of the host of --http-addr")
	f.StringVar(&o.httpPort, "http-port", "", "alias of the port of --http-addr")
	for _, name := range []string{"host", "port", "advertise-host", "http-host", "http-port"} {
		_ = f.MarkHidden(name)
	}
	if !build.Legacy() {
		f.StringVar(&o.brpc, "brpc-addr", "", "rpc addr for AE")
	}
	f.StringArrayVarP(&o.stores, "store", "s", []string{"kwbase-data"}, "The file path to a storage device.")
	f.StringSliceVarP(&o.join, "join", "j", nil, "The addresses for connecting the node to a cluster.")
	f.StringVar(&o.locality, "locality", "", "An ordered, comma-separated list of key-value pairs that describe the topography of the machine.")
	f.BoolVar(&o.background, "background", false, "Start the server in the background.")
	f.StringVar(&o.pidFile, "pid-file", "", "If non-empty, indicate the file to which the process ID is written.")
	f.StringVar(&o.urlFile, "listening-url-file", "", "After the node has started, write its URL to this file.")
	f.BoolVar(&o.upgradeComplete, "upgrade-complete", false, "The node comes back from an upgrade.")
	// Accepted for the sake of the command lines that are used; nothing here has a cache, a time-series engine or TLS.
	for name, usage := range map[string]string{
		"attrs": "An ordered, colon-separated list of node attributes.", "cache": "Total size in bytes for caches.",
		"max-sql-memory": "Maximum memory capacity available to SQL.", "max-disk-temp-storage": "Maximum on-disk temporary storage.",
		"ts-store": "Path of the time-series store.", "buffer-pool-size": "AE executor buffer pool size.",
		"thread-pool-size": "AE executor thread pool size.", "task-queue-size": "AE executor task queue size.",
		"restful-port": "REST port.", "restful-timeout": "REST timeout.", "cgroup-user": "Control groups user.",
		"log-dir": "Log directory.", "log-dir-max-size": "Maximum size of all log files.", "log-file-max-size": "Maximum size of a log file.",
		"log-file-verbosity": "Minimum verbosity of messages written to the log file.", "max-offset": "Maximum allowed clock offset.",
		"cluster-name": "Name to verify the identity of a remote cluster.", "clock-device": "PTP clock device.",
		"external-io-dir": "Directory of nodelocal files.", "temp-dir": "Directory of temporary files.",
		"cert-principal-map": "Map of certificate principals.", "socket": "Unix socket."} {
		f.String(name, "", usage)
	}
	for _, name := range []string{"disable-cluster-name-verification", "experimental-dns-srv", "use-raft-store"} {
		f.Bool(name, false, "Accepted without effect.")
	}
	return cmd
}

func (o *startOptions) warning() {
	host, _, _ := net.SplitHostPort(o.listen)
	if host == "" || host == "0.0.0.0" {
		host = "any of your IP addresses"
	}
	box(os.Stderr, "WARNING: RUNNING IN INSECURE MODE!\n\n"+
		"- Your cluster is open for any client that can access "+host+".\n"+
		"- Any user, even root, can log in without providing a password.\n"+
		"- Any user, connecting as root, can read or write any data in your cluster.\n"+
		"- There is no network encryption nor authentication, and thus no confidentiality.\n\n"+
		"Check out how to secure your cluster on KWDB website")
}

// shout prints a start error in its box; the ERROR line follows from the caller.
func shout(err error) error {
	if logToStderr.value != "" {
		logError(err)
	}
	box(os.Stderr, "ERROR: ERROR: "+err.Error())
	return errors.New(err.Error()) // only the text: the printer would take a network error for a lost connection
}

func (o *startOptions) run() error {
	if build.Crash != "" {
		fmt.Fprintln(os.Stderr, node.LogLine('F', "server/server.go:1", build.Crash))
		return errors.New(build.Crash)
	}
	if o.mode == "start-single-node" && len(o.join) > 0 {
		err := errors.New("cannot use --join with 'kaiwudb start-single-node', use 'kaiwudb start' or " +
			"'kaiwudb start-single-replica' instead.")
		logError(err)
		return err
	}
	if !o.insecure {
		return shout(errors.New("cannot load certificates.\nCheck your certificate settings, set --certs-dir, or use " +
			"--insecure for insecure clusters.\n\nfailed to start server: problem with CA certificate: not found"))
	}
	store, err := storePath(o.stores)
	if err == nil {
		err = directory(store)
	}
	if err != nil {
		logError(err)
		return err
	}
	o.warning()
	cfg, err := o.config(store)
	if err != nil {
		return shout(fmt.Errorf("failed to start server: %w", err))
	}
	if o.background && os.Getenv(backgroundChild) == "" {
		return runInBackground()
	}
	return o.serve(cfg)
}

// directory refuses a store path that is a file.
func directory(path string) error {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return fmt.Errorf("open %s: not a directory", path)
	}
	return nil
}

// split takes an address apart and checks the port; missing parts come from the fallbacks.
func split(flag, addr, host, port string) (string, string, error) {
	h, p, err := net.SplitHostPort(addr)
	if err != nil {
		h, p = strings.Trim(addr, "[]"), ""
	}
	if h == "" {
		h = host
	}
	if p == "" {
		p = port
	}
	if n, err := strconv.Atoi(p); err != nil || n < 0 || n > 65535 {
		return "", "", fmt.Errorf("invalid --%s: address %s: invalid port", flag, p)
	}
	return h, p, nil
}

func (o *startOptions) config(store string) (node.Config, error) {
	cfg := node.Config{StartMode: o.mode, Store: store, Locality: o.locality, Build: build.Tag, BuiltAt: build.Time,
		ServerVersion: build.ServerVersion, Legacy: build.Legacy(), LabDir: labDir(), Timing: timing()}
	hostname, _ := os.Hostname()
	listenHost, listenPort, err := split("advertise-addr", o.listen, o.listenHost, "26257")
	if err != nil {
		return cfg, err
	}
	if o.listenPort != "" {
		listenPort = o.listenPort
	}
	if o.brpc == "" && o.mode != "start-single-node" && !build.Legacy() {
		return cfg, errors.New("--brpc-addr's port not specified")
	}
	if o.brpc != "" {
		if _, port, err := net.SplitHostPort(o.brpc); err != nil || port == "" {
			return cfg, errors.New("--brpc-addr's port not specified")
		}
	}
	fallback := listenHost
	if fallback == "" || fallback == "0.0.0.0" || fallback == "::" {
		fallback = hostname
	}
	if o.advertise == "" {
		o.advertise = o.advertiseHost
	}
	advHost, advPort, err := split("advertise-addr", o.advertise, fallback, listenPort)
	if err != nil {
		return cfg, err
	}
	cfg.Listen, cfg.Advertise = net.JoinHostPort(listenHost, listenPort), net.JoinHostPort(advHost, advPort)
	cfg.AdvertiseSQL = cfg.Advertise
	if o.sql != "" {
		h, p, err := split("sql-addr", o.sql, listenHost, "26257")
		if err != nil {
			return cfg, err
		}
		cfg.SQLListen, cfg.AdvertiseSQL = net.JoinHostPort(h, p), net.JoinHostPort(advHost, p)
	}
	if o.advertiseSQL != "" {
		h, p, err := split("advertise-sql-addr", o.advertiseSQL, advHost, advPort)
		if err != nil {
			return cfg, err
		}
		cfg.AdvertiseSQL = net.JoinHostPort(h, p)
	}
	if o.httpHost == "" {
		o.httpHost = listenHost
	}
	httpHost, httpPort, err := split("http-addr", o.http, o.httpHost, "8080")
	if err != nil {
		return cfg, err
	}
	if o.httpPort != "" {
		httpPort = o.httpPort
	}
	cfg.HTTPListen, cfg.AdvertiseHTTP = net.JoinHostPort(httpHost, httpPort), net.JoinHostPort(advHost, httpPort)
	for _, addr := range o.join {
		h, p, err := split("join", addr, "", "26257")
		if err != nil {
			return cfg, err
		}
		cfg.Join = append(cfg.Join, net.JoinHostPort(h, p))
	}
	return cfg, nil
}

// storePath takes the directory out of `--store` (a path, or fields with path=).
func storePath(stores []string) (string, error) {
	if len(stores) == 0 {
		return "", errors.New("no store specified")
	}
	path := ""
	for i, field := range strings.Split(stores[0], ",") {
		key, value, found := strings.Cut(field, "=")
		switch {
		case !found && i == 0:
			path = field
		case key == "path":
			path = value
		case key == "type" && value == "mem":
			return "", errors.New("in-memory stores are beyond this stand-in")
		}
	}
	if path == "" {
		return "", fmt.Errorf("no path specified in --store=%s", stores[0])
	}
	return filepath.Abs(path)
}

// timing applies the lab's variables (KWDB_LAB_MOVE_INTERVAL).
func timing() node.Timing {
	t := node.DefaultTiming()
	if build.Legacy() {
		t.Expiration = 9 * time.Second
	}
	if d, err := time.ParseDuration(os.Getenv("KWDB_LAB_MOVE_INTERVAL")); err == nil {
		t.Move = d
	}
	return t
}

// logger writes to stderr or to the store's log file, as --logtostderr says.
func logger(store string) func(string) {
	var mu sync.Mutex
	if logToStderr.value != "" {
		return func(line string) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(os.Stderr, line)
		}
	}
	return func(line string) {
		mu.Lock()
		defer mu.Unlock()
		f, err := os.OpenFile(filepath.Join(store, "logs", build.Product+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if err != nil {
			return
		}
		defer f.Close()
		fmt.Fprintln(f, line)
	}
}

// say prints a notice for people: boxed on stderr, or as a log line.
func say(log func(string), text string) {
	if logToStderr.value != "" {
		for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
			log(node.LogLine('I', "cli/start.go:600", line))
		}
		return
	}
	box(os.Stderr, text)
}

func (o *startOptions) serve(cfg node.Config) error {
	// The mirrors of small ranges are all that lives long; a tight collector keeps a node small.
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(256 << 20)
	began := time.Now()
	log := logger(cfg.Store)
	cfg.Log = log
	ready := readyPipe()
	cfg.OnWaiting = func() {
		say(log, "INFO: initial startup completed.\nNode will now attempt to join a running cluster, or wait for `"+
			build.Product+" init`.\nClient connections will be accepted after this completes successfully.\n"+
			"Check the log file(s) for progress. ")
		ready()
	}
	cfg.OnNoContact = func() {
		say(log, "WARNING: The server appears to be unable to contact the other nodes in the cluster. Please try:\n\n"+
			"- starting the other nodes, if you haven't already;\n"+
			"- double-checking that the '--join' and '--listen'/'--advertise' flags are set up correctly;\n"+
			"- running the '"+build.Product+" init' command if you are trying to initialize a new cluster.\n\n"+
			"If problems persist, please see on KWDB web site.")
	}
	var n *node.Node
	running := make(chan struct{})
	cfg.OnServing = func(status string) {
		<-running
		o.banner(log, cfg, n, status, began)
		ready()
	}
	if newSQLServer != nil {
		cfg.NewSQL = func(store kv.Store) node.SQLServer { return newSQLServer(store, cfg) }
	}
	reapOrphans()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	if o.pidFile != "" {
		if err := os.WriteFile(o.pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
			return err
		}
	}
	n, err := node.Start(cfg)
	var locked node.StoreLocked
	switch {
	case errors.As(err, &locked):
		return shout(err)
	case err != nil:
		return shout(fmt.Errorf("%s server exited with error: %w", build.Product, err))
	}
	close(running)
	select {
	case err := <-n.Done():
		n.Close()
		if err != nil {
			return shout(fmt.Errorf("%s server exited with error: %w", build.Product, err))
		}
		return nil
	case sig := <-signals:
		return shutdown(n, sig, signals)
	}
}

// bannerWidth is the column of a banner line's value; the product's build line is one off.
func bannerWidth(name string) int {
	if name == "build:" {
		return 22
	}
	return 21
}

func (o *startOptions) banner(log func(string), cfg node.Config, n *node.Node, status string, began time.Time) {
	clusterID, id := n.ClusterInfo()
	now := time.Now().UTC()
	text := ""
	for _, line := range [][2]string{
		{"build:", fmt.Sprintf("%s @ %s (%s)", build.Tag, build.Time, runtime.Version())},
		{"sql:", "postgresql://root@" + cfg.AdvertiseSQL + "?sslmode=disable"},
		{"RPC client flags:", os.Args[0] + " <client cmd> --host=" + cfg.Advertise + " --insecure"},
		{"logs:", filepath.Join(cfg.Store, "logs")}, {"temp dir:", cfg.Store},
		{"external I/O path:", filepath.Join(cfg.Store, "extern")}, {"store[0]:", "path=" + cfg.Store},
		{"storage engine:", "bbolt (lab stand-in)"}, {"ts storage engine:", "none (lab stand-in)"},
		{"status:", status}, {"clusterID:", clusterID},
		{"nodeID:", strconv.Itoa(id)},
	} {
		text += fmt.Sprintf("%-*s%s\n", bannerWidth(line[0]), line[0], line[1])
	}
	text = fmt.Sprintf("KWDB node starting at %s (took %0.1fs)\n", now.Format("2006-01-02 15:04:05.999999999 -0700 MST"),
		time.Since(began).Seconds()) + text
	if o.mode == "start-single-node" && status == "initialized new cluster" {
		say(log, "INFO: Replication was disabled for this cluster.\nWhen/if adding nodes in the future, update zone "+
			"configurations to increase the replication factor.")
	}
	if logToStderr.value == "" {
		fmt.Print(text)
	} else {
		for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
			log(node.LogLine('I', "cli/start.go:815", line))
		}
	}
	if o.urlFile != "" {
		_ = os.WriteFile(o.urlFile, []byte("postgresql://root@"+cfg.AdvertiseSQL+"?sslmode=disable\n"), 0o644)
	}
}

// shutdown drains without limit; a second signal ends it hard.
func shutdown(n *node.Node, sig os.Signal, signals <-chan os.Signal) error {
	interrupted := sig == syscall.SIGINT
	if interrupted {
		fmt.Println("Note: a second interrupt will skip graceful shutdown and terminate forcefully")
	}
	fmt.Println("initiating graceful shutdown of server")
	if !n.Started() {
		fmt.Println("too early to drain; used hard shutdown instead")
		n.Close()
		if interrupted {
			return shout(errors.New("interrupted"))
		}
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- n.Drain(n.Context()) }()
	select {
	case <-done:
	case err := <-n.Done():
		if err != nil {
			return shout(err)
		}
	case again := <-signals:
		box(os.Stderr, fmt.Sprintf("ERROR: received signal '%s' during shutdown, initiating hard shutdown - node may take "+
			"longer to restart & clients may need to wait for leases to expire", again))
		number, _ := again.(syscall.Signal)
		return exitCode(128 + int(number))
	}
	n.Close()
	fmt.Println("server drained and shutdown completed")
	if interrupted {
		return shout(errors.New("interrupted"))
	}
	return nil
}
