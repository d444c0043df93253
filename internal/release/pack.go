package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/programs"
	"github.com/peerload/peerload/internal/sums"
	"github.com/peerload/peerload/load"
)

// archived is what each archive has beside its program.
var archived = []string{"CHANGELOG.md", "LICENSE", "README.md"}

// pack makes the packages of all programs or, if a few platforms are tried only, an
// archive of each program.
func (s source) pack(ctx context.Context, o options, built string) error {
	if !o.some {
		args := []string{"run", "./internal/packaging", "-version", s.version, "-date", s.date.Format(time.RFC3339),
			"-programs", built, "-out", o.out}
		if o.maintainer != "" {
			args = append(args, "-maintainer", o.maintainer)
		}
		return programs.Command(ctx, s.dir, nil, "go", args...)
	}
	for _, t := range o.targets {
		for _, p := range t.Programs {
			folder := strings.Join([]string{p, s.version, "linux", t.Arch}, "_")
			files := map[string]string{p: filepath.Join(built, t.Folder(), p)}
			for _, name := range archived {
				files[name] = filepath.Join(s.dir, name)
			}
			if err := writeArchive(filepath.Join(o.out, folder+".tar.gz"), folder, files, s.date); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeArchive writes files, by the names that they get, below one folder. The
// order, the owners, the modes and the times are those of the release, not of
// this machine.
func writeArchive(out, folder string, files map[string]string, date time.Time) error {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		content, err := os.ReadFile(files[name])
		if err != nil {
			return err
		}
		mode := int64(0o644)
		if !slices.Contains(archived, name) {
			mode = 0o755
		}
		h := &tar.Header{Name: folder + "/" + name, Mode: mode, Size: int64(len(content)), ModTime: date,
			Uname: "root", Gname: "root", Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(content); err != nil {
			return err
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return err
	}
	return os.WriteFile(out, b.Bytes(), 0o644)
}

// readKey reads the private key; nil if file is "".
func readKey(file string) (ed25519.PrivateKey, error) {
	if file == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	const make = "make one with \"openssl genpkey -algorithm ed25519 -out release-key.pem\""
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s is no private key in PEM form: %s", file, make)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s is a key of another kind than Ed25519: %s", file, make)
	}
	return key, nil
}

// list is the name of the list of sums in a release.
const list = "SHA256SUMS"

// sumAndSign writes the sums of all files in dir, and their signature if there is
// a key. It returns the names of all files of the release.
func sumAndSign(dir string, key ed25519.PrivateKey) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := sums.Sums{}
	for _, e := range entries {
		d, err := digest(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		all[e.Name()] = d
		names = append(names, e.Name())
	}
	text := all.Text()
	if _, err := sums.Parse(text); err != nil { // a name that no reader takes
		return nil, err
	}
	names = append(names, list)
	if err := os.WriteFile(filepath.Join(dir, list), text, 0o644); err != nil || key == nil {
		return names, err
	}
	names = append(names, list+sums.SignatureSuffix)
	return names, os.WriteFile(filepath.Join(dir, list+sums.SignatureSuffix), ed25519.Sign(key, text), 0o644)
}

func digest(file string) (d load.Digest, err error) {
	f, err := os.Open(file)
	if err != nil {
		return d, err
	}
	defer f.Close()
	raw, err := io.ReadAll(f)
	return load.DigestOf(raw), err
}
