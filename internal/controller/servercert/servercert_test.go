package servercert

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
)

// TestCertificate: a generated certificate is kept while it is good, and made
// anew for other names and towards its end; the administrator's goes first.
func TestCertificate(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	get := func(cert, key string, names []string, at time.Time) string {
		t.Helper()
		c, err := certificate(cert, key, dir, names, at)
		if err != nil {
			t.Fatal(err)
		}
		return fingerprint(c)
	}
	first := get("", "", []string{"controller.example", "127.0.0.1"}, now)
	if get("", "", []string{"127.0.0.1"}, now.Add(time.Hour)) != first {
		t.Error("a good certificate was thrown away")
	}
	named := get("", "", []string{"other.example"}, now)
	if named == first {
		t.Error("a certificate for other names is served")
	}
	if get("", "", []string{"other.example"}, now.Add(certLife-certRenew+time.Hour)) == named {
		t.Error("a certificate is kept towards its end")
	}
	info, err := os.Stat(filepath.Join(dir, "key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	own := t.TempDir()
	if err := Generate(durable.Writer{}, own+"/c", own+"/k", []string{"mine.example"}, now); err != nil {
		t.Fatal(err)
	}
	if mine := get(own+"/c", own+"/k", []string{"other.example"}, now); mine == named || mine == first {
		t.Error("the administrator's certificate is not served")
	}
	if _, err := certificate(own+"/c", "", dir, []string{"x"}, now); err == nil {
		t.Error("a certificate without its key is taken")
	}
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := certificate("", "", dir, []string{"other.example"}, now); err == nil ||
		!strings.Contains(err.Error(), "remove") {
		t.Errorf("a torn key: %v", err)
	}
}

// TestPowerCutOfRenewing cuts the power while a generated certificate is made
// anew: what is found is a certificate with its key, or none and one is made.
func TestPowerCutOfRenewing(t *testing.T) {
	t.Parallel()
	base, now := t.TempDir(), time.Now()
	files := func(dir string) (cert, key string) {
		return filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	}
	cert, key := files(base)
	if err := Generate(durable.Writer{}, cert, key, []string{"before.example"}, now); err != nil {
		t.Fatal(err)
	}
	made := ""
	story := func(r *faultdisk.Recorder) error {
		err := Generate(durable.Writer{FS: r}, cert, key, []string{"after.example"}, now)
		b, rerr := os.ReadFile(cert)
		made = string(b)
		return errors.Join(err, rerr)
	}
	said := func() string { return made }
	faultdisk.Recorded(t, 1, base, story, said, func(t *testing.T, dir, promise string) {
		c, err := certificate("", "", dir, []string{"after.example"}, now)
		if err != nil {
			t.Fatal(err)
		}
		cert, _ := files(dir)
		b, err := os.ReadFile(cert)
		if err != nil || c.Leaf.VerifyHostname("after.example") != nil || promise != "" && string(b) != promise {
			t.Fatalf("a certificate that was made is another one: %v", err)
		}
	})
}
