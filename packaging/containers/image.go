package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is whom the controller runs as in a container. No volume of its host knows the
// number.
const user = 65532

// platforms are those that an image can have.
var platforms = []v1.Platform{
	{OS: "linux", Architecture: "amd64"},
	{OS: "linux", Architecture: "arm64"},
	{OS: "linux", Architecture: "arm", Variant: "v7"},
}

// makeIndex makes an image for each platform that has a program.
func makeIndex(programs, version string, date time.Time) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	found := 0
	for _, p := range platforms {
		program, err := os.ReadFile(filepath.Join(programs, "linux_"+p.Architecture, "peerload-server"))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		img, err := makeImage(program, p, version, date)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p,
			Annotations: map[string]string{"org.opencontainers.image.ref.name": version}}})
		found++
	}
	if found == 0 {
		return nil, fmt.Errorf("%s has no linux_ARCH/peerload-server: build it first", programs)
	}
	return index, nil
}

// makeImage makes the image of one platform.
func makeImage(program []byte, p v1.Platform, version string, date time.Time) (v1.Image, error) {
	base, err := layer([]entry{
		{name: "etc/", mode: 0o755},
		{name: "etc/passwd", mode: 0o644, content: fmt.Appendf(nil, "peerload:x:%d:%d::/var/lib/peerload-server:\n", user,
			user)},
		{name: "etc/ssl/", mode: 0o755},
		{name: "etc/ssl/certs/", mode: 0o755},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, content: certificates()},
		{name: "tmp/", mode: 0o1777},
		{name: "var/", mode: 0o755},
		{name: "var/lib/", mode: 0o755},
		{name: "var/lib/peerload-server/", mode: 0o700, owner: user},
	}, date)
	if err != nil {
		return nil, err
	}
	top, err := layer([]entry{
		{name: "usr/", mode: 0o755}, {name: "usr/bin/", mode: 0o755},
		{name: "usr/bin/peerload-server", mode: 0o755, content: program},
	}, date)
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if img, err = mutate.AppendLayers(img, base, top); err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	config.Created = v1.Time{Time: date}
	config.Config = v1.Config{
		User:         fmt.Sprintf("%d:%d", user, user),
		Entrypoint:   []string{"/usr/bin/peerload-server"},
		Cmd:          []string{"serve"},
		Env:          []string{"PATH=/usr/bin"},
		WorkingDir:   "/var/lib/peerload-server",
		Volumes:      map[string]struct{}{"/var/lib/peerload-server": {}},
		ExposedPorts: map[string]struct{}{"8443/tcp": {}, "6970/tcp": {}, "69/udp": {}},
		Labels: map[string]string{
			"org.opencontainers.image.title": "peerload-server", "org.opencontainers.image.version": version,
			"org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.source":   "https://github.com/peerload/peerload",
		},
	}
	return mutate.ConfigFile(img, config)
}

// certificates are those of the authorities that Mozilla trusts.
func certificates() []byte {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil { // one that counts for some certificates only would count for all
			_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // to memory
		}
	}
	return b.Bytes()
}

// entry is a file or, if its name ends in a slash, a folder.
type entry struct {
	name    string
	mode    int64
	owner   int
	content []byte
}

// layer is a layer with these entries.
func layer(entries []entry, date time.Time) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: e.mode, Uid: e.owner, Gid: e.owner,
			Size: int64(len(e.content)), ModTime: date}
		if e.name[len(e.name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
}

// writeLayout writes an image as an OCI layout in an archive.
func writeLayout(index v1.ImageIndex, name string, date time.Time) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(name), ".image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if _, err := layout.Write(dir, index); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := tar.NewWriter(f)
	err = fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == "." {
			return err
		}
		h := &tar.Header{Typeflag: tar.TypeDir, Name: p + "/", Mode: 0o755, ModTime: date}
		var content []byte
		if !d.IsDir() {
			if content, err = os.ReadFile(filepath.Join(dir, p)); err != nil {
				return err
			}
			h = &tar.Header{Typeflag: tar.TypeReg, Name: p, Mode: 0o644, Size: int64(len(content)), ModTime: date}
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
