package wording

import (
	"fmt"
	"strings"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/pdp/wire"
)

// File is what notes are about.
type File struct {
	Hierarchy wire.Hierarchy
	// Name of the file, and Model of the device.
	Name, Model string
	// Scheme of the URL that the origin is asked by.
	Scheme string
}

// Note writes what the machine of a file told, in English or Japanese; why is the
// reason that it told with it. Lines that the original's console has are its own,
// in both languages (docs/ORIGINAL.md, "The election on a console").
func Note(ja bool, f File, what note.Note, why wire.Reason) string {
	if line, ok := f.console(what, why); ok {
		return line
	}
	en, jp := f.said(what)
	code := why.String()
	if ja {
		return strings.ReplaceAll(jp, "{why}", code)
	}
	return strings.ReplaceAll(en, "{why}", code)
}

// console are the lines in the original's words.
func (f File) console(what note.Note, why wire.Reason) (line string, ok bool) {
	xid := func(format string, args ...any) (string, bool) {
		return "XID" + f.Hierarchy.String() + " " + fmt.Sprintf(format, args...), true
	}
	switch n := what.(type) {
	case note.State:
		return xid("hier=%s: %s", n.State, why)
	case note.SentClaim:
		what, state := "TxBdcst", "ClaimRoot(tent)"
		if n.Answer {
			what = "TxBdcst answer"
		}
		if n.Confirmed {
			state = "ClaimRoot"
		}
		return xid("%s %s: map=%08x strength=%08x", what, state, n.Map, n.Strength)
	case note.Confirmed:
		return "UT:Confirmed root bumping strength", true
	case note.IsRoot:
		return fmt.Sprintf("@@@HROOT:XID%s H=%[1]s m=%s ROOT=%s %s", f.Hierarchy, f.Model, n.Addr, f.Name), true
	case note.HasParent:
		return fmt.Sprintf("parent=%s", n.Parent), true
	case note.Children:
		return childrenLine(n), true
	case note.AsksFirst:
		return xid("Root sending %s XfrCmd on ROOT_WAITING TO", strings.ToUpper(f.Scheme))
	case note.Asks:
		return xid("Root sending XfrCmd from chunk %d", n.Chunk)
	}
	return "", false
}

// childrenLine tells who the children are, as the original's slots.
func childrenLine(n note.Children) string {
	var slots strings.Builder
	for i, link := range n.Slots {
		fmt.Fprintf(&slots, "fd[%d]==%d ", i, link)
	}
	full := 0
	if n.Full {
		full = 1
	}
	return fmt.Sprintf("|parent=%d><%sFULL=%d", n.Parent, slots.String(), full)
}

// said is what the original has no words for, in English and Japanese; {why}
// stands for the code of the reason.
func (f File) said(what note.Note) (en, ja string) {
	both := func(en, ja string, args ...any) (string, string) {
		return Fill(en, args...), Fill(ja, args...)
	}
	switch n := what.(type) {
	case note.WrongChunk:
		return both("parent %s sent a wrong chunk %d: dropped", "親 %s のチャンク %d が破損: 破棄", n.Parent, n.Index)
	case note.NoChildren:
		return both("this device is slow: it takes no children", "この機器は低速: 子を受け付けない")
	case note.LeftParent:
		return both("parent=-1: left %s: {why}", "parent=-1: %s から離脱: {why}", n.Parent)
	case note.SharesID:
		return both("another device carries the id %016x: give one of them its own",
			"別の機器が同じ ID %016x を使用: 一方に別の ID を設定してください", n.ID)
	case note.TwoShareID:
		return both("the devices at %s and %s carry one id, %016x: give one of them its own",
			"%s と %s の機器が同じ ID %016x を使用: 一方に別の ID を設定してください", n.A, n.B, n.ID)
	case note.RootDiffers:
		return both("root %s has other bytes than the server sent to this device",
			"ルート %s のデータがサーバから受信したものと異なる", n.Root)
	case note.RootAgrees:
		return both("root %s has the same bytes, and they are wrong", "ルート %s も同じ誤ったデータを保持", n.Root)
	case note.Altered:
		return both("%d {chunk was altered on its|chunks were altered on their} way, the first is %d",
			"%d 個のチャンクが転送中に改変 (最初は %d)", n.Count, n.First)
	}
	if en, ja, ok := ofElection(what); ok {
		return "XID" + f.Hierarchy.String() + " " + en, "XID" + f.Hierarchy.String() + " " + ja
	}
	en, ja = ofFile(what)
	return f.Name + ": " + en, f.Name + ": " + ja
}

