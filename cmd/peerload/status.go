package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// processes reads what this device's processes told.
func processes(flag string) ([]status.Process, error) {
	dir, err := stateDir(flag)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, "status")); errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("nothing has run with the state directory %s: name the right one with --state", dir)
	}
	s, err := status.Open(dir)
	if err != nil {
		return nil, err
	}
	ps, err := s.Processes()
	if err == nil && len(ps) == 0 {
		return nil,
			usagef("nothing is on record in the state directory %s: no run has told of itself, or its status files are damaged",
				dir)
	}
	return ps, err
}

func statusCommand() *cli.Command {
	var state string
	var asJSON bool
	cmd := &cli.Command{
		Use: "status", Short: "Show what this device does now, per file",
		Long: "Status shows what each process on this device does, per file. It speaks English, or\n" +
			"Japanese where LC_ALL, LC_MESSAGES or LANG say so.",
		Args: cli.NoArgs,
		Run: func(context.Context, []string) error {
			ps, err := processes(state)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(map[string]any{"schema": report.Schema, "processes": ps})
			}
			for _, p := range ps {
				printProcess(locale(), p)
			}
			return nil
		},
	}
	stateFlag(cmd.Flags(), &state)
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

// printProcess shows what a process does: a line on itself, then a table of its
// files. Why a file failed stands below it.
func printProcess(lang language, p status.Process) {
	state := lang.of("ended", "終了")
	if p.Running {
		state = lang.of("running", "実行中")
	} else if !p.Ended {
		state = lang.of("died", "異常終了")
	}
	tell(os.Stdout, lang.of("process %d %s, device %s at %s, since %s", "プロセス %d: %s、機器 %s、アドレス %s、開始 %s"),
		p.PID, state, terminal.OrNone(p.Device), terminal.OrNone(p.Address), moment(p.Started))
	printSets(lang, p.FileSets)
	if len(p.Files) == 0 {
		return
	}
	var rows [][]string
	var head []string
	for _, key := range []string{"file", "progress", "role", "source", "parent", "root", "children"} {
		head = append(head, lang.word(key))
	}
	rows = append(rows, head)
	for _, f := range p.Files {
		rows = append(rows, []string{f.File, progress(lang, f), lang.word("role " + f.Role), lang.word("source " + f.Source),
			terminal.OrNone(f.Parent), terminal.OrNone(f.Root), strconv.Itoa(len(f.Children))})
	}
	for i, line := range terminal.Table(rows) {
		tell(os.Stdout, "  %s", line)
		if i > 0 && p.Files[i-1].Failed {
			tell(os.Stdout, "    %s", lang.why(p.Files[i-1].Reason, lang.either(p.Files[i-1].Message, p.Files[i-1].MessageJA)))
		}
	}
}

// printSets shows what stands beside the loads; nothing if there is none.
func printSets(lang language, all []report.FileSet) {
	if len(all) == 0 {
		return
	}
	rows := [][]string{{lang.word("dir"), lang.word("set"), lang.word("wanted set"), lang.word("state")}}
	for _, s := range all {
		rows = append(rows, []string{s.Directory, placed(lang, s), terminal.OrNone(s.Wanted), lang.word("set " + s.State)})
	}
	for i, line := range terminal.Table(rows) {
		tell(os.Stdout, "  %s", line)
		if i > 0 && all[i-1].Reason != "" {
			tell(os.Stdout, "    %s", lang.why(all[i-1].Reason, all[i-1].Message))
		}
	}
}

// placed names the file set that stands in a directory.
func placed(lang language, s report.FileSet) string {
	if s.Name == "" {
		return lang.word("none")
	}
	return strings.TrimSpace(s.Name + " " + s.Version)
}

// progress is how far a file is, and whether nothing says that it is right.
func progress(lang language, f *status.File) string {
	switch {
	case f.Failed:
		return lang.word("event " + report.KindFailed)
	case f.Done && f.Final != nil && f.Final.Unsigned:
		return lang.word("event "+report.KindDone) + " (" + lang.word("unsigned") + ")"
	case f.Done:
		return lang.word("event " + report.KindDone)
	case f.Event.Event == status.KindProxy:
		return lang.word("event " + status.KindProxy)
	}
	return fmt.Sprintf("%d %%", f.Percent)
}

