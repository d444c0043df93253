package files

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Protocols as metrics and logs name them.
const (
	protoHTTP = "http"
	protoTFTP = "tftp"
)

// Metrics counts what is served. It is a prometheus.Collector; a nil *Metrics
// counts nothing. No label names a device or an address.
type Metrics struct {
	requests  *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	refused   *prometheus.CounterVec
	delay     prometheus.Counter
	active    *prometheus.GaugeVec
	collected []prometheus.Collector
}

// NewMetrics returns metrics for Config.
func NewMetrics() *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "peerload_fileserver_requests_total",
			Help: "Requests for files, by protocol and outcome: the HTTP status, or ok, missing, failed for TFTP."},
			[]string{"protocol", "outcome"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "peerload_fileserver_sent_bytes_total",
			Help: "Bytes of files sent to devices."}, []string{"protocol"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "peerload_fileserver_budget_refusals_total",
			Help: "Requests beyond the WAN budget of their site: answered with 503 over HTTP, out of patience over TFTP."},
			[]string{"protocol"}),
		delay: prometheus.NewCounter(prometheus.CounterOpts{Name: "peerload_fileserver_budget_delay_seconds_total",
			Help: "Time that transfers waited for the WAN budget of their site."}),
		active: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "peerload_fileserver_active_transfers",
			Help: "Transfers of files under way."}, []string{"protocol"}),
	}
	m.collected = []prometheus.Collector{m.requests, m.bytes, m.refused, m.delay, m.active}
	for _, p := range []string{protoHTTP, protoTFTP} { // so that they are 0 and not missing
		m.bytes.WithLabelValues(p)
		m.refused.WithLabelValues(p)
		m.active.WithLabelValues(p)
	}
	return m
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collected {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collected {
		c.Collect(ch)
	}
}

func (m *Metrics) request(protocol, outcome string) {
	if m != nil {
		m.requests.WithLabelValues(protocol, outcome).Inc()
	}
}

func (m *Metrics) status(code int) { m.request(protoHTTP, strconv.Itoa(code)) }

func (m *Metrics) sent(protocol string, n int64) {
	if m != nil {
		m.bytes.WithLabelValues(protocol).Add(float64(n))
	}
}

func (m *Metrics) refusal(protocol string) {
	if m != nil {
		m.refused.WithLabelValues(protocol).Inc()
	}
}

func (m *Metrics) waited(seconds float64) {
	if m != nil {
		m.delay.Add(seconds)
	}
}

func (m *Metrics) begin(protocol string, n float64) {
	if m != nil {
		m.active.WithLabelValues(protocol).Add(n)
	}
}
