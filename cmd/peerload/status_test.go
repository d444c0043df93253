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

	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/report"
)

// Every command finds the state directory in the same way.
func TestStateDirectory(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }))
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
			{"doctor", "--config", noConfig(t, dir), "--model", "m", "--server", srv.URL, "--address", "127.0.78.1/8",
				"--port", freeUDP(t)},
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
func record(t *testing.T, dir string, p status.Process) {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "status", "1.json"), string(b))
}

// File sets are told of with what is in place, what should be, and why not.
func TestFileSetsAreTold(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	t.Parallel()
	dir := t.TempDir()
	set := func(directory, name, wanted, state, reason string) report.FileSet {
		return report.FileSet{Directory: directory, Name: name, Version: "1", Wanted: wanted, State: state, Reason: reason}
	}
	record(t, dir, status.Process{PID: 1, Device: "d", FileSets: []report.FileSet{
		set("locale", "jp", "jp", report.StateIdle, ""), set("rings", "old", "new", report.StateDownloading, ""),
		set("faces", "old", "new", report.StateFailed, "trust"), set("themes", "dark", "dark", report.StateInstalling, ""),
		set("tones", "loud", "loud", report.StateFailed, "hook-failed"), {Directory: "gone", State: report.StateIdle}}})
	for _, c := range []struct{ lang, args, want string }{
		{"C", "status", "jp 1"}, {"C", "status", "the hook is to be told"},
		{"ja_JP.UTF-8", "status", "割り当てファイルセット"},
		{"C", "explain", "jp 1 is in place, as assigned."}, {"ja_JP.UTF-8", "explain", "jp 1 は割り当てどおり配置済みです。"},
		{"C", "explain rings", "new is assigned and on its way. In place until then: old 1."},
		{"C", "explain faces", "new is assigned and not in place: "}, {"C", "explain faces", "(trust). In place: old 1."},
		{"C", "explain dark", "dark 1 is in place, and the hook is to be told."},
		{"C", "explain tones", "loud 1 is in place, but: the hook for file sets failed"},
		{"C", "explain gone", "None is assigned."}, {"ja_JP.UTF-8", "explain gone", "割り当てはありません。"},
	} {
		args := append(strings.Fields(c.args), "--state", dir)
		out, code := run(t, []string{"LC_ALL=" + c.lang}, args...)
		if code != 0 || !strings.Contains(out, c.want) {
			t.Errorf("%s in %s: %d, %s, want %q", c.args, c.lang, code, out, c.want)
		}
	}
	if out, code := run(t, nil, "explain", "local", "--state", dir); code != 2 || !strings.Contains(out, "locale") {
		t.Errorf("a name that is nearly one: %d, %s", code, out)
	}
}

