package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/keyring"
	"github.com/peerload/peerload/internal/testkit/issuer"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// clerk is a person at a command line of an office, who keeps sign-ins.
func (o *office) clerk() (logins string) {
	o.t.Helper()
	o.file("password", "correct horse battery\n")
	o.ok("user add alice --role admin --password-file @password")
	o.ok("user add bob --role viewer --password-file @password")
	o.env = append(o.env, "XDG_CONFIG_HOME="+o.path("config"))
	return o.path("config/peerload/logins.json")
}

// away is the environment of somebody on another host: no data directory.
func (o *office) away() { o.env = append(o.env, console.EnvData+"=") }

// wrong runs a line that must fail with that status, and returns what it says.
func (o *office) wrong(code int, line string) string {
	o.t.Helper()
	out, got, errs := o.sh(strings.Fields(line)...)
	if got != code {
		o.t.Errorf("%s: status %d, want %d: %s%s", line, got, code, out, errs)
	}
	return errs
}

// TestLogin: a person signs in with name and password, and works, without naming
// controller, certificate and token; the sign-in ends at the controller, too.
func TestLogin(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	o := newOffice(t)
	o.start()
	logins := o.clerk()
	o.away()
	at := "--server " + o.at.API
	if says := o.wrong(exitUsage, "device list "+at); !strings.Contains(says, "peerload-server login --server "+o.at.API) {
		t.Errorf("before: %s", says)
	}
	o.wrong(exitUsage, "login --status")
	in := o.ok("login " + at + "/ --ca @data/tls/cert.pem --user alice --password-file @password --json")
	var told struct{ Item signedIn }
	if err := json.Unmarshal([]byte(in), &told); err != nil || told.Item.User != "alice" || told.Item.Role != "admin" ||
		strings.Contains(in, "plc_") {
		t.Fatalf("%v %s", err, in)
	}
	info, err := os.Stat(logins)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	first := entryOf(t, logins)
	o.ok("device add 02:00:00:00:00:01 --model 7941") // here the default controller is meant
	if out := o.ok("login --status"); !strings.Contains(out, "alice") || !strings.Contains(out, "signed in") ||
		!strings.Contains(out, "default") {
		t.Errorf("the status: %s", out)
	}
	o.ok("login " + at + " --user bob --password-file @password") // the certificate is known
	if says := o.wrong(exitUsage, "device add 02:00:00:00:00:02 --model 7941"); !strings.Contains(says, "forbidden") {
		t.Errorf("bob adds a device: %s", says)
	}
	says := o.wrong(exitUsage, "device list "+at+" --token "+first.Token+" --ca @data/tls/cert.pem")
	if !strings.Contains(says, "not authenticated") {
		t.Errorf("the sign-in that was replaced: %s", says)
	}
	second := entryOf(t, logins)
	o.ok("logout")
	says = o.wrong(exitUsage, "device list "+at+" --token "+second.Token+" --ca @data/tls/cert.pem")
	if !strings.Contains(says, "not authenticated") {
		t.Errorf("after the end: %s", says)
	}
	if b, err := os.ReadFile(logins); err != nil || bytes.Contains(b, []byte("plc_")) {
		t.Errorf("a token is left: %v %s", err, b)
	}
	if says := o.wrong(exitUsage, "logout"); !strings.Contains(says, "there is nothing to end") {
		t.Error(says)
	}
	o.wrong(exitUsage, "logout "+at)
	if found := grep(t, o.path("data"), second.Token); found != "" {
		t.Errorf("%s has the token in it", found)
	}
}

// entryOf is the one entry of a file of sign-ins.
func entryOf(t *testing.T, path string) keyring.Entry {
	t.Helper()
	r, err := keyring.Read(path)
	if err != nil || len(r.Entries) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	return r.Entries[0]
}

