package api

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/webhook"
	"github.com/peerload/peerload/internal/controller/webhooks"
	"github.com/peerload/peerload/report"
)

// metrics are those of the API and of what the controller knows. No label
// names a device, a user or an address.
type metrics struct {
	requests *prometheus.CounterVec
	duration prometheus.Histogram
}

func newMetrics(cfg Config) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "peerload_api_requests_total",
			Help: "Requests to the API, by HTTP status."}, []string{"code"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "peerload_api_request_duration_seconds",
			Help:    "Time to answer a request to the API.",
			Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10}}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "peerload_build_info",
		Help:        "1, with the version of the program.",
		ConstLabels: prometheus.Labels{"version": cfg.Version, "goversion": runtime.Version()}})
	build.Set(1)
	goroutines := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "peerload_goroutines",
		Help: "Goroutines of the process."}, func() float64 { return float64(runtime.NumGoroutine()) })
	cfg.Registry.MustRegister(m.requests, m.duration, build, goroutines, &fleet{ctl: cfg.Controller},
		&told{hooks: cfg.Webhooks})
	return m
}

// count counts requests and their time.
func (m *metrics) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		c := &codeWriter{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(c, r)
		m.requests.WithLabelValues(strconv.Itoa(c.code)).Inc()
		m.duration.Observe(time.Since(began).Seconds())
	})
}

type codeWriter struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (w *codeWriter) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (w *codeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// metricsHandler shows the registry to callers that may read.
func (s *Server) metricsHandler() http.Handler {
	show := promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := s.identify(r, needRead)
		if err == nil {
			err = c.may(needRead, "")
		}
		if err == nil && c.actor.Realm.Limited() {
			err = domain.ErrForbidden // they count all devices
		}
		if err != nil {
			code := http.StatusUnauthorized
			if c.actor.Kind != domain.ActorNobody {
				code = http.StatusForbidden
			}
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, http.StatusText(code), code)
			return
		}
		show.ServeHTTP(w, r)
	})
}

// fleet counts what the controller knows, when it is asked.
type fleet struct {
	ctl  *domain.Controller
	mu   sync.Mutex
	at   time.Time
	last domain.Overview
}

// fleetEvery is how old counts may be, fleetSilent the time after which a
// device counts as silent.
const fleetEvery, fleetSilent = 10 * time.Second, time.Hour

var (
	devicesDesc = prometheus.NewDesc("peerload_devices", "Devices, by the state that they last reported.",
		[]string{"state"}, nil)
	silentDesc  = prometheus.NewDesc("peerload_devices_silent", "Devices that were not heard of for an hour.", nil, nil)
	pendingDesc = prometheus.NewDesc("peerload_devices_pending", "Devices that do not run the load they should.", nil, nil)
	bytesDesc   = prometheus.NewDesc("peerload_devices_received_bytes_total",
		"Bytes that devices reported, by where they came from.", []string{"source"}, nil)
	toPeersDesc = prometheus.NewDesc("peerload_devices_sent_bytes_total",
		"Bytes that devices reported to have sent to their peers.", nil, nil)
)

// labelStates are the states that have a label of their own: devices may report
// others, which must not add labels.
var labelStates = []string{"unknown", report.StateIdle, report.StateDownloading, report.StateReady,
	report.StateInstalling, report.StateRebooting, report.StateTrial, report.StateRolledBack, report.StateFailed}

// Describe implements prometheus.Collector.
func (f *fleet) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{devicesDesc, silentDesc, pendingDesc, bytesDesc, toPeersDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (f *fleet) Collect(ch chan<- prometheus.Metric) {
	o, err := f.overview()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(devicesDesc, err)
		return
	}
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	other := 0
	for state, n := range o.ByState {
		if slices.Contains(labelStates, state) {
			gauge(devicesDesc, n, state)
		} else {
			other += n
		}
	}
	gauge(devicesDesc, other, "other")
	gauge(silentDesc, o.Silent)
	gauge(pendingDesc, o.Pending)
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	counter(bytesDesc, o.Traffic.FromOrigin, "origin")
	counter(bytesDesc, o.Traffic.FromPeers, "peer")
	counter(bytesDesc, o.Traffic.FromCache, "cache")
	counter(toPeersDesc, o.Traffic.ToPeers)
}

func (f *fleet) overview() (domain.Overview, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.at) < fleetEvery {
		return f.last, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), fleetEvery)
	defer cancel()
	o, err := f.ctl.Overview(ctx, domain.Local("metrics"), "", fleetSilent)
	if err == nil {
		f.at, f.last = time.Now(), o
	}
	return o, err
}

// told counts messages of webhooks, when it is asked.
type told struct{ hooks *webhooks.Service }

var (
	hooksDesc    = prometheus.NewDesc("peerload_webhooks", "Webhooks that there are.", nil, nil)
	messagesDesc = prometheus.NewDesc("peerload_webhook_messages",
		"Messages of webhooks that are tried again (pending) or were given up (dead).", []string{"state"}, nil)
	sentDesc = prometheus.NewDesc("peerload_webhook_messages_delivered_total",
		"Messages that the webhooks that there are have delivered.", nil, nil)
	droppedDesc = prometheus.NewDesc("peerload_webhook_messages_dropped_total",
		"Messages that were not kept, because too many of their webhook waited.", nil, nil)
)

// Describe implements prometheus.Collector.
func (t *told) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{hooksDesc, messagesDesc, sentDesc, droppedDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (t *told) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), fleetEvery)
	defer cancel()
	c, err := t.hooks.Count(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(hooksDesc, err)
		return
	}
	ch <- prometheus.MustNewConstMetric(hooksDesc, prometheus.GaugeValue, float64(c.Webhooks))
	ch <- prometheus.MustNewConstMetric(messagesDesc, prometheus.GaugeValue, float64(c.Pending), string(webhook.Pending))
	ch <- prometheus.MustNewConstMetric(messagesDesc, prometheus.GaugeValue, float64(c.Dead), string(webhook.Dead))
	ch <- prometheus.MustNewConstMetric(sentDesc, prometheus.CounterValue, float64(c.Sent))
	ch <- prometheus.MustNewConstMetric(droppedDesc, prometheus.CounterValue, float64(c.Dropped))
}

// Register adds metrics of other parts of the program to /metrics.
func (s *Server) Register(c prometheus.Collector) error { return s.cfg.Registry.Register(c) }
