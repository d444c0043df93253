// Package sharing decides what a proxy shares with the peers of the subnet, and on
// whose word: a pure function of a request, the headers of its answer, and rules.
//
// What lives here: the decision, the rules and how people write them, and what
// URLs, headers and the indexes of other systems say of digests. What must not: a
// request, an answer, or a file; package proxy carries out what is decided here.
//
// Read Decide first, then address.go (what URLs and headers tell), rule.go, and
// index.go (what is learned from indexes that pass through).
package sharing

import (
	"net/url"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/load"
)

// Verdict is what is done with a request.
type Verdict int

// The verdicts. The zero Verdict passes a request through, which shares nothing.
const (
	// Pass passes the request through: the answer is the client's alone.
	Pass Verdict = iota
	// Ask passes it through, unless the headers of the answer say a digest: see
	// Answered.
	Ask
	// ByDigest shares what has the digest of the decision.
	ByDigest
	// Unsigned shares what comes: a rule says so.
	Unsigned
	// Tunnel joins the client with the server, and looks at nothing.
	Tunnel
)

// Header has the fields of a message, by their canonical names.
type Header = map[string][]string

// Request is what a client asks for.
type Request struct {
	Method string
	// URL of the origin, with its scheme and host.
	URL    *url.URL
	Header Header
	// Body says that the request has a body, on which the answer may depend.
	Body bool
	// SidecarsAsked says that the sidecars of a rule were asked for.
	SidecarsAsked bool
}

// Answer is how the origin answers, as far as headers tell.
type Answer struct {
	Status int
	Header Header
	// Size of the whole file in bytes, load.UnknownSize if the headers do not
	// tell.
	Size int64
}

// Decision is what is done with a request, and why.
type Decision struct {
	Verdict Verdict
	// Why says on whose word something is shared, or why it is not.
	Why reason.Code
	// Digest of the file, with ByDigest. Size in bytes, load.UnknownSize if not
	// known.
	Digest load.Digest
	Size   int64
	// Key names the content for the peers, with Unsigned: its URL without
	// credentials, and without the parameters that are not the content's.
	Key string
	// Table of the digests of its chunks, nil if it is not known. Then each chunk is
	// right or wrong by itself.
	Table load.Table
	// Sidecars are files that may say the digest, to be asked for and given to
	// Learn before the decision is made again.
	Sidecars []*url.URL
	// Loads are the manifests of signed loads that may say it, to be verified with what
	// is in the directory Trust and given to LearnLoad.
	Loads []*url.URL
	Trust string
	// Stream hands bytes on before the digest of the whole file has borne them
	// out; the last of them wait for it.
	Stream bool
	// Credentials shares the answer to a request with credentials, which go to
	// the origin and to nobody else.
	Credentials bool
}

// MinShared is the least size of a file that is shared, in bytes, where the size
// is known beforehand: below it an election costs more than the file.
const MinShared = 16 << 10

// credentials are the fields by which an origin knows who asks.
var credentials = []string{"Authorization", "Cookie"}

// HasCredentials reports whether a request tells the origin who asks.
func (q Request) HasCredentials() bool {
	for _, name := range credentials {
		if len(q.Header[name]) > 0 {
			return true
		}
	}
	return q.URL != nil && q.URL.User != nil
}

