package sharing

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/load"
)

// Bounds of what is read of an index.
const (
	// MaxIndex bounds an index as it is sent, in bytes.
	MaxIndex = 32 << 20
	// maxPlain bounds it uncompressed: the largest of Debian has 60 MB.
	maxPlain = 256 << 20
	// maxLine bounds a line; what has longer ones is no index.
	maxLine = 64 << 10
	// maxListed bounds the indexes that a Release file lists.
	maxListed = 1 << 14
)

// ErrIndex says that an index cannot be read: nothing, or not all, is learned from
// it.
var ErrIndex = errors.New("the index cannot be read")

// Kind is the kind of an index, by its URL. The zero Kind is none.
type Kind int

// The kinds of indexes.
const (
	NoIndex  Kind = iota
	Packages      // of apt: the files of packages
	Release       // of apt: the other indexes
	Sums          // SHA256SUMS
	Sidecar       // NAME.sha256, of one file
	Manifest      // NAME.load, of a load that Peerload publishes
)

var packagesAt = regexp.MustCompile(`(^|/)(Packages(\.gz|\.xz)?|binary-[a-z0-9-]+/by-hash/[A-Za-z0-9]+/[0-9a-f]+)$`)

// KindOf tells by a URL whether an index may be there.
func KindOf(u *url.URL) Kind {
	base := path.Base(u.Path)
	switch {
	case packagesAt.MatchString(u.Path):
		return Packages
	case base == "Release" || base == "InRelease":
		return Release
	case strings.HasPrefix(base, "SHA256SUM") || strings.HasPrefix(base, "sha256sum"):
		return Sums
	case strings.HasSuffix(base, ".sha256") || strings.HasSuffix(base, ".sha256sum"):
		return Sidecar
	case strings.HasSuffix(base, load.ManifestSuffix) && !component.MatchString(u.Path):
		return Manifest
	}
	return NoIndex
}

// Learn reads an index and notes what it says, for the URLs beside its own. why is
// on whose word. It returns of how many files. What it has read before an error
// counts.
func (k *Known) Learn(u *url.URL, why reason.Code, r io.Reader) (n int, err error) {
	in := bufio.NewReaderSize(io.LimitReader(r, MaxIndex), 4096)
	plain, err := plainText(in)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrIndex, err)
	}
	text := &io.LimitedReader{R: plain, N: maxPlain}
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, maxLine)
	l := learningAt(k, u, why)
	switch KindOf(u) {
	case Packages:
		l.packages(lines)
	case Release:
		l.release(lines)
	case Sums, Sidecar:
		l.sums(lines, KindOf(u) == Sidecar)
	case Manifest:
		return l.readManifest(text)
	}
	if err = lines.Err(); err == nil && text.N <= 0 {
		err = errors.New("it is longer than an index may be")
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrIndex, err)
	}
	return l.n, err
}

// plainText is the text of an index, which may be compressed.
func plainText(in *bufio.Reader) (io.Reader, error) {
	begin, err := in.Peek(len(xzMagic))
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(begin, []byte{0x1f, 0x8b}):
		return gzip.NewReader(in)
	case bytes.Equal(begin, xzMagic):
		return newXZ(in)
	}
	return in, nil
}

// learning is what is learned from one index.
type learning struct {
	known *Known
	at    *url.URL
	why   reason.Code
	n     int
}

// learningAt is what an index at a URL tells, for the URLs beside it.
func learningAt(k *Known, u *url.URL, why reason.Code) *learning {
	l := &learning{known: k, at: Canonical(u), why: why}
	l.at.RawQuery, l.at.RawPath = "", ""
	return l
}

// LearnLoad notes what the manifest of a load tells, which is at a URL and was signed
// by a publisher that this device trusts.
func (k *Known) LearnLoad(u *url.URL, m *load.Manifest) {
	learningAt(k, u, reason.ProxyByLoad).manifest(m, true)
}

// readManifest reads the manifest of a load.
func (l *learning) readManifest(r io.Reader) (int, error) {
	text, err := io.ReadAll(io.LimitReader(r, load.MaxManifestSize+1))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrIndex, err)
	}
	m, err := load.ParseManifest(text)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrIndex, err)
	}
	l.manifest(m, false)
	return l.n, nil
}

