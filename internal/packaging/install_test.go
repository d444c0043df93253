package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/testkit/foreign"
	testprograms "github.com/peerload/peerload/internal/testkit/programs"
)

// TestDebian: lintian finds no error, and a system of Debian installs the packages of
// an earlier commit, upgrades them to those of this tree, removes and purges them.
// What people changed and what the programs wrote outlives all but the purge.
func TestDebian(t *testing.T) {
	if err := testprograms.Sources("peerload", "peerload-get", "peerload-server"); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("PEERLOAD_FULL") == "" {
		t.Skip("PEERLOAD_FULL=1 runs it: it builds all programs twice, and installs a system")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can install a system in a directory")
	}
	lintian, debootstrap := foreign.Program(t, "lintian"), foreign.Program(t, "debootstrap")
	packages := t.TempDir()
	pack(t, root, packages, "0.0.2")
	pack(t, earlier(t), packages, "0.0.1")
	s := install(t, debootstrap, packages)

	newest, err := filepath.Glob(filepath.Join(packages, "*_0.0.2_*.deb"))
	if err != nil || len(newest) != 3 {
		t.Fatalf("packages: %v, %v", newest, err)
	}
	strict := append([]string{"--allow-root", "--fail-on", "error"}, newest...)
	out, err := exec.Command(lintian, strict...).CombinedOutput()
	t.Logf("lintian:\n%s", out)
	if err != nil {
		t.Errorf("lintian: %v", err)
	}

	s.run("dpkg -i /packages/*_0.0.1_*.deb")
	s.check("0.0.1")
	s.run(`echo PEERLOAD_SERVE_NAME=controller.test >> /etc/peerload/peerload-server.env
		echo 'model = "linux-` + runtime.GOARCH + `"' >> /etc/peerload/agent.toml`)
	kept := func() {
		t.Helper()
		s.run(`grep -q '^model = ' /etc/peerload/agent.toml
			grep -q '^PEERLOAD_SERVE_NAME=' /etc/peerload/peerload-server.env
			test -s /etc/peerload/trust/root.json -a -L /var/lib/peerload/slots/current
			test "$(stat -c %U:%a /var/lib/peerload-server)" = peerload:700`)
	}

	enter, off := s.boot()
	enter(startUnits)
	enter(`dpkg --force-confold -i /packages/*_0.0.2_*.deb
		for unit in peerload-server peerload-agent; do
			systemctl is-active $unit
			case $(readlink /proc/$(systemctl show -P MainPID $unit)/exe) in *deleted*) exit 1 ;; esac
		done
		` + asPeerload + `
		as peerload-server device list | grep SEP020000000001`)
	s.check("0.0.2")
	enter(upgradeOne)
	kept()
	enter(`dpkg -r peerload-lab peerload peerload-server
		test ! -e /usr/bin/peerload -a ! -e /usr/bin/peerload-server
		for unit in peerload-server.service peerload-agent.service peerload-hook.socket; do
			if systemctl is-active $unit; then exit 1; fi
		done`)
	off()
	kept()

	s.run("dpkg --force-confold -i /packages/*_0.0.2_*.deb")
	s.check("0.0.2")
	kept()
	s.run(asPeerload + `
		as peerload-server device list | grep SEP020000000001`)
	// The packages share /etc/peerload: the purge of one leaves what is the other's.
	s.run(`dpkg -P peerload-lab peerload-server
		test ! -e /var/lib/peerload-server -a ! -e /etc/peerload/peerload-server.env
		test -s /etc/peerload/agent.toml -a -L /var/lib/peerload/slots/current
		test ! -e /etc/systemd/system/multi-user.target.wants/peerload-server.service`)
	s.run(`rm /etc/peerload/hook
		dpkg -P peerload
		test ! -e /var/lib/peerload -a ! -e /etc/peerload
		test -z "$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' 'peerload*' | grep -v not-installed)"`)
}

// asPeerload defines a command that runs another one as the controller's user.
const asPeerload = `as() { setpriv --reuid=peerload --regid=peerload --clear-groups --reset-env "$@"; }`

