package hook

import "testing"

func TestWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{testText("chat", "", false), "chat: the receiver has taken the message"},
		{testText("chat", "", true), "chat: 受信側がメッセージを受け取りました"},
		{testText("chat", "status 500\x1b", false), `chat: not delivered: status 500\x1b`},
		{testText("chat", "status 500", true), "chat: 送信できません: status 500"},
		{retryText(0, false), "0 messages are tried anew"}, {retryText(1, false), "1 message is tried anew"},
		{retryText(2, true), "2 件のメッセージを再送します"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
