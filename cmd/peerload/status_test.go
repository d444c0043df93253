package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/peerload/peerload/agent"
	"github.com/peerload/peerload/report"
)

// Every command finds the state directory in the same way.
func TestStateDirectory(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }))
	defer srv.Close()
	for _, from := range []string{"flag", "environment"} {
		dir := t.TempDir()
		name := fmt.Sprintf("app-%d-%s.bin", os.Getpid(), from) // no other directory knows of it
		state := filepath.Join(dir, "state")
		env, flag := []string{"PEERLOAD_STATE=" + state}, []string{}
		if from == "flag" {
			env, flag = []string{"PEERLOAD_STATE=" + filepath.Join(dir, "another")}, []string{"--state", state}
		}
		for _, args := range [][]string{
			{"get", srv.URL + "/" + name, "--unsigned", "--peers", "off", "-o", filepath.Join(dir, name)},
			{"status"}, {"screen"}, {"explain", name},
			{"doctor", "--config", noConfig(t, dir), "--model", "m", "--server", srv.URL, "--address", "127.0.78.1/8", "--port", freeUDP(t)},
		} {
			if out, code := run(t, env, append(args, flag...)...); code != 0 {
				t.Errorf("%s by the %s: %d, %s", args[0], from, code, out)
			} else if args[0] == "status" && !strings.Contains(out, name) {
				t.Errorf("status by the %s looks elsewhere: %s", from, out)
			} else if args[0] == "doctor" && !strings.Contains(out, "state directory "+state+" can") {
				t.Errorf("doctor by the %s looks elsewhere: %s", from, out)
			}
		}
		if _, err := os.Stat(filepath.Join(state, "status")); err != nil {
			t.Errorf("get by the %s: %v", from, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "another")); err == nil {
			t.Error("the flag does not count before the environment")
		}
	}
}

// record writes what a process told into a state directory.
func record(t *testing.T, dir string, p agent.ProcessStatus) {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "status", "1.json"), string(b))
}

// What servers and peers have told shows on a terminal and does nothing there.
func TestTextOfOthersIsHarmless(t *testing.T) {
	const evil = "\x1b]0;mine\a\u009b31m\u202e日本\r\n"
	const shown = `\x1b]0;mine\a\u009b31m\u202e日本`
	dir := t.TempDir()
	e := report.Event{Event: evil, File: "f" + evil, Role: evil, Source: report.SourcePeer, Root: evil, Parent: evil, Reason: evil, Message: evil, Model: "m" + evil}
	going := &agent.FileStatus{Event: e, Decisions: []agent.Decision{{Time: evil, Event: evil, Reason: evil, Message: evil}}}
	failed := &agent.FileStatus{Event: e, Failed: true}
	for _, files := range [][]*agent.FileStatus{{going}, {failed}} {
		record(t, dir, agent.ProcessStatus{PID: 1, Device: evil, Address: evil, Started: evil, Files: files})
		for _, args := range [][]string{{"status"}, {"explain"}, {"screen"}, {"screen", "--once"}} {
			out, code := run(t, nil, append(args, "--state", dir)...)
			if code != 0 || !strings.Contains(out, shown[:10]) {
				t.Errorf("%v: %d, %q", args, code, out)
			}
			harmless(t, args, out)
		}
	}
	// An error and the log with the name of a file.
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	out, code := run(t, nil, "get", srv.URL+"/a%1b%5b2J%E6%97%A5", "--unsigned", "--peers", "off", "-v", "--state", dir, "-o", filepath.Join(dir, "f"))
	if code != exitUnreachable || strings.Count(out, `a\x1b[2J日`) < 3 {
		t.Errorf("%d: %q", code, out)
	}
	harmless(t, []string{"get"}, out)
}

func harmless(t *testing.T, args []string, out string) {
	t.Helper()
	for _, r := range out {
		if r != '\n' && !unicode.IsGraphic(r) {
			t.Errorf("%v: %q passes through: %q", args, r, out)
			return
		}
	}
}