// manifest notes the components of a load, where they are published. One that nobody has
// signed may also be an index of what is beside it; of what is signed, names alone tell
// no version from another.
func (l *learning) manifest(m *load.Manifest, signed bool) {
	dir := path.Dir(l.at.Path)
	for _, c := range m.Components {
		f := fact{c.Digest, c.Size, l.why, c.Table, signed}
		l.noteFact(dir, path.Join("components", c.Digest.String()+"."+c.Name), f)
		if !signed {
			l.noteFact(dir, c.Name, f)
		}
	}
}

// note notes the digest of a file, by its path below a directory. Paths that lead
// elsewhere are left out.
func (l *learning) note(dir, file string, d load.Digest, size int64) {
	l.noteFact(dir, file, fact{digest: d, size: size, why: l.why})
}

func (l *learning) noteFact(dir, file string, f fact) {
	file = strings.TrimPrefix(file, "./")
	if file == "" || strings.HasPrefix(file, "/") || path.Clean(file) != file || strings.HasPrefix(file, "..") {
		return
	}
	u := *l.at
	u.Path = path.Join("/", dir, file)
	l.known.add(u.String(), f)
	l.n++
}

// packages reads the stanzas of Packages. File names are relative to the archive:
// what is above dists, or, where there is no dists, the directory of the index.
func (l *learning) packages(lines *bufio.Scanner) {
	root, _, ok := strings.Cut(l.at.Path, "/dists/")
	if !ok {
		root = path.Dir(l.at.Path)
		if i := strings.Index(root, "/by-hash/"); i >= 0 {
			root = root[:i]
		}
	}
	var file string
	var sum load.Digest
	size := int64(load.UnknownSize)
	end := func() {
		l.note(root, file, sum, size)
		file, sum, size = "", load.Digest{}, load.UnknownSize
	}
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		switch name {
		case "":
			end()
		case "Filename":
			file = value
		case "Size":
			size = sizeOf(value)
		case "SHA256":
			sum, _ = load.ParseDigest(value)
		}
	}
	end()
}

// listed is a line of a Release file.
type listed struct{ kind, sum, file string }

// release reads the lists of a Release file. What it has by SHA-256 is known by
// its other digests, too: those may be in the URLs of by-hash.
func (l *learning) release(lines *bufio.Scanner) {
	dir := path.Dir(l.at.Path)
	proved := map[string]fact{}
	var others []listed
	kind := ""
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, " ") {
			kind = strings.TrimSuffix(line, ":")
			continue
		}
		f := strings.Fields(line)
		if len(f) != 3 || len(others) >= maxListed || len(proved) >= maxListed {
			continue
		}
		if kind != "SHA256" {
			others = append(others, listed{kind, f[0], f[2]})
			continue
		}
		if d, err := load.ParseDigest(f[0]); err == nil {
			proved[f[2]] = fact{digest: d, size: sizeOf(f[1])}
			l.note(dir, f[2], d, sizeOf(f[1]))
			l.note(dir, path.Join(path.Dir(f[2]), "by-hash/SHA256", f[0]), d, sizeOf(f[1]))
		}
	}
	for _, o := range others {
		if p, ok := proved[o.file]; ok {
			l.note(dir, path.Join(path.Dir(o.file), "by-hash", o.kind, o.sum), p.digest, p.size)
		}
	}
}

var (
	gnuSum = regexp.MustCompile(`^\\?([0-9a-fA-F]{64})(?:[ \t]+\*?(.+))?$`)
	bsdSum = regexp.MustCompile(`^SHA256 ?\((.+)\) ?= ?([0-9a-fA-F]{64})$`)
)

// sums reads what sha256sum writes, also in the form of BSD. In the sidecar of one
// file its name may be left out, or be that of where it was made.
func (l *learning) sums(lines *bufio.Scanner, sidecar bool) {
	dir, own := path.Dir(l.at.Path), ""
	if sidecar {
		own = strings.TrimSuffix(path.Base(l.at.Path), path.Ext(l.at.Path))
	}
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		sum, file := "", ""
		if m := gnuSum.FindStringSubmatch(line); m != nil {
			sum, file = m[1], m[2]
		} else if m := bsdSum.FindStringSubmatch(line); m != nil {
			sum, file = m[2], m[1]
		}
		d, err := load.ParseDigest(strings.ToLower(sum))
		if err != nil || sidecar && file != "" && path.Base(file) != own {
			continue
		}
		if sidecar {
			file = own
		}
		l.note(dir, file, d, load.UnknownSize)
	}
}

// sizeOf reads a size in bytes.
func sizeOf(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > load.MaxFileSize {
		return load.UnknownSize
	}
	return n
}
