package sums

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/peerload/peerload/load"
)

func publicPEM(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// release is a folder with two files, their list, its signature and the key.
func release(t *testing.T) (dir string, private ed25519.PrivateKey) {
	t.Helper()
	dir = t.TempDir()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	list := Sums{"a.tar.gz": load.DigestOf([]byte("a")), "b.deb": load.DigestOf([]byte("b"))}.Text()
	for name, content := range map[string][]byte{
		"a.tar.gz": []byte("a"), "b.deb": []byte("b"), "key.pem": publicPEM(t, public), "SHA256SUMS": list,
		"SHA256SUMS.sig": ed25519.Sign(private, list),
	} {
		write(t, filepath.Join(dir, name), content)
	}
	if err := os.MkdirAll(filepath.Join(dir, "f", "b.deb"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, private
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestVerify(t *testing.T) {
	dir, private := release(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	verify := func(files ...string) (good string, err error) {
		err = Verify(in("key.pem"), in("SHA256SUMS"), files, func(f string) { good += filepath.Base(f) + " " })
		return good, err
	}
	wants := func(what, good string, want error, files ...string) {
		t.Helper()
		if got, err := verify(files...); got != good || !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	wants("all", "a.tar.gz b.deb ", nil)
	wants("one", "b.deb ", nil, in("b.deb"))
	wants("not in the list", "", ErrUnknown, in("key.pem"))
	wants("a folder", "", ErrRead, in("f/b.deb"))
	wants("not there", "a.tar.gz ", ErrMissing, in("gone/b.deb"), in("a.tar.gz"))

	write(t, in("b.deb"), []byte("B"))
	wants("changed", "a.tar.gz ", ErrDigest)
	list, err := os.ReadFile(in("SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Replace(list, []byte(load.DigestOf([]byte("b")).String()),
		[]byte(load.DigestOf([]byte("B")).String()), 1)
	write(t, in("SHA256SUMS"), forged)
	wants("the list, too", "", ErrSignature)
	write(t, in("SHA256SUMS"), []byte("x"))
	write(t, in("SHA256SUMS.sig"), ed25519.Sign(private, []byte("x")))
	wants("a list that is none, signed", "", ErrList)
	write(t, in("SHA256SUMS.sig"), make([]byte, ed25519.SignatureSize+1))
	wants("a long signature", "", ErrSignature)
	long := make([]byte, MaxList+1)
	write(t, in("SHA256SUMS"), long)
	write(t, in("SHA256SUMS.sig"), ed25519.Sign(private, long))
	wants("a long list", "", ErrList)
	if err := os.Remove(in("SHA256SUMS.sig")); err != nil {
		t.Fatal(err)
	}
	wants("no signature", "", ErrMissing)
	write(t, in("key.pem"), []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	wants("a private key", "", ErrKey)
}

func TestNothingThere(t *testing.T) {
	dir, _ := release(t)
	for _, f := range []string{"a.tar.gz", "b.deb"} {
		if err := os.Remove(filepath.Join(dir, f)); err != nil {
			t.Fatal(err)
		}
	}
	err := Verify(filepath.Join(dir, "key.pem"), filepath.Join(dir, "SHA256SUMS"), nil, func(string) {})
	if !errors.Is(err, ErrMissing) {
		t.Errorf("a list alone verifies nothing: %v", err)
	}
}

func TestParse(t *testing.T) {
	sum := load.DigestOf(nil).String()
	for list, problem := range map[string]string{
		"":                             "no file",
		sum + "  a":                    "cut off",
		sum + " a\n":                   "two spaces",
		strings.ToUpper(sum) + "  a\n": "two spaces",
		sum[:60] + "  a\n":             "two spaces",
		sum + "  ../a\n":               "plain name",
		sum + "  .a\n":                 "plain name",
		sum + "  \n":                   "plain name",
		sum + "  a b\n":                "plain name",
		sum + "  a\r\n":                "plain name",
		sum + "  a\n" + sum + "  a\n":  "again",
		sum + "  a\n\n":                "line 2",
		strings.Repeat("x", MaxList+1): "longer",
		sum + "  " + strings.Repeat("a", 256) + "\n": "plain name",
	} {
		if s, err := Parse([]byte(list)); err == nil || !strings.Contains(err.Error(), problem) ||
			!errors.Is(err, ErrList) {
			t.Errorf("%.80q: %v, %v; want %s", list, s, err, problem)
		}
	}
}

// TestNoFile: what is no file is refused, and not waited for.
func TestNoFile(t *testing.T) {
	dir, _ := release(t)
	key, list := filepath.Join(dir, "key.pem"), filepath.Join(dir, "SHA256SUMS")
	for _, name := range []string{"b.deb", "SHA256SUMS.sig", "SHA256SUMS", "key.pem"} {
		path := filepath.Join(dir, name)
		if err := os.Rename(path, path+".was"); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		err := Verify(key, list, []string{filepath.Join(dir, "b.deb")}, func(string) { t.Error("it is right") })
		if !errors.Is(err, ErrRead) || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%s is a FIFO: %v", name, err)
		}
	}
}

func TestParseKey(t *testing.T) {
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for what, raw := range map[string][]byte{
		"nothing": nil, "no PEM": []byte("x"), "RSA": publicPEM(t, other.Public()),
		"a block that is no key": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}),
		"long":                   make([]byte, MaxKey+1),
	} {
		if _, err := ParseKey(raw); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Open(nil, nil, nil); !errors.Is(err, ErrKey) {
		t.Errorf("no key: %v", err)
	}
}

// TestOpenssl: whoever has no Peerload yet verifies with openssl and sha256sum,
// and a key of openssl's is one of ours.
func TestOpenssl(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("there is no openssl")
	}
	dir, _ := release(t)
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", cmd, err, out)
		}
	}
	verify := func() {
		t.Helper()
		run("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "SHA256SUMS",
			"-sigfile", "SHA256SUMS.sig")
		run("sha256sum", "--check", "--strict", "SHA256SUMS")
	}
	verify()
	run("openssl", "genpkey", "-algorithm", "ed25519", "-out", "private.pem")
	run("openssl", "pkey", "-in", "private.pem", "-pubout", "-out", "key.pem")
	run("openssl", "pkeyutl", "-sign", "-inkey", "private.pem", "-rawin", "-in", "SHA256SUMS",
		"-out", "SHA256SUMS.sig")
	verify()
	var good int
	err := Verify(filepath.Join(dir, "key.pem"), filepath.Join(dir, "SHA256SUMS"), nil, func(string) { good++ })
	if err != nil || good != 2 {
		t.Errorf("%d files, %v", good, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Sums{"a": load.DigestOf(nil), "b.tar.gz": load.DigestOf([]byte("b"))}.Text())
	f.Add([]byte("x  y\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := Parse(raw)
		if err != nil {
			return
		}
		again, err := Parse(s.Text())
		if err != nil || len(again) != len(s) {
			t.Fatalf("%v, %v", again, err)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(publicPEM(f, public))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if key, err := ParseKey(raw); err == nil && len(key) != ed25519.PublicKeySize {
			t.Fatal(key)
		}
	})
}