// TestLoginEnds: whoever ends a sign-in, the commands say to log in again; and a
// controller that is away costs nobody the sign-in.
func TestLoginEnds(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	o := newOffice(t)
	o.start()
	logins := o.clerk()
	local := "--data " + o.path("data")
	login := "login --server " + o.at.API + " --ca @data/tls/cert.pem --user alice --password-file @password"
	o.away()
	for name, end := range map[string]func(){
		"an administrator": func() { o.ok("user sign-out alice " + local) },
		"a ban": func() {
			o.ok("user add carl --role admin --password-file @password " + local)
			o.ok("user set alice --disable " + local)
			o.ok("user set alice --enable " + local)
		},
		"everywhere": func() {
			other := append([]string{}, o.env...)
			o.env = append(o.env, "XDG_CONFIG_HOME="+o.path("other"))
			o.ok(login)
			o.ok("logout --everywhere")
			o.env = other
		},
	} {
		o.ok(login)
		end()
		says := o.wrong(exitUsage, "device list")
		if !strings.Contains(says, "alice") || !strings.Contains(says, "log in again with \"peerload-server login --server "+
			o.at.API+"\"") {
			t.Errorf("ended by %s: %s", name, says)
		}
		if says := o.wrong(exitUsage, "login --status"); !strings.Contains(says, "log in again") {
			t.Errorf("ended by %s: the status: %s", name, says)
		}
		o.ok("logout") // that it has ended there is what was wanted
	}
	o.ok(login)
	if err := o.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	o.wrong(exitReach, "device list")
	o.wrong(exitReach, "login --status")
	if says := o.wrong(exitReach, "logout"); !strings.Contains(says, "--only-here") {
		t.Errorf("out while it is away: %s", says)
	}
	before := entryOf(t, logins)
	o.wrong(exitReach, login)
	if now := entryOf(t, logins); now != before {
		t.Errorf("a login in vain leaves %+v", now)
	}
	o.ok("logout --only-here")
}