// What servers and peers have told shows on a terminal and does nothing there.
func TestTextOfOthersIsHarmless(t *testing.T) {
	tiers.Long(t, "it starts many processes")
	t.Parallel()
	const evil = "\x1b]0;mine\a\u009b31m\u202e日本\r\n"
	const shown = `\x1b]0;mine\a\u009b31m\u202e日本`
	dir := t.TempDir()
	e := report.Event{Event: evil, File: "f" + evil, Role: evil, Source: report.SourcePeer, Root: evil, Parent: evil,
		Reason: evil, Message: evil, Model: "m" + evil}
	going := &status.File{Event: e, Decisions: []status.Decision{{Time: evil, Event: evil, Reason: evil, Message: evil}}}
	failed := &status.File{Event: e, Failed: true}
	for _, files := range [][]*status.File{{going}, {failed}} {
		sets := []report.FileSet{{Directory: evil, Name: evil, Version: evil, Wanted: evil, State: evil, Reason: evil,
			Message: evil}}
		record(t, dir, status.Process{PID: 1, Device: evil, Address: evil, Started: evil, Files: files, FileSets: sets})
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
	out, code := run(t, nil, "get", srv.URL+"/a%1b%5b2J%E6%97%A5", "--unsigned", "--peers", "off", "-v", "--state", dir,
		"-o", filepath.Join(dir, "f"))
	if code != exitNotFound || strings.Count(out, `a\x1b[2J日`) < 3 {
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

// recorded is a status with a file of each kind.
func recorded() status.Process {
	file := func(name, role, source string, set func(*status.File), why ...string) *status.File {
		f := &status.File{Event: report.Event{File: name, Role: role, Source: source, Parent: "10.0.0.2:4051",
			Root: "10.0.0.1:4051", Percent: 50}}
		for _, w := range why {
			f.Decisions = append(f.Decisions, status.Decision{Time: "t", Event: report.KindRole, Reason: w,
				Message: "@@@HROOT:XID1"})
			if w == "root-lost" {
				f.Decisions[0].Message, f.Decisions[0].MessageJA = "root 10.0.0.9 is gone", "ルート 10.0.0.9 が離脱"
			}
		}
		set(f)
		return f
	}
	going := func(*status.File) {}
	return status.Process{PID: 1, Device: "d", Ended: true, Started: "t", Files: []*status.File{
		file("root.bin", report.RoleRoot, report.SourceOrigin, going, "alone"),
		file("leaf.bin", report.RoleLeaf, report.SourcePeer, going, "root-placed"),
		file("budget.bin", report.RoleDetached, report.SourceOrigin, going, "no-progress"),
		file("日本.bin", report.RoleClassic, report.SourceOrigin,
			func(f *status.File) { f.Done, f.Final = true, &report.Final{Unsigned: true} }),
		file("held.bin", report.RoleNone, report.SourceCache, func(f *status.File) { f.Done = true }),
		file("none.bin", "", "", going, "root-lost"),
		file("failed.bin", report.RoleRoot, report.SourceOrigin, func(f *status.File) {
			f.Failed, f.Reason, f.Message = true, "origin-not-found", "404"
			f.MessageJA = "ファイルなし"
		}),
	}}
}

// What a device shows its people is in English and Japanese, in the words of
// its page.
func TestTwoLanguages(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	t.Parallel()
	dir := t.TempDir()
	p := recorded()
	record(t, dir, p)
	for _, c := range []struct {
		locale, args string
		want         []string
	}{
		{"C", "status", []string{"process 1 ended, device d at -", "File ", "Role ", "root.bin    50 %",
			"classic (does not share)", "done (unsigned)", "the server does not have the file (origin-not-found: 404)"}},
		{"ja_JP.UTF-8", "status", []string{"プロセス 1: 終了、機器 d", "ファイル ", "役割 ", "末端", "従来方式",
			"完了 (署名なし)",
			"サーバにファイルがない (origin-not-found: ファイルなし)"}},
		{"C", "explain root.bin",
			[]string{"It comes from the server because this device is the root of the file: it downloads once for the whole " +
				"subnet",
				"no other device answered (alone: @@@HROOT:XID1)", "role"}},
		{"ja_JP.UTF-8", "explain root.bin",
			[]string{"この機器がファイルのルートで、サブネット全体のために 1 回だけサーバから取得しています。",
				"他の機器から応答なし (alone: @@@HROOT:XID1)", "役割"}},
		{"C", "explain leaf.bin", []string{"It comes from a peer, 10.0.0.2:4051, placed there by the root 10.0.0.1:4051."}},
		{"ja_JP.UTF-8", "explain leaf.bin",
			[]string{"ピア 10.0.0.2:4051 から取得しています (ルート 10.0.0.1:4051 による割り当て)。"}},
		{"C", "explain budget.bin", []string{"because the peers failed: nothing came for too long (no-progress)."}},
		{"ja_JP.UTF-8", "explain budget.bin", []string{"サーバから取得しています: データが届かない (no-progress)。"}},
		{"C", "explain 日本.bin", []string{"It came from the server because sharing is off for this run (peers-off)."}},
		{"ja_JP.UTF-8", "explain 日本.bin", []string{"この実行では共有が無効なため、サーバから取得しました (peers-off)。"}},
		{"C", "explain held.bin", []string{"It was held before."}},
		{"ja_JP.UTF-8", "explain held.bin", []string{"以前から保持していました。"}},
		{"C", "explain none.bin", []string{"No byte has come yet; the last decision was: the root is gone (root-lost).",
			"the root is gone (root-lost: root 10.0.0.9 is gone)"}},
		{"ja_JP.UTF-8", "explain none.bin", []string{"最後の決定: ルートが離脱 (root-lost)。",
			"ルートが離脱 (root-lost: ルート 10.0.0.9 が離脱)"}},
		{"C", "explain failed.bin", []string{"It failed: the server does not have the file (origin-not-found: 404)"}},
		{"ja_JP.UTF-8", "explain failed.bin",
			[]string{"取得に失敗しました: サーバにファイルがない (origin-not-found: ファイルなし)"}},
		{"C", "screen", []string{"| Upgrading  ", "| Component 1 of 7: root.bin  ", "0 children",
			"! Upgrade failed: failed.bin"}},
		{"ja_JP.UTF-8", "screen", []string{"| アップグレード中  ", "| コンポーネント 1/7: root.bin  ", "子 0",
			"! アップグレード失敗: failed.bin"}},
	} {
		out, code := run(t, []string{"LANG=" + c.locale}, append(strings.Fields(c.args), "--state", dir)...)
		for _, want := range c.want {
			if code != 0 || !strings.Contains(out, want) {
				t.Errorf("LANG=%s %s: %d, %q is not in\n%s", c.locale, c.args, code, want, out)
			}
		}
	}
	english, _ := run(t, []string{"LANG=C"}, "status", "--json", "--state", dir)
	if japanese, _ := run(t, []string{"LANG=ja_JP.UTF-8"}, "status", "--json", "--state", dir); japanese != english {
		t.Errorf("JSON depends on the language:\n%s%s", english, japanese)
	}
}

// Columns stand below each other, also where the characters are wide.
func TestColumns(t *testing.T) {
	for _, line := range terminal.Table([][]string{{"モデル", "x"}, {"ab", "x"}, {"ﾓ\u3099ab", "x"}}) {
		if at := terminal.Width(line[:strings.Index(line, "x")]); at != 8 {
			t.Errorf("%q begins in column %d", line, at)
		}
	}
}

// TestExplainJSON: programs get the files with their decisions, and why in both
// languages, whatever the locale.
func TestExplainJSON(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	dir := t.TempDir()
	record(t, dir, recorded())
	for args, want := range map[string]int{"": len(recorded().Files), "leaf.bin": 1} {
		for _, locale := range []string{"C", "ja_JP.UTF-8"} {
			out, code := run(t, []string{"LANG=" + locale},
				append(strings.Fields("explain --json "+args), "--state", dir)...)
			var files []struct {
				File      string            `json:"file"`
				Because   string            `json:"because"`
				BecauseJA string            `json:"because_ja"`
				Decisions []status.Decision `json:"decisions"`
			}
			if err := json.Unmarshal([]byte(out), &files); err != nil || code != 0 || len(files) != want {
				t.Fatalf("%q: %d, %d files, %v: %s", args, code, len(files), err, out)
			}
			for _, f := range files {
				if f.File == "leaf.bin" && (!strings.HasPrefix(f.Because, "It comes from a peer") ||
					!strings.HasPrefix(f.BecauseJA, "ピア") || len(f.Decisions) == 0) {
					t.Errorf("%+v", f)
				}
			}
		}
	}
	if out, code := run(t, nil, "explain", ""); code != exitUsage || !strings.Contains(out, "an argument is empty") {
		t.Errorf("an empty name: %d: %s", code, out)
	}
	if out, code := run(t, nil, "explain", "--json", "nothing.bin", "--state", dir); code != exitUsage ||
		!strings.Contains(out, "unknown file") {
		t.Errorf("%d: %s", code, out)
	}
}
