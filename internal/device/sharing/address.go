package sharing

import (
	"encoding/base64"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/peerload/peerload/load"
)

// told is what a URL tells of the bytes behind it.
type told struct {
	digest load.Digest
	// foreign says that the URL has a digest that does not prove the bytes that
	// are sent: it is of another kind, or of other bytes.
	foreign bool
}

// The URLs that tell a digest.
var (
	// byHash is an index of apt by its digest. Others than SHA-256 are known
	// from a Release file that passed through.
	byHash = regexp.MustCompile(`/by-hash/(SHA256|[A-Za-z0-9]+)/([0-9a-f]+)$`)
	// ociBlob is a blob of a registry of containers. Manifests are small, and their
	// type counts, which the registry tells.
	ociBlob = regexp.MustCompile(`^/v2/.+/blobs/([a-z0-9+._-]+):([0-9a-f]+)$`)
	// component is a component of a load that Peerload has published.
	component = regexp.MustCompile(`/components/([0-9a-f]{64})\.[^/]+$`)
	// chunk is a chunk of casync or desync. Its name is the SHA-512/256 of what
	// it holds when it is uncompressed: many files have it, one for each way to
	// compress, so that it does not prove the bytes that are sent.
	chunk = regexp.MustCompile(`/([0-9a-f]{4})/([0-9a-f]{64})\.(?:cacnk|cacnk\.[a-z]+)$`)
)

// fromURL reads the digest in a URL.
func fromURL(u *url.URL) (t told) {
	p := path.Clean(u.Path)
	for _, form := range []*regexp.Regexp{byHash, ociBlob} {
		if m := form.FindStringSubmatch(p); m != nil {
			return proving(m[1], m[2])
		}
	}
	if m := component.FindStringSubmatch(p); m != nil {
		return proving("sha256", m[1])
	}
	return told{foreign: chunk.MatchString(p)}
}

// proving is what a digest of a kind tells.
func proving(kind, hex string) told {
	d, err := load.ParseDigest(hex)
	if !strings.EqualFold(kind, "sha256") || err != nil {
		return told{foreign: true}
	}
	return told{digest: d}
}

// fromHeader reads the digest of the whole representation: Repr-Digest (RFC
// 9530), or Digest, which came before it (RFC 3230). Content-Digest is of the
// bytes of one message, a part perhaps, and counts for nothing.
func fromHeader(h Header) (d load.Digest, ok bool) {
	for _, name := range []string{"Repr-Digest", "Digest"} {
		for _, v := range values(h, name) {
			kind, text, _ := strings.Cut(v, "=")
			if !strings.EqualFold(strings.TrimSpace(kind), "sha-256") {
				continue
			}
			text, _, _ = strings.Cut(text, ";")
			raw, err := base64.StdEncoding.DecodeString(strings.Trim(strings.TrimSpace(text), ":"))
			if err == nil && len(raw) == len(d) {
				copy(d[:], raw)
				return d, !d.IsZero()
			}
		}
	}
	return d, false
}

// Canonical is a URL as it names content: without credentials and fragment, the
// host in lower case, without a port that is empty or its scheme's own.
func Canonical(u *url.URL) *url.URL {
	c := &url.URL{Scheme: strings.ToLower(u.Scheme), Host: strings.ToLower(u.Host), Path: u.Path, RawPath: u.RawPath,
		RawQuery: u.RawQuery}
	for scheme, port := range map[string]string{"http": ":80", "https": ":443"} {
		if c.Scheme == scheme {
			c.Host = strings.TrimSuffix(c.Host, port)
		}
	}
	c.Host = strings.TrimSuffix(c.Host, ":")
	if c.Path == "" {
		c.Path = "/"
	}
	return c
}
