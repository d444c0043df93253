package sharing_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/sharing"
	"github.com/peerload/peerload/load"
)

// sum is a digest, as text.
var sum = load.DigestOf([]byte("a file")).String()

// digestHeader writes the digest as Repr-Digest has it.
func digestHeader(text string) string {
	d := load.DigestOf([]byte(text))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(d[:]) + ":"
}

// example is a row of the table: a request, what else is known, and the decision.
type example struct {
	name    string
	rules   string // separated by ";"
	request string // [METHOD] URL [Field: value], or a body in place of the field
	answer  string // [STATUS] [Field: value]; "": not asked yet
	size    int64
	want    sharing.Verdict
	why     reason.Code
	key     string // "": not looked at
}

const (
	origin = "http://updates.example"
	mender = "https://s3.example/artifacts/8e2f?X-Amz-Date=20261128T220000Z&X-Amz-Signature=ab&versionId=3"
)

var examples = []example{
	// Digests in URLs.
	{name: "apt by-hash", request: origin + "/debian/dists/bookworm/main/binary-arm64/by-hash/SHA256/" + sum,
		want: sharing.ByDigest, why: reason.ProxyByURL},
	{name: "apt by-hash of a kind that peers do not know",
		request: origin + "/d/dists/b/main/binary-arm64/by-hash/SHA512/" + sum + sum, want: sharing.Pass,
		why: reason.ProxyForeignDigest},
	{name: "half a digest", request: origin + "/d/dists/b/main/binary-arm64/by-hash/SHA256/" + sum[:32],
		want: sharing.Pass, why: reason.ProxyForeignDigest},
	{name: "OCI blob", request: "https://registry.example/v2/app/fw/blobs/sha256:" + sum, want: sharing.ByDigest,
		why: reason.ProxyByURL},
	{name: "OCI manifest by digest", request: "https://registry.example/v2/app/manifests/sha256:" + sum,
		want: sharing.Ask, why: reason.ProxyNoDigest},
	{name: "OCI manifest by tag", request: "https://registry.example/v2/app/manifests/latest", want: sharing.Ask,
		why: reason.ProxyNoDigest},
	{name: "OCI blob, SHA-512", request: "https://registry.example/v2/app/blobs/sha512:" + sum + sum, want: sharing.Pass,
		why: reason.ProxyForeignDigest},
	{name: "OCI blob with a token", request: "https://registry.example/v2/app/blobs/sha256:" + sum +
		" Authorization: Bearer t", want: sharing.Pass, why: reason.ProxyCredentials},
	{name: "OCI blob with a token, by rule", rules: "https://registry.example/** credentials",
		request: "https://registry.example/v2/app/blobs/sha256:" + sum + " Authorization: Bearer t",
		want:    sharing.ByDigest, why: reason.ProxyByURL},
	{name: "component of a load", request: origin + "/components/" + sum + ".app.bin", want: sharing.ByDigest,
		why: reason.ProxyByURL},
	// The name of a chunk is the digest of what comes out of it. Another program, or
	// another level of compression, makes other bytes of the same name.
	{name: "casync chunk", request: origin + "/default.castr/" + sum[:4] + "/" + sum + ".cacnk", want: sharing.Pass,
		why: reason.ProxyForeignDigest},
	{name: "casync chunk, by rule", rules: origin + "/default.castr/** unsigned",
		request: origin + "/default.castr/" + sum[:4] + "/" + sum + ".cacnk", want: sharing.Unsigned,
		why: reason.ProxyUnsigned},

	// Rules.
	{name: "no rule, no digest", request: origin + "/fw/app.swu", want: sharing.Ask, why: reason.ProxyNoDigest},
	{name: "unsigned", rules: origin + "/fw/* unsigned", request: origin + "/fw/app.swu", want: sharing.Unsigned,
		why: reason.ProxyUnsigned, key: origin + "/fw/app.swu"},
	{name: "of another host", rules: "http://updates.example/** unsigned", request: "http://updates.example.evil/x",
		want: sharing.Ask, why: reason.ProxyNoDigest},
	{name: "one star, one directory", rules: origin + "/fw/* unsigned", request: origin + "/fw/a/b", want: sharing.Ask,
		why: reason.ProxyNoDigest},
	{name: "the way out of a directory", rules: origin + "/fw/** unsigned", request: origin + "/fw/../secret",
		want: sharing.Ask, why: reason.ProxyNoDigest},
	{name: "the way out, escaped", rules: origin + "/fw/** unsigned", request: origin + "/fw/%2e%2e/secret",
		want: sharing.Ask, why: reason.ProxyNoDigest},
	{name: "either scheme", rules: "*://updates.example/** unsigned", request: "https://updates.example:443/x",
		want: sharing.Unsigned, why: reason.ProxyUnsigned, key: "https://updates.example/x"},
	{name: "the first rule counts", rules: origin + "/a* never;" + origin + "/** unsigned", request: origin + "/abc",
		want: sharing.Pass, why: reason.ProxyNever},
	{name: "digest by rule", rules: origin + "/fw sha256=" + sum, request: origin + "/fw", want: sharing.ByDigest,
		why: reason.ProxyByRule},
	{name: "a sidecar to ask", rules: origin + "/** sidecar=.sha256", request: origin + "/fw/app.swu",
		want: sharing.Ask, why: reason.ProxyBySidecar},
	{name: "digest in the URL before a sidecar", rules: origin + "/** sidecar=SHA256SUMS",
		request: origin + "/components/" + sum + ".a", want: sharing.ByDigest, why: reason.ProxyByURL},

	// Presigned URLs: what is the content's and what is not is said by rule.
	{name: "presigned", rules: "https://s3.example/artifacts/* unsigned ignore=X-Amz-*", request: mender,
		want: sharing.Unsigned, why: reason.ProxyUnsigned, key: "https://s3.example/artifacts/8e2f?versionId=3"},
	{name: "presigned, no rule for it", rules: "https://s3.example/** unsigned", request: mender,
		want: sharing.Unsigned, why: reason.ProxyUnsigned, key: mender},
	{name: "an escaped name", rules: "https://s3.example/** unsigned ignore=X-Amz-*",
		request: "https://s3.example/a?X%2DAmz%2DDate=1&b=2", want: sharing.Unsigned, why: reason.ProxyUnsigned,
		key: "https://s3.example/a?b=2"},

	// Who asks.
	{name: "authorization", rules: origin + "/** unsigned", request: origin + "/fw Authorization: Basic eDp5",
		want: sharing.Pass, why: reason.ProxyCredentials},
	{name: "cookie", rules: origin + "/** unsigned", request: origin + "/fw Cookie: a=b", want: sharing.Pass,
		why: reason.ProxyCredentials},
	{name: "password in the URL", rules: "http://updates.example/** unsigned", request: "http://u:p@updates.example/fw",
		want: sharing.Pass, why: reason.ProxyCredentials},
	{name: "password in the URL, by rule", rules: "http://updates.example/** unsigned credentials",
		request: "http://u:p@updates.example/fw", want: sharing.Unsigned, why: reason.ProxyUnsigned, key: origin + "/fw"},

	// Patterns.
	{name: "a directory", rules: origin + "/private/** never; " + origin + "/** unsigned", request: origin + "/private/",
		want: sharing.Pass, why: reason.ProxyNever},
	{name: "a host and no path", rules: origin + " unsigned", request: origin, want: sharing.Unsigned,
		why: reason.ProxyUnsigned, key: origin + "/"},
	{name: "a host and no path is no other path", rules: origin + " unsigned", request: origin + "/fw", want: sharing.Ask,
		why: reason.ProxyNoDigest},
	{name: "a line feed", rules: origin + "/private/** never; " + origin + "/** unsigned",
		request: origin + "/private/a%0Ab", want: sharing.Pass, why: reason.ProxyNever},
	{name: "an empty port", rules: origin + "/private/** never; *://** unsigned",
		request: "http://updates.example:/private/a", want: sharing.Pass, why: reason.ProxyNever},
	{name: "dots at the end", rules: origin + "/private/** never; " + origin + "/** unsigned",
		request: origin + "/private/a/%2e%2e/", want: sharing.Pass, why: reason.ProxyNever},

	// Methods.
	{name: "POST", rules: origin + "/** unsigned", request: "POST " + origin + "/fw", want: sharing.Pass,
		why: reason.ProxyMethod},
	{name: "a body", rules: origin + "/** unsigned", request: origin + "/fw {}", want: sharing.Pass,
		why: reason.ProxyMethod},
	{name: "HEAD", rules: origin + "/** unsigned", request: "HEAD " + origin + "/fw", want: sharing.Unsigned,
		why: reason.ProxyUnsigned},
	{name: "CONNECT", rules: "https://updates.example/** unsigned", request: "CONNECT //updates.example:443",
		want: sharing.Tunnel, why: reason.ProxyTunnel},

	// Answers.
	{name: "Repr-Digest", request: origin + "/fw", answer: "200 Repr-Digest: " + digestHeader("a file"), size: 1 << 20,
		want: sharing.ByDigest, why: reason.ProxyByHeader},
	{name: "Repr-Digest of a part", request: origin + "/fw Range: bytes=0-9",
		answer: "206 Repr-Digest: " + digestHeader("a file"), size: 1 << 20, want: sharing.ByDigest,
		why: reason.ProxyByHeader},
	{name: "Digest, among others", request: origin + "/fw", answer: "200 Digest: md5=xx,SHA-256=" +
		strings.Trim(digestHeader("a file")[8:], ":"), size: 1 << 20, want: sharing.ByDigest, why: reason.ProxyByHeader},
	{name: "Content-Digest is of a message", request: origin + "/fw", answer: "200 Content-Digest: " +
		digestHeader("a file"), size: 1 << 20, want: sharing.Pass, why: reason.ProxyNoDigest},
	{name: "a digest that is none", request: origin + "/fw", answer: "200 Repr-Digest: sha-256=:AAAA:", size: 1 << 20,
		want: sharing.Pass, why: reason.ProxyNoDigest},
	{name: "small", request: origin + "/fw", answer: "200 Repr-Digest: " + digestHeader("a file"), size: 6,
		want: sharing.Pass, why: reason.ProxySmall},
	{name: "not found", request: origin + "/fw", answer: "404 Repr-Digest: " + digestHeader("a file"), size: 1 << 20,
		want: sharing.Pass, why: reason.ProxyStatus},
	{name: "gzip", rules: origin + "/** unsigned", request: origin + "/fw", answer: "200 Content-Encoding: gzip",
		size: 1 << 20, want: sharing.Pass, why: reason.ProxyCoded},
	{name: "private", rules: origin + "/** unsigned", request: origin + "/fw",
		answer: "200 Cache-Control: max-age=60, private", size: 1 << 20, want: sharing.Pass, why: reason.ProxyPrivate},
	{name: "private, by rule", rules: origin + "/** unsigned credentials", request: origin + "/fw",
		answer: "200 Cache-Control: private", size: 1 << 20, want: sharing.Unsigned, why: reason.ProxyUnsigned},
	{name: "no-store", request: origin + "/fw", answer: "200 Cache-Control: no-store", size: 1 << 20,
		want: sharing.Pass, why: reason.ProxyPrivate},
	{name: "a cookie is set", rules: origin + "/** unsigned", request: origin + "/fw", answer: "200 Set-Cookie: a=b",
		size: 1 << 20, want: sharing.Pass, why: reason.ProxyPrivate},
	{name: "varies by everything", rules: origin + "/** unsigned", request: origin + "/fw", answer: "200 Vary: *",
		size: 1 << 20, want: sharing.Pass, why: reason.ProxyPrivate},
	{name: "varies by what the client says", rules: origin + "/** unsigned", request: origin + "/fw Accept-Language: ja",
		answer: "200 Vary: Accept-Encoding, accept-language", size: 1 << 20, want: sharing.Pass, why: reason.ProxyPrivate},
	{name: "varies by what it does not say", rules: origin + "/** unsigned", request: origin + "/fw",
		answer: "200 Vary: Accept-Language", size: 1 << 20, want: sharing.Unsigned, why: reason.ProxyUnsigned},
	{name: "varies by coding and origin", rules: origin + "/** unsigned", request: origin + "/fw Origin: http://a",
		answer: "200 Vary: Accept-Encoding, Origin", size: 1 << 20, want: sharing.Unsigned, why: reason.ProxyUnsigned},
	{name: "varies by credentials, by rule", rules: origin + "/** unsigned credentials",
		request: origin + "/fw Cookie: a=b", answer: "200 Vary: Cookie", size: 1 << 20, want: sharing.Unsigned,
		why: reason.ProxyUnsigned},
	{name: "unsigned, and the answer says more", rules: origin + "/** unsigned", request: origin + "/fw",
		answer: "200 Repr-Digest: " + digestHeader("a file"), size: 1 << 20, want: sharing.ByDigest,
		why: reason.ProxyByHeader},
}

