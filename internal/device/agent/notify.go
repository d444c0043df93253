package agent

import (
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// notifier tells a service manager how the daemon is, by datagrams to a Unix
// socket (sd_notify). Without a socket it tells nobody.
type notifier struct {
	addr     *net.UnixAddr
	watchdog time.Duration
}

// idleBeat is the time between two beats that nobody waits for.
const idleBeat = time.Hour

func newNotifier(socket string, watchdog time.Duration) *notifier {
	n := &notifier{watchdog: watchdog}
	if socket != "" {
		if strings.HasPrefix(socket, "@") {
			socket = "\x00" + socket[1:] // in the abstract name space
		}
		n.addr = &net.UnixAddr{Name: socket, Net: "unixgram"}
	}
	return n
}

// every is the time between two signs of life: half of what is waited for.
func (n *notifier) every() time.Duration {
	if n.addr == nil || n.watchdog <= 0 {
		return idleBeat
	}
	return max(n.watchdog/2, time.Millisecond)
}

// reloading says that another configuration is being put in force; READY=1
// ends it.
func (n *notifier) reloading() {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err == nil {
		n.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", ts.Nano()/1000))
	}
}

func (n *notifier) send(state string) {
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
