package wording

import (
	"strings"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/pdp/wire"
)

// reasons are the texts of all reasons, in English and Japanese: those of the
// protocol, then those of the device itself. The code stands beside the text, for
// programs, logs and manuals have it too.
var reasons = map[reason.Code][2]string{
	reason.Of(wire.ReasonAlone):          {"no other device answered", "他の機器から応答なし"},
	reason.Of(wire.ReasonStrongest):      {"the strongest claim", "最も強い要求"},
	reason.Of(wire.ReasonHolder):         {"holds the complete file", "ファイル全体を保持"},
	reason.Of(wire.ReasonLongestPrefix):  {"holds the most of the file", "ファイルを最も多く保持"},
	reason.Of(wire.ReasonConfirmedFirst): {"was confirmed first", "先に確定済み"},
	reason.Of(wire.ReasonRootLost):       {"the root is gone", "ルートが離脱"},
	reason.Of(wire.ReasonRootSilent):     {"the root is silent", "ルートから応答なし"},
	reason.Of(wire.ReasonRootResigned):   {"the root stepped down", "ルートが辞退"},
	reason.Of(wire.ReasonHandover):       {"the root named this device", "ルートからの引き継ぎ"},
	reason.Of(wire.ReasonOutranked):      {"another root ranks higher", "より上位のルートあり"},

	reason.Of(wire.ReasonParentLost):     {"the connection to the parent broke", "親との接続が切断"},
	reason.Of(wire.ReasonParentSilent):   {"the parent is silent", "親から応答なし"},
	reason.Of(wire.ReasonParentStalled):  {"the parent does not send what it has", "親が保持データを送信しない"},
	reason.Of(wire.ReasonParentSlow):     {"the parent is too slow", "親が低速"},
	reason.Of(wire.ReasonBadChunk):       {"the parent sent damaged data", "親から破損データを受信"},
	reason.Of(wire.ReasonLoop):           {"the way would lead back to this device", "経路がループ"},
	reason.Of(wire.ReasonFull):           {"no free place", "空きスロットなし"},
	reason.Of(wire.ReasonUnknownFile):    {"the peer does not have this file", "ピアがこのファイルを扱っていない"},
	reason.Of(wire.ReasonWrongEpoch):     {"the peer has other content under this name", "ピアの内容が異なる"},
	reason.Of(wire.ReasonUnreachable):    {"the peer cannot be reached", "ピアに接続できない"},
	reason.Of(wire.ReasonProtocol):       {"the peer broke the protocol", "ピアのプロトコル違反"},
	reason.Of(wire.ReasonChildSlow):      {"the child takes no data", "子がデータを受信しない"},
	reason.Of(wire.ReasonDone):           {"complete", "完了"},
	reason.Of(wire.ReasonStopped):        {"stopped", "停止"},
	reason.Of(wire.ReasonNotYet):         {"the file is not complete yet", "ファイルが未完了"},
	reason.Of(wire.ReasonRootStalled):    {"the root does not advance", "ルートが進まない"},
	reason.Of(wire.ReasonDigestMismatch): {"the file is not the one that was asked for", "ダイジェスト不一致"},

	reason.Of(wire.ReasonOriginUnreachable): {"the server cannot be reached", "サーバに接続できない"},
	reason.Of(wire.ReasonOriginNotFound):    {"the server does not have the file", "サーバにファイルがない"},
	reason.Of(wire.ReasonOriginForbidden):   {"the server refuses", "サーバが拒否"},
	reason.Of(wire.ReasonOriginStalled):     {"the server does not send", "サーバからの送信が停止"},
	reason.Of(wire.ReasonOriginTruncated):   {"the server's file ends too early", "サーバのファイルが短い"},
	reason.Of(wire.ReasonOriginTooMuch):     {"the server sends too much", "サーバからのデータが多すぎる"},
	reason.Of(wire.ReasonOriginBusy):        {"the server is busy", "サーバが混雑"},
	reason.Of(wire.ReasonOriginWrong): {"the server's file is not the one that was asked for",
		"サーバのファイルが要求と異なる"},
	reason.Of(wire.ReasonOriginOther): {"the server failed", "サーバのエラー"},
	reason.Of(wire.ReasonDisk):        {"the disk cannot be written", "ディスクに書き込めない"},

	reason.Of(wire.ReasonRootOfFile):  {"this device is the root of the file", "この機器がファイルのルート"},
	reason.Of(wire.ReasonPeersFailed): {"the peers failed", "ピアからの取得に失敗"},
	reason.Of(wire.ReasonNoProgress):  {"nothing came for too long", "データが届かない"},
	reason.Of(wire.ReasonPeersOff):    {"sharing is off", "共有が無効"},
	reason.Of(wire.ReasonCached):      {"held from before", "保持済み"},
	reason.Of(wire.ReasonParent):      {"the parent sends it", "親から受信"},
	reason.Of(wire.ReasonRootPlaced):  {"the root chose the parent", "ルートが親を指定"},
	reason.Of(wire.ReasonDuplicateID): {"another device has the same id", "ID の重複"},

	reason.Of(wire.ReasonSelfSlow):  {"this device is too slow for others", "この機器が他の機器に対して低速"},
	reason.Of(wire.ReasonHandsOver): {"this device leaves the file to another root", "別のルートへ引き継ぎ"},
	reason.Of(wire.ReasonYields):    {"serves others only where nobody else can", "他に応じる機器がないときだけ送信"},

	reason.MetadataRefused: {"the peers' copy of the metadata is refused", "ピアのメタデータを拒否"},

	reason.NoLoad:          {"the publisher has no such load", "該当するロードがない"},
	reason.Trust:           {"the signatures are not good", "署名を検証できない"},
	reason.Model:           {"the load is for another model", "モデルが異なる"},
	reason.Kind:            {"a file set for a load, or a load for a file set", "ロードとファイルセットの取り違え"},
	reason.Budget:          {"the load does not fit into the disk budget", "ディスク容量の上限を超える"},
	reason.Refused:         {"refused", "拒否"},
	reason.Installer:       {"the installer failed", "インストーラの失敗"},
	reason.Switch:          {"the slot could not be switched", "スロットを切り替えられない"},
	reason.Reboot:          {"the device did not restart", "再起動されなかった"},
	reason.NotConfirmed:    {"the new load was not confirmed", "新しいロードが確認されなかった"},
	reason.NoWayBack:       {"there is no load to go back to", "戻れるロードがない"},
	reason.TLS:             {"TLS refused the connection", "TLS 接続を拒否"},
	reason.Answer:          {"the server's answer is of no use", "サーバの応答を利用できない"},
	reason.NoAddress:       {"no address to share at", "共有に使うアドレスがない"},
	reason.Damaged:         {"a file that was held is damaged", "保持ファイルの破損"},
	reason.FileHook:        {"the hook for file sets failed", "ファイルセットのフックの失敗"},
	reason.BadProvisioning: {"the provisioning file is bad", "プロビジョニングファイルの誤り"},

	reason.ProxyByURL: {"shared: the URL names the digest", "共有: URL にダイジェストがある"},
	reason.ProxyByIndex: {"shared: an index that passed through has the digest",
		"共有: 通過した索引にダイジェストがある"},
	reason.ProxyByHeader:  {"shared: the server's answer has the digest", "共有: サーバの応答にダイジェストがある"},
	reason.ProxyBySidecar: {"shared: a file beside it has the digest", "共有: 付属ファイルにダイジェストがある"},
	reason.ProxyByLoad: {"shared: the signed manifest of a load has the digest",
		"共有: ロードの署名付きマニフェストにダイジェストがある"},
	reason.ProxyByRule:   {"shared: a rule has the digest", "共有: ルールにダイジェストがある"},
	reason.ProxyUnsigned: {"shared unsigned, as a rule says", "ルールにより署名なしで共有"},

	reason.ProxyTunnel:      {"not shared: encrypted from end to end", "共有なし: 端点間で暗号化されている"},
	reason.ProxyMethod:      {"not shared: it is no download", "共有なし: ダウンロードではない"},
	reason.ProxyNever:       {"not shared: a rule forbids it", "共有なし: ルールで禁止されている"},
	reason.ProxyCredentials: {"not shared: the request says who asks", "共有なし: 要求に資格情報がある"},
	reason.ProxyPrivate:     {"not shared: the answer is for one client", "共有なし: 応答が特定のクライアント向け"},
	reason.ProxyNoDigest:    {"not shared: nothing says which bytes are right", "共有なし: 正しい内容を示すものがない"},
	reason.ProxyForeignDigest: {"not shared: the digest in the URL does not prove what is sent",
		"共有なし: URL のダイジェストは送信内容を証明しない"},
	reason.ProxySmall:      {"not shared: too small for an election", "共有なし: 選出を行うには小さすぎる"},
	reason.ProxyStatus:     {"not shared: the server sends no file", "共有なし: サーバがファイルを送らない"},
	reason.ProxyCoded:      {"not shared: it comes in a content coding", "共有なし: コンテンツ符号化されている"},
	reason.ProxyFailed:     {"sharing failed: the server is asked instead", "共有に失敗し、サーバから取得"},
	reason.ProxyNotSharing: {"not shared: this device has no peers now", "共有なし: 現在ピアを利用できない"},
}

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
	w, ok := reasons[reason.Code(code)]
	switch {
	case !ok:
		return said
	case ja:
		return w[1] + " (" + said + ")"
	}
	return w[0] + " (" + said + ")"
}

