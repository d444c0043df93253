package files

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
)

// Congestion controls that Config.Congestion can name beside those of the system.
const (
	// CongestionSystem leaves connections as the system has them.
	CongestionSystem = "system"
	// preferred takes a loss for a loss and not for a full line: over 200 ms with
	// a loss of 1 % it is about ten times as fast as cubic.
	preferred = "bbr"
)

// unsentMost bounds what the system takes from us of a connection before it can
// send it, in bytes: more would wait in its memory only, for each of many slow
// clients.
const unsentMost = 128 << 10

// errCongestion stands before what is wrong with Config.Congestion.
var errCongestion = errors.New("files: the congestion control")

// Tune sets how connections of ln send, and returns the name of their congestion
// control; "" where the system tells none. An error means that the one that was
// named cannot be had. Accepted connections inherit it from the listener.
func Tune(ln net.Listener, name string, log *slog.Logger) (used string, err error) {
	c, ok := ln.(syscall.Conn)
	if !ok || name == CongestionSystem {
		return "", nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return "", nil //nolint:nilerr // no socket of the system's: nothing to set
	}
	boundUnsent(raw, unsentMost)
	asked := cmp.Or(name, preferred)
	used, err = setCongestion(raw, asked)
	switch {
	case err == nil:
		log.Info("congestion control of HTTP", "name", used)
	case name == "":
		log.Warn("HTTP is slow over long lines with losses: the system does not give us "+preferred, "uses", used,
			"error", err, "do", "modprobe tcp_"+preferred+", and name it in net.ipv4.tcp_allowed_congestion_control")
	default:
		return used, fmt.Errorf("%w %q cannot be used: %w; load it, name it in "+
			"net.ipv4.tcp_allowed_congestion_control, or say %q", errCongestion, asked, err, CongestionSystem)
	}
	return used, nil
}