func explainCommand() *cli.Command {
	var state, file string
	var asJSON bool
	cmd := &cli.Command{
		Use: "explain [FILE]", Short: "Say why: this root, this parent, this source",
		Long: "Explain tells, for each file of the last run, where its bytes come from and every\n" +
			"decision that led there; then what stands in each directory of file sets, and why\n" +
			"not what is assigned. FILE may be a file set or its directory, too. It speaks\n" +
			"English, or Japanese where LC_ALL, LC_MESSAGES or LANG say so; lines that the\n" +
			"original's console has are in the original's words.",
		Args: func(args []string) bool { return len(args) <= 1 },
		Run: func(_ context.Context, args []string) error {
			if len(args) == 1 {
				file = args[0]
			}
			ps, err := processes(state)
			if err != nil {
				return err
			}
			files, sets := asked(ps, file), askedSets(ps, file)
			if file != "" && len(files)+len(sets) == 0 && len(names(ps)) == 0 {
				return usagef("unknown file %q: no file was asked for with this state directory yet", file)
			}
			if file != "" && len(files)+len(sets) == 0 {
				return usageError{choice.Unknown("file", file, names(ps))}
			}
			if asJSON {
				return printExplained(os.Stdout, files)
			}
			for _, f := range files {
				explainFile(locale(), f)
			}
			for _, s := range sets {
				explainSet(locale(), s)
			}
			return nil
		},
	}
	stateFlag(cmd.Flags(), &state)
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: the files, each with its decisions and, in both languages, why")
	return cmd
}

// asked are the files of the latest process that has any, or the latest file of
// that name.
func asked(ps []status.Process, file string) []*status.File {
	for _, p := range ps {
		if file == "" && len(p.Files) > 0 {
			return p.Files
		}
		for _, f := range p.Files {
			if f.File == file {
				return []*status.File{f}
			}
		}
	}
	return nil
}

// askedSets are the file sets of the latest process that has any, or those of that
// name or directory.
func askedSets(ps []status.Process, name string) (all []report.FileSet) {
	for _, p := range ps {
		for _, s := range p.FileSets {
			if name == "" || name == s.Name || name == s.Wanted || name == s.Directory {
				all = append(all, s)
			}
		}
		if len(all) > 0 {
			break
		}
	}
	return all
}

// explained is a file as explain --json prints it.
type explained struct {
	*status.File
	Because   string `json:"because"`
	BecauseJA string `json:"because_ja"`
}

