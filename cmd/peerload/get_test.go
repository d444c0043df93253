package main

import (
	"strings"
	"testing"
)

// What is recorded of a command shows no secret of it, however it was typed.
func TestCommandLine(t *testing.T) {
	args := []string{"peerload", "get", "https://me:secret@host/x", "me:secret@host/y", "http://host/z", "-H", "Authorization: secret", "--header=X-Key: secret", "-vHCookie:secret", "-o", "f"}
	f := &getFlags{}
	f.origin.headers = []string{"Authorization: secret", "X-Key: secret", "Cookie:secret", "Empty:", ""}
	got := f.commandLine(args)
	if strings.Contains(got, "secret") {
		t.Errorf("it tells the secret: %s", got)
	}
	for _, want := range []string{"peerload get https://me:xxxxx@host/x ", "http://host/z -H Authorization: xxxxx", "X-Key: xxxxx", " -o f"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
}

func TestVersion(t *testing.T) {
	if out, code := run(t, nil, "--version"); code != 0 || out != program()+"\n" {
		t.Errorf("%d: %q", code, out)
	}
}