// TestDecisions goes through the table of examples.
func TestDecisions(t *testing.T) {
	for _, e := range examples {
		t.Run(e.name, func(t *testing.T) {
			q := readRequest(t, e.request)
			d := sharing.Decide(readRules(t, e.rules), &sharing.Known{}, q)
			if e.answer != "" {
				d = sharing.Answered(d, q, readAnswer(t, e.answer, e.size))
			}
			if d.Verdict != e.want || d.Why != e.why || e.key != "" && d.Key != e.key {
				t.Fatalf("got %+v", d)
			}
			if strings.Contains(d.Key, "u:p") || strings.Contains(d.Key, "#") {
				t.Errorf("the key tells %q", d.Key)
			}
			if (d.Verdict == sharing.ByDigest) != (d.Digest.String() == sum) {
				t.Errorf("digest %s", d.Digest)
			}
		})
	}
}

func readRules(t *testing.T, text string) (rs sharing.Rules) {
	t.Helper()
	for line := range strings.SplitSeq(text, ";") {
		if line == "" {
			continue
		}
		r, err := sharing.ParseRule(line)
		if err != nil {
			t.Fatal(err)
		}
		rs = append(rs, r)
	}
	return rs
}

func readFields(h sharing.Header, words []string) {
	if len(words) > 1 {
		name, value, _ := strings.Cut(strings.Join(words, " "), ": ")
		h[http.CanonicalHeaderKey(name)] = []string{value}
	}
}

