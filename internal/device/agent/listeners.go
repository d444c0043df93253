package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/tinyhttp"
)

// listeners are the daemon's listeners: the socket, the page, the metrics.
type listeners struct {
	daemon        *Daemon
	socket        net.Listener
	page, metrics net.Listener
	closeOnce     sync.Once
}

// listen opens what is configured; the socket always.
func (d *Daemon) listen() (l *listeners, err error) {
	l = &listeners{daemon: d}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	c := d.conf.get()
	name := filepath.Join(c.State, SocketName)
	// The lock of the state directory says that nobody listens there.
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	if l.socket, err = listenPrivate(name); err != nil {
		return nil, err
	}
	if c.PageAddress != "" {
		if l.page, err = net.Listen("tcp", c.PageAddress); err != nil {
			return nil, fmt.Errorf("page-address: %w", err)
		}
	}
	if c.MetricsAddress != "" {
		if l.metrics, err = net.Listen("tcp", c.MetricsAddress); err != nil {
			return nil, fmt.Errorf("metrics-address: %w", err)
		}
	}
	return l, nil
}

// listenPrivate opens a socket for the owner alone. It gets its name only after
// its permissions are set.
func listenPrivate(name string) (net.Listener, error) {
	tmp := name + ".new"
	_ = os.Remove(tmp)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(tmp, 0o600), os.Rename(tmp, name)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *listeners) close() {
	l.closeOnce.Do(func() {
		for _, each := range []net.Listener{l.socket, l.page, l.metrics} {
			if each != nil {
				_ = each.Close()
			}
		}
	})
}

// serve serves all of them until ctx ends.
func (l *listeners) serve(ctx context.Context, busy *sync.WaitGroup) {
	busy.Go(func() { accept(ctx, l.socket, busy, l.daemon.serveProgram) })
	if l.page != nil {
		busy.Go(func() { accept(ctx, l.page, busy, tinyhttp.Handler(l.daemon.showPage)) })
	}
	if l.metrics != nil {
		busy.Go(func() { accept(ctx, l.metrics, busy, tinyhttp.Handler(l.daemon.showMetrics)) })
	}
	busy.Go(func() {
		<-ctx.Done()
		l.close()
	})
}

// maxConnections bounds the connections at one listener.
const maxConnections = 16

// accept takes connections until ctx ends.
func accept(ctx context.Context, l net.Listener, busy *sync.WaitGroup, handle func(context.Context, net.Conn)) {
	slots := make(chan struct{}, maxConnections)
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			select { // a full table of open files passes
			case <-time.After(100 * time.Millisecond):
				continue
			case <-ctx.Done():
				return
			}
		}
		select {
		case slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		busy.Go(func() {
			defer func() { <-slots }()
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			handle(ctx, c)
		})
	}
}
