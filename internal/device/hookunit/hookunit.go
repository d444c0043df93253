// Package hookunit has a hook run by another unit of the service manager: the agent
// is confined, and what installs a load cannot be.
//
// The caller connects to a socket, for which the service manager starts a unit with
// the hook's program. The caller's arguments and its variables PEERLOAD_… go there;
// what the program prints, and its exit status, come back. If the caller ends, so
// does the program.
//
// What lives here: both ends of that connection. What must not: when a hook is
// called, and what its exit status means; package agent has that. Read Call, then
// Serve.
package hookunit

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// DefaultSocket is where the unit peerload-hook.socket listens.
const DefaultSocket = "/run/peerload/hook.sock"

// maxFrame bounds a frame, in bytes.
const maxFrame = 64 << 10

// Kinds of frames. A frame is its kind, four bytes of length, and so many bytes.
const (
	kindRequest = 'r' // JSON of request
	kindOut     = 'o' // what the program prints
	kindErr     = 'e' // the same, on standard error
	kindStatus  = 'x' // one byte: the exit status
	kindFailed  = 'f' // why there is none
)

// request is what the caller asks for.
type request struct {
	Args []string `json:"args"`
	Env  []string `json:"env"`
}

// prefix begins the variables that are passed on.
const prefix = "PEERLOAD_"

var errFrame = errors.New("what came over the socket is not of a hook's unit")

// readFrame reads one frame.
func readFrame(r io.Reader) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes", errFrame, n)
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return head[0], body, err
}

// writeFrame writes one frame; body is at most maxFrame.
func writeFrame(w io.Writer, kind byte, body []byte) error {
	frame := make([]byte, 5, 5+len(body))
	frame[0] = kind
	binary.BigEndian.PutUint32(frame[1:], uint32(len(body)))
	_, err := w.Write(append(frame, body...))
	return err
}

// Call has the program of the unit behind socket run with args, and with those
// variables of environ that are the agent's. It returns the program's exit status.
func Call(ctx context.Context, socket string, args, environ []string, stdout, stderr io.Writer) (int, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return 0, fmt.Errorf("%w; start peerload-hook.socket", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	req := request{Args: args, Env: own(environ)}
	body, err := json.Marshal(req)
	if err != nil {
		return 0, err
	}
	if len(body) > maxFrame {
		return 0, fmt.Errorf("arguments and variables have %d bytes, at most %d", len(body), maxFrame)
	}
	if err := writeFrame(conn, kindRequest, body); err != nil {
		return 0, err
	}
	for {
		kind, body, err := readFrame(conn)
		switch {
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case errors.Is(err, io.EOF):
			return 0, errors.New("the unit ended before the hook did: see journalctl -u 'peerload-hook@*'")
		case err != nil:
			return 0, err
		}
		switch {
		case kind == kindOut:
			_, err = stdout.Write(body)
		case kind == kindErr:
			_, err = stderr.Write(body)
		case kind == kindStatus && len(body) == 1:
			return int(body[0]), nil
		case kind == kindFailed:
			return 0, errors.New(string(body))
		default:
			return 0, errFrame
		}
		if err != nil {
			return 0, err
		}
	}
}

// own are the variables that are passed on.
func own(environ []string) (own []string) {
	for _, v := range environ {
		if strings.HasPrefix(v, prefix) {
			own = append(own, v)
		}
	}
	return own
}

// killDelay is how long a killed program may keep its output open.
const killDelay = 2 * time.Second

// Serve runs program for the caller at the other end of in and out, which are one
// connection.
func Serve(ctx context.Context, program string, in io.Reader, out io.Writer) error {
	kind, body, err := readFrame(in)
	if err != nil {
		return err
	}
	req, err := parseRequest(kind, body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // the caller says no more: this ends when it does
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	cmd := exec.CommandContext(ctx, program, req.Args...)
	cmd.Env = append(os.Environ(), req.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killDelay
	var mu sync.Mutex
	cmd.Stdout, cmd.Stderr = &sender{&mu, out, kindOut}, &sender{&mu, out, kindErr}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		return writeFrame(out, kindStatus, []byte{0})
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return writeFrame(out, kindStatus, []byte{byte(exit.ExitCode())})
	}
	return errors.Join(err, writeFrame(out, kindFailed, []byte(err.Error())))
}

// parseRequest reads what a caller asks for.
func parseRequest(kind byte, body []byte) (req request, err error) {
	if kind != kindRequest {
		return req, errFrame
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return req, fmt.Errorf("%w: %w", errFrame, err)
	}
	req.Env = own(req.Env)
	return req, nil
}

// sender sends what a program prints.
type sender struct {
	mu   *sync.Mutex
	to   io.Writer
	kind byte
}

// Write implements io.Writer.
func (s *sender) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for rest := p; len(rest) > 0; {
		n := min(len(rest), maxFrame)
		if err := writeFrame(s.to, s.kind, rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}
