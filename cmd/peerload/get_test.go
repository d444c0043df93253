package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/sums"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/internal/version"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

// What is recorded of a command shows no secret of it, however it was typed.
func TestCommandLine(t *testing.T) {
	args := []string{"peerload", "get", "https://me:secret@host/x", "me:secret@host/y", "http://host/z",
		"-H", "Authorization: secret", "--header=X-Key: secret", "-vHCookie:secret", "-o", "f"}
	f := &getFlags{}
	f.origin.Headers = []string{"Authorization: secret", "X-Key: secret", "Cookie:secret", "Empty:", ""}
	got := f.commandLine(args)
	if strings.Contains(got, "secret") {
		t.Errorf("it tells the secret: %s", got)
	}
	for _, want := range []string{"peerload get https://xxxxx@host/x ", "http://host/z -H Authorization: xxxxx",
		"X-Key: xxxxx", " -o f"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
}

// A reader that does not read stops no device.
func TestEventsDoNotBlock(t *testing.T) {
	o := &output{queue: make(chan report.Event, 1)}
	for _, kind := range []string{report.KindLog, report.KindProgress, report.KindLog} {
		taken := make(chan struct{})
		go func() {
			o.event(report.Event{Event: kind})
			close(taken)
		}()
		select {
		case <-taken:
		case <-time.After(time.Minute):
			t.Fatalf("%s blocks", kind)
		}
	}
}

// A host without an address yet is told to try again, which is not what a
// mistake in the command is told.
func TestNoNetworkYet(t *testing.T) {
	c := command(nil, "get", "http://192.0.2.1/x", "--unsigned", "--state", t.TempDir(), "-o", t.TempDir()+"/x")
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
	}
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		t.Skip("no namespaces here:", err)
	}
	if code := c.ProcessState.ExitCode(); code != exitUnreachable || !strings.Contains(string(out), "try again") ||
		!strings.Contains(string(out), "by --peers off") {
		t.Errorf("%d: %s", code, out)
	}
}

