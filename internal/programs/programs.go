// Package programs builds the programs of the tree as others get them: in a release and in
// packages. There is one way, so that both have the same bytes.
//
// What lives here: platforms, and the flags of the Go command. What must not: versions,
// packages and signatures. Folder slim has the stand-in of a module.
//
// Read [Target.Build].
package programs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Target is a platform, and the programs that are built for it.
type Target struct {
	// Arch is GOARCH; the system is Linux.
	Arch string
	// Variant of the processor, as the environment has it.
	Variant string
	// Programs are the names of their folders below cmd.
	Programs []string
}

// get is the program that has only what single files take.
const get = "peerload-get"

var (
	onDevices = []string{"peerload", get}
	onServers = []string{"peerload", get, "peerload-server", "peerload-lab"}
)

// Targets are all platforms.
func Targets() []Target {
	return []Target{
		{Arch: "amd64", Variant: "GOAMD64=v1", Programs: onServers},
		{Arch: "arm64", Variant: "GOARM64=v8.0", Programs: onServers},
		{Arch: "arm", Variant: "GOARM=7", Programs: onDevices},
		{Arch: "mipsle", Variant: "GOMIPS=softfloat", Programs: onDevices},
	}
}

// Name is the platform as the Go command writes it.
func (t Target) Name() string { return "linux/" + t.Arch }

// Folder is where its programs are, below that of all.
func (t Target) Folder() string { return "linux_" + t.Arch }

// standIn is the module by which a device's program is built instead of the one
// of the same path; its package says why.
const (
	standInFor = "github.com/sigstore/protobuf-specs"
	standIn    = "./internal/programs/slim/protobuf-specs"
)

// slim reports whether a program is one of a device, where each byte counts. It
// speaks HTTP/1.1 only: HTTP/2 would bring it nothing, as it shares a line among
// peers and not among requests.
func slim(program string) bool { return program != "peerload-server" && program != "peerload-lab" }

// inlined are the packages of peerload-get in which calls are worth their place: what
// every byte of a download goes through.
var inlined = []string{"crypto/internal/fips140/aes/...", "crypto/internal/fips140/bigmod",
	"crypto/internal/fips140/sha256", "crypto/internal/fips140/sha512", "hash/...", "vendor/golang.org/x/crypto/..."}

// Build builds a program of the tree in dir. The bytes depend on the tree and on
// the version of Go, and on nothing else of this machine.
func (t Target) Build(ctx context.Context, dir, program, out string) error {
	link := "-s -w -buildid="
	args := []string{"build", "-trimpath", "-o", out}
	if slim(program) {
		mod, remove, err := slimModule(ctx, dir)
		if err != nil {
			return err
		}
		defer remove()
		args = append(args, "-modfile="+mod, "-tags=nethttpomithttp2")
	}
	if program == get {
		args = append(args, "-gcflags=all=-l") // calls are smaller than what they call
		for _, p := range inlined {
			args = append(args, "-gcflags="+p+"=")
		}
		if t.Arch == "arm" {
			link += " -R=4096" // its pages; the linker pads for those of 64 KiB
		}
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + t.Arch, t.Variant}
	if err := Command(ctx, dir, env, "go", append(args, "-ldflags="+link, "./cmd/"+program)...); err != nil {
		return fmt.Errorf("%s for %s: %w", program, t.Name(), err)
	}
	return nil
}

// slimModule writes a module file like that of the tree, with the stand-in, and
// returns its path.
func slimModule(ctx context.Context, dir string) (path string, remove func(), err error) {
	tmp, err := os.MkdirTemp("", "peerload-module-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { os.RemoveAll(tmp) }
	for from, to := range map[string]string{"go.mod": "slim.mod", "go.sum": "slim.sum"} {
		raw, err := os.ReadFile(filepath.Join(dir, from))
		if err == nil {
			err = os.WriteFile(filepath.Join(tmp, to), raw, 0o644)
		}
		if err != nil {
			remove()
			return "", nil, err
		}
	}
	path = filepath.Join(tmp, "slim.mod")
	if err := Command(ctx, dir, nil, "go", "mod", "edit", "-replace="+standInFor+"="+standIn, path); err != nil {
		remove()
		return "", nil, err
	}
	return path, remove, nil
}

// Command runs a program in dir, and returns what it printed as an error if it
// fails. Settings of this user do not change what the Go command builds.
func Command(ctx context.Context, dir string, env []string, name string, args ...string) error {
	_, err := Output(ctx, dir, env, name, args...)
	return err
}

// Output runs a program as Command does, and returns what it prints.
func Output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=auto", "GOWORK=off", "GOEXPERIMENT=", "GOFIPS140=off", "LC_ALL=C")
	cmd.Env = append(cmd.Env, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", cmd, err, stdout.Bytes(), stderr.Bytes())
	}
	return strings.TrimSpace(stdout.String()), nil
}
