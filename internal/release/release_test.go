package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"debug/buildinfo"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"

	"github.com/peerload/peerload/internal/programs"
	"github.com/peerload/peerload/internal/sums"
	testprograms "github.com/peerload/peerload/internal/testkit/programs"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/internal/version"
)

// repository is a clone of this tree with two commits more, of which the last has a tag
// of a version, and a key. This tree may have a tag itself, and no history.
func repository(t *testing.T, tag string) (dir, key string, public ed25519.PublicKey) {
	t.Helper()
	ctx := t.Context()
	if _, err := programs.Output(ctx, ".", nil, "git", "rev-parse", "HEAD"); err != nil {
		t.Skipf("this is no clone: %v", err)
	}
	root, err := programs.Output(ctx, ".", nil, "git", "rev-parse", "--show-toplevel")
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "clone")
	git(t, ".", "clone", "--quiet", "--no-tags", root, dir)
	commit := []string{"-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "x"}
	git(t, dir, append(commit, "--allow-empty")...)
	log := filepath.Join(dir, "CHANGELOG.md")
	raw, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log, append(raw, "\n## ["+tag[1:]+"] - 2026-01-02\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	git(t, dir, append(commit, "-a")...)
	git(t, dir, "tag", tag)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key = filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, key, public
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	if err := programs.Command(t.Context(), dir, nil, "git", args...); err != nil {
		t.Fatal(err)
	}
}

// release runs the command in dir for one platform, and returns its files.
func release(t *testing.T, dir, only string, args ...string) (out string, files map[string][]byte) {
	t.Helper()
	out = filepath.Join(t.TempDir(), "dist")
	t.Chdir(dir)
	if err := run(t.Context(), append([]string{"-out", out, "-only", only}, args...), io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	files = map[string][]byte{}
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(out, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = raw
	}
	return out, files
}

// TestReproducible: two releases of one commit, built in two folders, have the
// same bytes; ./test.sh full compiles everything twice, and for more processors.
// Tag, commit and date are in each program, and the signature is right.
func TestReproducible(t *testing.T) {
	if err := testprograms.Sources("peerload", "peerload-get", "peerload-server"); err != nil {
		t.Fatal(err)
	}
	tiers.Long(t, "it builds a device's program twice")
	arch, full := "arm", os.Getenv("PEERLOAD_FULL") != ""
	if full { // the other one, and without what was compiled before
		arch = "mipsle"
	}
	dir, key, public := repository(t, "v0.9.7")
	other, _, _ := repository(t, "v0.9.7")
	git(t, other, "fetch", "--quiet", dir, "tag", "v0.9.7", "--force")
	out, first := release(t, dir, "linux/"+arch, "-key", key)
	if full {
		t.Setenv("GOCACHE", t.TempDir())
	}
	_, second := release(t, other, "linux/"+arch, "-key", key, "-commit", "v0.9.7")
	if len(first) != len(second) || len(first) < 4 {
		t.Fatalf("%d files and %d", len(first), len(second))
	}
	for name, raw := range first {
		if !bytes.Equal(raw, second[name]) {
			t.Errorf("%s differs", name)
		}
	}
	list, err := sums.Open(public, first["SHA256SUMS"], first["SHA256SUMS.sig"])
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(first)-2 {
		t.Errorf("%d sums of %d files", len(list), len(first))
	}
	program := filepath.Join(out, "peerload")
	if err := programs.Command(t.Context(), out, nil, "tar", "-xzf", "peerload_0.9.7_linux_"+arch+".tar.gz",
		"--strip-components=1"); err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if says := version.Of(info).String(); !regexp.MustCompile(`^0\.9\.7 \(commit [0-9a-f]{12}, 20\d\d-\d\d-\d\d\)$`).
		MatchString(says) {
		t.Errorf("--version says %s", says)
	}
	checkBill(t, first["peerload_0.9.7_linux_"+arch+".cdx.json"], info)
}

// checkBill reads the bill of materials, and finds in it what is linked in.
func checkBill(t *testing.T, raw []byte, info *buildinfo.BuildInfo) {
	t.Helper()
	var b cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(raw), cyclonedx.BOMFileFormatJSON).Decode(&b); err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, c := range *b.Components {
		have[c.PackageURL] = true
	}
	for _, d := range info.Deps {
		if !have["pkg:golang/"+d.Path+"@"+d.Version] {
			t.Errorf("%s is not in the bill", d.Path)
		}
	}
	if std := "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go"); !have[std] || len(have) != len(info.Deps)+1 {
		t.Errorf("%d parts, want those of %d modules and %s", len(have), len(info.Deps), std)
	}
}

// TestRefused: what is wrong is said before anything is built.
func TestRefused(t *testing.T) {
	tiers.Long(t, "it runs git many times")
	dir, key, _ := repository(t, "v0.9.0")
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	git(t, dir, "tag", "v0.8.0", "HEAD~1")
	t.Chdir(dir)
	for _, c := range []struct{ says, args string }{
		{"-out is missing", ""},
		{"unexpected argument", "-out DIR x"},
		{"is not empty", "-out " + full},
		{"choose linux/amd64", "-out DIR -only linux/none"},
		{"no commit", "-out DIR -commit none"},
		{"no commit", "-out DIR -commit --all"},
		{"no private key", "-out DIR -key CHANGELOG.md"},
		{"no such file", "-out DIR -key none"},
		{`no heading "## [0.8.0] - "`, "-out DIR -commit v0.8.0 -key " + key},
		{"has no tag of a version", "-out DIR -commit HEAD~2"},
	} {
		args := strings.Fields(strings.ReplaceAll(c.args, "DIR", filepath.Join(t.TempDir(), "dist")))
		err := run(context.Background(), args, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %s", c.args, err, c.says)
		}
	}
	git(t, dir, "tag", "v0.9.1")
	err := run(context.Background(), []string{"-out", filepath.Join(t.TempDir(), "dist")}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "has two versions") {
		t.Errorf("two tags: %v", err)
	}
}
