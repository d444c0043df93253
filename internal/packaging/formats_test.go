package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/testkit/foreign"
	testprograms "github.com/peerload/peerload/internal/testkit/programs"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestFormats: the package of a device has the same files in each format, as the
// table says, and two runs give the same bytes.
func TestFormats(t *testing.T) {
	if err := testprograms.Sources("peerload", "peerload-get", "peerload-server"); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("PEERLOAD_FULL") == "" {
		t.Skip("PEERLOAD_FULL=1 runs it: it builds the device's program for two processors")
	}
	t.Chdir(root)
	built, first, again := t.TempDir(), t.TempDir(), t.TempDir()
	pattern := map[string]string{"amd64": "(amd64|x86_64)", "arm64": "(arm64|aarch64)"}[runtime.GOARCH]
	if pattern == "" {
		t.Skip("no package is made for this processor")
	}
	args := []string{"-version", "0.2.0-rc.1", "-date", "2026-01-02T15:04:05Z", "-only",
		"^peerload_.*_(" + pattern + `\.|mipsel)`}
	var out bytes.Buffer
	if err := run(t.Context(), append(args, "-out", first, "-keep", built), &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), append(args, "-out", again, "-programs", built), io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(out.String())
	if len(names) != 5 {
		t.Fatalf("made %q", names)
	}
	for _, name := range names {
		a, err := os.ReadFile(name)
		b, err2 := os.ReadFile(filepath.Join(again, filepath.Base(name)))
		if err != nil || err2 != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs from run to run: %v, %v", filepath.Base(name), err, err2)
		}
		f := format(name[strings.LastIndex(name, ".")+1:])
		if strings.HasSuffix(name, ".tar.gz") {
			f = tgz
		}
		var want []string
		for _, c := range device().files {
			if c.in == nil || slices.Contains(c.in, f) {
				want = append(want, c.dst)
			}
		}
		slices.Sort(want)
		if got := filesOf(t, f, name, a); !slices.Equal(got, want) {
			t.Errorf("%s has\n%s\nwant\n%s", filepath.Base(name), strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// filesOf lists the files of a package as its system would install them.
func filesOf(t *testing.T, f format, name string, content []byte) (files []string) {
	t.Helper()
	switch f {
	case deb:
		out, err := exec.Command("dpkg-deb", "--fsys-tarfile", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		files = namesIn(t, bytes.NewReader(out))
	case rpm:
		out, err := exec.Command(foreign.Program(t, "rpm"), "-qlp", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		files = strings.Fields(string(out))
	case tgz:
		files = namesIn(t, bytes.NewReader(unzip(t, content)))
		for i := range files { // below a folder of the package's name
			files[i] = files[i][strings.Index(files[i][1:], "/")+1:]
		}
	case apk: // several streams of gzip, whose archives are one after the other
		for _, name := range namesIn(t, bytes.NewReader(unzip(t, content))) {
			if !strings.HasPrefix(name, "/.") {
				files = append(files, name)
			}
		}
	case ipk:
		outer := tar.NewReader(bytes.NewReader(unzip(t, content)))
		for h, err := outer.Next(); !errors.Is(err, io.EOF); h, err = outer.Next() {
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(h.Name, "data.tar.gz") {
				b, err := io.ReadAll(outer)
				if err != nil {
					t.Fatal(err)
				}
				files = namesIn(t, bytes.NewReader(unzip(t, b)))
			}
		}
	}
	slices.Sort(files)
	return slices.DeleteFunc(files, func(f string) bool { return f == "" })
}

// namesIn are the files of an archive of tar, as absolute paths. Two archives may
// follow each other.
func namesIn(t *testing.T, r io.Reader) (names []string) {
	t.Helper()
	for in := bufio.NewReader(r); ; {
		a := tar.NewReader(in)
		for h, err := a.Next(); !errors.Is(err, io.EOF); h, err = a.Next() {
			if err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeReg {
				names = append(names, "/"+strings.TrimPrefix(filepath.Clean(h.Name), "/"))
			}
		}
		if _, err := in.Peek(1); err != nil {
			return names
		}
	}
}

func unzip(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestOpenWrt: the options of UCI become the agent's, and an agent that nobody has
// enabled does not start.
func TestOpenWrt(t *testing.T) {
	tiers.Long(t, "it starts many scripts")
	for _, shell := range shells() {
		t.Run(shell[0], func(t *testing.T) { startOpenWrt(t, shell) })
	}
}

// shells are those with which scripts are tried: that of this system and, where it is
// installed, BusyBox's, which OpenWrt and Alpine have.
func shells() [][]string {
	all := [][]string{{"/bin/sh"}}
	if path, err := exec.LookPath("busybox"); err == nil {
		all = append(all, []string{path, "ash"})
	}
	return all
}

func startOpenWrt(t *testing.T, shell []string) {
	start := func(options string) string {
		t.Helper()
		script := read(t, "internal/packaging/testdata/openwrt.sh") + options + "\n" + strings.Join(strings.Split(read(t,
			"packaging/device/openwrt/peerload.init"), "\n")[1:], "\n") + "\nstart_service\n"
		out, err := exec.Command(shell[0], append(shell[1:len(shell):len(shell)], "-ec", script)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	if said := start("uci_model=linux-mipsle"); said != "" {
		t.Errorf("an agent that is not enabled is started: %s", said)
	}
	said := start(`uci_enabled=1; uci_model=linux-mipsle; uci_check_in=5m
		uci_server='a b'; list_server='http://10.0.0.5:6970 10.0.0.6'
		uci_proxy_rule=x; list_proxy_rule='"*.deb share" "*.ipk share"'`)
	for _, line := range []string{"command /usr/bin/peerload agent", "env PEERLOAD_MODEL=linux-mipsle",
		"env PEERLOAD_CHECK_IN=5m", "env PEERLOAD_SERVER=http://10.0.0.5:6970,10.0.0.6",
		"env PEERLOAD_PROXY_RULE=*.deb share;*.ipk share"} {
		if !strings.Contains(said, line+"\n") {
			t.Errorf("no line %q in\n%s", line, said)
		}
	}
	if strings.Contains(said, "PEERLOAD_TRUST") {
		t.Errorf("an option that was not given is set:\n%s", said)
	}
}
