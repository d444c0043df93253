package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/orders"
	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/internal/testkit/golden"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

var update = flag.Bool("update", false, "write the golden files anew")

// mistakes are wrong lines of each kind. DIR is a directory of the test, with
// the data of a controller that knows the device 02:00:00:00:00:01, the profile
// lobby, the load fw and the user alice.
var mistakes = []string{
	// Commands and flags.
	"servee", "device lst", "help foo", "help device lst", "completion foo", "completion bash x", "serve --htpp :1",
	"device list --modl 7941", "serve --http", "device list --state", "trust export --out",
	// Arguments.
	"device show", "device show a b", "device add", "bulk plan", "bulk plan a b", "bulk plan a --all-devices",
	"bulk run --all-devices", "bulk run --all-devices x=1",
	"bulk run --site Kyto timing=lan", "bulk run DIR", "bulk export DIR/x.ods", "bulk undo none", "bulk status none",
	"bulk run --all-devices timing=lan --template none", "bulk template set t", "load assign --enterprise", "trust rotate",
	"backup", "template x", "serve x",
	// Values.
	"serve --site-transfers x", "serve --site-rate -1", "serve --site-prefix-v4 99", "serve --site x", "serve --tls foo",
	"serve --database foo", "serve --tls-cert DIR/none", "serve --tls-cert DIR/none --tls-key DIR/none",
	"serve --http x --listen 127.0.0.1:0 --tftp off", "serve --listen x", "serve --tftp x --listen 127.0.0.1:0",
	"serve --data DIR/data --audit-syslog logs:514", "serve --audit-syslog-ca DIR/plain --data DIR/data",
	"serve --data DIR/data --audit-syslog tls://logs --audit-syslog-ca DIR/plain", "serve --session-life 0s",
	"serve --session-life 9000h", "serve --oidc-client-id x",
	"serve --oidc-issuer https://login.example.com", "serve --oidc-issuer http://login.example.com --public-url https://a",
	"serve --oidc-issuer https://login.example.com --public-url https://a --oidc-client-id c",
	"serve --oidc-issuer https://login.example.com --public-url https://a --oidc-client-id c --oidc-role operator",
	"serve --oidc-issuer https://login.example.com --public-url https://a --oidc-client-id c --oidc-role boss=x",
	"serve --oidc-issuer https://login.example.com --public-url https://a --oidc-ca DIR/plain",
	"login --browser --user alice", "login --status --switch", "login --server http://192.0.2.1",
	"serve --http 192.0.2.1:0 --listen 127.0.0.1:0 --tftp off", "serve --keys DIR", "serve --repo DIR",
	"serve --repo DIR/none --http 127.0.0.1:0", "serve --data DIR/plain",
	"device list --state idel", "device list --if-version x", "device history 02:00:00:00:00:01 --last -1",
	"device add x --model 7941", "device add 02:00:00:00:00:02",
	"device add 02:00:00:00:00:02 --model 7941 peer-shring=on",
	"device add 02:00:00:00:00:02 --model 7941 peer-sharing=no-idea",
	"device add 02:00:00:00:00:02 --model 7941 peer-sharing", "device add 02:00:00:00:00:02 --model 7941 timing=clasic",
	"device add 02:00:00:00:00:02 --model 7941 wan-limit=x",
	"device add 02:00:00:00:00:02 --model 7941 load-server=ftp://x",
	"device set 02:00:00:00:00:01", "device set 02:00:00:00:00:01 --unset timming",
	"device set 02:00:00:00:00:01 --if-version 7 timing=lan",
	"enterprise set timng=lan", "enterprise set --auto-registration maybe",
	"report history --kind fil", "report overview --silent x", "user add bob", "user add bob --role amin",
	"user add bob --role admin", "user set alice --disable --enable", "token add x", "token add x --role foo",
	"token add x --user alice --scope read,foo", "enrolment add x --network foo", "enrolment add x --site-key --uses 3",
	"load register x", "load assign fw", "load assign fw --enterprise --model m", "load roll-back --enterprise",
	"load add DIR/plain", "load add --name x/y --version 1 --model m DIR/plain",
	"load add --name fw --version 1 --model m DIR/bad.csv", "trust rotate rot", "trust rotate rot --repo DIR/none",
	"site list x", "site show", "site add", "site add a/b", "site add Nara --time-zone Asia/Nara",
	"site add Nara --network 10.1", "site add Nara --network 10.1.0.0/16", "site add Nara --window 22:00-05:00",
	"site add Nara --time-zone UTC --window night", "site add Nara --wan-rate fast", "site add Nara --transfers -1",
	"site set Kyoto", "site set Kyoto --transfers x", "site delete Kyoto",
	"release add", "release add a/b", "release add 9.4(2)", "release add 9.4(2) --load none", "release set r",
	"release assign r", "release assign none --enterprise", "release assign r --profile none",
	"release assign r --device 02:00:00:00:00:04", "release add s --load fw,gw", "release delete r",
	"device set 02:00:00:00:00:01 --load fw --release r",
	"enterprise set", "profile set lobby", "device show ''", "site add ''", "backup ''", "bulk plan DIR/empty.csv",
	"device history 02:00:00:00:00:09", "device set 02:00:00:00:00:01 --unset timing timing=lan",
	// What nobody has said yes to.
	"undo", "undo none", "undo none --if-version 3", "enterprise set timing=classic",
	"load assign gw --site Kyotoo --yes", "load assign fw --site Kyoto --yes", "load roll-back --site Kyoto --yes",
	"release assign r --site Kyoto --dry-run", "load assign fw --site Kyoto --enterprise", "bulk run DIR/two.csv",
	"rollout create", "rollout create a/b --load fw --all", "rollout create up --all", "rollout create up --load fw",
	"rollout create up --load fw --all --site Kyoto", "rollout create up --load none --all",
	"rollout create up --load fw --all --wave x", "rollout create up --load fw --all --wave 5%,soak=1h",
	"rollout create up --load fw --all --plan DIR/none",
	"rollout create up --load fw --all --plan DIR/plain", "rollout create up --load fw --all --start-at noon",
	"order list --kind chek-in", "fileset show nothing", "fileset assign nothing --enterprise",
	"rollout create up --load fw --all --silence shout", "rollout create up --load fw --all --window night",
	"rollout create up --load fw --all --valid 1s", "rollout start none", "rollout set none --approval",
	"rollout stat up", "rollout pause none", "rollout skip none", "rollout list --state runing",
	"rollout devices none --standing dead", "rollout next none --if-version x", "rollout retry none --dry-run",
	"order send", "order sned", "order send retr --all", "order send retry", "order send retry --all",
	"order send retry --all --model 7941 --yes", "order send reset-together --all --at noon",
	"order send retry --all --expires 0s", "order send retry --all --expires 200h", "order send retry --all --lines 0",
	"order send collect-log --all --lines 2000", "order send retry --at 5m --all", "order key rotat",
	"fileset add DIR/plain", "fileset add --name t --version 1 --directory ../t --model m DIR/plain",
	"fileset add --name t --version 1 --directory t --model m DIR/none", "fileset assign t",
	"fileset assign t --enterprise --device 02:00:00:00:00:01", "fileset unassign t --enterprise",
	"fileset delete none", "login --server x", "login --ca DIR/none --server https://127.0.0.1:1",
	"logout --server https://127.0.0.1:1", "site set Nara --note x", "site add Nara --time-zone Tokyo",
	"rollout create up --load fw --all --success 0", "rollout create up --load fw --all --max-failed -1",
	"rollout create up --release none --site Kyoto", "rollout replace none --from fw --to gw",
	"rollout approve none", "rollout abort none", "rollout roll-back none --yes", "rollout resume none",
	"order send collect-log --all --lines x", "order send restart --device x", "order key show x",
	"bulk run --all-devices timing=lan --at noon", "bulk plan DIR/rows.csv --delimiter x", "bulk export",
	// Names that nobody has.
	"order show none", "order cancel none", "order send retry --device 02:00:00:00:00:09",
	"order send retry --rollout none --wave 1", "order send retry --wave 1 --all",
	"order send retry --rollout none --wave 0",
	"order send retry --site Kyotoo", "order send retry --model none",
	"release show none", "release delete none",
	"site show Kyotoo", "site set Kyotoo --note x", "site delete none", "device list --site Kyotoo",
	"device set 02:00:00:00:00:01 --site Kyotoo", "report history --site Osaka", "report overview --site Kyotoo",
	"enrolment add x --site Kyotoo",
	"device show 02:00:00:00:00:09", "profile show loby", "profile add lobby", "profile delete none", "model delete none",
	"load show none", "load assign none --enterprise", "load assign fw --profile none", "load assign fw --model none",
	"user set none --role admin", "user delete none", "token revoke none", "enrolment revoke none",
	"device add 02:00:00:00:00:02 --model 7941 --profile none", "device list --data DIR/none",
	"load list --repo DIR/none", "load refresh --repo DIR/none",
	// Files.
	"bulk run DIR/none", "bulk run DIR/bad.csv", "bulk run DIR/no-device.csv", "bulk run DIR/short.csv",
	"bulk run DIR/plain",
	"bulk run DIR/rows.csv",
	"model add DIR/none", "model add DIR/plain", "load add --name x --version 1 --model m DIR/none",
	"user add bob --role admin --password-file DIR/none", "trust export --out DIR/plain", "backup DIR/none/x",
	"backup DIR/plain", "restore DIR/none", "restore DIR/plain --data DIR/new", "restore DIR/backup",
	// Another controller.
	"device list --server http://127.0.0.1:1", "device list --server http://127.0.0.1:1 --token x",
	"device list --server ftp://user:secret@host --token x", "device list --server http://user:secret@host:x --token x",
	"device list --server http://user:secret@127.0.0.1:1 --token x",
	"device list --server http://127.0.0.1:1 --token-file DIR/none",
	"device list --server https://127.0.0.1:1 --token x --ca DIR/none",
	"device list --server https://127.0.0.1:1 --token x --ca DIR/plain",
}

