package table

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/policy"
)

// The columns of a table beside the settings.
const (
	deviceColumn = "device"
	Model        = "model"
	Profile      = "profile"
	Site         = "site"
	Description  = "description"
	Load         = "load"
	Release      = "release"
)

// ignored is a column that says something about the row: what writes bad rows adds
// it, and the mended table is read with it.
const ignored = "\x00"

// fields are the columns beside the settings, in the order in which they are
// written, each with the names by which spreadsheets have it, too.
var fields = []struct {
	name  string
	names []string
}{
	{deviceColumn, []string{"devices", "device name", "device mac", "mac", "mac addr", "mac address", "ethernet address",
		"phone", "phone name", "端末", "端末名", "機器", "機器名", "デバイス", "デバイス名", "電話", "電話機", "電話機名",
		"電話名", "MACアドレス", "物理アドレス"}},
	{Model, []string{"models", "model name", "device model", "device type", "phone type", "phone model", "product", "機種",
		"機種名", "モデル", "モデル名", "製品", "製品名", "型番", "型式", "端末種別", "デバイスタイプ"}},
	{Profile, []string{"profile name", "device profile", "common profile", "common phone profile", "プロファイル",
		"プロファイル名", "共通プロファイル"}},
	{Site, []string{"sites", "site name", "location", "branch", "office", "拠点", "拠点名", "サイト", "サイト名", "場所",
		"設置場所", "ロケーション", "支店", "支店名", "事業所"}},
	{Description, []string{"descr", "comment", "comments", "note", "notes", "remarks", "説明", "備考", "メモ", "コメント",
		"摘要"}},
	{Load, []string{"load name", "phone load", "phone load name", "firmware", "firmware load", "ロード", "ロード名",
		"ファームウェア", "ファームウェア名"}},
	{Release, []string{"release name", "リリース", "リリース名"}},
	{ignored, []string{"line", "problem", "行", "問題"}},
}

// Columns are the names of all columns in the order in which they are written.
func Columns() []string {
	var all []string
	for _, f := range fields {
		if f.name != ignored {
			all = append(all, f.name)
		}
	}
	return append(all, policy.Names()...)
}

// Setting reports whether a column is a setting.
func Setting(column string) bool { return slices.Contains(policy.Names(), column) }

// columnsHelp says what the first line of a table is.
func columnsHelp() string {
	return "its first line names the columns, device and any of " + strings.Join(Columns()[1:], ", ")
}

// fold is the same for all ways of writing the name of a column.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || strings.ContainsRune("_-./・:'\"()[]", r) {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFKC.String(name))
}

// known are the columns by their folded names.
func known() map[string]string {
	all := map[string]string{}
	for _, f := range fields {
		for _, n := range append(slices.Clone(f.names), f.name) {
			all[fold(n)] = f.name
		}
	}
	for _, s := range policy.Settings() {
		for _, n := range []string{s.Name, s.Label, s.LabelJA} {
			all[fold(n)] = s.Name
		}
	}
	return all
}

// header returns the columns that a record names; "" for one without a name.
func header(r record) ([]string, error) {
	if r.problem != "" {
		return nil, fmt.Errorf("line %d: %s", r.line, r.problem)
	}
	if len(r.cells) > MaxColumns {
		return nil, fmt.Errorf("line %d: it has %d columns, at most %d", r.line, len(r.cells), MaxColumns)
	}
	of := known()
	names := make([]string, len(r.cells))
	first := map[string]string{}
	for i, cell := range r.cells {
		shown := shorten(strings.TrimSpace(cell))
		if shown == "" {
			continue
		}
		name, ok := of[fold(cell)]
		if !ok {
			return nil, fmt.Errorf("line %d: %w; %s", r.line, choice.Unknown("column", shown, nil), meant(cell))
		}
		if other, twice := first[name]; twice && name != ignored {
			return nil, fmt.Errorf("line %d: columns %q and %q are both %s: keep one", r.line, other, shown, name)
		}
		names[i], first[name] = name, shown
	}
	if _, ok := first[deviceColumn]; !ok {
		return nil, fmt.Errorf("line %d: no column is the device: %s", r.line, columnsHelp())
	}
	return names, nil
}

// meant says which column was probably meant, else which there are.
func meant(cell string) string {
	var near []string
	for _, c := range Columns() {
		if len(choice.Nearest(fold(cell), []string{fold(c)})) > 0 {
			near = append(near, c)
		}
	}
	if len(near) > 0 {
		return "did you mean " + choice.List(near) + "?"
	}
	return columnsHelp()
}

// errNoColumns says that a table ends before its columns.
var errNoColumns = errors.New("it has no line that names the columns")
