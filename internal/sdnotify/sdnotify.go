// Package sdnotify tells a service manager how a service is, as sd_notify(3)
// does it.
//
// What lives here: the datagrams. What must not: when which of them is sent.
package sdnotify

import (
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Notifier tells a service manager how the service is, by datagrams to a Unix
// socket. Without a socket it tells nobody.
type Notifier struct {
	addr     *net.UnixAddr
	watchdog time.Duration
}

// The states that a service tells by Send; Reloading and its end are told by
// Notifier.Reloading and Ready.
const (
	Ready    = "READY=1"    // the service serves
	Alive    = "WATCHDOG=1" // a sign of life
	Stopping = "STOPPING=1" // the service ends
)

// idleInterval is the time between two signs of life that nobody waits for.
const idleInterval = time.Hour

// New returns a notifier for the socket that NOTIFY_SOCKET names, "" for none,
// and the time within which the service manager wants a sign of life, 0 if it
// does not wait for any.
func New(socket string, watchdog time.Duration) *Notifier {
	n := &Notifier{watchdog: watchdog}
	if socket != "" {
		if strings.HasPrefix(socket, "@") {
			socket = "\x00" + socket[1:] // in the abstract name space
		}
		n.addr = &net.UnixAddr{Name: socket, Net: "unixgram"}
	}
	return n
}

// Interval is the time between two signs of life: half of what is waited for.
func (n *Notifier) Interval() time.Duration {
	if n.addr == nil || n.watchdog <= 0 {
		return idleInterval
	}
	return max(n.watchdog/2, time.Millisecond)
}

// Reloading says that another configuration is being put in force; Ready
// ends it.
func (n *Notifier) Reloading() {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err == nil {
		n.Send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", ts.Nano()/1000))
	}
}

// Send sends a state. A service manager that does not take it
// is no failure.
func (n *Notifier) Send(state string) {
	if n.addr == nil {
		return
	}
	c, err := net.DialUnix("unixgram", nil, n.addr)
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write([]byte(state))
}