// temporary is the name of a file while it is written.
var temporary = regexp.MustCompile(`\.backup-[0-9]+`)

// seen are the commands below one that people see.
func seen(cmd *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(cmd.Commands()), func(c *cobra.Command) bool { return !c.IsAvailableCommand() })
}

// Each mistake is answered with what to do, and with an exit status, in each
// command: the golden file has all lines with their answers.
func TestMistakes(t *testing.T) {
	tiers.Long(t, "it starts the programs many times")
	d := newDesk(t)
	for name, content := range map[string]string{
		"plain": "x\n", "bad.csv": "device,peer-shring\na,b\n", "no-device.csv": "model\nm\n",
		"short.csv": "device,model\na\n",
		"rows.csv":  "device,timing\n02:00:00:00:00:01,clasic\n02:00:00:00:00:09,lan\nx,lan\n",
		"two.csv":   "device,description\n02:00:00:00:00:01,x\n02:00:00:00:00:03,x\n",
		"password":  "a good password\n", "empty.csv": "",
	} {
		d.file(name, content)
	}
	t.Setenv(console.EnvData, filepath.Join(d.dir, "data"))
	if err := seed(d); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"device add 02:00:00:00:00:01 --model 7941", "profile add lobby",
		"site add Kyoto --network 10.1.0.0/16", "device add 02:00:00:00:00:03 --model 7941 --site Kyoto",
		"user add alice --role admin --password-file @password",
		"load add --name fw --version 1 --model m @plain", "load register gw --model m,7941",
		"release add r --load fw", "device add 02:00:00:00:00:04 --model k", "profile add desks",
		"release assign r --profile desks", "device add 02:00:00:00:00:05 --model m --profile desks", "backup @backup",
	} {
		d.ok(line)
	}
	lines := slices.Concat(mistakes, golden.Everywhere(rootCommand(), (*cobra.Command).Name, seen))
	golden.Answers(t, "mistakes", "peerload-server", lines, func(line string) (string, int) {
		var out bytes.Buffer
		args := strings.Fields(strings.ReplaceAll(line, "DIR", d.dir))
		for i, a := range args {
			if a == "''" {
				args[i] = ""
			}
		}
		err := run(t.Context(), args, &out, &out)
		code := status(err)
		if code < exitUsage || strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%s: %d, %v", line, code, err)
			return "", code
		}
		said := temporary.ReplaceAllString(terminal.Printable(advised(err).Error()), ".backup-N")
		return strings.ReplaceAll(out.String()+"peerload-server: "+said+"\n", d.dir, "DIR"), code
	}, *update)
}