func readRequest(t *testing.T, text string) sharing.Request {
	t.Helper()
	words := strings.Fields(text)
	q := sharing.Request{Method: "GET", Header: sharing.Header{}}
	if !strings.Contains(words[0], ":") {
		q.Method, words = words[0], words[1:]
	}
	var err error
	if q.URL, err = url.Parse(words[0]); err != nil {
		t.Fatal(err)
	}
	readFields(q.Header, words[1:])
	q.Body = len(words) == 2
	return q
}

func readAnswer(t *testing.T, text string, size int64) sharing.Answer {
	t.Helper()
	a := sharing.Answer{Header: sharing.Header{}, Size: size}
	words := strings.Fields(text)
	if _, err := fmt.Sscan(words[0], &a.Status); err != nil {
		t.Fatal(err)
	}
	readFields(a.Header, words[1:])
	return a
}

// TestSidecars: a rule names the files that say the digest.
func TestSidecars(t *testing.T) {
	rules := readRules(t, origin+"/** sidecar=.sha256 sidecar=SHA256SUMS")
	d := sharing.Decide(rules, nil, readRequest(t, origin+"/fw/app.swu?x=1"))
	if fmt.Sprint(d.Sidecars) != "["+origin+"/fw/app.swu.sha256 "+origin+"/fw/SHA256SUMS]" {
		t.Errorf("%s", d.Sidecars)
	}
	q := readRequest(t, origin+"/fw/app.swu?x=1")
	q.SidecarsAsked = true
	if d := sharing.Decide(rules, nil, q); d.Verdict != sharing.Ask || len(d.Sidecars) > 0 {
		t.Errorf("asked already: %+v", d)
	}
}