// TestLoginPrecedence: a flag goes before the environment, that before the
// sign-in; and a token that was given is never sent to a controller that was not
// named.
func TestLoginPrecedence(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	here, there := newOffice(t), newOffice(t)
	here.start()
	there.start()
	here.clerk()
	there.clerk()
	there.ok("profile add there")
	here.ok("profile add here")
	local := "--data " + here.path("data")
	here.away()
	both := here.path("both.pem")
	var pem []byte
	for _, o := range []*office{here, there} {
		b, err := os.ReadFile(o.path("data/tls/cert.pem"))
		if err != nil {
			t.Fatal(err)
		}
		pem = append(pem, b...)
	}
	if err := os.WriteFile(both, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	login := func(o *office, user string) {
		here.ok("login --server " + o.at.API + " --ca " + both + " --user " + user + " --password-file @password")
	}
	login(there, "bob")
	login(here, "alice")
	plain := append([]string{}, here.env...)
	in := func(want, args string, env ...string) {
		t.Helper()
		here.env = append(append([]string{}, plain...), env...)
		if out := here.ok("profile list " + args); !strings.Contains(out, want) {
			t.Errorf("%s %v: %s", args, env, out)
		}
	}
	in("here", "")
	in("there", "--server "+there.at.API)
	in("there", "", console.EnvController+"="+there.at.API)
	in("here", "--server "+here.at.API, console.EnvController+"="+there.at.API)
	in("here", local, console.EnvController+"="+there.at.API)
	in("there", "", console.EnvController+"="+there.at.API, console.EnvData+"="+here.path("data"))
	here.ok("login --switch --server " + there.at.API)
	in("there", "")
	in("here", local)
	in("here", "", console.EnvData+"="+here.path("data"))
	in("there", "", console.EnvToken+"=plt_of_somebody") // not for it: the sign-in's is
	here.env = append(append([]string{}, plain...), console.EnvToken+"=plt_of_somebody")
	here.wrong(exitUsage, "profile list --server "+there.at.API)
	here.ok("profile list --server " + there.at.API + " --token " + entryAt(t, here, there.at.API))
	here.env = plain
	if out := here.ok("login --status"); strings.Count(out, "signed in") != 2 {
		t.Errorf("the status: %s", out)
	}
	if out := here.ok("login --status --server " + here.at.API); strings.Count(out, "signed in") != 1 {
		t.Errorf("the status of one: %s", out)
	}
	here.ok("logout")
	if says := here.wrong(exitUsage, "login --switch --server "+there.at.API); !strings.Contains(says, "log in there") {
		t.Error(says)
	}
	here.ok("login --switch --server " + here.at.API)
	in("here", "")
}

// entryAt is the token of a sign-in.
func entryAt(t *testing.T, o *office, server string) string {
	t.Helper()
	r, err := keyring.Read(o.path("config/peerload/logins.json"))
	if err != nil {
		t.Fatal(err)
	}
	e, _ := r.Find(server)
	return e.Token
}

// TestLoginRefused: what is wrong with a login is told, with nothing kept.
func TestLoginRefused(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	o := newOffice(t)
	o.start()
	logins := o.clerk()
	o.away()
	o.file("wrong", "another password\n")
	at := "login --server " + o.at.API + " "
	for line, c := range map[string]struct {
		code int
		says string
	}{
		"login":                                {exitUsage, "--server is missing"},
		"login --server http://192.0.2.1":      {exitUsage, "https"},
		"login --server https://u:secret@a":    {exitUsage, "no http or https URL"},
		at + "--user alice":                    {exitUsage, "--password-file"},
		at + "--password-file @password":       {exitUsage, "--user"},
		at + "--user a --password-file @wrong": {exitReach, "--ca"}, // nothing is sent to whom nobody knows
		at + "--ca @wrong --user a":            {exitUsage, "certificate"},
		at + "--user a --password-file @none":  {exitDisk, "none"},
		at + "--status --switch":               {exitUsage, "switch"},
		at + "--ca @data/tls/cert.pem --user alice --password-file @wrong": {exitUsage, "does not know this name"},
	} {
		if says := o.wrong(c.code, line); !strings.Contains(says, c.says) || strings.Contains(says, "secret") ||
			strings.Contains(says, "another password ") {
			t.Errorf("%s: %s", line, says)
		}
	}
	if _, err := os.Stat(logins); err == nil {
		t.Error("something was kept")
	}
	if err := os.MkdirAll(filepath.Dir(logins), 0o700); err != nil {
		t.Fatal(err)
	}
	good := at + "--ca @data/tls/cert.pem --user alice --password-file @password"
	for name, text := range map[string]string{"damaged": "{", "of a newer program": `{"schema":9}`} {
		if err := os.WriteFile(logins, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if says := o.wrong(exitUsage, good); !strings.Contains(says, "remove it, and log in again") {
			t.Errorf("%s: %s", name, says)
		}
		if b, err := os.ReadFile(logins); err != nil || string(b) != text {
			t.Errorf("%s: overwritten with %s, %v", name, b, err)
		}
	}
}

// terminal is a pseudo-terminal: what a person sees, and the side of the program.
func pseudoTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { person.Close() })
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// TestLoginAsks: on a terminal, name and password are asked for, and the password
// is not shown.
func TestLoginAsks(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	o := newOffice(t)
	o.start()
	logins := o.clerk()
	o.away()
	person, program := pseudoTerminal(t)
	cmd := exec.CommandContext(t.Context(), o.bin, "login", "--server", o.at.API, "--ca", o.path("data/tls/cert.pem"))
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = o.env, program, program, program
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := ""
	until := func(text string) {
		t.Helper()
		for b := make([]byte, 1); !strings.HasSuffix(seen, text); seen += string(b) {
			if _, err := io.ReadFull(person, b); err != nil {
				t.Fatalf("%v after %q", err, seen)
			}
		}
	}
	until("user: ")
	fmt.Fprint(person, "alice\n")
	until("password: ")
	for { // it asks first, and turns the echo off then
		mode, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if mode.Lflag&unix.ECHO == 0 {
			break
		}
	}
	fmt.Fprint(person, "correct horse battery\n")
	until("until ")
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(seen, "as alice (admin)") || strings.Contains(seen, "horse") {
		t.Errorf("the terminal shows %q", seen)
	}
	if e := entryOf(t, logins); e.User != "alice" {
		t.Errorf("%+v", e)
	}
}

// withIssuer starts the controller of an office with an issuer at which carol has
// a role.
func (o *office) withIssuer() *issuer.Issuer {
	o.t.Helper()
	addr := free(o.t)
	at, stop := issuer.Start("https://" + addr + "/oidc/callback")
	o.t.Cleanup(stop)
	at.Add("carol", "phones")
	o.file("secret", issuer.Secret+"\n")
	o.start("--listen", addr, "--public-url", "https://"+addr, "--oidc-issuer", at.URL, "--oidc-client-id",
		issuer.ClientID, "--oidc-secret-file", o.path("secret"), "--oidc-role", "operator=phones", "--session-life", "2h")
	return at
}

// letIn lets in, as somebody of the issuer, the command line that has told this.
func letIn(b *http.Client, user, told string) error {
	say := regexp.MustCompile("open in a browser: (.*)\nand enter the code: (.*)\n").FindStringSubmatch(told)
	if say == nil {
		return fmt.Errorf("nothing to open in %q", told)
	}
	if _, err := issuer.SignIn(b, say[1], user); err != nil {
		return err
	}
	form, err := issuer.Open(b, say[1])
	if err != nil {
		return err
	}
	csrf := regexp.MustCompile(`name="csrf" value="([0-9a-f]+)"`).FindStringSubmatch(form.Text)
	if csrf == nil {
		return fmt.Errorf("no form: %s", form.Text)
	}
	done, err := issuer.Send(b, say[1], url.Values{"csrf": {csrf[1]}, "code": {say[2]}, "answer": {"allow"}})
	if err == nil && done.Code != http.StatusOK {
		err = fmt.Errorf("%d %s", done.Code, done.Text)
	}
	return err
}

// TestLoginByBrowser: with an issuer, a command line waits for somebody who signs
// in there, and has their role.
func TestLoginByBrowser(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	o := newOffice(t)
	at := o.withIssuer()
	logins := o.clerk()
	o.away()
	login := []string{"login", "--browser", "--server", o.at.API, "--ca", o.path("data/tls/cert.pem")}
	cmd := exec.CommandContext(t.Context(), o.bin, login...)
	cmd.Env = o.env
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told := ""
	for lines := bufio.NewReader(errs); strings.Count(told, "\n") < 2; {
		line, err := lines.ReadString('\n')
		if told += line; err != nil {
			t.Fatal(told, err)
		}
	}
	if err := letIn(issuer.Browser(o.http.Transport), "carol", told); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "carol@127.0.0.1 (operator)") {
		t.Fatalf("%v %s", err, out.String())
	}
	e := entryOf(t, logins)
	if life := time.Until(e.Expires); life > 2*time.Hour {
		t.Errorf("the sign-in lasts %v", life)
	}
	o.ok("device add 02:00:00:00:00:01 --model 7941")
	if says := o.wrong(exitUsage, "user list"); !strings.Contains(says, "forbidden") {
		t.Errorf("an operator lists users: %s", says)
	}
	if list := o.ok("user list --data " + o.path("data")); !strings.Contains(list, at.URL) {
		t.Errorf("the users: %s", list)
	}
	o.ok("logout")
}

// TestAuditSyslog: what a shell on the data directory does reaches the log server
// of the controller that runs.
func TestAuditSyslog(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	logs, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	o := newOffice(t)
	o.start("--audit-syslog", "udp://"+logs.LocalAddr().String())
	o.ok("profile add lobby")
	b := make([]byte, 1<<16)
	n, _, err := logs.ReadFrom(b)
	if got := string(b[:n]); err != nil || !strings.Contains(got, " profile.create [peerload@32473 id=") ||
		!strings.Contains(got, "kind=\"local\"") || !strings.Contains(got, "name: unset → lobby") {
		t.Errorf("%q, %v", got, err)
	}
}