// seed makes the data of a controller.
func seed(d *desk) error {
	data := dataDir(os.Getenv(console.EnvData))
	if err := data.prepare(); err != nil {
		return err
	}
	inst, err := openInstance(d.t.Context(), &console.Flags{Data: string(data)}, nil, access{})
	if err != nil {
		return err
	}
	return inst.store.Close()
}

// shown are the lines of all commands that show something, of the controller that
// furnish makes: by the command, what stands behind it.
var shown = map[string]string{
	"bulk list": "", "bulk status": "JOB", "bulk template list": "", "bulk plan": "--all-devices timing=lan",
	"device list": "", "device show": "02:00:00:00:00:01", "device history": "02:00:00:00:00:01",
	"enrolment list": "", "enterprise show": "", "fileset list": "", "fileset show": "tones",
	"load list": "", "load show": "fw", "model list": "", "model show": "7941",
	"order list": "", "order show": "ORDER", "order key show": "", "profile list": "", "profile show": "東京",
	"release list": "", "release show": "9.4(2)", "report audit": "", "report history": "", "report overview": "",
	"rollout list": "", "rollout status": "up", "rollout devices": "up", "rollout plan": "next",
	"site list": "", "site show": "京都", "site plan": "京都 --load fw", "token list": "", "user list": "",
	"webhook list": "", "webhook messages": "chat",
}

