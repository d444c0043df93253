package proxy

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/peerload/peerload/internal/device/reason"
)

// count is how many requests were decided on for a reason.
type count struct{ requests int64 }

// counts are what a proxy has done since it began.
type counts struct {
	by map[reason.Code]count // guarded by the proxy's mu
	// shared, passed and tunnelled are bytes that clients got.
	shared, passed, tunnelled atomic.Int64
	fallbacks                 atomic.Int64
}

func (c *counts) add(mu *sync.Mutex, why reason.Code) {
	if why == "" {
		c.fallbacks.Add(1)
		return
	}
	mu.Lock()
	defer mu.Unlock()
	n := c.by[why]
	n.requests++
	c.by[why] = n
}

// Status is what a proxy does, and has done since it began.
type Status struct {
	// Requests by the reason of what was done with them.
	Requests map[reason.Code]int64 `json:"requests"`
	// Bytes that clients got: shared, passed through, and through tunnels.
	BytesShared    int64 `json:"bytes_shared"`
	BytesPassed    int64 `json:"bytes_passed"`
	BytesTunnelled int64 `json:"bytes_tunnelled"`
	// Fallbacks is how often an answer went on from the origin after sharing failed.
	Fallbacks int64 `json:"fallbacks"`
	// Known is of how many files indexes have told the digest.
	Known int `json:"known"`
	// Open is how many files are fetched, or served to clients and peers.
	Open int `json:"open"`
	// Kept copies, their bytes, and the most that they may have.
	Kept      int   `json:"kept"`
	KeptBytes int64 `json:"kept_bytes"`
	KeptMost  int64 `json:"kept_most"`
	// Sharing says that the device has a place on its subnet.
	Sharing bool `json:"sharing"`
}

// Status returns what the proxy does.
func (p *Proxy) Status() Status {
	s := Status{Requests: map[reason.Code]int64{}, BytesShared: p.counts.shared.Load(),
		BytesPassed:    p.counts.passed.Load(),
		BytesTunnelled: p.counts.tunnelled.Load(), Fallbacks: p.counts.fallbacks.Load(), KeptMost: p.keep.limit,
		Sharing: p.cfg.Device() != nil}
	s.Kept, s.KeptBytes = p.keep.total()
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Known, s.Open = p.known.Len(), len(p.entries)
	for why, n := range p.counts.by {
		s.Requests[why] = n.requests
	}
	return s
}

// Paths of the proxy itself.
const (
	StatusPath  = "/-/status"
	MetricsPath = "/-/metrics"
)

// own answers what is asked of the proxy itself.
func (p *Proxy) own(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		refuse(w, http.StatusMethodNotAllowed, "GET or HEAD")
	case r.URL.Path == StatusPath:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(p.Status())
	case r.URL.Path == MetricsPath:
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		p.Status().Metrics(w)
	default:
		refuse(w, http.StatusNotFound, "this is a proxy: write http_proxy=http://"+r.Host+
			" for a program that knows proxies, or http://"+r.Host+"/https/HOST/PATH as a URL")
	}
}

// Metrics writes the status as Prometheus reads it.
func (s Status) Metrics(w io.Writer) {
	head := func(name, kind, help string) {
		fmt.Fprintf(w, "# HELP peerload_proxy_%[1]s %[3]s\n# TYPE peerload_proxy_%[1]s %[2]s\n", name, kind, help)
	}
	head("requests_total", "counter", "Requests of clients, by what was decided on them.")
	for _, why := range slices.Sorted(maps.Keys(s.Requests)) {
		fmt.Fprintf(w, "peerload_proxy_requests_total{reason=%q} %d\n", why, s.Requests[why])
	}
	for _, m := range []struct {
		name, kind, help string
		value            int64
	}{
		{"shared_bytes_total", "counter", "Bytes that clients got of what is shared.", s.BytesShared},
		{"passed_bytes_total", "counter", "Bytes that clients got of what passed through.", s.BytesPassed},
		{"tunnelled_bytes_total", "counter", "Bytes that went through tunnels, both ways.", s.BytesTunnelled},
		{"fallbacks_total", "counter", "Answers that went on from the server after sharing failed.", s.Fallbacks},
		{"known_digests", "gauge", "Files of which indexes have told the digest.", int64(s.Known)},
		{"open_files", "gauge", "Files that are fetched, or served to clients and peers.", int64(s.Open)},
		{"kept_files", "gauge", "Copies that are kept.", int64(s.Kept)},
		{"kept_bytes", "gauge", "Bytes of the copies that are kept.", s.KeptBytes},
	} {
		head(m.name, m.kind, m.help)
		fmt.Fprintf(w, "peerload_proxy_%s %d\n", m.name, m.value)
	}
}
