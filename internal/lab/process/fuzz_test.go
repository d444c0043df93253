package process

import (
	"bytes"
	"os/exec"
	"testing"

	"github.com/peerload/peerload/report"
)

// FuzzOutput: whatever a device prints, however it is cut, the lines are the same
// and each is an event or counted as none.
func FuzzOutput(f *testing.F) {
	f.Add([]byte(`{"event":"progress","file":"a","percent":7,"time":"2026-11-22T12:00:00Z","role":"root"}`+"\n{}\n"), 3)
	f.Add([]byte(`{"event":"done","file":"a","final":{"file":"a"}}`+"\nnoise\n"), 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		p := Proc{cmd: &exec.Cmd{}, files: map[string]*FileView{}}
		events := 0
		var whole, parts [][]byte
		w := &lineWriter{line: func(line []byte) {
			whole = append(whole, bytes.Clone(line))
			p.line(line, func(e report.Event) {
				if events++; e.Event == "" {
					t.Fatal("an event without a kind")
				}
				_ = AddrOf(e.Parent)
			})
		}}
		_, _ = w.Write(b)
		if n := bytes.Count(b, []byte("\n")); events+p.garbage != n {
			t.Fatalf("%d lines, %d events and %d others", n, events, p.garbage)
		}
		for _, v := range p.Files() {
			if v.File == "" {
				t.Fatalf("%+v", v)
			}
		}
		one := &lineWriter{line: func(line []byte) { parts = append(parts, bytes.Clone(line)) }}
		cut = 1 + int(uint(cut)%16)
		for at := 0; at < len(b); at += cut {
			_, _ = one.Write(b[at:min(at+cut, len(b))])
		}
		if len(whole) != len(parts) || !bytes.Equal(bytes.Join(whole, nil), bytes.Join(parts, nil)) {
			t.Fatalf("%q and %q", whole, parts)
		}
	})
}
