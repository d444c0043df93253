package peerload

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/netip"
	"time"

	"github.com/peerload/peerload/internal/device/fetch"
	"github.com/peerload/peerload/internal/device/signed"
	"github.com/peerload/peerload/load"
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
	// Background has downloads over HTTP give way to everything else on the line. False:
	// they take what TCP gives them.
	Background bool
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
type Proof struct{ proof fetch.Proof }

// SHA256 proves one file by its digest. The zero digest, that of an unset
// variable, is refused.
func SHA256(digest load.Digest) Proof { return Proof{fetch.SHA256(digest)} }

// Trust proves a load by its signed metadata. The directory holds the pinned
// root.json of the publisher, and the newest accepted metadata, so that nothing
// older is accepted; it must be writable.
func Trust(dir string) Proof { return Proof{fetch.Signed(dir, signed.Dir(dir))} }

// Unsigned believes what the server and the peers send.
func Unsigned() Proof { return Proof{fetch.Unsigned()} }

// Fetch fetches what the request asks for, through the peers. It returns when
// every file is verified and in place, and the peers that wait for this device
// have been served; see Request.Linger. It resumes a partial file of an earlier
// run.
//
// It returns one report for each file in place, in the order of the URLs, or
// one for the whole load. If it fails, the reports are for the files that were
// already in place. The error is of one of the kinds ErrRequest to ErrTrust, or
// that of ctx with its cause; any other error is unexpected.
func Fetch(ctx context.Context, r Request) ([]report.Final, error) { return fetch.Run(ctx, r.inner()) }

// Validate says what is wrong with the request before anything begins; the
// error is an ErrRequest. Fetch calls it.
func (r Request) Validate() error { return r.inner().Validate() }

// inner is the same for package fetch.
func (r Request) inner() fetch.Request {
	return fetch.Request{
		URLs: r.URLs, Proof: r.Proof.proof, Output: r.Output, State: r.State, Slots: r.Slots, Model: r.Model,
		Linger: r.Linger, NoSync: r.NoSync, Peers: fetch.Peers(r.Peers), Server: fetch.Server(r.Server),
		Events: r.Events, Warn: r.Warn,
	}
}