// startUnits starts the controller, which is enabled by itself, and an agent, which the
// controller knows.
const startUnits = asPeerload + `
	systemctl is-enabled peerload-server
	systemctl start peerload-server
	model=$(sed -n 's/^model = "\(.*\)"/\1/p' /etc/peerload/agent.toml)
	as peerload-server enterprise set peer-sharing=on
	as peerload-server device add 02:00:00:00:00:01 --model $model
	cat >> /etc/peerload/agent.toml <<-END
	server = ["http://127.0.0.1:6970"]
	mac = "02:00:00:00:00:01"
	address = "127.0.1.1/8"
	END
	systemctl start peerload-agent`

// upgradeOne has the units upgrade a device. It ends when the hook was told that the
// load is confirmed, and each of its runs was in a unit of its own.
const upgradeOne = asPeerload + `
	model=$(sed -n 's/^model = "\(.*\)"/\1/p' /etc/peerload/agent.toml)
	head -c 300000 /dev/urandom > /srv/app.bin
	as peerload-server load add --name edge-1 --version 1.0 --model $model /srv/app.bin
	as peerload-server load assign edge-1 --model $model
	as peerload-server trust export --out /tmp/trust
	cp -r /tmp/trust/. /etc/peerload/trust/
	echo 'hook = "/usr/lib/peerload/hook"' >> /etc/peerload/agent.toml
	mkfifo /srv/told
	cat > /etc/peerload/hook <<-'END'
	#!/bin/sh
	echo "$1 in $(grep -o 'peerload-hook@.*' /proc/self/cgroup | head -n 1) with $PEERLOAD_LOAD" > /srv/told
	END
	chmod 755 /etc/peerload/hook
	exec 3<>/srv/told
	systemctl reload peerload-agent
	while read -r line <&3; do
		echo "$line"
		case $line in *'in  with'*) exit 1 ;; 'Commit in peerload-hook@'*.service*' with '*) break ;; esac
	done
	exec 3<&-
	cmp /srv/app.bin /var/lib/peerload/slots/current/app.bin
	peerload status`

// suite is the Debian that is installed: the oldest whose systemd the units are for,
// and one that runs below any kernel.
const suite = "bookworm"

// system is a Debian in a directory.
type system struct {
	t   *testing.T
	dir string
}

// install installs a system, with packages in /packages. What comes from a mirror is
// kept for the next time.
func install(t *testing.T, debootstrap, packages string) system {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	archives := filepath.Join(cache, "peerload-foreign", "archives")
	if err := os.MkdirAll(archives, 0o755); err != nil {
		t.Fatal(err)
	}
	s := system{t, filepath.Join(t.TempDir(), "debian")}
	out, err := exec.Command(debootstrap, "--variant=minbase", "--include=systemd,procps", "--cache-dir="+archives, suite,
		s.dir).CombinedOutput()
	if err != nil && offline(t.Context()) {
		t.Skipf("no archive of Debian answers, and not all of its packages are in %s: debootstrap: %v", archives, err)
	}
	if err != nil {
		t.Fatalf("debootstrap: %v\n%s", err, last(out))
	}
	if err := os.CopyFS(filepath.Join(s.dir, "packages"), os.DirFS(packages)); err != nil {
		t.Fatal(err)
	}
	return s
}

// offline reports whether the archive that debootstrap asks does not answer.
func offline(ctx context.Context) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://deb.debian.org/debian/dists/"+suite+"/Release", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return true
	}
	answer.Body.Close()
	return answer.StatusCode != http.StatusOK
}

// run runs lines of the shell in the system, in name spaces of their own. The first
// that fails fails the test.
func (s system) run(script string) string {
	s.t.Helper()
	return s.shell("unshare", "--mount", "--pid", "--net", "--fork", "--mount-proc="+s.dir+"/proc", "chroot", s.dir,
		"/bin/sh", "-euxc", script)
}