// Decide decides on a request. A digest counts in this order: a rule's, the
// URL's, that of an index. What nothing is known of is asked for, and Answered
// decides again. A table of chunks counts with the digest that came with it; to a digest
// that somebody else gave, only a signed one belongs.
func Decide(rules Rules, known *Known, q Request) Decision {
	d := Decision{Size: load.UnknownSize}
	if q.Method == "CONNECT" {
		d.Verdict, d.Why = Tunnel, reason.ProxyTunnel
		return d
	}
	rule := rules.find(q.URL)
	d.Stream, d.Credentials = rule.Stream, rule.Credentials
	switch {
	case q.Method != "GET" && q.Method != "HEAD" || q.Body:
		return d.pass(reason.ProxyMethod)
	case rule.Never:
		return d.pass(reason.ProxyNever)
	case q.HasCredentials() && !rule.Credentials:
		return d.pass(reason.ProxyCredentials)
	}
	d.Key = rule.key(q.URL)
	at := fromURL(q.URL)
	found, ok := known.find(d.Key)
	if loads := rule.loads(q.URL); len(loads) > 0 && !found.signed && !q.SidecarsAsked {
		d.Verdict, d.Why, d.Loads, d.Trust = Ask, reason.ProxyByLoad, loads, rule.Trust
		return d
	}
	if ok {
		d.Size = found.size
		if rule.Digest.IsZero() {
			d = d.digest(found.digest, found.why)
		}
	}
	switch {
	case !rule.Digest.IsZero():
		d = d.digest(rule.Digest, reason.ProxyByRule)
	case !at.digest.IsZero():
		d = d.digest(at.digest, reason.ProxyByURL)
	case d.Verdict == ByDigest:
	case len(rule.Sidecars) > 0 && !q.SidecarsAsked:
		d.Verdict, d.Why, d.Sidecars = Ask, reason.ProxyBySidecar, rule.sidecars(q.URL)
	case rule.Unsigned:
		d.Verdict, d.Why = Unsigned, reason.ProxyUnsigned
	case at.foreign:
		return d.pass(reason.ProxyForeignDigest)
	default:
		d.Verdict, d.Why = Ask, reason.ProxyNoDigest
	}
	if d.Verdict == ByDigest && d.Digest == found.digest && (found.signed || d.Why == found.why) {
		d.Table, d.Why = found.table, found.why
	}
	if d.Verdict == ByDigest && d.Size >= 0 && d.Size < MinShared {
		return d.pass(reason.ProxySmall)
	}
	return d
}

// Answered decides again once the origin has answered a request that Decide would
// ask, or share without a digest.
func Answered(d Decision, q Request, a Answer) Decision {
	if d.Verdict != Ask && d.Verdict != Unsigned {
		return d
	}
	if a.Size >= 0 {
		d.Size = a.Size
	}
	sum, said := fromHeader(a.Header)
	switch {
	case a.Status != 200 && a.Status != 206:
		return d.pass(reason.ProxyStatus)
	case coded(a.Header):
		return d.pass(reason.ProxyCoded)
	case (private(a.Header) || q.HasCredentials()) && !d.Credentials:
		return d.pass(reason.ProxyPrivate)
	case said:
		d = d.digest(sum, reason.ProxyByHeader)
	case d.Verdict == Ask:
		return d.pass(reason.ProxyNoDigest)
	case varies(a.Header, q.Header, d.Credentials):
		return d.pass(reason.ProxyPrivate)
	}
	if d.Size >= 0 && d.Size < MinShared {
		return d.pass(reason.ProxySmall)
	}
	return d
}

// asked are fields that may stand in Vary although the bytes that are asked for here do
// not depend on them: no coding is asked for, and the others are of pages in browsers.
var asked = []string{"Accept-Encoding", "Origin", "Access-Control-Request-Headers", "Access-Control-Request-Method"}

// varies reports whether an answer depends on what this client has said of itself,
// beside credentials where those are shared.
func varies(answer, request Header, creds bool) bool {
	by := values(answer, "Vary")
	for name := range request {
		told := slices.ContainsFunc(by, func(v string) bool { return strings.EqualFold(v, name) })
		if told && !slices.Contains(asked, name) && !(creds && slices.Contains(credentials, name)) {
			return true
		}
	}
	return false
}

func (d Decision) pass(why reason.Code) Decision {
	d.Verdict, d.Why, d.Digest, d.Table, d.Sidecars = Pass, why, load.Digest{}, nil, nil
	return d
}

func (d Decision) digest(sum load.Digest, why reason.Code) Decision {
	d.Verdict, d.Why, d.Digest, d.Table = ByDigest, why, sum, nil
	return d
}

// coded reports whether the bytes come in a content coding: those that peers have
// may be in another one.
func coded(h Header) bool {
	for _, v := range values(h, "Content-Encoding") {
		if !strings.EqualFold(v, "identity") {
			return true
		}
	}
	return false
}

// private reports whether an answer is for this client alone.
func private(h Header) bool {
	if len(h["Set-Cookie"]) > 0 {
		return true
	}
	for _, v := range values(h, "Cache-Control") {
		name, _, _ := strings.Cut(strings.ToLower(v), "=")
		if name == "private" || name == "no-store" {
			return true
		}
	}
	for _, v := range values(h, "Vary") {
		if v == "*" {
			return true
		}
	}
	return false
}

// values are the members of a list in a field that may stand several times.
func values(h Header, name string) (all []string) {
	for _, line := range h[name] {
		for v := range strings.SplitSeq(line, ",") {
			if v = strings.TrimSpace(v); v != "" {
				all = append(all, v)
			}
		}
	}
	return all
}
