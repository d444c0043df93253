package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