// ofElection are the texts that begin with the hierarchy.
func ofElection(what note.Note) (en, ja string, ok bool) {
	both := func(en, ja string, args ...any) (string, string, bool) {
		return Fill(en, args...), Fill(ja, args...), true
	}
	switch n := what.(type) {
	case note.Claims:
		return both("hier=ClaimRoot(tent): nobody heard, claiming", "hier=ClaimRoot(tent): 他の機器から応答なし、要求を送信")
	case note.Follows:
		return both("following root %s ({why}, strength=%08x, prefix %d)",
			"ルート %s に追従 ({why}, strength=%08x, prefix %d)", n.Root, n.Strength, n.Prefix)
	case note.SteppedDown:
		return both("root %s stepped down: {why}", "ルート %s が辞退: {why}", n.Root)
	case note.Distrusts:
		return both("root %s is not believed for %s: {why}", "ルート %s を %s の間信用しない: {why}", n.Root,
			parse.Duration(n.For))
	case note.HandsOverFaster:
		return both("hands over: its port sends %.0f kB/s, another's %.0f",
			"引き継ぎ: この機器のポートは %.0f kB/s、別の機器は %.0f", n.Own, n.Other)
	case note.HandsOverSlow:
		return both("hands over: too slow for the others", "引き継ぎ: 他の機器に対して低速")
	case note.HandsOverYielding:
		return both("hands over: it yields", "引き継ぎ: この機器は譲っている")
	case note.Yields:
		if n.On {
			return both("yields: serves others only where nobody else can", "譲り中: 他に応じる機器がないときだけ送信")
		}
		return both("yields no more", "譲り終了")
	}
	return "", "", false
}

// ofFile are the texts that begin with the file's name.
func ofFile(what note.Note) (en, ja string) {
	both := func(en, ja string, args ...any) (string, string) {
		return Fill(en, args...), Fill(ja, args...)
	}
	switch n := what.(type) {
	case note.TwoTrees:
		return both("two trees, even and odd chunks", "2 本の木 (偶数と奇数のチャンク)")
	case note.FromOrigin:
		return both("from the server, chunk %d on: {why}", "サーバからチャンク %d 以降を取得: {why}", n.Chunk)
	case note.ToOrigin:
		return both("to the server, within the subnet's budget: {why}", "サブネットの許容範囲内でサーバへ: {why}")
	case note.AsksOnce:
		if n.Tried {
			return both("so far the server failed: {why}; asking it once", "これまでサーバは失敗: {why}。1 回だけ問い合わせる")
		}
		return both("peers say that the server failed: {why}; asking it once",
			"ピアによるとサーバは失敗: {why}。1 回だけ問い合わせる")
	case note.OriginFailed:
		return both("the server failed: {why}; left alone for %s", "サーバの失敗: {why}。%s の間待つ", parse.Duration(n.For))
	case note.NextServer:
		return both("the server failed: {why}; asking %s", "サーバの失敗: {why}。%s に問い合わせる", n.URL)
	case note.SizeNotServed:
		return both("the server does not send the %d {byte|bytes} that a peer told: starting over",
			"サーバはピアの伝えた %d バイトを送らない: 最初からやり直す", n.Size)
	case note.FalseSize:
		if n.Size < 0 {
			return both("the file has more than the %d {byte|bytes} that the server told: starting over without a size",
				"ファイルはサーバの伝えた %d バイトより長い: サイズなしで最初からやり直す", n.Told)
		}
		return both("the file has %d {byte|bytes}, not the %d that {was|were} told",
			"ファイルは %d バイトで、伝えられた %d ではない",
			n.Size, n.Told)
	case note.Verified:
		return both("whole file verified, %d {byte|bytes}", "ファイル全体を検証済み、%d バイト", n.Size)
	case note.WrongFile:
		return both("the whole file has the wrong digest", "ファイル全体のダイジェストが不一致")
	case note.OtherContent:
		return both("the root has another content: starting over", "ルートの内容が異なる: 最初からやり直す")
	case note.OtherSize:
		return both("%d {byte|bytes}, says the root, not %d: starting over",
			"ルートによると %d バイトで、%d ではない: 最初からやり直す", n.Told, n.Held)
	}
	return both("%T", "%[1]T", what)
}
