// Package serverflags has the flags about servers: how they are reached, named as curl
// names them, for peerload get and peerload-get.
//
// What lives here: the flags, and what they ask of package fetch. What must not: other
// flags, and exit statuses: an error here is one of the command line.
package serverflags

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/peerload/peerload/internal/device/fetch"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/policy"
)

// Flags is how servers are reached.
type Flags struct {
	Headers           []string
	cacert, cert, key string
	limitRate         string
	retry             int
	window, block     int
	connections       int
	background        bool
	connectTimeout    time.Duration
	given             func(flag string) bool // on the command line
}

// Register gives the flags to a command.
func (o *Flags) Register(fl *pflag.FlagSet) {
	o.given = fl.Changed
	fl.StringArrayVarP(&o.Headers, "header", "H", nil, "HTTP header for the server, as 'Name: value'; may be repeated")
	fl.StringVar(&o.cacert, "cacert", "", "file with the CA certificates of HTTPS servers (PEM)")
	fl.StringVar(&o.cert, "cert", "", "file with the client certificate (PEM)")
	fl.StringVar(&o.key, "key", "", "file with the client certificate's key (PEM; default: the --cert file)")
	fl.StringVar(&o.limitRate, "limit-rate", "", "most bytes a second from the server, such as 200k or 2M")
	fl.IntVar(&o.connections, "origin-connections", 0,
		"most connections for a file, 1 to 16; as many as bring more (default 16)")
	fl.BoolVar(&o.background, "background", false,
		"give way to everything else on the line, as an agent's downloads over HTTP do")
	fl.IntVar(&o.retry, "retry", 2,
		"how often to try a server again that fails; without it, one that has served is also tried for a minute")
	fl.DurationVar(&o.connectTimeout, "connect-timeout", 0,
		"how long the server may take to accept a connection (default 5s)")
	fl.IntVar(&o.block, "tftp-blksize", 0, "TFTP block size in bytes (default 1428)")
	fl.IntVar(&o.window, "tftp-window", 0, "TFTP window in blocks (default 16)")
}

// Named refuses a file that was given without a name, as by a variable that is
// not set: the server would be trusted, or met, otherwise than was asked for.
func (o *Flags) Named() error {
	for flag, name := range map[string]string{"cacert": o.cacert, "cert": o.cert, "key": o.key} {
		if o.given(flag) && name == "" {
			return fmt.Errorf("--%s names no file: give one, or leave it out", flag)
		}
	}
	return nil
}

// Limits of TFTP (tftp.Client): windows in blocks, blocks in bytes.
const (
	maxWindow = 4096
	minBlock  = 8
	maxBlock  = 65464
)

// Default reports whether nothing is asked for that an agent of the device decides.
func (o *Flags) Default() bool {
	return len(o.Headers) == 0 && o.cacert == "" && o.cert == "" && o.key == "" && o.limitRate == "" && o.window == 0 &&
		o.block == 0 && o.connectTimeout == 0
}

// Hide replaces the values of headers in a word of the command line.
func (o *Flags) Hide(word string) string {
	for _, h := range o.Headers {
		if name, value, ok := strings.Cut(h, ":"); ok && value != "" {
			word = strings.ReplaceAll(word, h, name+": xxxxx")
		}
	}
	return word
}

// Server says the same to package fetch.
func (o *Flags) Server() (fetch.Server, error) {
	s := fetch.Server{ConnectTimeout: o.connectTimeout, TFTPBlockSize: o.block, TFTPWindow: o.window,
		Connections: o.connections, Background: o.background, Header: http.Header{}}
	if o.retry < 0 {
		return s, fmt.Errorf("--retry is 0 or more, not %d", o.retry)
	}
	if o.given("origin-connections") && (o.connections < 1 || o.connections > policy.MostConnections) {
		return s, fmt.Errorf("--origin-connections is 1 to %d, not %d", policy.MostConnections, o.connections)
	}
	if o.given("tftp-window") && (o.window < 1 || o.window > maxWindow) {
		return s, fmt.Errorf("--tftp-window is 1 to %d, not %d", maxWindow, o.window)
	}
	if o.given("tftp-blksize") && (o.block < minBlock || o.block > maxBlock) {
		return s, fmt.Errorf("--tftp-blksize is %d to %d, not %d", minBlock, maxBlock, o.block)
	}
	if o.given("retry") {
		s.Retries = &o.retry
	}
	for _, h := range o.Headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return s, fmt.Errorf("--header is 'Name: value', not %q", h)
		}
		s.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	var err error
	if s.LimitRate, err = Rate(o.limitRate); err != nil {
		return s, err
	}
	return s, o.certificates(&s)
}

func (o *Flags) certificates(s *fetch.Server) error {
	if o.cacert != "" {
		pem, err := os.ReadFile(o.cacert)
		if err != nil {
			return fmt.Errorf("--cacert: %w", err)
		}
		s.CACerts = x509.NewCertPool()
		if !s.CACerts.AppendCertsFromPEM(pem) {
			return fmt.Errorf("--cacert: %s holds no certificate: name a file in PEM", o.cacert)
		}
	}
	switch {
	case o.cert == "" && o.key != "":
		return fmt.Errorf("--key needs --cert: name the file of the certificate too")
	case o.cert != "":
		key := o.key
		if key == "" {
			key = o.cert
		}
		c, err := tls.LoadX509KeyPair(o.cert, key)
		if err != nil {
			return fmt.Errorf("--cert: %w; name the files of a certificate and its key, in PEM", err)
		}
		s.ClientCert = &c
	}
	return nil
}

// Rate reads bytes a second; "" stands for no limit.
func Rate(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := parse.Size(s)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("--limit-rate is a number of bytes such as 200k or 2M, not %q", s)
	}
	return n, nil
}
