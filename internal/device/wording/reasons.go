package wording

import (
	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/upgrade"
	"github.com/peerload/peerload/pdp/wire"
)

// reasons are the codes of why a decision was taken, or something failed, as
// the page says them in English and Japanese: those of the protocol, then those
// of the daemon itself. The code is shown with the text, because programs, logs
// and manuals use it too.
var reasons = map[string][2]string{
	wire.ReasonNone.String(): {"–", "–"},

	wire.ReasonAlone.String():          {"no other device answered", "他の機器から応答なし"},
	wire.ReasonStrongest.String():      {"the strongest claim", "最も強い要求"},
	wire.ReasonHolder.String():         {"holds the complete file", "ファイル全体を保持"},
	wire.ReasonLongestPrefix.String():  {"holds the most of the file", "ファイルを最も多く保持"},
	wire.ReasonConfirmedFirst.String(): {"was confirmed first", "先に確定済み"},
	wire.ReasonRootLost.String():       {"the root is gone", "ルートが離脱"},
	wire.ReasonRootSilent.String():     {"the root is silent", "ルートから応答なし"},
	wire.ReasonRootResigned.String():   {"the root stepped down", "ルートが辞退"},
	wire.ReasonHandover.String():       {"the root named this device", "ルートからの引き継ぎ"},
	wire.ReasonOutranked.String():      {"another root ranks higher", "より上位のルートあり"},

	wire.ReasonParentLost.String():     {"the connection to the parent broke", "親との接続が切断"},
	wire.ReasonParentSilent.String():   {"the parent is silent", "親から応答なし"},
	wire.ReasonParentStalled.String():  {"the parent does not send what it has", "親が保持データを送信しない"},
	wire.ReasonParentSlow.String():     {"the parent is too slow", "親が低速"},
	wire.ReasonBadChunk.String():       {"the parent sent damaged data", "親から破損データを受信"},
	wire.ReasonLoop.String():           {"the way would lead back to this device", "経路がループ"},
	wire.ReasonFull.String():           {"no free place", "空きスロットなし"},
	wire.ReasonUnknownFile.String():    {"the peer does not have this file", "ピアがこのファイルを扱っていない"},
	wire.ReasonWrongEpoch.String():     {"the peer has other content under this name", "ピアの内容が異なる"},
	wire.ReasonUnreachable.String():    {"the peer cannot be reached", "ピアに接続できない"},
	wire.ReasonProtocol.String():       {"the peer broke the protocol", "ピアのプロトコル違反"},
	wire.ReasonChildSlow.String():      {"the child takes no data", "子がデータを受信しない"},
	wire.ReasonDone.String():           {"complete", "完了"},
	wire.ReasonStopped.String():        {"stopped", "停止"},
	wire.ReasonNotYet.String():         {"the file is not complete yet", "ファイルが未完了"},
	wire.ReasonRootStalled.String():    {"the root does not advance", "ルートが進まない"},
	wire.ReasonDigestMismatch.String(): {"the file is not the one that was asked for", "ダイジェスト不一致"},

	wire.ReasonOriginUnreachable.String(): {"the server cannot be reached", "サーバに接続できない"},
	wire.ReasonOriginNotFound.String():    {"the server does not have the file", "サーバにファイルがない"},
	wire.ReasonOriginForbidden.String():   {"the server refuses", "サーバが拒否"},
	wire.ReasonOriginStalled.String():     {"the server does not send", "サーバからの送信が停止"},
	wire.ReasonOriginTruncated.String():   {"the server's file ends too early", "サーバのファイルが短い"},
	wire.ReasonOriginTooMuch.String():     {"the server sends too much", "サーバからのデータが多すぎる"},
	wire.ReasonOriginBusy.String():        {"the server is busy", "サーバが混雑"},
	wire.ReasonOriginWrong.String():       {"the server's file is not the one that was asked for", "サーバのファイルが要求と異なる"},
	wire.ReasonOriginOther.String():       {"the server failed", "サーバのエラー"},
	wire.ReasonDisk.String():              {"the disk cannot be written", "ディスクに書き込めない"},

	wire.ReasonRootOfFile.String():  {"this device is the root of the file", "この機器がファイルのルート"},
	wire.ReasonPeersFailed.String(): {"the peers failed", "ピアからの取得に失敗"},
	wire.ReasonNoProgress.String():  {"nothing came for too long", "データが届かない"},
	wire.ReasonPeersOff.String():    {"sharing is off", "共有が無効"},
	wire.ReasonCached.String():      {"held from before", "保持済み"},
	wire.ReasonParent.String():      {"the parent sends it", "親から受信"},
	wire.ReasonRootPlaced.String():  {"the root chose the parent", "ルートが親を指定"},
	wire.ReasonDuplicateID.String(): {"another device has the same id", "ID の重複"},

	engine.ReasonMetadataRefused: {"the peers' copy of the metadata is refused", "ピアのメタデータを拒否"},

	ReasonNoLoad:       {"the publisher has no such load", "該当するロードがない"},
	ReasonTrust:        {"the signatures are not good", "署名を検証できない"},
	ReasonModel:        {"the load is for another model", "モデルが異なる"},
	ReasonBudget:       {"the load does not fit into the disk budget", "ディスク容量の上限を超える"},
	ReasonRefused:      {"refused", "拒否"},
	ReasonInstaller:    {"the installer failed", "インストーラの失敗"},
	ReasonSwitch:       {"the slot could not be switched", "スロットを切り替えられない"},
	ReasonReboot:       {"the device did not restart", "再起動されなかった"},
	ReasonNotConfirmed: {"the new load was not confirmed", "新しいロードが確認されなかった"},
	ReasonNoWayBack:    {"there is no load to go back to", "戻れるロードがない"},
	ReasonNoAddress:    {"no address to share at", "共有に使うアドレスがない"},
	ReasonDamaged:      {"a file that was held is damaged", "保持ファイルの破損"},
	ReasonProvisioning: {"the provisioning file is bad", "プロビジョニングファイルの誤り"},
}

// Reasons of the agent itself, for reports: why an upgrade failed, or why a
// device does not share or serve.
const (
	ReasonNoLoad       = "no-such-load"
	ReasonTrust        = "trust"
	ReasonModel        = "wrong-model"
	ReasonBudget       = "disk-budget"
	ReasonRefused      = "refused"
	ReasonInstaller    = string(upgrade.ReasonInstaller)
	ReasonSwitch       = string(upgrade.ReasonSwitch)
	ReasonReboot       = string(upgrade.ReasonReboot)
	ReasonNotConfirmed = string(upgrade.ReasonNotConfirmed)
	ReasonNoWayBack    = string(upgrade.ReasonNoWayBack)
	ReasonNoAddress    = "no-address"
	ReasonDamaged      = "damaged"
	ReasonProvisioning = "bad-provisioning"
)

// Why writes a reason for people, in English or Japanese: its text, then the
// code and the message.
func Why(ja bool, code, message string) string {
	if code == "" || code == wire.ReasonNone.String() {
		return message
	}
	said := code
	if message != "" {
		said += ": " + message
	}
	w, ok := reasons[code]
	switch {
	case !ok:
		return said
	case ja:
		return w[1] + " (" + said + ")"
	}
	return w[0] + " (" + said + ")"
}
