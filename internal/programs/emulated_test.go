package programs

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/peerload/peerload/internal/testkit/foreign"
	testprograms "github.com/peerload/peerload/internal/testkit/programs"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

// TestEmulated: peerload-get for a device's processor, as QEMU runs it, gets a file from
// a server and passes it to that of this host, and gets one from it.
func TestEmulated(t *testing.T) {
	if err := testprograms.Sources("peerload", "peerload-get", "peerload-server"); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("PEERLOAD_FULL") == "" {
		t.Skip("PEERLOAD_FULL=1 runs it: it builds the program for three processors")
	}
	emulators := map[string]string{"arm": "qemu-arm", "mipsle": "qemu-mipsel"}
	dir := t.TempDir()
	runs := map[string][]string{}
	for _, tg := range Targets() {
		if emulators[tg.Arch] == "" && tg.Arch != runtime.GOARCH {
			continue
		}
		out := filepath.Join(dir, tg.Folder(), get)
		if err := tg.Build(t.Context(), "../..", get, out); err != nil {
			t.Fatal(err)
		}
		if e := emulators[tg.Arch]; e != "" {
			runs[tg.Arch] = append(runs[tg.Arch], foreign.Program(t, e))
		}
		runs[tg.Arch] = append(runs[tg.Arch], out)
	}
	if runs[runtime.GOARCH] == nil {
		t.Skip("no program is built for this processor")
	}
	body := make([]byte, 3*mib+5)
	_, _ = rand.Read(body)
	for arch := range emulators {
		for name, pair := range map[string][2][]string{
			arch + " is root": {runs[arch], runs[runtime.GOARCH]}, arch + " is leaf": {runs[runtime.GOARCH], runs[arch]},
		} {
			t.Run(name, func(t *testing.T) { passedOn(t, body, pair[0], pair[1]) })
		}
	}
}

// passedOn has one program get a file, and then another one get it from that.
func passedOn(t *testing.T, body []byte, first, second []string) {
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write(body)
	}))
	defer srv.Close()
	start := func(program []string, address, linger string) (out io.Reader, file string, cmd *exec.Cmd) {
		dir := t.TempDir()
		file = filepath.Join(dir, "app.bin")
		args := append(program[1:len(program):len(program)], srv.URL+"/app.bin", "--sha256", load.DigestOf(body).String(),
			"--json", "--state", filepath.Join(dir, "state"), "-o", file, "--address", address, "--port", "14085",
			"--linger", linger)
		cmd = exec.CommandContext(t.Context(), program[0], args...)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		return out, file, cmd
	}
	// ended reads what a program tells until it has the file.
	ended := func(out io.Reader, file string) report.Final {
		var log strings.Builder
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e report.Event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Fatal(err)
			}
			log.Write(append(lines.Bytes(), '\n'))
			if e.Event == report.KindDone {
				if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, body) {
					t.Errorf("it is done, but the file is not right: %v", err)
				}
				return *e.Final
			}
		}
		t.Fatalf("it does not get the file:\n%s", log.String())
		return report.Final{}
	}
	root, file, cmd := start(first, "127.85.4.1/8", "10m")
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, root)
		_ = cmd.Wait()
	}()
	if f := ended(root, file); f.BytesFromOrigin != int64(len(body)) {
		t.Errorf("the first: %+v", f)
	}
	leaf, file, child := start(second, "127.85.4.2/8", "0s")
	f := ended(leaf, file)
	_, _ = io.Copy(io.Discard, leaf)
	if err := child.Wait(); err != nil || f.BytesFromPeers != int64(len(body)) || asked.Load() != 1 {
		t.Errorf("the second: %v, %+v; the server was asked %d times", err, f, asked.Load())
	}
}
