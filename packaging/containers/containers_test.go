package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	compose "github.com/compose-spec/compose-go/v2/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const date = "2026-01-02T15:04:05Z"

// build builds the controller for this machine, once, and makes its image.
func build(t *testing.T) (archive, programs string) {
	t.Helper()
	programs = t.TempDir()
	program := filepath.Join(programs, "linux_amd64", "peerload-server")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./cmd/peerload-server")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return image(t, programs), programs
}

// image makes an image and returns its archive.
func image(t *testing.T, programs string) string {
	t.Helper()
	var out bytes.Buffer
	if err := run([]string{"-version", "0.1.0", "-date", date, "-programs", programs, "-out", t.TempDir()}, &out,
		io.Discard); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

// TestImage: the image is what its digests say, has what the controller needs and
// nothing else, is the same each time, and runs.
func TestImage(t *testing.T) {
	archive, programs := build(t)
	first, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	again, err := os.ReadFile(image(t, programs))
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("two images of one program differ: %d and %d bytes, %v", len(first), len(again), err)
	}
	index := opened(t, first)
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("%v, %v", manifest, err)
	}
	img, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil || config.Config.User != "65532:65532" || config.Architecture != "amd64" {
		t.Errorf("%+v, %v", config, err)
	}
	system := t.TempDir()
	names := slices.Sorted(slices.Values(unpack(t, mutate.Extract(img), system)))
	if want := "etc etc/passwd etc/ssl etc/ssl/certs etc/ssl/certs/ca-certificates.crt tmp usr usr/bin " +
		"usr/bin/peerload-server var var/lib var/lib/peerload-server"; strings.Join(names, " ") != want {
		t.Errorf("it has %q", names)
	}
	pem, err := os.ReadFile(filepath.Join(system, "etc/ssl/certs/ca-certificates.crt"))
	if err != nil || !x509.NewCertPool().AppendCertsFromPEM(pem) || strings.Count(string(pem), "BEGIN") < 50 {
		t.Errorf("certificates: %d bytes, %v", len(pem), err)
	}
	runs(t, system)
}

