package updaters

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// more are the updaters that only ./test.sh full installs.
var more = []updater{
	{"SWUpdate", []string{"swupdate", "openssl"}, swu, inTemp, fetched("app.out")},
	{"RAUC", []string{"rauc", "mksquashfs", "openssl"}, bundle, raucSystem, succeeded},
	{"casync", []string{"casync"}, chunks, nothing, fetched("app.bin")},
	{"OSTree", []string{"ostree"}, repository, nothing, fetched("tree/app.bin")},
	{"Mender", []string{"mender"}, artifact, deviceType, succeeded},
}

// succeeded is for updaters that verify what they got: they have ended well.
func succeeded(*device) error { return nil }

// fetched compares a file of the device with the one that all get.
func fetched(name string) func(d *device) error {
	return func(d *device) error {
		b, err := os.ReadFile(filepath.Join(d.dir, name))
		if err == nil && !bytes.Equal(b, random(size, 1)) {
			err = fmt.Errorf("%s has %d other bytes", name, len(b))
		}
		return err
	}
}

// tool runs a program in a directory.
func (l *lab) tool(dir string, words ...string) {
	l.t.Helper()
	cmd := exec.CommandContext(l.ctx, words[0], words[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Fatalf("%s: %v: %s", strings.Join(words, " "), err, out)
	}
}

// publishing is a directory with the file that all get, and what signs it.
func (l *lab) publishing(usage string) string {
	l.t.Helper()
	dir := l.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app.bin"), random(size, 1), 0o644); err != nil {
		l.t.Fatal(err)
	}
	if usage != "" {
		l.tool(dir, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out",
			filepath.Join(l.dir, "cert.pem"), "-subj", "/CN=test", "-days", "30", "-addext", "extendedKeyUsage="+usage)
	}
	return dir
}

// served is how many bytes the server has below a name.
func (l *lab) served(name string) (total int64) {
	l.t.Helper()
	err := filepath.Walk(filepath.Join(l.root, name), func(_ string, fi os.FileInfo, err error) error {
		if err == nil && fi.Mode().IsRegular() {
			total += fi.Size()
		}
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return total
}

// swu publishes an image as SWUpdate has it: an archive of cpio, signed.
func swu(l *lab) int64 {
	l.t.Helper()
	dir := l.publishing("emailProtection")
	text := fmt.Sprintf("software =\n{\n version = \"1.0\";\n hardware-compatibility: [ \"1.0\" ];\n files: ( {\n"+
		"  filename = \"app.bin\";\n  path = \"/proc/self/cwd/app.out\";\n"+
		"  sha256 = \"%x\";\n } );\n}\n", sha256.Sum256(random(size, 1)))
	if err := os.WriteFile(filepath.Join(dir, "sw-description"), []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
	l.tool(dir, "openssl", "cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig", "-signer",
		filepath.Join(l.dir, "cert.pem"), "-inkey", "key.pem", "-outform", "DER", "-nosmimecap", "-binary")
	var out bytes.Buffer
	for i, name := range []string{"sw-description", "sw-description.sig", "app.bin"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			l.t.Fatal(err)
		}
		cpio(&out, name, b, i+1)
	}
	cpio(&out, "TRAILER!!!", nil, 0)
	l.put("fw/app.swu", out.Bytes())
	return int64(out.Len())
}

// cpio writes an entry in the format with sums.
func cpio(out *bytes.Buffer, name string, b []byte, inode int) {
	sum, mode := uint32(0), 0o100644
	for _, c := range b {
		sum += uint32(c)
	}
	if inode == 0 {
		mode = 0
	}
	out.WriteString("070702")
	for _, v := range []uint32{uint32(inode), uint32(mode), 0, 0, 1, 0, uint32(len(b)), 0, 0, 0, 0, uint32(len(name) + 1),
		sum} {
		fmt.Fprintf(out, "%08X", v)
	}
	pad := func() { out.Write(make([]byte, (4-out.Len()%4)%4)) }
	out.WriteString(name + "\x00")
	pad()
	out.Write(b)
	pad()
}

// inTemp gives a device sockets of its own.
func inTemp(d *device, _ recipe) ([]string, error) {
	return []string{"TMPDIR=" + d.dir}, copyFile(filepath.Join(d.lab.dir, "cert.pem"), filepath.Join(d.dir, "cert.pem"))
}

// raucSystem gives a device its certificate, and what the recipe says of system.conf.
func raucSystem(d *device, r recipe) ([]string, error) {
	env, err := inTemp(d, r)
	return env, errors.Join(err, os.WriteFile(filepath.Join(d.dir, "system.conf"), []byte(r.blocks["ini"]), 0o644))
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	return errors.Join(err, os.WriteFile(to, b, 0o644))
}

// bundle publishes a plain bundle of RAUC.
func bundle(l *lab) int64 {
	l.t.Helper()
	b := makeBundle(l, "plain")
	l.put("fw/app.raucb", b)
	l.put("fw/SHA256SUMS", fmt.Appendf(nil, "%x  app.raucb\n", sha256.Sum256(b)))
	return int64(len(b))
}

// makeBundle makes a bundle of a format of RAUC.
func makeBundle(l *lab, format string) []byte {
	l.t.Helper()
	dir := l.publishing("emailProtection")
	manifest := "[update]\ncompatible=board\nversion=1\n\n[bundle]\nformat=" + format +
		"\n\n[image.rootfs]\nfilename=app.img\n"
	in := filepath.Join(dir, "bundle")
	err := errors.Join(os.Mkdir(in, 0o755), os.WriteFile(filepath.Join(in, "manifest.raucm"), []byte(manifest), 0o644),
		os.Rename(filepath.Join(dir, "app.bin"), filepath.Join(in, "app.img")))
	if err != nil {
		l.t.Fatal(err)
	}
	l.tool(dir, "rauc", "--cert", filepath.Join(l.dir, "cert.pem"), "--key", "key.pem", "bundle", in, "app.raucb")
	b, err := os.ReadFile(filepath.Join(dir, "app.raucb"))
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

// chunks publishes the file as casync has it.
func chunks(l *lab) int64 {
	l.t.Helper()
	dir := l.publishing("")
	l.tool(dir, "casync", "make", "--store="+filepath.Join(l.root, "default.castr"), filepath.Join(l.root, "app.caibx"),
		"app.bin")
	return l.served("")
}

// repository publishes the file as OSTree has it.
func repository(l *lab) int64 {
	l.t.Helper()
	dir := l.publishing("")
	repo := filepath.Join(l.root, "repo")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "in"), 0o755),
		os.Rename(filepath.Join(dir, "app.bin"), filepath.Join(dir, "in", "app.bin"))); err != nil {
		l.t.Fatal(err)
	}
	l.tool(dir, "ostree", "--repo="+repo, "init", "--mode=archive")
	l.tool(dir, "ostree", "--repo="+repo, "commit", "-b", "main", "in")
	l.tool(dir, "ostree", "--repo="+repo, "summary", "-u")
	return l.served("repo/objects")
}

