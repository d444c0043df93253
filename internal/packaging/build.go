package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/programs"
)

// maintainer is who answers for a package. Nobody does yet: the address is of a name that
// is reserved for examples (RFC 2606). Whoever gives packages out says -maintainer.
const maintainer = "Peerload maintainers <maintainers@peerload.example>"

// builder makes the files of one call.
type builder struct {
	options
	work string // directory of what is made on the way
	nfpm string // the program
	done map[string]bool
}

// build makes all packages that were asked for, and prints their names.
func build(ctx context.Context, o options, stdout io.Writer) error {
	work, err := os.MkdirTemp("", "peerload-packaging-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	b := &builder{options: o, work: work, nfpm: filepath.Join(work, "nfpm"), done: map[string]bool{}}
	made := 0
	for _, p := range products() {
		for _, at := range platforms {
			if !slices.Contains(p.platforms, at.arch) {
				continue
			}
			for _, f := range at.formats {
				name := b.fileName(p, at, f)
				if !slices.Contains(p.formats, f) || !o.only.MatchString(name) {
					continue
				}
				if err := b.makePackage(ctx, p, at, f, name); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				made++
				if _, err := fmt.Fprintln(stdout, filepath.Join(o.out, name)); err != nil {
					return err
				}
			}
		}
	}
	if made == 0 {
		return fmt.Errorf("no package matches -only %q", o.only)
	}
	return nil
}

// fileName is the name of a package's file: as Debian has it, in all formats.
func (b *builder) fileName(p product, at platform, f format) string {
	arch := at.arch
	switch {
	case f == ipk:
		arch = at.openwrt
	case f == deb && arch == "arm":
		arch = "armhf"
	case f == rpm || f == apk:
		arch = map[string]string{"amd64": "x86_64", "arm64": "aarch64", "arm": "armv7"}[arch]
	}
	return fmt.Sprintf("%s_%s_%s.%s", p.name, b.version, arch, f)
}

// makePackage makes one file.
func (b *builder) makePackage(ctx context.Context, p product, at platform, f format, name string) error {
	stage, err := b.stage(ctx, p, at)
	if err != nil {
		return err
	}
	files := slices.DeleteFunc(slices.Clone(p.files), func(c file) bool {
		return c.in != nil && !slices.Contains(c.in, f)
	})
	for i := range files {
		files[i].src = strings.Replace(files[i].src, "STAGE", stage, 1)
	}
	out := filepath.Join(b.out, name)
	if f == tgz {
		return writeArchive(out, strings.TrimSuffix(name, ".tar.gz"), files, b.date)
	}
	config, err := json.Marshal(b.description(p, at, f, files))
	if err != nil {
		return err
	}
	at1 := filepath.Join(stage, "nfpm.yaml") // JSON is YAML
	if err := os.WriteFile(at1, config, 0o644); err != nil {
		return err
	}
	if err := b.once("nfpm", func() error {
		return command(ctx, nil, "go", "-C", "packaging/tools", "build", "-o", b.nfpm,
			"github.com/goreleaser/nfpm/v2/cmd/nfpm")
	}); err != nil {
		return err
	}
	return command(ctx, nil, b.nfpm, "package", "--config", at1, "--packager", string(f), "--target", out)
}

// description is the package as nfpm wants it.
func (b *builder) description(p product, at platform, f format, files []file) map[string]any {
	var contents []map[string]any
	for _, c := range files {
		entry := map[string]any{"src": c.src, "dst": c.dst, "file_info": map[string]any{"mode": c.mode,
			"owner": "root", "group": "root"}}
		if c.config {
			entry["type"] = "config|noreplace"
		}
		contents = append(contents, entry)
	}
	d := map[string]any{
		"name": p.name, "arch": at.nfpm, "platform": "linux", "version": b.version, "section": "net",
		"priority": "optional", "maintainer": b.maintainer, "homepage": "https://github.com/peerload/peerload",
		"license": "Apache-2.0", "description": p.short + "\n" + p.long, "mtime": b.date.Format(time.RFC3339),
		"contents": contents, "disable_globbing": true,
		"deb": map[string]any{"compression": "xz"},
		"rpm": map[string]any{"compression": "xz", "summary": p.short, "buildhost": "localhost"},
		"ipk": map[string]any{"arch": at.openwrt},
	}
	if depends := p.depends[f]; depends != nil {
		d["depends"] = depends
	}
	if recommends := p.recommends[f]; recommends != nil {
		d["recommends"] = recommends
	}
	if scripts := p.scripts[f]; scripts != nil {
		d["scripts"] = scripts
	}
	return d
}

// once does a thing at its first call.
func (b *builder) once(what string, do func() error) error {
	if b.done[what] {
		return nil
	}
	b.done[what] = true
	return do()
}

// stage makes what a package has beside the files of the tree, and returns where it is.
func (b *builder) stage(ctx context.Context, p product, at platform) (string, error) {
	stage := filepath.Join(b.work, p.name+"_"+at.arch)
	return stage, b.once(stage, func() error {
		if err := os.MkdirAll(stage, 0o755); err != nil {
			return err
		}
		program, err := b.program(ctx, p.name, at)
		if err != nil {
			return err
		}
		if err := copyFile(program, filepath.Join(stage, p.name)); err != nil {
			return err
		}
		for _, shell := range []string{"bash", "zsh", "fish"} {
			if err := b.completion(ctx, p.name, shell, filepath.Join(stage, p.name+"."+shell)); err != nil {
				return err
			}
		}
		man, err := os.ReadFile("packaging/man/" + p.name + ".1")
		if err != nil {
			return err
		}
		if err := writeCompressed(filepath.Join(stage, p.name+".1.gz"), man); err != nil {
			return err
		}
		return writeCompressed(filepath.Join(stage, "changelog.gz"), []byte(b.changelog(p)))
	})
}

// changelog is what Debian wants to know; people read CHANGELOG.md.
func (b *builder) changelog(p product) string {
	return fmt.Sprintf("%s (%s) unstable; urgency=medium\n\n"+
		"  * See https://github.com/peerload/peerload/blob/main/CHANGELOG.md\n\n -- %s  %s\n",
		p.name, strings.Replace(b.version, "-", "~", 1), b.maintainer, b.date.Format(time.RFC1123Z))
}

// program returns where a program is, and builds it unless the caller has.
func (b *builder) program(ctx context.Context, name string, at platform) (string, error) {
	if b.programs != "" {
		path := filepath.Join(b.programs, "linux_"+at.arch, name)
		_, err := os.Stat(path)
		return path, err
	}
	path := filepath.Join(cmp.Or(b.keep, b.work), "linux_"+at.arch, name)
	return path, b.once(path, func() error {
		all := programs.Targets()
		i := slices.IndexFunc(all, func(t programs.Target) bool { return t.Arch == at.arch })
		return all[i].Build(ctx, ".", name, path)
	})
}

// completion writes the script of a shell, which the program of this machine prints.
func (b *builder) completion(ctx context.Context, name, shell, to string) error {
	host := platform{arch: runtime.GOARCH}
	if i := slices.IndexFunc(platforms, func(p platform) bool { return p.arch == runtime.GOARCH }); i >= 0 {
		host = platforms[i]
	}
	program, err := b.program(ctx, name, host)
	if err != nil {
		return err
	}
	script, err := exec.CommandContext(ctx, program, "completion", shell).Output()
	if err != nil {
		return fmt.Errorf("%s completion %s: %w", name, shell, err)
	}
	return os.WriteFile(to, script, 0o644)
}

// command runs a program of the tree, and returns what it printed as an error if it fails.
func command(ctx context.Context, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// writeCompressed writes a file as gzip -9n does: without name and time.
func writeCompressed(name string, content []byte) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(content); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}

// writeArchive writes a package for systems whose packages nobody makes: its files
// below one folder.
func writeArchive(name, folder string, files []file, date time.Time) (err error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	for _, f := range files {
		content, err := os.ReadFile(f.src)
		if err != nil {
			return err
		}
		h := &tar.Header{Name: folder + f.dst, Mode: int64(f.mode), Size: int64(len(content)), ModTime: date,
			Uname: "root", Gname: "root", Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(content); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}