// TestBadRules: each is refused, with what to do.
func TestBadRules(t *testing.T) {
	for text, want := range map[string]string{
		"": "is no rule", "http://a/**": "is no rule", "a/** unsigned": "no pattern", "ftp://a/** unsigned": "no pattern",
		"http:///x unsigned": "no pattern", "http://a/?q unsigned": "no pattern", "http://a/ unsinged": "unsigned",
		"http://a/ never unsigned": "exclude", "http://a/ sha256=12": "64", "http://a/ sidecar=a/b": "same directory",
		"http://a/ sidecar=": "word", "http://a/ unsigned sha256=" + sum: "exclude",
		"http://a/ unsigned " + strings.Repeat("x", 5000): "is no rule",
	} {
		if _, err := sharing.ParseRule(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

// FuzzDecide: whatever is asked for and answered, nothing of who asks is in the key,
// what is shared by digest has one, and without a rule nothing is shared unsigned.
func FuzzDecide(f *testing.F) {
	f.Add(origin+"/** unsigned ignore=X-*", mender, "GET", "", 200, "Repr-Digest", digestHeader("a file"), int64(1<<20))
	f.Add("*://*/** credentials stream", "http://u:p@h/by-hash/SHA256/"+sum, "GET", "Basic x", 206, "Digest", "sha-256=",
		int64(5))
	f.Add("http://a/** sidecar=.sha256", "http://a/b/../c?d#e", "HEAD", "", 200, "Cache-Control", "private", int64(-1))
	f.Fuzz(func(t *testing.T, rule, text, method, auth string, status int, name, value string, size int64) {
		u, err := url.Parse(text)
		if err != nil {
			return
		}
		q := sharing.Request{Method: method, URL: u, Header: sharing.Header{}}
		if auth != "" {
			q.Header["Authorization"] = []string{auth}
		}
		var rules sharing.Rules
		if r, err := sharing.ParseRule(rule); err == nil {
			rules = sharing.Rules{r}
			if again, err := sharing.ParseRule(r.String()); err != nil || again.String() != r.String() {
				t.Fatalf("%q is printed as %q: %v", rule, r.String(), err)
			}
		}
		first := sharing.Decide(rules, nil, q)
		d := sharing.Answered(first, q, sharing.Answer{Status: status, Header: sharing.Header{name: {value}}, Size: size})
		for _, d := range []sharing.Decision{first, d} {
			switch {
			case (d.Verdict == sharing.ByDigest) == d.Digest.IsZero():
				t.Fatalf("%+v", d)
			case d.Verdict == sharing.Unsigned && (len(rules) == 0 || !rules[0].Unsigned):
				t.Fatalf("unsigned without a rule: %+v", d)
			case (d.Verdict == sharing.ByDigest || d.Verdict == sharing.Unsigned) && q.HasCredentials() && !d.Credentials:
				t.Fatalf("shared though it says who asks: %+v", d)
			case d.Why == "":
				t.Fatalf("no reason: %+v", d)
			}
			if k, err := url.Parse(d.Key); err == nil && (k.User != nil || k.Fragment != "") {
				t.Fatalf("the key is %q", d.Key)
			}
		}
	})
}
