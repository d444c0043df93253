// Package target parses the list of URLs to fetch: where each file may be
// requested, whether they are a load, and which paths the files get.
//
// What lives here: the rules that package peerload and the command, which may
// leave the fetching to an agent, share. What must not: flags, and any
// fetching. Read List first.
package target

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/load"
)

// Proof is what says which bytes are right.
type Proof int

// Kinds of proof. The zero Proof says nothing.
const (
	_        Proof = iota
	Digest         // the digest of one file
	Signed         // the signed metadata of a load
	Unsigned       // nothing: the network is trusted
)

// Words are the names of the options in messages: flags, or fields of a
// request.
type Words struct {
	Digest, Trust, Slots, Output string
	// GiveTrust is what to give for a signed load.
	GiveTrust string
}

// List is what is to be fetched.
type List struct {
	// Sources are, for each file, the URLs to ask in order; at least one.
	Sources [][]*url.URL
	// Output is the path of the one file, to which symbolic links led, or with
	// Dir the directory of all.
	Output string
	Dir    bool
	// Load says that the one URL is that of a load: several files, one
	// directory. Classic says that it is an unsigned one, NAME.loads.
	Load, Classic bool
}

// Parse reads the URLs. An output of "" is the working directory. Errors are
// of the kind failure.Request.
func Parse(urls []string, output string) (*List, error) {
	l := &List{Output: output}
	for _, text := range urls {
		sources, err := origin.Candidates(text)
		if err != nil {
			return nil, failure.WithKind(failure.Request, err)
		}
		u := sources[0]
		switch {
		case !slices.Contains([]string{"http", "https", "tftp", "file"}, u.Scheme):
			return nil, refuse("%s: the scheme is http, https, tftp or file", u.Redacted())
		case strings.HasSuffix(u.Path, "/") || u.Path == "":
			return nil, refuse("%s names no file: write its path behind the host", u.Redacted())
		}
		l.Sources = append(l.Sources, sources)
	}
	if len(l.Sources) == 0 {
		return nil, refuse("no URL says what to fetch")
	}
	return l, nil
}

// Resolve checks the URLs against the proof, and decides what is a load and
// what is a directory. Errors are of the kind failure.Request.
func (l *List) Resolve(p Proof, slots bool, w Words) error {
	signed := slices.ContainsFunc(l.Sources, func(s []*url.URL) bool {
		return strings.HasSuffix(s[0].Path, load.ManifestSuffix)
	})
	switch n := len(l.Sources); {
	case p == Digest && n > 1:
		return refuse("%s speaks of one file, %d were asked for: fetch them one by one", w.Digest, n)
	case p == Signed && (!signed || n > 1):
		return refuse("%s fetches one load: give the URL of its NAME%s", w.Trust, load.ManifestSuffix)
	case slots && p != Signed:
		return refuse("%s is for a signed load: fetch NAME%s with %s", w.Slots, load.ManifestSuffix, w.Trust)
	case signed && p == Unsigned:
		return refuse("a NAME%s is signed: give %s, or fetch its components by their own names",
			load.ManifestSuffix, w.GiveTrust)
	}
	l.Classic = len(l.Sources) == 1 && p == Unsigned && strings.HasSuffix(l.Sources[0][0].Path, ".loads")
	l.Load = p == Signed || l.Classic
	l.Dir = l.Load || len(l.Sources) > 1 || strings.HasSuffix(l.Output, "/")
	if st, err := os.Stat(l.Output); err == nil && st.IsDir() {
		l.Dir = true
	}
	if l.Output == "" {
		l.Output, l.Dir = ".", true
	}
	if !l.Dir {
		var err error
		if l.Output, _, err = Follow(l.Output); err != nil {
			return failure.WithKind(failure.Request, err)
		}
	}
	names := map[string]bool{}
	for _, sources := range l.Sources {
		name := Name(sources[0])
		if names[name] {
			return refuse("two of the files would get the name %s: fetch them one by one, each with its own %s",
				name, w.Output)
		}
		names[name] = true
	}
	return nil
}

// Hosts are the servers that are asked first.
func (l *List) Hosts() (hosts []string) {
	for _, sources := range l.Sources {
		if h := sources[0].Hostname(); h != "" && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// MakeDir makes the directory of the files, if they go into one.
func (l *List) MakeDir() error {
	if !l.Dir {
		return nil
	}
	return durable.Writer{}.MkdirAll(l.Output, 0o755)
}

// Path returns the path that the file of a URL gets. A bad name is a
// load.ErrName, of the kind failure.Request.
func (l *List) Path(u *url.URL) (string, error) {
	if !l.Dir {
		return l.Output, nil
	}
	name := Name(u)
	if err := load.CheckFileName(name); err != nil {
		return "", refuse("%s: %w", u.Redacted(), err)
	}
	return filepath.Join(l.Output, name), nil
}

// Name is a file's name for people: the URL's last part.
func Name(u *url.URL) string { return path.Base(u.Path) }

func refuse(format string, args ...any) error {
	return failure.WithKind(failure.Request, fmt.Errorf(format, args...))
}
