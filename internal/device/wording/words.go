// Package wording is what people read of a device, in English and Japanese: the
// words of its page and of the commands that show it, and the reasons of its
// decisions.
//
// What lives here: the texts, of the codes of package reason among others. What
// must not: the codes, and where the texts are shown.
//
// Read words.go, then reasons.go and notes.go: what the machine of a hierarchy decided.
package wording

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/peerload/peerload/report"
)

// words are the texts of the page, in English and Japanese; the commands that
// show a device take theirs from here, too.
var words = map[string][2]string{
	"title":    {"Device", "機器"},
	"model":    {"Model", "モデル"},
	"mac":      {"MAC address", "MAC アドレス"},
	"address":  {"Address", "アドレス"},
	"state":    {"State", "状態"},
	"why":      {"Reason", "理由"},
	"program":  {"Program", "プログラム"},
	"from":     {"Provisioned from", "プロビジョニング元"},
	"problem":  {"Provisioning problem", "プロビジョニングの問題"},
	"loads":    {"Loads", "ロード"},
	"active":   {"Active load", "アクティブロード"},
	"inactive": {"Inactive load", "非アクティブロード"},
	"wanted":   {"Assigned load", "割り当てロード"},
	"sets":     {"File sets", "ファイルセット"},
	"set":      {"File set", "ファイルセット"},
	"dir":      {"Directory", "ディレクトリ"},

	"wanted set": {"Assigned file set", "割り当てファイルセット"},

	"set " + report.StateIdle:        {"in place", "配置済み"},
	"set " + report.StateDownloading: {"downloading", "ダウンロード中"},
	"set " + report.StateInstalling:  {"the hook is to be told", "フックへの通知待ち"},
	"set " + report.StateFailed:      {"failed", "失敗"},

	"peers":    {"Peers", "ピア"},
	"role":     {"Role", "役割"},
	"source":   {"Source", "取得元"},
	"root":     {"Root", "ルート"},
	"parent":   {"Parent", "親"},
	"children": {"Children", "子"},
	"settings": {"Settings", "設定"},
	"setting":  {"Setting", "設定項目"},
	"value":    {"Value in effect", "有効な値"},
	"level":    {"Comes from", "設定元"},
	"others":   {"Other levels", "他のレベル"},
	"files":    {"Files", "ファイル"},
	"file":     {"File", "ファイル"},
	"progress": {"Progress", "進捗"},
	"unsigned": {"unsigned", "署名なし"},
	"none":     {"none", "なし"},
	"never":    {"not provisioned yet", "未プロビジョニング"},

	"level default":    {"default", "既定値"},
	"level model":      {"model", "モデル"},
	"level enterprise": {"enterprise", "エンタープライズ"},
	"level profile":    {"profile", "プロファイル"},
	"level device":     {"device", "機器"},

	"state " + report.StateIdle:        {"idle", "待機中"},
	"state " + report.StateDownloading: {"downloading", "ダウンロード中"},
	"state " + report.StateReady:       {"ready to install", "インストール待ち"},
	"state " + report.StateInstalling:  {"installing", "インストール中"},
	"state " + report.StateRebooting:   {"rebooting", "再起動中"},
	"state " + report.StateTrial:       {"trial", "試行中"},
	"state " + report.StateRolledBack:  {"rolled back", "ロールバック済み"},
	"state " + report.StateFailed:      {"failed", "失敗"},

	"role " + report.RoleNone:     {"none", "なし"},
	"role " + report.RoleRoot:     {"root", "ルート"},
	"role " + report.RoleParent:   {"parent", "親"},
	"role " + report.RoleLeaf:     {"leaf", "末端"},
	"role " + report.RoleDetached: {"detached", "切断"},
	"role " + report.RoleClassic:  {"classic (does not share)", "従来方式(共有なし)"},

	"source " + report.SourceNone:   {"none", "なし"},
	"source " + report.SourceOrigin: {"server", "サーバ"},
	"source " + report.SourcePeer:   {"peer", "ピア"},
	"source " + report.SourceCache:  {"held before", "保持済み"},

	// Codes that are values of settings, with the names that package policy has for them.
	"value on":  {"on", "オン"},
	"value off": {"off", "オフ"},

	"value timing lan":     {"for wired networks", "有線 LAN 用"},
	"value timing classic": {"the times of the original", "従来と同じ待ち時間"},

	"value wan-limit 0": {"no limit", "無制限"},
	"value lan-limit 0": {"no limit", "無制限"},
	"value retention 0": {"no limit", "無制限"},

	// What the screen shows, and the top of the page.
	"screen idle":       {"Nothing to upgrade", "アップグレード対象なし"},
	"screen upgrading":  {"Upgrading", "アップグレード中"},
	"screen component":  {"Component %d of %d", "コンポーネント %d/%d"},
	"screen held":       {"%d of %d {component|components} held", "コンポーネント %d/%d 保持済み"},
	"screen children":   {"passes it on: %d {child|children}", "転送中: 子 %d"},
	"screen failed":     {"Upgrade failed", "アップグレード失敗"},
	"screen set failed": {"File set failed", "ファイルセット失敗"},
	"screen sharing":    {"shares with its peers", "ピアと共有中"},
	"screen classic":    {"does not share", "共有なし"},
	"to do":             {"What to do", "対処"},
	"wait":              {"This page refreshes by itself.", "このページは自動で更新されます。"},
	"stop":              {"Stop that", "自動更新を停止"},
	"go on":             {"Refresh by itself", "自動更新を再開"},
	"more":              {"more", "件省略"},

	"screen " + report.StateRolledBack: {"Rolled back: the load from before runs",
		"ロールバック済み (以前のロードで動作中)"},
	"screen rolled back from": {"Rolled back from %s: the load from before runs",
		"%s からロールバック済み (以前のロードで動作中)"},

	// The states of a slot, as package slot has them.
	"slot empty":     {"empty", "空"},
	"slot filling":   {"upgrade in progress", "アップグレード中"},
	"slot complete":  {"complete", "完全"},
	"slot trial":     {"on trial", "試行中"},
	"slot confirmed": {"confirmed", "確認済み"},
	"slot failed":    {"upgrade failed", "アップグレード失敗"},

	// What a device was at when it failed, as report.Failure has it.
	"phase provision": {"provisioning", "プロビジョニング"},
	"phase manifest":  {"manifest", "マニフェスト"},
	"phase transfer":  {"transfer", "転送"},
	"phase verify":    {"verification", "検証"},
	"phase commit":    {"commit", "確定"},
	"phase download":  {"before the download", "ダウンロード前"},
	"phase install":   {"installation", "インストール"},
	"phase reboot":    {"restart", "再起動"},
	"phase trial":     {"trial", "試行"},
	"phase rollback":  {"way back", "ロールバック"},
	"phase file-hook": {"file hook", "ファイルフック"},

	"event " + report.KindStart:     {"start", "開始"},
	"event " + report.KindListening: {"listening", "待ち受け"},
	"event " + report.KindElection:  {"election", "選出"},
	"event " + report.KindRole:      {"role", "役割"},
	"event " + report.KindParent:    {"parent", "親"},
	"event " + report.KindChild:     {"child", "子"},
	"event " + report.KindSource:    {"source", "取得元"},
	"event " + report.KindFallback:  {"fallback", "フォールバック"},
	"event " + report.KindConflict:  {"conflict", "ID の重複"},
	"event " + report.KindVerified:  {"verified", "検証済み"},
	"event " + report.KindCommitted: {"committed", "確定済み"},
	"event " + report.KindDone:      {"done", "完了"},
	"event " + report.KindFailed:    {"failed", "失敗"},
	"event proxy":                   {"proxy", "プロキシ"},
}

