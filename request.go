package peerload

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
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/report"
)

// Request says what to fetch, how to know that it is right, and where it goes.
// URLs, Proof and State must be set; the zero values of all other fields do
// what most programs want.
type Request struct {
	// URLs of the files: http, https, tftp or file. One without a scheme,
	// HOST/PATH, is tried as phones do it: HTTP on port 6970, then TFTP. A load
	// has one URL: BASE/NAME.load if it is signed, BASE/NAME.loads if Proof is
	// Unsigned.
	URLs []string
	// Proof says which bytes are right. The zero Proof is refused: trusting the
	// network must be asked for.
	Proof Proof
	// Output is a path. It names a directory if there is one, if it ends in /,
	// or if the request is for several files or a load. That directory is made
	// if it is missing, and each file there is named by the last part of its
	// URL. Otherwise it names the one file, whose directory must exist: if not,
	// the error is an ErrDisk. A symbolic link in place of a file stays, and what
	// it points to is written. "": the working directory.
	Output string
	// State is the directory that holds the device's id and what must outlive a
	// run; it is created if it is missing. Keep it across restarts, one for
	// each device, and run one Fetch at a time with it. Two at a time have the
	// same id and different ports, and may download the same bytes twice; in
	// one process the second may be refused with ErrDisk, if both fetch the
	// same load or State is new. It has no default, since the program knows
	// where it may write.
	State string
	// Slots keeps a signed load in two slots below Output and switches
	// Output/current when all of it is verified, so that the device can go
	// back.
	Slots bool
	// Model of this device; devices of one model group share with each other. A
	// load for other models is refused, and a model that cannot share downloads
	// the classic way. "": not given; all such devices share with each other.
	Model string
	// Linger is how long to serve the peers after the files are in place, 0 to
	// return at once. nil: until those that wait are done, a minute at most.
	Linger *time.Duration
	// NoSync does not wait for the disk. It is for laboratories: after a power
	// cut a file with its final name may be damaged.
	NoSync bool
	// Peers says how the device meets its peers, Server how it downloads.
	Peers  Peers
	Server Server
	// Events takes the events of the run, in order: one call at a time, from
	// goroutines of Fetch, and none after Fetch returned. It must not block,
	// since the device waits for it. report.KindDone says that a file or load
	// is in place while Fetch still serves the peers, report.KindFailed that it
	// could not be fetched; a request that is refused before the first file
	// begins has no events. What Fetch returns replaces report.KindReport,
	// which only the command line writes. nil drops them.
	Events func(report.Event)
	// Warn takes warnings that do not stop the run, such as a model that cannot
	// share, before the first file begins. nil drops them.
	Warn func(message string)
}

// Peers says how the device takes part in its subnet. The zero Peers works.
type Peers struct {
	// Off keeps the download to this device: no peer is asked, none is served.
	Off bool
	// Address is the device's own address with its prefix length; one as long as
	// the address stands for the interface's. Zero: that of Interface. Servers
	// are reached from whatever address the route to them says.
	Address netip.Prefix
	// Interface to take the address from. "": that of the route to the first
	// URL's server, else of the default route, else the one where peers are most
	// likely; without any the files are fetched without peers.
	Interface string
	// Port of the peers, UDP and TCP; all devices of a subnet must have the
	// same. 0: 4051.
	Port uint16
	// Profile of the protocol's times: "lan", or "classic" with those of
	// Cisco's original. "": lan.
	Profile string
	// Trees that a file takes when this device is its root: 1 or 2. 0: two if
	// the file has 64 chunks or more.
	Trees int
}

// Server says how servers are reached. The zero Server works.
type Server struct {
	// Header is sent with every HTTP request to the URL's own host. nil: none.
	Header http.Header
	// CACerts are the roots that HTTPS servers are verified against. nil: the
	// system's.
	CACerts *x509.CertPool
	// ClientCert is sent to HTTPS servers that ask for one. nil: none.
	ClientCert *tls.Certificate
	// LimitRate is the most bytes a second from the server. 0: no limit.
	LimitRate int64
	// Connections is the most connections at the same time over which a file is
	// downloaded, 1 to 16; there are as many as bring more. 0: 16.
	Connections int
	// Retries is how often to try a server again after a failure, 0 to try
	// once. nil: 2, and a server that has already sent bytes is tried for a
	// minute.
	Retries *int
	// ConnectTimeout is how long a server may take to accept a connection. 0:
	// 5 s.
	ConnectTimeout time.Duration
	// TFTPBlockSize in bytes (RFC 2348), 8 to 65464. 0: 1428. Smaller blocks are
	// asked for where those do not arrive.
	TFTPBlockSize int
	// TFTPWindow in blocks (RFC 7440). 0: 16, or less where LimitRate is low.
	TFTPWindow int
}

// Proof says which bytes are right. It is made by SHA256, Trust or Unsigned;
// the zero Proof says nothing and is refused.
type Proof struct {
	kind   target.Proof
	digest load.Digest // with target.Digest
	dir    string      // with target.Signed
}

// SHA256 proves one file by its digest. The zero digest, that of an unset
// variable, is refused.
func SHA256(digest load.Digest) Proof { return Proof{kind: target.Digest, digest: digest} }

// Trust proves a load by its signed metadata. The directory holds the pinned
// root.json of the publisher, and the newest accepted metadata, so that nothing
// older is accepted; it must be writable.
func Trust(dir string) Proof { return Proof{kind: target.Signed, dir: dir} }

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

// Validate says what is wrong with the request before anything begins; the
// error is an ErrRequest. Fetch calls it.
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
		WindowSize: s.TFTPWindow,
	}
	if from.IsLoopback() {
		cfg.LocalAddr = from
	}
	return cfg
}