// What is refused is named as the command line names it.
func TestRefusalsNameFlags(t *testing.T) {
	tiers.Long(t, "it starts many processes")
	t.Parallel()
	const file, signed = "http://192.0.2.1/a.bin", "http://192.0.2.1/a.load"
	for _, c := range []struct {
		want string
		args []string
	}{
		{"--sha256 HEX (one file), --trust DIR", []string{file}},
		{"--sha256 speaks of one file", []string{file, file + "2", "--sha256", strings.Repeat("1", 64)}},
		{"--sha256: 64 zeros are not the SHA-256 of any file", []string{file, "--sha256", strings.Repeat("0", 64)}},
		{"--sha256: ", []string{file, "--sha256", ""}},
		{"exclude each other", []string{file, "--sha256", "", "--unsigned"}},
		{"exclude each other", []string{signed, "--trust", "", "--unsigned"}},
		{"--trust names no directory", []string{signed, "--trust", ""}},
		{"--cacert names no file", []string{file, "--unsigned", "--cacert", ""}},
		{"--key names no file", []string{file, "--unsigned", "--cert", "c", "--key", ""}},
		{"--trust fetches one load", []string{file, "--trust", "t"}},
		{"--slots is for a signed load: fetch NAME.load with --trust", []string{file, "--unsigned", "--slots"}},
		{"give --trust DIR", []string{signed, "--unsigned"}},
		{"each with its own -o", []string{file, "http://192.0.2.2/a.bin", "--unsigned"}},
		{"name the file with -o", []string{"http://192.0.2.1/%2e%2e", "--unsigned", "--peers", "off"}},
		{"--retry is 0 or more, not -1", []string{file, "--unsigned", "--retry=-1"}},
	} {
		t.Run(c.want, func(t *testing.T) {
			out, code := run(t, nil, append([]string{"get", "--state", t.TempDir()}, c.args...)...)
			if code != exitUsage || !strings.Contains(out, c.want) {
				t.Errorf("%d: %s", code, out)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	if out, code := run(t, nil, "--version"); code != 0 ||
		out != "peerload version "+version.Read().String()+"\n" {
		t.Errorf("%d: %q", code, out)
	}
}

// TestExitStatuses: what no retry mends is told apart from what one may, at
// once, with the flag that helps.
func TestExitStatuses(t *testing.T) {
	tiers.Long(t, "it starts the program for each answer of a server")
	t.Parallel()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/loop") {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
			return
		}
		status, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		w.WriteHeader(status)
	}))
	t.Cleanup(plain.Close)
	secure := func(auth tls.ClientAuthType, versions ...uint16) (url, cert string) {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.TLS = &tls.Config{ClientAuth: auth}
		if len(versions) > 0 {
			s.TLS.MaxVersion = versions[0]
		}
		s.StartTLS()
		t.Cleanup(s.Close)
		cert = filepath.Join(t.TempDir(), "ca.pem")
		write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
		return s.URL, cert
	}
	untrusted, _ := secure(tls.NoClientCert)
	wants, ca := secure(tls.RequireAnyClientCert)
	wants12, ca12 := secure(tls.RequireAnyClientCert, tls.VersionTLS12)
	old, caOld := secure(tls.NoClientCert, tls.VersionTLS11)
	for _, c := range []struct {
		url, ca string
		code    int
		says    string
	}{
		{plain.URL + "/404", "", exitNotFound, "does not exist"},
		{plain.URL + "/410", "", exitNotFound, "does not exist"},
		{plain.URL + "/401", "", exitForbidden, "credentials"},
		{plain.URL + "/403", "", exitForbidden, "credentials"},
		{plain.URL + "/loop", "", exitAnswer, "redirects"},
		{plain.URL + "/400", "", exitAnswer, "400 Bad Request"},
		{plain.URL + "/500", "", exitUnreachable, "500 Internal"},
		{plain.URL + "/503", "", exitUnreachable, "busy"},
		{"http://127.0.0.1:1/f", "", exitUnreachable, "cannot reach"},
		{untrusted + "/f", "", exitTLS, "--cacert"},
		{wants + "/f", ca, exitTLS, "--cert and --key"},
		{wants12 + "/f", ca12, exitTLS, "--cert and --key"},
		{old + "/f", caOld, exitTLS, "certificate of the server"},
		{strings.Replace(plain.URL, "http:", "https:", 1) + "/f", "", exitTLS, "write http://"},
	} {
		t.Run(c.says, func(t *testing.T) {
			t.Parallel()
			args := []string{"get", c.url, "--unsigned", "--peers", "off", "--state", t.TempDir(), "-o", t.TempDir() + "/f"}
			if c.ca != "" {
				args = append(args, "--cacert", c.ca)
			}
			if c.code == exitUnreachable {
				args = append(args, "--retry", "0")
			}
			out, code := run(t, nil, args...)
			if code != c.code || !strings.Contains(out, c.says) {
				t.Errorf("%s: %d, want %d with %q: %s", c.url, code, c.code, c.says, out)
			}
			if c.code == exitTLS && (strings.Contains(out, "that the server runs") || strings.Count(out, "left alone") > 1) {
				t.Errorf("%s was tried again: %s", c.url, out)
			}
		})
	}
}

// TestVerifyRelease: each way in which a release can be wrong has its exit status.
func TestVerifyRelease(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	list := string(sums.Sums{"a.deb": load.DigestOf([]byte("a")), "b.deb": load.DigestOf([]byte("b"))}.Text())
	for name, content := range map[string]string{
		"a.deb": "a", "b.deb": "b", "other": "x", "SHA256SUMS": list,
		"SHA256SUMS.sig": string(ed25519.Sign(private, []byte(list))),
		"key.pem":        string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	} {
		write(t, in(name), content)
	}
	verify := func(want int, says string, files ...string) {
		t.Helper()
		args := append([]string{"trust", "verify-release", "--key", in("key.pem"), in("SHA256SUMS")}, files...)
		if out, code := run(t, nil, args...); code != want || !strings.Contains(out, says) {
			t.Errorf("%v: %d, %s; want %d, %s", files, code, out, want, says)
		}
	}
	verify(exitOK, in("b.deb")+": genuine")
	verify(exitOK, in("a.deb")+": genuine", in("a.deb"))
	verify(exitUsage, "no file of this name", in("other"))
	verify(exitUsage, "no such file", in("none/a.deb"))
	write(t, in("b.deb"), "B")
	verify(exitVerify, in("b.deb")+": it is not the file that was signed")
	verify(exitVerify, "not the file that was signed", in("other"), in("b.deb"))
	verify(exitOK, "genuine", in("a.deb"))
	write(t, in("SHA256SUMS"), strings.ReplaceAll(list, "b.deb", "c.deb"))
	verify(exitTrust, "the signature is not by this key", in("a.deb"))
}