// runs runs commands in the image as its user.
func runs(t *testing.T, system string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can run a program in another root")
	}
	if err := os.Chown(filepath.Join(system, "var/lib/peerload-server"), user, user); err != nil {
		t.Fatal(err)
	}
	const fw = "/var/lib/peerload-server/fw"
	for _, args := range [][]string{{"--version"}, {"load", "add", "--repo", fw, "--name", "a", "--version", "1",
		"--model", "7941", "/etc/passwd"}, {"load", "verify", "--repo", fw}} {
		cmd := exec.Command("chroot", append([]string{"--userspec=65532:65532", system, "/usr/bin/peerload-server"},
			args...)...)
		cmd.Env = []string{"PATH=/usr/bin"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("peerload-server %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// opened is the index of an archive.
func opened(t *testing.T, archive []byte) v1.ImageIndex {
	t.Helper()
	dir := t.TempDir()
	unpack(t, io.NopCloser(bytes.NewReader(archive)), dir)
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// unpack unpacks an archive and returns the names in it, in order.
func unpack(t *testing.T, archive io.ReadCloser, dir string) (names []string) {
	t.Helper()
	defer archive.Close()
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !filepath.IsLocal(h.Name) || h.ModTime.UTC().Format(time.RFC3339) != date {
			t.Errorf("%s of %v", h.Name, h.ModTime)
		}
		names = append(names, filepath.Clean(h.Name))
		path := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, b, os.FileMode(h.Mode))
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ args, says string }{
		{"-version v1 -programs " + dir + " -out " + dir + " -date " + date, "-version"},
		{"-version 0.1.0 -out " + dir + " -date " + date, "-programs"},
		{"-version 0.1.0 -programs " + dir + " -out " + dir, "-date"},
		{"-version 0.1.0 -programs " + dir + " -out " + dir + " -date " + date, "build it first"},
		{"-version 0.1.0 x", "unexpected"},
	} {
		if err := run(strings.Fields(c.args), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %s", c.args, err, c.says)
		}
	}
}

// TestCompose: the example is one that Compose reads, without a field that it does not
// know, and sets what the controller knows.
func TestCompose(t *testing.T) {
	b, err := os.ReadFile("compose/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := composed(t, b)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.GetService("peerload")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range s.Environment {
		names = append(names, name)
	}
	known(t, names)
	if len(s.Ports) != 2 || len(s.Volumes) != 1 || s.Volumes[0].Target != "/var/lib/peerload-server" {
		t.Errorf("%+v", s)
	}
	if _, err := composed(t, bytes.Replace(b, []byte("read_only:"), []byte("readonly:"), 1)); err == nil {
		t.Error("a field that Compose does not know was accepted")
	}
}

func composed(t *testing.T, b []byte) (*compose.Project, error) {
	t.Helper()
	return loader.LoadWithContext(t.Context(), compose.ConfigDetails{WorkingDir: t.TempDir(),
		ConfigFiles: []compose.ConfigFile{{Filename: "compose.yaml", Content: b}}}, func(o *loader.Options) {
		o.SetProjectName("peerload", true)
	})
}

// TestKubernetes: the example has no field that the types of Kubernetes do not have,
// and its parts fit together.
func TestKubernetes(t *testing.T) {
	b, err := os.ReadFile("kubernetes/controller.yaml")
	if err != nil {
		t.Fatal(err)
	}
	parts := regexp.MustCompile(`(?m)^---\n`).Split(string(b), -1)
	if len(parts) != 2 {
		t.Fatalf("%d parts", len(parts))
	}
	var service core.Service
	var set apps.StatefulSet
	for i, into := range []any{&service, &set} {
		if err := yaml.UnmarshalStrict([]byte(parts[i]), into); err != nil {
			t.Fatal(err)
		}
	}
	if service.Kind != "Service" || set.Kind != "StatefulSet" || set.Spec.ServiceName != service.Name {
		t.Errorf("%s %s, %s %s", service.Kind, service.Name, set.Kind, set.Spec.ServiceName)
	}
	pod := set.Spec.Template
	for key, value := range service.Spec.Selector {
		if pod.Labels[key] != value || set.Spec.Selector.MatchLabels[key] != value {
			t.Errorf("the service selects %s=%s, the pod is %v", key, value, pod.Labels)
		}
	}
	if len(pod.Spec.Containers) != 1 || *pod.Spec.SecurityContext.RunAsUser != user {
		t.Fatalf("%+v", pod.Spec)
	}
	c := pod.Spec.Containers[0]
	var names []string
	for _, e := range c.Env {
		names = append(names, e.Name)
	}
	known(t, names)
	ports := map[string]bool{}
	for _, p := range c.Ports {
		ports[p.Name] = true
	}
	for _, p := range service.Spec.Ports {
		if !ports[p.TargetPort.String()] {
			t.Errorf("no container has the port %s", p.TargetPort.String())
		}
	}
	for _, m := range c.VolumeMounts {
		if m.Name != "tmp" && m.Name != set.Spec.VolumeClaimTemplates[0].Name {
			t.Errorf("no volume is named %s", m.Name)
		}
	}
	if err := yaml.UnmarshalStrict([]byte(strings.Replace(parts[1], "replicas:", "replica:", 1)), &set); err == nil {
		t.Error("a field that Kubernetes does not know was accepted")
	}
}

// known checks that the controller knows the variables, by its default configuration.
func known(t *testing.T, names []string) {
	t.Helper()
	b, err := os.ReadFile("../server/peerload-server.env")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.Contains(string(b), "\n#"+name+"=") {
			t.Errorf("the controller does not know %s", name)
		}
	}
	if len(names) == 0 {
		t.Error("no variable is set")
	}
}
