package sharing

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/load"
)

// Rule says what holds for the URLs that a pattern matches. It is made by
// ParseRule.
type Rule struct {
	// text is what was written, match what it matches.
	text  string
	match *regexp.Regexp
	// Never shares nothing. Unsigned shares what nothing proves: the network is
	// believed.
	Never, Unsigned bool
	// Stream hands bytes on before all of them are proved; the last ones wait for
	// that. A client that begins to use what it gets must not ask for it.
	Stream bool
	// Credentials shares answers to requests with credentials.
	Credentials bool
	// Digest of what is there, zero if none was given.
	Digest load.Digest
	// Sidecars are the names of files that say the digest: one that begins with a
	// dot is added to the URL, another one is in the same directory.
	Sidecars []string
	// Trust is the directory of the publisher who signs the loads that are there: what
	// their manifests tell counts once it is verified, and not before. Empty: what
	// manifests tell counts as other indexes do.
	Trust string
	// Ignore are query parameters that belong to a presigned URL and not to the
	// content; one that ends in * stands for all that begin so.
	Ignore []string
}

// Rules are asked in order; the first that matches counts.
type Rules []Rule

// words are what may follow the pattern of a rule.
var words = []string{"never", "unsigned", "stream", "credentials", "sha256=HEX", "sidecar=NAME", "trust=DIRECTORY",
	"ignore=PARAMETER,..."}

// maxRule bounds the text of a rule, in bytes.
const maxRule = 4096

// ParseRule reads a rule: the pattern of URLs, then words, with spaces between
// them. In a pattern, * stands for anything but a slash, ** for anything.
func ParseRule(text string) (r Rule, err error) {
	fields := strings.Fields(text)
	if len(fields) < 2 || len(text) > maxRule {
		return r, fmt.Errorf("%q is no rule: write a pattern of URLs and what holds for them, such as "+
			"'http://updates.example/** unsigned'", text)
	}
	r.text = strings.Join(fields, " ")
	if r.match, err = pattern(fields[0]); err != nil {
		return r, err
	}
	for _, w := range fields[1:] {
		if err := r.take(w); err != nil {
			return r, fmt.Errorf("rule %q: %w", r.text, err)
		}
	}
	shares := r.Unsigned || !r.Digest.IsZero() || len(r.Sidecars) > 0 || r.Trust != "" || r.Stream || r.Credentials ||
		len(r.Ignore) > 0
	switch {
	case r.Never && shares:
		return r, fmt.Errorf("rule %q: never and other words exclude each other", r.text)
	case r.Unsigned && !r.Digest.IsZero():
		return r, fmt.Errorf("rule %q: unsigned and sha256 exclude each other", r.text)
	}
	return r, nil
}

// String is what was written.
func (r Rule) String() string { return r.text }

func (r *Rule) take(word string) (err error) {
	name, value, given := strings.Cut(word, "=")
	flags := map[string]*bool{"never": &r.Never, "unsigned": &r.Unsigned, "stream": &r.Stream,
		"credentials": &r.Credentials}
	if flag := flags[name]; flag != nil && !given {
		*flag = true
		return nil
	}
	switch {
	case name == "sha256" && given:
		r.Digest, err = load.ParseDigest(value)
		return err
	case name == "sidecar" && value != "":
		if strings.ContainsAny(value, "/?#%") {
			return fmt.Errorf("sidecar=%s: it is a name in the same directory, or an ending such as .sha256", value)
		}
		r.Sidecars = append(r.Sidecars, value)
		return nil
	case name == "trust" && value != "":
		r.Trust = value
		return nil
	case name == "ignore" && value != "":
		r.Ignore = append(r.Ignore, strings.Split(value, ",")...)
		return nil
	}
	return choice.Unknown("word", word, words)
}

