// Package syslog sends the events of a device to a log server, by UDP in the
// format of RFC 5424.
//
// What lives here: what of an event is sent. What must not: the format, which is
// package rfc5424's, and which events are sent. Read Writer first.
package syslog

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/rfc5424"
	"github.com/peerload/peerload/report"
)

// Transport by RFC 5426, messages by RFC 5424.
const (
	port     = "514"
	facility = 16 // local use 0
	// maxMessage bounds a message, in bytes: it fits one packet of an Ethernet.
	maxMessage = 1400
)

// Writer sends events to a log server. Lost events are not sent again.
type Writer struct {
	conn net.Conn
	host string
}

// Dial opens a socket to a server, HOST or HOST:PORT, port 514 if none is
// named. host is this device's name in messages, from its address; if that is
// invalid, the system chooses one.
func Dial(server, host string, from netip.Addr) (*Writer, error) {
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(strings.Trim(server, "[]"), port)
	}
	d := net.Dialer{Timeout: time.Second}
	if from.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	c, err := d.Dial("udp", server)
	if err != nil {
		return nil, err
	}
	return &Writer{c, host}, nil
}

// Close closes the socket.
func (w *Writer) Close() { _ = w.conn.Close() }

// Send sends an event that matters as much as l says. It does not wait.
func (w *Writer) Send(e report.Event, l slog.Level) {
	_, _ = w.conn.Write(message(w.host, time.Now(), e, l))
}

// message is an event in the format of RFC 5424.
func message(host string, now time.Time, e report.Event, l slog.Level) []byte {
	severity := rfc5424.Info
	switch {
	case l >= slog.LevelError:
		severity = rfc5424.Error
	case l >= slog.LevelWarn:
		severity = rfc5424.Warning
	}
	return rfc5424.Message{Facility: facility, Severity: severity, Time: now, Host: host, App: "peerload",
		Process: os.Getpid(), ID: e.Event, Text: e.Message,
		Params: [][2]string{{"device", e.Device}, {"file", e.File}, {"model", e.Model}, {"role", e.Role},
			{"source", e.Source}, {"root", e.Root}, {"parent", e.Parent}, {"reason", e.Reason}}}.Bytes(maxMessage)
}