// Either is a message in English or Japanese; without a Japanese one it is the
// English one.
func Either(ja bool, en, jp string) string {
	if ja && jp != "" {
		return jp
	}
	return en
}

// failed says of a file that is not coming what happened and what to do, in
// English and Japanese; %s is where the file was asked for. Other reasons than
// these say it by their text.
var failed = map[reason.Code][2]string{
	reason.Of(wire.ReasonDisk): {
		"this device cannot store it: make room or check the medium, then run the same command again",
		"この機器に保存できません。空き容量とメディアを確認し、同じコマンドを再実行してください"},
	reason.Of(wire.ReasonOriginUnreachable): {
		"cannot reach %s: check the address and that the server runs, then run the same command again; " +
			"it continues where it stood",
		"%s に接続できません。アドレスとサーバの動作を確認し、同じコマンドを再実行してください (続きから再開します)"},
	reason.Of(wire.ReasonOriginNotFound): {
		"%s does not exist on the server: check the address",
		"%s はサーバにありません。アドレスを確認してください"},
	reason.Of(wire.ReasonOriginForbidden): {
		"the server refuses %s: check the credentials, and the rights of the file",
		"サーバが %s を拒否しました。資格情報とファイルの権限を確認してください"},
	reason.TLS: {
		"TLS refused the connection for %s: check the certificate of the server, and the authorities that are trusted",
		"%s への TLS 接続が拒否されました。サーバの証明書と、信頼する認証局を確認してください"},
	reason.Answer: {
		"%s gives an answer that no later attempt changes: check the address, and the configuration of the server",
		"%s の応答は再試行しても変わりません。アドレスとサーバの設定を確認してください"},
	reason.Of(wire.ReasonOriginStalled): {
		"%s stopped sending; run the same command again, it continues where it stood",
		"%s の送信が停止しました。同じコマンドを再実行してください (続きから再開します)"},
	reason.Of(wire.ReasonOriginTruncated): {
		"%s ends before its announced length: put the whole file on the server",
		"%s が通知された長さより短く終わっています。サーバに完全なファイルを置いてください"},
	reason.Of(wire.ReasonOriginTooMuch): {
		"%s sends more than was announced, or than a file may have: check the file on the server",
		"%s が通知または上限より多く送信しています。サーバのファイルを確認してください"},
	reason.Of(wire.ReasonOriginBusy): {
		"%s is busy; try again later",
		"%s が混雑しています。後で再実行してください"},
	reason.Of(wire.ReasonOriginOther): {
		"cannot fetch %s: see what the server says",
		"%s を取得できません。サーバの応答を確認してください"},
	reason.Of(wire.ReasonOriginWrong): {
		"%s is not the file that was asked for (wrong digest or size): check the digest, or the file on the server",
		"%s は要求されたファイルではありません (ダイジェストまたはサイズの不一致)。" +
			"ダイジェストとサーバのファイルを確認してください"},
}

// Failed says of a file that is not coming, in English or Japanese, what happened
// and what to do. from is where the file was asked for.
func Failed(ja bool, code reason.Code, from string) string {
	w, ok := failed[code]
	if !ok {
		if w, ok = reasons[code]; !ok {
			return string(code)
		}
	}
	text := w[0]
	if ja {
		text = w[1]
	}
	return strings.Replace(text, "%s", from, 1)
}