// furnish makes a controller that has something of each kind, much of it not set,
// with names in wide characters. It returns what stands for JOB and ORDER.
func furnish(d *desk) *strings.Replacer {
	d.t.Helper()
	d.file("password", "a good password\n")
	d.file("plain", "x\n")
	d.t.Setenv(console.EnvData, filepath.Join(d.dir, "data"))
	if err := seed(d); err != nil {
		d.t.Fatal(err)
	}
	for _, line := range []string{
		"user add alice --role admin --password-file @password", "enrolment add kyoto --site-key", "profile add 東京",
		"token add 監視 --role viewer --scope read --user alice", "site add 京都 --network 10.1.0.0/16 --note 本社",
		"site add Nara", "device add 02:00:00:00:00:01 --model 7941 --profile 東京 --site 京都",
		"device add 02:00:00:00:00:02 --model 7941", "load add --name fw --version 1 --model 7941 @plain",
		"load add --name gw --version 9.4(2) --model 7941 @app.bin", "release add 9.4(2) --load gw",
		"fileset add --name tones --version 1 --directory ring-tones --model 7941 @dsp.bin",
		"bulk template set reception peer-sharing=on", "rollout create up --load fw --all", "rollout start up --yes",
		"rollout create next --release 9.4(2) --all", "webhook add chat https://127.0.0.1:1/見張り",
	} {
		d.ok(line)
	}
	job := item[domain.Job](d.t, first(d.ok("bulk run --all-devices --template reception --yes --json")))
	order := item[orders.Sent](d.t, first(d.ok("order send check-in --all --yes --json")))
	return strings.NewReplacer("JOB", job.ID, "ORDER", order.Order.ID)
}

