package hookunit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unit listens as the service manager does, and serves each connection with a script.
func unit(t *testing.T, script string) (socket string) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "hook")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-ended })
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = Serve(context.Background(), program, conn, conn)
			conn.Close()
		}
	}()
	return socket
}

func TestCall(t *testing.T) {
	socket := unit(t, `echo "progress 5 $1 $PEERLOAD_DIR $OTHER"; echo oops >&2; exit 4`)
	var out, errs bytes.Buffer
	status, err := Call(t.Context(), socket, []string{"Install"}, []string{"PEERLOAD_DIR=/d", "OTHER=secret"}, &out,
		&errs)
	if err != nil || status != 4 || out.String() != "progress 5 Install /d \n" || errs.String() != "oops\n" {
		t.Errorf("status %d, %v, %q, %q", status, err, out.String(), errs.String())
	}
	big := unit(t, `head -c 1000000 /dev/zero`)
	out.Reset()
	if status, err := Call(t.Context(), big, nil, nil, &out, io.Discard); err != nil || status != 0 ||
		out.Len() != 1_000_000 {
		t.Errorf("status %d, %v, %d bytes", status, err, out.Len())
	}
}

// TestCallFails: without a status there is an error, never a status that could mean
// that a load was installed.
func TestCallFails(t *testing.T) {
	killed := unit(t, `kill -9 $$`)
	_, err := Call(t.Context(), killed, nil, nil, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("a hook that was killed: %v", err)
	}
	if _, err := Call(t.Context(), filepath.Join(t.TempDir(), "s"), nil, nil, io.Discard, io.Discard); err == nil ||
		!strings.Contains(err.Error(), "peerload-hook.socket") {
		t.Errorf("nobody listens: %v", err)
	}
	if _, err := Call(t.Context(), killed, []string{strings.Repeat("x", maxFrame)}, nil, io.Discard,
		io.Discard); err == nil {
		t.Error("more arguments than a frame can have were accepted")
	}
}

// TestCallerEnds: the program is killed when its caller ends.
func TestCallerEnds(t *testing.T) {
	here, there := net.Pipe()
	program := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho started\nexec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- Serve(context.Background(), program, there, there) }()
	if err := writeFrame(here, kindRequest, []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if kind, body, err := readFrame(here); err != nil || kind != kindOut || string(body) != "started\n" {
		t.Fatalf("%c %q %v", kind, body, err)
	}
	here.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestServeRefuses(t *testing.T) {
	for _, in := range []string{"", "r\x00\x00\x00\x02{", "r\xff\xff\xff\xff", "o\x00\x00\x00\x02{}",
		"r\x00\x00\x00\x01x"} {
		var out bytes.Buffer
		if err := Serve(t.Context(), "/bin/true", strings.NewReader(in), &out); err == nil || out.Len() > 0 {
			t.Errorf("%q: %v, %q", in, err, out.String())
		}
	}
}

// FuzzRequest: whatever a caller sends is a request or refused; only the agent's
// variables pass.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("r\x00\x00\x00\x20{\"args\":[\"Install\"],\"env\":[\"A=\"]}"))
	f.Add([]byte("r\x00\x00\x00\x02{}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		kind, body, err := readFrame(bytes.NewReader(in))
		if err != nil {
			return
		}
		req, err := parseRequest(kind, body)
		if err == nil && len(own(req.Env)) != len(req.Env) {
			t.Errorf("passes %q", req.Env)
		}
	})
}
