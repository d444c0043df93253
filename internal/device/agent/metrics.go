package agent

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/provision"
	"github.com/peerload/peerload/report"
)

// exposition is text in the format that Prometheus reads.
type exposition struct{ b bytes.Buffer }

// metric writes the head of a series.
func (x *exposition) metric(name, kind, help string) {
	fmt.Fprintf(&x.b, "# HELP peerload_%s %s\n# TYPE peerload_%s %s\n", name, help, name, kind)
}

// value writes one value; label is NAME and VALUE or empty.
func (x *exposition) value(name string, v float64, label ...string) {
	text := ""
	if len(label) == 2 {
		text = "{" + label[0] + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(label[1]) + `"}`
	}
	fmt.Fprintf(&x.b, "peerload_%s%s %s\n", name, text, strconv.FormatFloat(v, 'g', -1, 64))
}

// one writes a series of one value.
func (x *exposition) one(name, kind, help string, v float64) {
	x.metric(name, kind, help)
	x.value(name, v)
}

// several writes a series with a label.
func (x *exposition) several(name, kind, help, label string, values map[string]float64) {
	x.metric(name, kind, help)
	for _, k := range slices.Sorted(maps.Keys(values)) {
		x.value(name, values[k], label, k)
	}
}

func floats(m map[string]int64) map[string]float64 {
	out := map[string]float64{}
	for k, v := range m {
		out[k] = float64(v)
	}
	return out
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// showMetrics answers a request for the metrics.
func (d *Daemon) showMetrics(r *http.Request) page {
	if r.URL.Path != "/metrics" {
		return page{status: http.StatusNotFound, mediaType: "text/plain", body: []byte("see /metrics\n")}
	}
	return page{status: http.StatusOK, mediaType: "text/plain; version=0.0.4", body: d.metrics()}
}

// metrics are the device's series: base units, and no label that identifies a
// device.
func (d *Daemon) metrics() []byte {
	var x exposition
	x.metric("build_info", "gauge", "The program that runs; the value is always 1.")
	x.value("build_info", 1, "version", d.program+" "+runtime.Version())
	state, sharing := d.keep.get().State, d.prov.setting(policy.PeerSharing) == policy.On
	states := map[string]float64{}
	for _, n := range []string{report.StateIdle, report.StateDownloading, report.StateReady, report.StateInstalling,
		report.StateRebooting, report.StateTrial, report.StateRolledBack, report.StateFailed} {
		states[n] = truth(n == state || n == report.StateIdle && state == "")
	}
	x.several("state", "gauge", "The state of the device: 1 for the one that holds.", "state", states)
	x.one("sharing_enabled", "gauge", "Whether the settings in effect turn sharing on.", truth(sharing))
	x.one("provisioned_timestamp_seconds", "gauge", "When the device was last provisioned; 0 if not since its start.",
		seconds(d.prov.last().Contact))
	x.one("step_progress_ratio", "gauge", "How far the installer is, 0 to 1.",
		float64(d.upgrade.phaseProgress().Percent)/100)
	t, files, held := d.place.tally()
	x.several("received_bytes_total", "counter", "Bytes of files, by where they came from.", "source",
		map[string]float64{report.SourceOrigin: float64(t.origin), report.SourcePeer: float64(t.peers),
			report.SourceCache: float64(t.cache)})
	x.one("sent_bytes_total", "counter", "Bytes of files sent to peers.", float64(t.sent))
	x.one("served_files", "gauge", "Files that are offered to peers.", float64(files))
	x.one("served_bytes", "gauge", "Bytes of the files that are offered to peers.", float64(held))
	c := &d.sink.count
	c.mu.Lock()
	defer c.mu.Unlock()
	x.several("check_ins_total", "counter", "Attempts to be provisioned, by result.", "result", floats(c.checkIns))
	x.several("upgrades_total", "counter", "Upgrades that ended, by result.", "result", floats(c.upgrades))
	x.several("fallbacks_total", "counter", "Departures from the way through the peers, by reason.", "reason",
		floats(c.fallbacks))
	x.one("elections_won_total", "counter", "Times that this device became the root of a file.", float64(c.elections))
	x.several("files_total", "counter", "Files that were committed, or failed.", "result",
		map[string]float64{"committed": float64(c.committed), "failed": float64(c.failed)})
	x.one("events_dropped_total", "counter", "Events that could not be told in time.", float64(c.dropped.Load()))
	x.one("resident_memory_bytes", "gauge", "Memory of the process.", float64(residentBytes()))
	x.one("goroutines", "gauge", "Goroutines of the process.", float64(runtime.NumGoroutine()))
	x.one("start_timestamp_seconds", "gauge", "When the process was started.", seconds(d.started))
	if p := d.proxy.get(); p != nil {
		p.Status().Metrics(&x.b)
	}
	return x.b.Bytes()
}

// residentBytes asks the kernel how much memory the process has.
func residentBytes() int64 {
	b, err := readBounded("/proc/self/statm", 256)
	f := strings.Fields(string(b))
	if err != nil || len(f) < 2 {
		return 0
	}
	n, _ := strconv.ParseInt(f[1], 10, 64)
	return n * int64(os.Getpagesize())
}

// escape makes text harmless in a page.
func escape(s string) string { return provision.Escape(s) }
