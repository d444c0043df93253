package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
	if err := generate(own+"/c", own+"/k", []string{"mine.example"}, now); err != nil {
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
	if _, err := certificate("", "", dir, []string{"other.example"}, now); err == nil || !strings.Contains(err.Error(), "remove") {
		t.Errorf("a torn key: %v", err)
	}
}

// TestRefusedStarts: what a controller does not start with, and what commands
// do without one.
func TestRefusedStarts(t *testing.T) {
	o := newOffice(t)
	if _, code, errs := o.sh("device", "list"); code != exitUsage || !strings.Contains(errs, "serve") {
		t.Errorf("without data: %d %s", code, errs)
	}
	o.start()
	for _, c := range []struct{ line, says string }{
		{"serve --listen 127.0.0.1:0 --http off --tftp off", "another peerload-server"},
		{"serve --data @d2 --listen 127.0.0.1:0 --http off --tftp off --tls maybe", "--tls"},
		{"serve --data @d2 --listen 127.0.0.1:0 --http off --tftp off --site nowhere", "--site"},
		{"serve --data @d2 --database mysql://x", "--database"},
		{"serve --keys @k", "--repo"},
		{"device list --server ftp://x --token t", "--server"},
		{"device list --server https://127.0.0.1:1", "token"},
		{"device add nonsense --model 7941", "MAC address"},
		{"device add " + mac + " --model 7941 colour=red", "colour"},
		{"device add " + mac + " --model 7941 word", "NAME=VALUE"},
		{"load assign fw", "at least one of the flags"},
		{"load assign fw --enterprise", "not found"},
		{"user add bob --role admin", "--password-file"},
		{"user add bob --role king --password-file @password", "role"},
		{"enterprise set --auto-registration maybe", "on or off"},
		{"restore @app.bin", ""},
	} {
		if _, code, errs := o.sh(strings.Fields(c.line)...); code != exitUsage || !strings.Contains(errs, c.says) {
			t.Errorf("%s: %d %s", c.line, code, errs)
		}
	}
	o.ok("device add " + mac + " --model 7941")
	if _, code, errs := o.sh("device", "set", sep, "--site", "x", "--if-version", "7"); code != exitUsage || !strings.Contains(errs, "changed by somebody else") {
		t.Errorf("an older version: %d %s", code, errs)
	}
	o.ok("device set " + sep + " --site x --if-version 1")
	o.ok("enterprise set peer-sharing=on --auto-registration on --if-version 0")
	if _, code, errs := o.sh("enterprise", "set", "peer-sharing=off", "--if-version", "0"); code != exitUsage || !strings.Contains(errs, "changed by somebody else") {
		t.Errorf("a second first write: %d %s", code, errs)
	}
}
