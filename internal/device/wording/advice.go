package wording

import (
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/pdp/wire"
)

// advice says what to do about a failure on a device that looks after itself, in
// English and Japanese.
var advice = map[reason.Code][2]string{
	reason.Of(wire.ReasonDisk): {
		"Make room on the device or check its medium. It then tries again by itself.",
		"空き容量を確保するかメディアを確認してください。その後は自動で再試行します。"},
	reason.Of(wire.ReasonDigestMismatch): {
		"Publish the load again: the server's file is not the one that was signed.",
		"ロードを公開し直してください。サーバのファイルが署名時のものと異なります。"},
	reason.Of(wire.ReasonOriginUnreachable): {
		"Check that the load server runs and that the device can reach it. It tries again by itself.",
		"ロードサーバの動作と、機器からの到達性を確認してください。自動で再試行します。"},
	reason.Of(wire.ReasonOriginNotFound): {
		"Put the file on the load server, or assign another load.",
		"ファイルをロードサーバに置くか、別のロードを割り当ててください。"},
	reason.Of(wire.ReasonOriginForbidden): {
		"Check the rights of the file on the load server.",
		"ロードサーバのファイルの権限を確認してください。"},
	reason.Of(wire.ReasonOriginStalled): {
		"Check the line and the load server. The device continues where it stood.",
		"回線とロードサーバを確認してください。続きから再開します。"},
	reason.Of(wire.ReasonOriginTruncated): {
		"Put the whole file on the load server.",
		"ロードサーバに完全なファイルを置いてください。"},
	reason.Of(wire.ReasonOriginTooMuch): {
		"Check the file on the load server: it is longer than it may be.",
		"ロードサーバのファイルを確認してください。許される長さを超えています。"},
	reason.Of(wire.ReasonOriginBusy): {
		"Nothing: the device tries again when the load server has time.",
		"対応は不要です。ロードサーバが空き次第、自動で再試行します。"},
	reason.Of(wire.ReasonOriginWrong): {
		"Publish the load again: the load server has other content under this name.",
		"ロードを公開し直してください。ロードサーバに同名で内容の異なるファイルがあります。"},
	reason.Of(wire.ReasonOriginOther): {
		"See the log of the load server.",
		"ロードサーバのログを確認してください。"},

	reason.NoLoad: {
		"Publish the load, or assign one that is published.",
		"ロードを公開するか、公開済みのロードを割り当ててください。"},
	reason.Trust: {
		"Check that the publisher's signatures have not expired, and that the device trusts this publisher.",
		"発行者の署名の期限と、この機器がその発行者を信頼していることを確認してください。"},
	reason.MetadataRefused: {
		"Nothing: the device asks the server itself.",
		"対応は不要です。機器がサーバに直接問い合わせます。"},
	reason.Model: {
		"Assign a load for this model.",
		"このモデル用のロードを割り当ててください。"},
	reason.Kind: {
		"Assign a load where a load belongs, and a file set where a file set belongs.",
		"ロードとファイルセットの割り当てを確認してください。"},
	reason.Budget: {
		"Raise the disk budget of the device, or assign a smaller load.",
		"機器のディスク容量の上限を上げるか、小さいロードを割り当ててください。"},
	reason.Refused: {
		"Correct what the message names. The device then tries again.",
		"メッセージが示す点を修正してください。その後は自動で再試行します。"},
	reason.Installer: {
		"See what the installer printed in the log. The device keeps its load and tries again after a pause.",
		"ログでインストーラの出力を確認してください。現在のロードのまま、時間をおいて再試行します。"},
	reason.Switch: {
		"Check the medium of the device. It keeps the load that it has.",
		"機器のメディアを確認してください。現在のロードを保持しています。"},
	reason.Reboot: {
		"Restart the device by hand.",
		"機器を手動で再起動してください。"},
	reason.NotConfirmed: {
		"The device runs the load from before. See why the new one was not healthy; assign another, or order a retry.",
		"以前のロードで動作しています。新しいロードが正常でなかった原因を確認し、別のロードを割り当てるか、" +
			"再試行を指示してください。"},
	reason.NoWayBack: {
		"Assign a load that works: the device has no other to go back to.",
		"動作するロードを割り当ててください。戻れるロードがありません。"},
	reason.TLS: {
		"Check the certificate of the server, and the authorities that the device trusts.",
		"サーバの証明書と、この機器が信頼する認証局を確認してください。"},
	reason.Answer: {
		"Check the address of the load server, and its configuration.",
		"ロードサーバのアドレスと設定を確認してください。"},
	reason.NoAddress: {
		"Give the device an address on its subnet. Until then it downloads by itself.",
		"機器にサブネットのアドレスを設定してください。それまでは単独でダウンロードします。"},
	reason.Damaged: {
		"Nothing: the device fetches it again. If that repeats, replace its medium.",
		"対応は不要です。再取得します。繰り返す場合はメディアを交換してください。"},
	reason.FileHook: {
		"See what the hook printed in the log. The device tries it again.",
		"ログでフックの出力を確認してください。自動で再試行します。"},
	reason.BadProvisioning: {
		"Correct the provisioning file. Until then the device works by the last good one.",
		"プロビジョニングファイルを修正してください。それまでは最後の正しい内容で動作します。"},
}

// Advice says in English or Japanese what to do about a failure, "" for none.
func Advice(ja bool, code reason.Code) string {
	w, ok := advice[code]
	switch {
	case code == "":
		return ""
	case !ok && ja:
		return "機器は自動で再試行します。続く場合は peerload explain の出力を確認してください。"
	case !ok:
		return "The device tries again by itself. If it stays so, see what peerload explain says."
	case ja:
		return w[1]
	}
	return w[0]
}
