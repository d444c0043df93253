package sharing_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/sharing"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
)

const archive = "http://deb.example/debian"

// packages is an index of n packages.
func packages(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "Package: p%d\nFilename: pool/p%d.deb\nSize: %d\nMD5sum: 00\nSHA256: %s\nDescription: x\n y: z\n\n",
			i, i, 20000+i, load.DigestOf(fmt.Append(nil, i)))
	}
	return b.String()
}

func zip(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// pressed is a text as xz has it, with blocks of a size and a dictionary.
func pressed(t testing.TB, text string, block int64, dict int, check byte) string {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.WriterConfig{BlockSize: block, DictCap: dict, CheckSum: check}.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write([]byte(text))
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// decided is the decision on a URL with what is known.
func decided(t *testing.T, k *sharing.Known, address string) sharing.Decision {
	t.Helper()
	return sharing.Decide(nil, k, readRequest(t, address))
}

func learn(t *testing.T, k *sharing.Known, address, text string) (int, error) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return k.Learn(u, reason.ProxyByIndex, strings.NewReader(text))
}

// TestPackages: an index of apt tells the digests of its pool, in whichever form it
// comes, from whichever place.
func TestPackages(t *testing.T) {
	const n = 3000
	text := packages(n)
	for where, pool := range map[string]string{
		"/dists/bookworm/main/binary-arm64/":                  archive,
		"/dists/stable/updates/main/binary-all/by-hash/SHA1/": archive,
		"/flat/": archive + "/flat",
	} {
		for name, body := range map[string]string{"Packages": text, "Packages.gz": zip(t, text),
			"Packages.xz": pressed(t, text, 1<<30, 8<<20, xz.CRC64), "blocks": pressed(t, text, 100_000, 1<<16, xz.SHA256),
			"no check": pressed(t, text, 50_000, 4096, xz.None)} {
			at := archive + where + "Packages.xz"
			if strings.Contains(where, "by-hash") {
				at = archive + where + "da39a3ee5e6b4b0d3255bfef95601890afd80709"
			}
			var k sharing.Known
			if got, err := learn(t, &k, at, body); err != nil || got != n || k.Len() != n {
				t.Fatalf("%s at %s: %d files, %v", name, where, got, err)
			}
			d := decided(t, &k, pool+"/pool/p2999.deb")
			if d.Verdict != sharing.ByDigest || d.Why != reason.ProxyByIndex || d.Size != 22999 ||
				d.Digest != load.DigestOf([]byte("2999")) {
				t.Errorf("%s at %s: %+v", name, where, d)
			}
			if d := decided(t, &k, archive+"/pool/q.deb"); d.Verdict != sharing.Ask {
				t.Errorf("%s at %s: what is not listed: %+v", name, where, d)
			}
		}
	}
}

// TestXZBounds: what would take more memory than a device has for it is not read, and
// neither is what is damaged.
func TestXZBounds(t *testing.T) {
	tiers.Long(t, "it packs and unpacks much")
	var k sharing.Known
	at := archive + "/dists/b/main/binary-arm64/Packages.xz"
	if _, err := learn(t, &k, at, pressed(t, packages(10), 1<<30, 64<<20, xz.CRC32)); !errors.Is(err, sharing.ErrIndex) ||
		!strings.Contains(err.Error(), "64 MiB") || k.Len() > 0 {
		t.Errorf("a dictionary of 64 MiB: %v", err)
	}
	whole := pressed(t, packages(10), 1<<30, 1<<16, xz.CRC32)
	for i := range len(whole) - 40 {
		if testing.Short() && i%8 != 0 {
			continue // each byte without -short
		}
		if _, err := learn(t, &k, at, whole[:i]); i >= 6 && !errors.Is(err, sharing.ErrIndex) {
			t.Fatalf("cut off at %d: %v", i, err)
		}
	}
	for _, i := range []int{6, 8, 12, 13, 14, 15} {
		bad := []byte(whole)
		bad[i] ^= 0x55
		if _, err := learn(t, &k, at, string(bad)); !errors.Is(err, sharing.ErrIndex) {
			t.Errorf("damaged at %d: %v", i, err)
		}
	}
	if _, err := learn(t, &k, at, strings.Repeat("x", 1<<17)); !errors.Is(err, sharing.ErrIndex) {
		t.Errorf("a line without end: %v", err)
	}
}

// TestRelease: the other indexes are known by path and by all of their digests.
func TestRelease(t *testing.T) {
	d := load.DigestOf([]byte("index"))
	text := "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSuite: stable\nAcquire-By-Hash: yes\nMD5Sum:\n" +
		" d41d8cd98f00b204e9800998ecf8427e 50000 main/binary-arm64/Packages.xz\nSHA256:\n " + d.String() +
		" 50000 main/binary-arm64/Packages.xz\n " + d.String() + " 50000 ../../../etc/passwd\n" +
		"-----BEGIN PGP SIGNATURE-----\n"
	var k sharing.Known
	if n, err := learn(t, &k, archive+"/dists/stable/InRelease", text); n != 3 || err != nil {
		t.Errorf("%d files, %v", n, err)
	}
	for _, p := range []string{"Packages.xz", "by-hash/MD5Sum/d41d8cd98f00b204e9800998ecf8427e"} {
		got := decided(t, &k, archive+"/dists/stable/main/binary-arm64/"+p)
		if got.Verdict != sharing.ByDigest || got.Digest != d || got.Size != 50000 {
			t.Errorf("%s: %+v", p, got)
		}
	}
	if d := decided(t, &k, archive+"/dists/../../etc/passwd"); d.Verdict == sharing.ByDigest {
		t.Errorf("a path that leads elsewhere: %+v", d)
	}
}

// TestSums: what sha256sum writes, with and without names.
func TestSums(t *testing.T) {
	d := load.DigestOf([]byte("file"))
	for _, c := range []struct {
		at, text string
		known    bool
	}{
		{"SHA256SUMS", d.String() + "  app.swu\n", true},
		{"SHA256SUMS", d.String() + " *./app.swu\r\n", true},
		{"SHA256SUMS", "SHA256 (app.swu) = " + strings.ToUpper(d.String()), true},
		{"SHA256SUMS", d.String() + "  sub/../app.swu\n", false},
		{"SHA256SUMS", d.String() + "\n", false},
		{"SHA256SUMS", "0 app.swu\n", false},
		{"app.swu.sha256", d.String() + "\n", true},
		{"app.swu.sha256", d.String() + "  /home/build/app.swu\n", true},
		{"app.swu.sha256", d.String() + "  other.swu\n", false},
		{"app.swu.sha256", "<html>", false},
		{"app.swu.md5", d.String(), false},
	} {
		var k sharing.Known
		_, err := learn(t, &k, "http://u.example/fw/"+c.at, c.text)
		got := decided(t, &k, "http://u.example/fw/app.swu")
		if err != nil || (got.Verdict == sharing.ByDigest) != c.known || c.known && got.Digest != d {
			t.Errorf("%s %q: %+v, %v", c.at, c.text, got, err)
		}
	}
}

// TestKnownIsBounded: the oldest go first, and what turned out wrong is forgotten.
func TestKnownIsBounded(t *testing.T) {
	tiers.Long(t, "it learns of 90,000 files")
	var k sharing.Known
	for i := range 3 {
		text := strings.ReplaceAll(packages(30000), "Filename: pool/", fmt.Sprintf("Filename: pool%d/", i))
		if _, err := learn(t, &k, archive+"/Packages", text); err != nil {
			t.Fatal(err)
		}
	}
	if k.Len() != 1<<16 || decided(t, &k, archive+"/pool0/p0.deb").Verdict == sharing.ByDigest {
		t.Errorf("%d are known", k.Len())
	}
	d := decided(t, &k, archive+"/pool2/p29999.deb")
	if d.Verdict != sharing.ByDigest {
		t.Fatalf("%+v", d)
	}
	k.Forget(d.Key)
	if d := decided(t, &k, archive+"/pool2/p29999.deb"); d.Verdict == sharing.ByDigest {
		t.Errorf("forgotten: %+v", d)
	}
}

// TestJoin: what one knows the other knows, too, but nothing that was forgotten.
func TestJoin(t *testing.T) {
	var from, k sharing.Known
	if _, err := learn(t, &from, archive+"/Packages", packages(3)); err != nil {
		t.Fatal(err)
	}
	from.Forget(decided(t, &from, archive+"/pool/p1.deb").Key)
	k.Join(&from)
	for i, want := range []sharing.Verdict{sharing.ByDigest, sharing.Ask, sharing.ByDigest} {
		d := decided(t, &k, fmt.Sprintf("%s/pool/p%d.deb", archive, i))
		if d.Verdict != want || want == sharing.ByDigest && d.Digest != load.DigestOf(fmt.Append(nil, i)) {
			t.Errorf("file %d: %+v", i, d)
		}
	}
}

// TestReleaseIsBounded: of a list without end the first lines count.
func TestReleaseIsBounded(t *testing.T) {
	const most = 1 << 14
	var b strings.Builder
	b.WriteString("SHA256:\n")
	for i := range most + 10 {
		fmt.Fprintf(&b, " %s 50000 f%d\n", load.DigestOf(fmt.Append(nil, i)), i)
	}
	var k sharing.Known
	if n, err := learn(t, &k, archive+"/dists/a/Release", b.String()); n != 2*most || err != nil {
		t.Errorf("%d facts of %d files, %v", n, most, err)
	}
}

// FuzzLearn: whatever passes for an index, what is learned of it is beside it, and no
// more than its bounds is read.
func FuzzLearn(f *testing.F) {
	f.Add("/debian/dists/b/main/binary-arm64/Packages", packages(2))
	f.Add("/debian/dists/b/main/binary-arm64/Packages.gz", zip(f, packages(2)))
	f.Add("/debian/dists/b/main/binary-arm64/Packages.xz", pressed(f, packages(2), 100, 4096, xz.CRC64))
	f.Add("/debian/dists/b/InRelease", "SHA256:\n "+sum+" 5 main/x\n")
	f.Add("/a/SHA256SUMS", sum+"  x\nSHA256 (y) = "+sum)
	f.Add("/a/x.sha256", sum)
	_, text := manifest(f, "1.0", []byte("x"))
	f.Add("/a/phone.load", text)
	f.Fuzz(func(t *testing.T, where, text string) {
		u := &url.URL{Scheme: "http", Host: "a", Path: "/" + strings.TrimPrefix(where, "/")}
		in := strings.NewReader(text)
		var k sharing.Known
		n, err := k.Learn(u, reason.ProxyByIndex, io.LimitReader(in, sharing.MaxIndex))
		if err != nil && !errors.Is(err, sharing.ErrIndex) || n < k.Len() {
			t.Fatalf("%d of %d: %v", k.Len(), n, err)
		}
		if sharing.KindOf(u) == sharing.NoIndex && n > 0 {
			t.Fatalf("%s is no index", where)
		}
	})
}