// artifact publishes an artifact of Mender, which its module of single files installs.
func artifact(l *lab) int64 {
	l.t.Helper()
	// What runs now is told by a file whose place is fixed: in mounts of this test's own.
	l.tool(l.dir, "mount", "-t", "tmpfs", "none", "/etc/mender")
	if err := os.WriteFile("/etc/mender/artifact_info", []byte("artifact_name=none\n"), 0o644); err != nil {
		l.t.Fatal(err)
	}
	data := zipped(l.t, map[string][]byte{"app.bin": random(size, 1), "dest_dir": []byte("/proc/self/cwd\n"),
		"filename": []byte("app.bin\n"), "permissions": []byte("644\n")})
	head := zipped(l.t, map[string][]byte{
		"header-info": []byte(`{"payloads":[{"type":"single-file"}],"artifact_provides":{"artifact_name":"app-1"},` +
			`"artifact_depends":{"device_type":["test"]}}`),
		"headers/0000/type-info": []byte(`{"type":"single-file"}`)})
	version := []byte(`{"format":"mender","version":3}`)
	var sums strings.Builder
	for _, f := range []struct {
		name string
		b    []byte
	}{{"data/0000/app.bin", random(size, 1)}, {"data/0000/dest_dir", []byte("/proc/self/cwd\n")},
		{"data/0000/filename", []byte("app.bin\n")}, {"data/0000/permissions", []byte("644\n")}, {"header.tar.gz", head},
		{"version", version}} {
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(f.b), f.name)
	}
	b := tarred(l.t, []string{"version", "manifest", "header.tar.gz", "data/0000.tar.gz"}, map[string][]byte{
		"version": version, "manifest": []byte(sums.String()), "header.tar.gz": head, "data/0000.tar.gz": data})
	l.put("fw/app.mender", b)
	return int64(len(b))
}

// tarred is an archive of tar, in that order.
func tarred(t *testing.T, names []string, files map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range names {
		err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(files[name])), Mode: 0o644})
		if err == nil {
			_, err = w.Write(files[name])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// zipped is a compressed archive; header-info comes first.
func zipped(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var names []string
	for _, name := range []string{"header-info", "headers/0000/type-info", "dest_dir", "filename", "permissions",
		"app.bin"} {
		if _, ok := files[name]; ok {
			names = append(names, name)
		}
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(tarred(t, names, files))
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// deviceType makes a device one that Mender knows.
func deviceType(d *device, _ recipe) ([]string, error) {
	at := func(name string) string { return filepath.Join(d.dir, name) }
	return nil, errors.Join(os.MkdirAll(at("mender"), 0o755), os.WriteFile(at("mender.conf"), []byte("{}"), 0o644),
		os.WriteFile(at("mender/device_type"), []byte("device_type=test\n"), 0o644))
}
