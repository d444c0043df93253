package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/peerload/peerload/internal/testkit/tiers"
)

// act runs a script of a package with args. dir stands for /etc/peerload and for the
// directory by which systemd shows that it runs; the programs that would change this
// system print what they were asked for instead. It returns what was printed.
func act(t *testing.T, dir, script string, args ...string) string {
	t.Helper()
	programs := t.TempDir()
	for _, p := range []string{"deb-systemd-helper", "deb-systemd-invoke", "systemctl", "systemd-sysusers",
		"systemd-tmpfiles", "chgrp"} {
		does := "#!/bin/sh\necho " + p + ` "$@"` + "\n"
		if p == "chgrp" {
			does += `ls "$2"` + "\n" // it fails without the file
		}
		if err := os.WriteFile(filepath.Join(programs, p), []byte(does), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	body := strings.NewReplacer("/run/systemd/system", dir, "/etc/peerload", dir, ">/dev/null", "").
		Replace(read(t, script))
	cmd := exec.Command("/bin/sh", append([]string{"-c", body, script}, args...)...)
	cmd.Env = []string{"PATH=" + programs + ":/usr/bin:/bin", "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", script, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestConfigurationIsGone: whoever has removed the controller's configuration can
// install and upgrade it all the same.
func TestConfigurationIsGone(t *testing.T) {
	tiers.Long(t, "it starts many scripts")
	for script, args := range map[string][]string{"deb.postinst": {"configure", "0.0.1"}, "rpm.post": {"2"}} {
		dir := t.TempDir()
		script = "packaging/server/scripts/" + script
		if said := act(t, dir, script, args...); strings.Contains(said, "chgrp") {
			t.Errorf("%s: without the file it says\n%s", script, said)
		}
		file := filepath.Join(dir, "peerload-server.env")
		write(t, file, "")
		if said := act(t, dir, script, args...); !strings.Contains(said, "chgrp peerload "+file+"\n") {
			t.Errorf("%s: the controller's group cannot read the file:\n%s", script, said)
		}
	}
}

// TestRemovalStops: no unit goes on without its program, which a socket would start
// again and again.
func TestRemovalStops(t *testing.T) {
	for _, name := range units(t) {
		unit := filepath.Base(name)
		if strings.Contains(unit, "@") { // one for each connection, which ends by itself
			continue
		}
		scripts := filepath.Join(filepath.Dir(name), "scripts")
		for script, last := range map[string]string{"deb.prerm": "remove", "rpm.preun": "0"} {
			if said := act(t, t.TempDir(), filepath.Join(scripts, script), last); !strings.Contains(said, unit) {
				t.Errorf("%s: %s does not stop it:\n%s", unit, script, said)
			}
		}
		for script, more := range map[string]string{"deb.prerm": "upgrade", "rpm.preun": "1"} {
			if said := act(t, t.TempDir(), filepath.Join(scripts, script), more); said != "" {
				t.Errorf("%s: an upgrade stops it in %s:\n%s", unit, script, said)
			}
		}
	}
}

// TestConfirmRefuses: a device whose load was not installed by the hook beside it does
// not confirm it, also where the process that asks cannot be seen.
func TestConfirmRefuses(t *testing.T) {
	state := t.TempDir()
	if err := os.Mkdir(filepath.Join(state, "slots"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", filepath.Join(state, "slots", "current")); err != nil {
		t.Fatal(err)
	}
	for what, flags := range map[string]uintptr{"seen": 0, "not seen": syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID} {
		cmd := exec.Command("/bin/sh", filepath.Join(root, "packaging/self-upgrade/peerload-confirm"))
		cmd.Env = []string{"PATH=/usr/bin:/bin", "PEERLOAD_STATE=" + state}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags} // its parent is outside
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		switch {
		case err != nil && !errors.As(err, &exit) && flags != 0:
			t.Logf("no name space can be made here: %v", err)
		case exit == nil || exit.ExitCode() != 1 || !strings.Contains(string(out), "the agent is not"):
			t.Errorf("%s: %v\n%s", what, err, out)
		}
	}
}

// TestOpenRC: the controller gets each variable of its configuration, the last line of
// which need not have an end, and starts without a configuration.
func TestOpenRC(t *testing.T) {
	dir := t.TempDir()
	start := func() string {
		t.Helper()
		script := "checkpath() { :; }\n" + strings.ReplaceAll(read(t, "packaging/server/alpine/peerload-server.initd"),
			"/etc/peerload", dir) + "\nstart_pre\nenv\n"
		cmd := exec.Command("/bin/sh", "-euc", script)
		cmd.Env = []string{"PATH=/usr/bin:/bin"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return string(out)
	}
	if said := start(); strings.Contains(said, "PEERLOAD_") {
		t.Errorf("without a configuration there is\n%s", said)
	}
	write(t, filepath.Join(dir, "peerload-server.env"), "#PEERLOAD_A=1\n\nPEERLOAD_B=x & y=$z\nPEERLOAD_C=3")
	said := start()
	if strings.Contains(said, "PEERLOAD_A") || !strings.Contains(said, "PEERLOAD_B=x & y=$z\n") ||
		!strings.Contains(said, "PEERLOAD_C=3\n") {
		t.Errorf("the environment is\n%s", said)
	}
}
