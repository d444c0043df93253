package sharing_test

import (
	"bytes"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/sharing"
	"github.com/peerload/peerload/load"
)

// manifest is that of a load with one component.
func manifest(t testing.TB, version string, content []byte) (m *load.Manifest, text string) {
	t.Helper()
	c, err := load.Describe("app.bin", bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	m = &load.Manifest{Name: "phone", Version: version, Models: []string{"7961"}, Components: []load.Component{c}}
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return m, string(b)
}

// TestManifest: the manifest of a load tells the digests of its components and of their
// chunks. To a digest that somebody else gave, only a signed table belongs; and where a
// rule names a publisher, an unsigned manifest tells nothing.
func TestManifest(t *testing.T) {
	content := bytes.Repeat([]byte("firmware"), 20_000)
	m, text := manifest(t, "1.0", content)
	c := m.Components[0]
	named, published := origin+"/fw/app.bin", origin+"/fw/components/"+c.Digest.String()+".app.bin"
	at, _ := url.Parse(origin + "/fw/phone.load")
	trusting := origin + "/fw/** trust=/etc/trust sidecar=phone.load"
	for name, e := range map[string]struct {
		rule, url string
		known     string // "", "passed", "signed"
		want      sharing.Verdict
		why       reason.Code
		table     bool
		loads     string
	}{
		"passed":                    {"", named, "passed", sharing.ByDigest, reason.ProxyByIndex, true, ""},
		"passed, a digest in a URL": {"", published, "passed", sharing.ByDigest, reason.ProxyByURL, false, ""},
		"passed, a digest by rule": {origin + "/fw/* sha256=" + c.Digest.String(), named, "passed", sharing.ByDigest,
			reason.ProxyByRule, false, ""},
		"signed, by its name":       {"", named, "signed", sharing.ByDigest, reason.ProxyByIndex, true, ""},
		"signed, a digest in a URL": {"", published, "signed", sharing.ByDigest, reason.ProxyByLoad, true, ""},
		"signed, another digest": {origin + "/fw/* sha256=" + load.DigestOf(nil).String(), named, "signed", sharing.ByDigest,
			reason.ProxyByRule, false, ""},
		"to verify":         {trusting, named, "", sharing.Ask, reason.ProxyByLoad, false, at.String()},
		"to verify, by URL": {trusting, published, "", sharing.Ask, reason.ProxyByLoad, false, at.String()},
		"the manifest itself": {origin + "/fw/** trust=/x", at.String() + "?x", "", sharing.Ask,
			reason.ProxyByLoad, false, at.String()},
		"verified": {trusting, published, "signed", sharing.ByDigest, reason.ProxyByLoad, true, ""},
	} {
		var k sharing.Known
		if e.known == "signed" {
			k.LearnLoad(at, m)
		}
		if e.known != "" { // a publisher's word counts more than one that follows
			if n, err := k.Learn(at, reason.ProxyByIndex, strings.NewReader(text)); err != nil || n != 2 {
				t.Fatalf("%s: %d, %v", name, n, err)
			}
		}
		d := sharing.Decide(readRules(t, e.rule), &k, readRequest(t, e.url))
		if d.Verdict != e.want || d.Why != e.why || (d.Table != nil) != e.table || len(d.Loads) > 0 != (e.loads != "") ||
			e.loads != "" && d.Loads[0].String() != e.loads {
			t.Errorf("%s: %+v", name, d)
		}
		if e.table && (d.Size != c.Size || !d.Table.Check(2, content[2*load.MinChunkSize:])) {
			t.Errorf("%s: size %d, a table of %d", name, d.Size, len(d.Table))
		}
	}
	rules := readRules(t, trusting)
	if rules.Learns(at) || !sharing.Rules(nil).Learns(at) {
		t.Error("what a rule wants verified is learned as it passes, or what none does is not")
	}
	d := sharing.Decide(readRules(t, origin+"/** sidecar=phone.load"), nil, readRequest(t, published+".x/app.bin"))
	if len(d.Loads) > 0 || len(d.Sidecars) != 1 {
		t.Errorf("without a publisher a manifest is a sidecar like any other: %+v", d)
	}
	var k sharing.Known
	for _, junk := range []string{"", "{}", text[:len(text)-5], strings.Repeat(" ", load.MaxManifestSize+1)} {
		if n, err := k.Learn(at, reason.ProxyByIndex, io.LimitReader(strings.NewReader(junk), sharing.MaxIndex)); err == nil {
			t.Errorf("%d files in %.20q", n, junk)
		}
	}
}

// TestTables: tables of chunks take no more memory than is set; the oldest go, and what
// they belong to is still known.
func TestTables(t *testing.T) {
	var k sharing.Known
	m, _ := manifest(t, "1.0", []byte("x"))
	c := &m.Components[0]
	c.Size, c.Table = load.MaxFileSize, make(load.Table, load.MaxChunks)
	const most = 17 // of the largest files
	at := func(i int) *url.URL {
		return &url.URL{Scheme: "http", Host: "a", Path: "/" + strings.Repeat("x", i+1) + "/phone.load"}
	}
	published := func(i int) string {
		return "http://a/" + strings.Repeat("x", i+1) + "/components/" + c.Digest.String() + ".app.bin"
	}
	for i := range most {
		k.LearnLoad(at(i), m)
		k.LearnLoad(at(i), m)
	}
	tables := 0
	for i := range most {
		d := decided(t, &k, published(i))
		if d.Verdict != sharing.ByDigest {
			t.Fatalf("%d: %+v", i, d)
		}
		if d.Table != nil {
			tables++
		}
	}
	if tables != most-1 {
		t.Errorf("%d tables are known", tables)
	}
	k.Forget(published(most - 1))
	if d := decided(t, &k, published(most-1)); d.Table == nil {
		t.Errorf("what is signed is forgotten: %+v", d)
	}
	_, text := manifest(t, "1.0", []byte("x"))
	if n, err := k.Learn(at(0), reason.ProxyByIndex, strings.NewReader(text)); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	k.Forget("http://a/x/app.bin")
	if d := decided(t, &k, "http://a/x/app.bin"); d.Verdict != sharing.Ask || d.Table != nil {
		t.Errorf("what turned out wrong is not forgotten: %+v", d)
	}
}
