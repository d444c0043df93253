package feed

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/api"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/orders"
	"github.com/peerload/peerload/internal/controller/services"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
	"github.com/peerload/peerload/internal/device/inbox"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/order"
)

// fleet is a real controller over TLS, with devices that are connected to it. Each
// has a connection of its own.
type fleet struct {
	orders *orders.Service
	// bytes counts what went over the connections, TLS included, both ways.
	bytes, conns atomic.Int64
	done         chan string
	wrote        chan struct{} // the controller has written something
}

// counted counts the bytes of a connection.
type counted struct {
	net.Conn
	f *fleet
}

// Read implements net.Conn.
func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.f.bytes.Add(int64(n))
	return n, err
}

// Write implements net.Conn.
func (c counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.f.bytes.Add(int64(n))
	select {
	case c.f.wrote <- struct{}{}:
	default: // nobody counts
	}
	return n, err
}

// Accept implements net.Listener.
func (l countedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	l.f.conns.Add(1)
	return counted{c, l.f}, err
}

type countedListener struct {
	net.Listener
	f *fleet
}

func newFleet(b *testing.B, n int, beat time.Duration) *fleet {
	b.Helper()
	f := &fleet{done: make(chan string, 2*n), wrote: make(chan struct{})}
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	store, err := sqlite.Open(b.Context(), sqlite.Config{Path: filepath.Join(dir, "controller.db")})
	must(err)
	b.Cleanup(func() { store.Close() })
	all, err := services.New(b.Context(), services.Config{Keys: filepath.Join(dir, "keys"), Beat: beat,
		Domain: domain.Config{Store: store}})
	must(err)
	ctl := all.Controller
	f.orders = all.Orders
	ctx, end := context.WithCancel(b.Context())
	go f.orders.Run(ctx, slog.New(slog.DiscardHandler))
	handler, err := api.New(api.Config{Services: all, Spool: dir})
	must(err)
	srv := httptest.NewUnstartedServer(handler)
	srv.EnableHTTP2 = true
	srv.Listener = countedListener{srv.Listener, f}
	srv.StartTLS()
	b.Cleanup(func() { end(); srv.Close() })
	key, err := ctl.CreateEnrolment(ctx, domain.Local("root"), domain.EnrolmentRequest{Name: "site", SiteKey: true})
	must(err)
	for i := range n {
		name := fmt.Sprintf("SEP%012X", 0x020000000000+i)
		own := "a secret that only this one has: " + name
		must(ctl.Enrol(ctx, domain.EnrolRequest{Device: name, Model: "linux-arm", Token: key.Secret, Secret: own}))
		// A transport of its own: a connection of its own.
		t := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
			RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}
		b.Cleanup(t.CloseIdleConnections)
		c := Controller{URL: srv.URL, Client: &http.Client{Transport: t}, Secret: own}
		follower, err := New(Config{State: b.TempDir(), Files: slot.OS{}, Disk: durable.Writer{}, Device: name,
			Log:        slog.New(slog.NewTextHandler(io.Discard, nil)),
			Controller: func() (Controller, error) { return c, nil },
			Do: func(context.Context, inbox.Entry) (order.Outcome, string) {
				f.done <- name
				return order.Done, ""
			}})
		must(err)
		go follower.Run(ctx)
	}
	return f
}

// order sends an order to all, and waits until the last has carried it out.
func (f *fleet) order(b *testing.B, n int) {
	b.Helper()
	q := orders.Request{Kind: string(order.ForgetFailure), All: true}
	if _, err := f.orders.Send(b.Context(), domain.Local("root"), q, false); err != nil {
		b.Fatal(err)
	}
	for range n {
		<-f.done
	}
}

// BenchmarkLastOf100 measures the time from an order to the last of 100 devices that
// carries it out, each with a connection of its own over TLS. The target is 2 s.
func BenchmarkLastOf100(b *testing.B) {
	const n = 100
	f := newFleet(b, n, 0)
	f.order(b, n) // all are connected
	longest := time.Duration(0)
	for b.Loop() {
		began := time.Now()
		f.order(b, n)
		longest = max(longest, time.Since(began))
	}
	b.ReportMetric(longest.Seconds(), "s-longest")
}

// BenchmarkIdleBeat measures the bytes of a beat on an idle connection, TLS included
// and TCP/IP not, and those of a new connection.
func BenchmarkIdleBeat(b *testing.B) {
	f := newFleet(b, 1, 20*time.Millisecond)
	f.order(b, 1)
	for range 10 { // the order's result is on its way
		<-f.wrote
	}
	begin, beats := f.bytes.Load(), 0
	for b.Loop() {
		<-f.wrote // each beat is one record
		beats++
	}
	b.ReportMetric(float64(f.bytes.Load()-begin)/float64(beats), "B/beat")
	b.ReportMetric(float64(begin), "B/begin")
}