// printExplained prints the files as one list, an empty one if there are none.
func printExplained(w io.Writer, files []*status.File) error {
	all := []explained{}
	for _, f := range files {
		all = append(all, explained{f, because(language{}, f), because(language{ja: true}, f)})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(all)
}

// names are the names of the files that the processes have told of.
func names(ps []status.Process) (all []string) {
	for _, p := range ps {
		for _, f := range p.Files {
			if !slices.Contains(all, f.File) {
				all = append(all, f.File)
			}
		}
		for _, s := range p.FileSets {
			all = append(all, s.Directory)
		}
	}
	return all
}

// explainFile answers the question of whoever stands before the device.
func explainFile(lang language, f *status.File) {
	tell(os.Stdout, "%s", f.File)
	tell(os.Stdout, "  %s", because(lang, f))
	var rows [][]string
	for _, d := range f.Decisions {
		rows = append(rows, []string{moment(d.Time), lang.word("event " + d.Event), lang.why(d.Reason, lang.either(d.Message,
			d.MessageJA))})
	}
	if len(rows) == 0 {
		return
	}
	for _, line := range terminal.Table(rows) {
		tell(os.Stdout, "  %s", line)
	}
}

// explainSet likewise, of what stands in a directory of file sets.
func explainSet(lang language, s report.FileSet) {
	why := lang.why(s.Reason, s.Message)
	text := ""
	switch {
	case s.State == report.StateFailed && s.Wanted != s.Name:
		text = fmt.Sprintf(lang.of("%s is assigned and not in place: %s. In place: %s.",
			"割り当ては %s ですが、配置できません: %s。配置済み: %s。"), terminal.OrNone(s.Wanted), why, placed(lang, s))
	case s.Reason != "":
		text = fmt.Sprintf(lang.of("%s is in place, but: %s.", "%s は配置済みですが、問題があります: %s。"),
			placed(lang, s), why)
	case s.State == report.StateDownloading:
		text = fmt.Sprintf(lang.of("%s is assigned and on its way. In place until then: %s.",
			"割り当ての %s を取得中です。それまでの配置: %s。"), terminal.OrNone(s.Wanted), placed(lang, s))
	case s.State == report.StateInstalling:
		text = fmt.Sprintf(lang.of("%s is in place, and the hook is to be told.",
			"%s は配置済みで、フックへの通知を待っています。"), placed(lang, s))
	case s.Wanted == "":
		text = lang.of("None is assigned.", "割り当てはありません。")
	default:
		text = fmt.Sprintf(lang.of("%s is in place, as assigned.", "%s は割り当てどおり配置済みです。"), placed(lang, s))
	}
	tell(os.Stdout, "%s: %s", lang.word("sets"), s.Directory)
	tell(os.Stdout, "  %s", text)
}

// because says in one sentence where the bytes come from and why.
func because(lang language, f *status.File) string {
	last := ""
	for _, d := range f.Decisions {
		switch d.Event {
		case report.KindRole, report.KindSource, report.KindParent, report.KindFallback:
			last = d.Reason
		}
	}
	comes := lang.of("comes", "取得しています")
	if f.Done {
		comes = lang.of("came", "取得しました")
	}
	switch {
	case f.Failed:
		return fmt.Sprintf(lang.of("It failed: %s", "取得に失敗しました: %s"),
			lang.why(f.Reason, lang.either(f.Message, f.MessageJA)))
	case f.Role == report.RoleClassic:
		return fmt.Sprintf(lang.of("It %s from the server because sharing is off for this run (%s).",
			"この実行では共有が無効なため、サーバから%s (%s)。"), comes, wire.ReasonPeersOff)
	case f.Source == report.SourceOrigin && f.Role == report.RoleRoot:
		return fmt.Sprintf(lang.of("It %s from the server because this device is the root of the file: it downloads once "+
			"for the whole subnet. Why it is the root: %s.",
			"この機器がファイルのルートで、サブネット全体のために 1 回だけサーバから%s。ルートになった理由: %s。"), comes,
			lang.why(rootWhy(f), ""))
	case f.Source == report.SourceOrigin:
		return fmt.Sprintf(lang.of("It %s from the server, within the subnet's budget, because the peers failed: %s.",
			"ピアからの取得に失敗したため、サブネットの許容範囲内でサーバから%s: %s。"), comes,
			terminal.OrNone(lang.why(last, "")))
	case f.Source == report.SourcePeer:
		return fmt.Sprintf(lang.of("It %s from a peer, %s, placed there by the root %s.",
			"ピア %[2]s から%[1]s (ルート %[3]s による割り当て)。"), comes, terminal.OrNone(f.Parent), terminal.OrNone(f.Root))
	case f.Event.Event == status.KindProxy:
		return fmt.Sprintf(lang.of("It went through the proxy: %s.", "プロキシを通過しました: %s。"), lang.why(f.Reason, ""))
	case f.Source == report.SourceCache && f.Done:
		return lang.of("It was held before.", "以前から保持していました。")
	}
	return fmt.Sprintf(lang.of("No byte has come yet; the last decision was: %s.",
		"まだデータを受信していません。最後の決定: %s。"),
		terminal.OrNone(lang.why(last, "")))
}

// rootWhy is the reason of the last election that this device won.
func rootWhy(f *status.File) string {
	for i := len(f.Decisions) - 1; i >= 0; i-- {
		if d := f.Decisions[i]; d.Event == report.KindRole {
			return d.Reason
		}
	}
	return wire.ReasonAlone.String()
}