// Value is a value of a setting for people: a switch in words, and a code with what it means.
func Value(ja bool, setting, value string) string {
	w, ok := words["value "+setting+" "+value]
	switch {
	case value == "on" || value == "off":
		return Say(ja, "value "+value)
	case !ok:
		return value
	case ja:
		return value + " (" + w[1] + ")"
	}
	return value + " (" + w[0] + ")"
}

// Say is a text of the page by its key, in English or Japanese. "role ",
// "source ", "state " and "event " before a word of package report are keys; a
// word without a text is shown as it is.
func Say(ja bool, key string) string {
	w, ok := words[key]
	switch {
	case !ok:
		_, after, _ := strings.Cut(key, " ")
		return after
	case ja:
		return w[1]
	}
	return w[0]
}

// Edge stands where a text that was filled in begins and ends, until Spaced.
const Edge = "\x01"

// Spaced is a Japanese text without its edges, and without the spaces there that stand
// between Japanese and Japanese: they belong between it and what is not.
func Spaced(text string) string {
	parts := strings.Split(text, Edge)
	for i := range parts[1:] {
		left, right := &parts[i], &parts[i+1]
		last, _ := utf8.DecodeLastRuneInString(strings.TrimSuffix(*left, " "))
		first, _ := utf8.DecodeRuneInString(strings.TrimPrefix(*right, " "))
		if isJapanese(last) && isJapanese(first) {
			*left, *right = strings.TrimSuffix(*left, " "), strings.TrimPrefix(*right, " ")
		}
	}
	return strings.Join(parts, "")
}

// isJapanese finds the letters and marks that are written without spaces.
func isJapanese(r rune) bool { return r >= 0x3000 && r < 0xa000 || r >= 0xff00 && r < 0xfff0 }

// Fill fills in a text as package fmt does it. {device|devices} in it is the former if
// the number of the verb before it is 1, of the first where none is before it: "%d
// {device|devices}". A text without verbs may depend on a number, too.
func Fill(text string, args ...any) string {
	var format strings.Builder
	verbs := 0
	for text != "" {
		at := strings.IndexAny(text, "%{")
		if at < 0 {
			at = len(text)
		}
		format.WriteString(text[:at])
		text = text[at:]
		group, after, closed := strings.Cut(strings.TrimPrefix(text, "{"), "}")
		one, more, choice := strings.Cut(group, "|")
		switch {
		case strings.HasPrefix(text, "%%"):
			format.WriteString("%%")
			text = text[2:]
		case strings.HasPrefix(text, "%"):
			verbs++
			format.WriteByte('%')
			text = text[1:]
		case strings.HasPrefix(text, "{") && closed && choice:
			if i := max(verbs-1, 0); i < len(args) && fmt.Sprint(args[i]) == "1" {
				more = one
			}
			format.WriteString(more)
			text = after
		case text != "":
			format.WriteByte('{')
			text = text[1:]
		}
	}
	if verbs == 0 {
		args = nil
	}
	return fmt.Sprintf(format.String(), args...)
}