// shell runs a program with the environment of a system, and returns what it printed.
func (s system) shell(name string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8",
		"HOME=/root"}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("%v:\n%s%s", err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// boot starts the system's service manager and waits until it has started all. enter
// runs lines of the shell there, off ends it as a power cut does.
func (s system) boot() (enter func(script string), off func()) {
	s.t.Helper()
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(s.dir, "booted"), Net: "unixgram"})
	if err != nil {
		s.t.Fatal(err)
	}
	defer told.Close()
	ctx, cancel := context.WithCancel(s.t.Context())
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork",
		"--kill-child", "/bin/sh", "-euc", `mount --bind "$PWD" "$PWD"; cd "$PWD"
			mount -t proc proc proc; mount -t sysfs sysfs sys; mount -t tmpfs tmpfs run
			mount -t cgroup2 cgroup2 sys/fs/cgroup; ip link set lo up
			exec chroot . /lib/systemd/systemd --system`)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "container=test", "NOTIFY_SOCKET=/booted"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); told.Close(); close(ended) }()
	off = func() { cancel(); <-ended }
	s.t.Cleanup(off)
	for line := make([]byte, 4096); ; {
		n, err := told.Read(line)
		if err != nil {
			s.t.Skipf("no system can be started here: %v\n%s", err, out.Bytes())
		}
		if strings.Contains(string(line[:n]), "READY=1") {
			break
		}
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	inside := []string{"-t", strings.TrimSpace(string(b)), "-m", "-p", "-n", "-u", "-i", "-r", "-w", "/bin/sh", "-euxc"}
	return func(script string) { s.t.Helper(); s.shell("nsenter", append(inside, script)...) }, off
}

// check checks that a version is installed as a whole.
func (s system) check(version string) {
	s.t.Helper()
	for _, p := range []string{"peerload", "peerload-server", "peerload-lab"} {
		if got := s.run("dpkg-query -W -f '${Version} ${db:Status-Status}' " + p); got != version+" installed" {
			s.t.Errorf("%s is %s, want %s", p, got, version)
		}
		s.run(p + " --help >/dev/null; test -s /usr/share/man/man1/" + p + ".1.gz" +
			" -a -s /usr/share/bash-completion/completions/" + p)
	}
	s.run(`test "$(stat -c %U:%G:%a /var/lib/peerload-server)" = peerload:peerload:700
		test "$(stat -c %G:%a /etc/peerload/peerload-server.env)" = peerload:640
		test -L /etc/systemd/system/multi-user.target.wants/peerload-server.service
		test ! -e /etc/systemd/system/multi-user.target.wants/peerload-agent.service
		dpkg --verify peerload peerload-lab`)
}

// pack builds the packages of this machine from a tree.
func pack(t *testing.T, tree, out, version string) {
	t.Helper()
	cmd := exec.Command("go", "run", "./internal/packaging", "-version", version, "-out", out,
		"-date", "2026-01-02T15:04:05Z", "-only", fmt.Sprintf(`_%s\.deb$`, runtime.GOARCH))
	cmd.Dir = tree
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, said)
	}
}

// earlier is a tree of the first commit that could build packages.
func earlier(t *testing.T) string {
	t.Helper()
	git := func(args ...string) []byte {
		cmd := exec.CommandContext(context.Background(), "git", args...)
		cmd.Dir = root
		out, err := cmd.Output()
		if err != nil {
			t.Skipf("the history is not here: git %s: %v", strings.Join(args, " "), err)
		}
		return out
	}
	commits := strings.Fields(string(git("log", "--format=%H", "--diff-filter=A", "--", "internal/packaging/main.go")))
	if len(commits) == 0 {
		t.Skip("the history is not here: no commit has begun internal/packaging")
	}
	dir := t.TempDir()
	cmd := exec.Command("tar", "-x", "-C", dir)
	cmd.Stdin = bytes.NewReader(git("archive", "--format=tar", commits[len(commits)-1]))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return dir
}

// last is the end of what a program printed.
func last(out []byte) []byte { return out[max(0, len(out)-2000):] }