// first is the first line of a text.
func first(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// showing are the commands of the tree that only show something.
func showing(cmd *cobra.Command, path string) (all []string) {
	for _, c := range seen(cmd) {
		line := strings.TrimSpace(path + " " + c.Name())
		if c.Runnable() && slices.Contains([]string{"list", "show", "status", "history", "overview", "audit", "devices",
			"plan", "messages"}, c.Name()) {
			all = append(all, line)
		}
		all = append(all, showing(c, line)...)
	}
	return all
}

// TestTables: in whatever a command shows, in both languages, what is not set is a
// hyphen, or is left out of JSON; yes is yes; times are as people type them; wide
// characters shift no column.
func TestTables(t *testing.T) {
	tiers.Long(t, "it runs every list")
	d := newDesk(t)
	names := furnish(d)
	commands := showing(rootCommand(), "")
	if len(commands) < 30 {
		t.Fatalf("only %d commands show something: %q", len(commands), commands)
	}
	wrong := regexp.MustCompile(`0001-01-01|\b\d+m0s|\b\d+h0m|(^|  )(true|false)(  |$)`)
	var all string
	for _, command := range commands {
		arguments, ok := shown[command]
		if !ok {
			t.Errorf("%q shows something: give it a line in the table shown", command)
			continue
		}
		line := names.Replace(command + " " + arguments)
		for _, language := range []string{"C", "ja_JP.UTF-8"} {
			t.Setenv("LC_ALL", language)
			out := d.ok(line)
			all += out
			for text := range strings.Lines(out) {
				if found := wrong.FindString(strings.TrimSuffix(text, "\n")); found != "" {
					t.Errorf("%s, %s: %q in %q", language, line, found, text)
				}
			}
			checkColumns(t, line, strings.Split(out, "\n"))
		}
		if out := d.ok(line + " --json"); strings.Contains(out, "0001-01-01") {
			t.Errorf("%s --json: a time that is not set is shown:\n%s", line, out)
		}
	}
	for _, want := range []string{"alice  admin  -      -          no        -           -\n", "site_key: unset → true\n",
		"yes        CP-7941G", "SEP020000000001  CP-7941G  東京     京都  unknown  -       "} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in\n%s", want, all)
		}
	}
}

// heading finds a line of headings, such as "DEVICE  RUNS".
var heading = regexp.MustCompile(`^[A-Z][A-Z-]*(  +[A-Z][A-Z-]*)+$`)

// sentence finds a line that sums up the table before it.
var sentence = regexp.MustCompile(`^\S+( \S+)*: `)

// checkColumns wants each cell of a table below its heading, on the terminal. A
// table ends at an empty line, with a sentence, or with the text.
func checkColumns(t *testing.T, command string, lines []string) {
	t.Helper()
	var starts []int
	for _, line := range lines {
		if heading.MatchString(line) {
			starts = nil
			for _, at := range regexp.MustCompile(`  [A-Z]`).FindAllStringIndex(line, -1) {
				starts = append(starts, at[0]+2)
			}
			continue
		}
		if line == "" || sentence.MatchString(line) {
			starts = nil
		}
		at, before := 0, "  "
		for _, r := range line {
			if slices.Contains(starts, at) && !strings.HasSuffix(before, "  ") {
				t.Errorf("%s: a cell is not below its heading, at column %d of %q", command, at, line)
			}
			at += terminal.Width(string(r))
			before += string(r)
		}
		for _, s := range starts {
			if s >= at {
				t.Errorf("%s: column %d has no cell in %q", command, s, line)
			}
		}
	}
}

