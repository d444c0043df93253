package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// target is a platform, and the programs that are built for it.
type target struct {
	arch     string
	variant  string // as the environment has it
	programs []string
}

var (
	onDevices = []string{"peerload"}
	onServers = []string{"peerload", "peerload-server", "peerload-lab"}
)

// targets are all platforms, all of them Linux.
var targets = []target{
	{arch: "amd64", variant: "GOAMD64=v1", programs: onServers},
	{arch: "arm64", variant: "GOARM64=v8.0", programs: onServers},
	{arch: "arm", variant: "GOARM=7", programs: onDevices},
	{arch: "mipsle", variant: "GOMIPS=softfloat", programs: onDevices},
}

func (t target) name() string   { return "linux/" + t.arch }
func (t target) folder() string { return "linux_" + t.arch }

func platformNames() string {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.name()
	}
	return strings.Join(names, ", ")
}

// standIn is the module by which a device's program is built instead of the one
// of the same path; its package says why.
const (
	standInFor = "github.com/sigstore/protobuf-specs"
	standIn    = "./internal/release/slim/protobuf-specs"
)

// slim reports whether a program is one of a device, where each byte counts. It
// speaks HTTP/1.1 only: HTTP/2 would bring it nothing, as it shares a line among
// peers and not among requests.
func slim(program string) bool { return program != "peerload-server" && program != "peerload-lab" }

// build builds a program of the tree in dir. The bytes depend on the tree and on
// the version of Go, and on nothing else of this machine.
func (t target) build(ctx context.Context, dir, program, out string) error {
	args := []string{"build", "-trimpath", "-ldflags=-s -w -buildid=", "-o", out}
	if slim(program) {
		mod, remove, err := slimModule(ctx, dir)
		if err != nil {
			return err
		}
		defer remove()
		args = append(args, "-modfile="+mod, "-tags=nethttpomithttp2")
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + t.arch, t.variant}
	if err := command(ctx, dir, env, "go", append(args, "./cmd/"+program)...); err != nil {
		return fmt.Errorf("%s for %s: %w", program, t.name(), err)
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
	if err := command(ctx, dir, nil, "go", "mod", "edit", "-replace="+standInFor+"="+standIn, path); err != nil {
		remove()
		return "", nil, err
	}
	return path, remove, nil
}

// command runs a program in dir, and returns what it printed as an error if it
// fails. Settings of this user do not change what the Go command builds.
func command(ctx context.Context, dir string, env []string, name string, args ...string) error {
	_, err := output(ctx, dir, env, name, args...)
	return err
}

// output runs a program as command does, and returns what it prints.
func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
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
