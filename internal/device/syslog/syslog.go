// Package syslog sends the events of a device to a log server, by UDP in the
// format of RFC 5424.
//
// What lives here: the format, and the escaping that keeps foreign text from
// forging messages. What must not: which events are sent.
package syslog

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/peerload/peerload/report"
)

// Transport by RFC 5426, messages by RFC 5424.
const (
	port     = "514"
	facility = 16 // local use 0
	// maxMessage bounds a message, in bytes: it fits one packet of an Ethernet.
	maxMessage = 1400
	// enterprise is the number for documentation (RFC 5612): this project has
	// none of its own.
	enterprise = "32473"
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
	severity := 6
	switch {
	case l >= slog.LevelError:
		severity = 3
	case l >= slog.LevelWarn:
		severity = 4
	}
	var sd strings.Builder
	for _, p := range [][2]string{{"device", e.Device}, {"file", e.File}, {"model", e.Model}, {"role", e.Role},
		{"source", e.Source}, {"root", e.Root}, {"parent", e.Parent}, {"reason", e.Reason}} {
		if p[1] != "" {
			fmt.Fprintf(&sd, " %s=\"%s\"", p[0], param(p[1]))
		}
	}
	s := fmt.Sprintf("<%d>1 %s %s peerload %d %s [peerload@%s%s] \xef\xbb\xbf%s", facility*8+severity,
		now.Format(report.TimeLayout), printable(host, 255), os.Getpid(), printable(e.Event, 32), enterprise, sd.String(),
		oneLine(e.Message))
	if len(s) > maxMessage {
		s = s[:maxMessage]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return []byte(s)
}

// maxParam bounds a parameter, in bytes, so that all fit beside a message.
const maxParam = 100

// oneLine keeps text from starting a new line in a log: it may come from
// servers and peers.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// param escapes a value (RFC 5424 section 6.3.3).
func param(s string) string {
	s = oneLine(s)
	for len(s) > maxParam {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`).Replace(s)
}

// printable keeps what a header field may hold, "-" if nothing is left.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), most)]
}