// terminalPair is a terminal: what is written to the first is typed at the
// second.
func terminalPair(t *testing.T) (typed, at *os.File) {
	t.Helper()
	typed, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there is no terminal to make: %v", err)
	}
	t.Cleanup(func() { typed.Close() })
	n, err := unix.IoctlGetInt(int(typed.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skipf("there is no terminal to make: %v", err)
	}
	if err := unix.IoctlSetPointerInt(int(typed.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if at, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Skipf("there is no terminal to make: %v", err)
	}
	t.Cleanup(func() { at.Close() })
	return typed, at
}

// TestAsks: at a terminal a person is asked, in the language of the terminal;
// only yes changes anything.
func TestAsks(t *testing.T) {
	d := newDesk(t)
	t.Setenv(console.EnvData, filepath.Join(d.dir, "data"))
	if err := seed(d); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"site add Kyoto", "device add 02:00:00:00:00:01 --model 7941 --site Kyoto",
		"device add 02:00:00:00:00:02 --model 7961"} {
		d.ok(line)
	}
	for _, c := range []struct {
		types, language, asks string
		code                  int
	}{
		{"n\n", "C", "this touches 2 devices; sites: Kyoto 1, without a site: 1; models: CP-7941G 1, CP-7961G 1",
			exitUnasked},
		{"\n", "C", "Go on? [y/N]", exitUnasked}, {"\x04", "C", "Go on? [y/N]", exitUnasked},
		{"n\n", "ja_JP.UTF-8", "対象の機器: 2台。サイト: Kyoto 1、サイトなし: 1台", exitUnasked},
		{"y\n", "ja_JP.UTF-8", "続けますか? [y/N]", 0}, {"yes\n", "C", "Go on? [y/N]", 0},
	} {
		t.Setenv("LC_ALL", c.language)
		typed, at := terminalPair(t)
		if _, err := typed.WriteString(c.types); err != nil {
			t.Fatal(err)
		}
		before := d.ok("enterprise show")
		var errs bytes.Buffer
		root := rootCommand()
		value := "classic"
		if strings.Contains(strings.Join(strings.Fields(before), " "), "timing classic") {
			value = "lan"
		}
		root.SetArgs([]string{"enterprise", "set", "timing=" + value})
		root.SetIn(at)
		root.SetOut(io.Discard)
		root.SetErr(&errs)
		err := root.ExecuteContext(t.Context())
		if status(err) != c.code || !strings.Contains(errs.String(), c.asks) {
			t.Errorf("%q: %d, %v\n%s", c.types, status(err), err, &errs)
		}
		if changed := d.ok("enterprise show") != before; changed != (c.code == 0) {
			t.Errorf("%q: changed is %v", c.types, changed)
		}
	}
}

// TestJobsInJapanese: people who read Japanese read the state of a job in it.
func TestJobsInJapanese(t *testing.T) {
	for _, state := range []domain.JobState{domain.JobWaiting, domain.JobChecking, domain.JobRunning, domain.JobUndoing,
		domain.JobDone, domain.JobRefused, domain.JobUndone} {
		if word := jobWord(string(state), true); word == string(state) {
			t.Errorf("%s has no word", state)
		}
		if word := jobWord(string(state), false); word != string(state) {
			t.Errorf("%s is %q in English", state, word)
		}
	}
	for _, n := range []client.JobCounts{{}, {Created: 1}, {Refused: 1}, {Refused: 2, Changed: 1}} {
		for _, skip := range []bool{false, true} {
			english, ja := wouldText(n, skip, false), wouldText(n, skip, true)
			writes := n.Created+n.Changed > 0 && (skip || n.Refused == 0)
			if strings.HasPrefix(english, "A run would change nothing") == writes || !strings.HasPrefix(ja, "実行") &&
				!strings.HasPrefix(ja, "全行") {
				t.Errorf("%+v, skip %t: %s %s", n, skip, english, ja)
			}
		}
	}
	text := countText("phones.csv", "done", client.JobCounts{Rows: 2, Changed: 2}, true)
	if want := "phones.csv: 完了: 全2行。"; !strings.HasPrefix(text, want) {
		t.Errorf("%q, want %q", text, want)
	}
}