// pattern compiles the pattern of a rule. It is compared with a URL without its
// query.
func pattern(text string) (*regexp.Regexp, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	host, _, _ := strings.Cut(rest, "/")
	if !ok || host == "" || !slices.Contains([]string{"http", "https", "*"}, scheme) || strings.ContainsAny(text, "?#") {
		return nil, fmt.Errorf("%q is no pattern of URLs: write it such as http://updates.example/fw/** (*:// for http and "+
			"https), without a query", text)
	}
	if !strings.Contains(rest, "/") {
		rest += "/"
	}
	var b strings.Builder
	b.WriteString("(?s)^" + map[bool]string{true: "https?", false: regexp.QuoteMeta(scheme)}[scheme == "*"] + "://")
	for rest != "" {
		switch {
		case strings.HasPrefix(rest, "**"):
			b.WriteString(".*")
			rest = rest[2:]
		case rest[0] == '*':
			b.WriteString("[^/]*")
			rest = rest[1:]
		default:
			end := strings.IndexByte(rest, '*')
			if end < 0 {
				end = len(rest)
			}
			b.WriteString(regexp.QuoteMeta(rest[:end]))
			rest = rest[end:]
		}
	}
	re, err := regexp.Compile(b.String() + "$")
	if err != nil {
		return nil, fmt.Errorf("%q cannot be used as a pattern: %w", text, err)
	}
	return re, nil
}

// find returns the first rule that matches a URL, the zero Rule where none does.
func (rs Rules) find(u *url.URL) Rule {
	c := Canonical(u)
	at := c.Scheme + "://" + c.Host + path.Clean(c.Path)
	if strings.HasSuffix(c.Path, "/") && !strings.HasSuffix(at, "/") {
		at += "/" // a directory
	}
	for _, r := range rs {
		if r.match.MatchString(at) {
			return r
		}
	}
	return Rule{}
}

// key names the content behind a URL.
func (r Rule) key(u *url.URL) string {
	c := Canonical(u)
	var kept []string
	for part := range strings.SplitSeq(c.RawQuery, "&") {
		name, _, _ := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		if !r.ignores(name) {
			kept = append(kept, part)
		}
	}
	c.RawQuery = strings.Join(kept, "&")
	return c.String()
}

func (r Rule) ignores(name string) bool {
	return slices.ContainsFunc(r.Ignore, func(p string) bool {
		begin, all := strings.CutSuffix(p, "*")
		return p == name || all && strings.HasPrefix(name, begin)
	})
}

// sidecars are the URLs of the files that say the digest of a URL.
func (r Rule) sidecars(u *url.URL) (all []*url.URL) {
	for _, name := range r.Sidecars {
		if c := sidecar(u, name); r.Trust == "" || KindOf(c) != Manifest {
			all = append(all, c)
		}
	}
	return all
}

// sidecar is the URL of a file of that name beside a URL. The manifest of a load is in
// the directory above its components.
func sidecar(u *url.URL, name string) *url.URL {
	c := Canonical(u)
	c.RawPath, c.RawQuery = "", ""
	dir := path.Dir(c.Path)
	if strings.HasPrefix(name, ".") {
		c.Path += name
		return c
	}
	if path.Base(dir) == "components" && strings.HasSuffix(name, load.ManifestSuffix) {
		dir = path.Dir(dir)
	}
	c.Path = path.Join(dir, name)
	return c
}

// loads are the URLs of the manifests that are to be verified before a URL is decided
// on: those that the rule names, and the one that is asked for, which its client may
// follow.
func (r Rule) loads(u *url.URL) (all []*url.URL) {
	if r.Trust == "" {
		return nil
	}
	if KindOf(u) == Manifest {
		c := Canonical(u)
		c.RawQuery = ""
		return append(all, c)
	}
	for _, name := range r.Sidecars {
		if c := sidecar(u, name); KindOf(c) == Manifest {
			all = append(all, c)
		}
	}
	return all
}

// Learns reports whether what passes through from a URL is learned from as it is: an
// index that no rule wants verified.
func (rs Rules) Learns(u *url.URL) bool {
	kind := KindOf(u)
	return kind != NoIndex && (kind != Manifest || rs.find(u).Trust == "")
}
