package fetch

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/target"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/tuf"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/report"
)

// Request is that of package peerload, which says what each field means.
type Request struct {
	URLs   []string
	Proof  Proof
	Output string
	State  string
	Slots  bool
	Model  string
	Linger *time.Duration
	NoSync bool
	Peers  Peers
	Server Server
	Events func(report.Event)
	Warn   func(message string)
}

// Peers is that of package peerload: the compiler holds the two together, which are
// converted.
type Peers struct {
	Off       bool
	Address   netip.Prefix
	Interface string
	Port      uint16
	Profile   string
	Trees     int
}

// Server is that of package peerload, as Peers is.
type Server struct {
	Header         http.Header
	CACerts        *x509.CertPool
	ClientCert     *tls.Certificate
	LimitRate      int64
	Connections    int
	Background     bool
	Retries        *int
	ConnectTimeout time.Duration
	TFTPBlockSize  int
	TFTPWindow     int
}

// Proof says which bytes are right. It is made by SHA256, Signed or Unsigned; the zero
// Proof says nothing and is refused.
type Proof struct {
	kind   target.Proof
	digest load.Digest // with target.Digest
	dir    string      // with target.Signed
	// trust verifies a signed load. It is not made here, so that a program that fetches
	// none does without the library of TUF.
	trust tuf.Trust
}

// SHA256 proves one file by its digest.
func SHA256(digest load.Digest) Proof { return Proof{kind: target.Digest, digest: digest} }

// Signed proves a load by what a publisher has signed; dir is where its root is pinned.
func Signed(dir string, trust tuf.Trust) Proof {
	return Proof{kind: target.Signed, dir: dir, trust: trust}
}

// Unsigned believes what the server and the peers send.
func Unsigned() Proof { return Proof{kind: target.Unsigned} }

// expected is which digest a file must have.
func (p Proof) expected() slot.Expected {
	if p.kind == target.Digest {
		return slot.Expect(p.digest)
	}
	return slot.ExpectAny()
}

// words are the names of this package's fields and functions for use in
// messages.
func words() target.Words {
	return target.Words{Digest: "SHA256", Trust: "Trust", GiveTrust: "Trust(dir)", Slots: "Slots", Output: "Output"}
}

// Validate says what is wrong with the request before anything begins; the error is a
// failure.Request.
func (r Request) Validate() error {
	_, err := r.targets()
	return err
}

// targets returns what the request asks for, if it is valid.
func (r Request) targets() (*target.List, error) {
	if err := r.check(); err != nil {
		return nil, failure.WithKind(failure.Request, err)
	}
	l, err := target.Parse(r.URLs, r.Output)
	if err != nil {
		return nil, err
	}
	return l, l.Resolve(r.Proof.kind, r.Slots, words())
}

// check refuses values that no URL makes right.
func (r Request) check() error {
	switch {
	case r.Proof.kind == 0:
		return errors.New("nothing says which bytes are right: set Proof to SHA256(digest) (one file), " +
			"Trust(dir) (a signed load), or Unsigned() to believe the network")
	case r.Proof.kind == target.Signed && r.Proof.dir == "":
		return errors.New("Trust names no directory")
	case r.Proof.kind == target.Digest && r.Proof.digest.IsZero():
		return errors.New("SHA256 was given no digest: all its bytes are zero; Unsigned() believes the network")
	case r.State == "":
		return errors.New("State names no directory")
	case r.Linger != nil && *r.Linger < 0:
		return errors.New("Linger must not be negative")
	}
	if err := r.Peers.check(); err != nil {
		return err
	}
	return r.Server.check()
}

func (p Peers) check() error {
	if p.Trees < 0 || p.Trees > 2 {
		return fmt.Errorf("Peers.Trees is 0, 1 or 2, not %d", p.Trees)
	}
	if !p.Address.IsValid() && p.Address != (netip.Prefix{}) {
		return errors.New("Peers.Address is not an address with the length of its prefix")
	}
	_, err := pdp.Preset(p.Profile)
	return err
}

func (s Server) check() error {
	if s.Retries != nil && *s.Retries < 0 {
		return errors.New("Server.Retries must not be negative")
	}
	if s.Connections < 0 || s.Connections > policy.MostConnections {
		return fmt.Errorf("Server.Connections is 1 to %d, or 0, not %d", policy.MostConnections, s.Connections)
	}
	cfg := s.config(netip.Addr{})
	return cfg.Validate()
}

// connections is the most connections to the servers of a file.
func (s Server) connections() int {
	if s.Connections == 0 {
		return policy.MostConnections
	}
	return s.Connections
}

// config is the same for package origin. A device on loopback, of which one host
// may have several, connects from its own address; elsewhere the route says from
// which.
func (s Server) config(from netip.Addr) origin.Config {
	cfg := origin.Config{
		Headers: s.Header.Clone(), CACert: s.CACerts, ClientCert: s.ClientCert, LimitRate: s.LimitRate,
		ConnectTimeout: s.ConnectTimeout, StallTimeout: origin.RootStallTimeout, BlockSize: s.TFTPBlockSize,
		WindowSize: s.TFTPWindow, Background: s.Background,
	}
	if from.IsLoopback() {
		cfg.LocalAddr = from
	}
	return cfg
}
