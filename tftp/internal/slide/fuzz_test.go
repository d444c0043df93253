package slide

import (
	"bytes"
	"testing"
	"time"
)

// FuzzAck takes the rest of ACK packets as any host could send it: what is read is
// what is written, and no ACK, however wrong, has the sender send what the file does
// not have, or more than may be under way.
func FuzzAck(f *testing.F) {
	seed := Ack{Block: 3, Latest: 9, Twice: 1, Delay: time.Millisecond, Held: []byte{0x24, 0x80}}
	f.Add(seed.Append(nil), uint8(2))
	f.Add([]byte{0, 0}, uint8(1))
	f.Add([]byte{0xff, 0xff, 0, 0, 0, 0, 0, 0, 0xff}, uint8(8))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		a, ok := ParseAck(b)
		if ok != (len(b) >= 2) {
			t.Fatalf("%d bytes are read: %v", len(b), ok)
		}
		if ok {
			again, _ := ParseAck(a.Append(nil))
			if again.Block != a.Block || again.Delay != a.Delay || !bytes.Equal(again.Held, a.Held) {
				t.Errorf("%+v is written and read as %+v", a, again)
			}
		}
		const blocks, most = 300, 40
		now := time.Unix(0, 0)
		s := NewSender(now, Agreed{Blocks: blocks, Slide: most, RTT: 10 * time.Millisecond, Idle: time.Minute, Retries: 5})
		for step := int(size)%16 + 2; len(b) > 0; b = b[min(step, len(b)):] {
			for n, ok := s.Next(now); ok; n, ok = s.Next(now) {
				if n < 1 || n > blocks || n >= s.base+most {
					t.Fatalf("block %d is sent, %d is the first that has not arrived", n, s.base)
				}
				s.Sent(now, n)
			}
			now = now.Add(7 * time.Millisecond)
			if a, ok := ParseAck(b[:min(step, len(b))]); ok {
				if _, done := s.Acked(now, a); done {
					return
				}
			}
			if s.inFlight < 0 || s.inFlight > s.high-s.base || s.base > s.high || s.high > blocks+1 {
				t.Fatalf("%d under way from %d to %d", s.inFlight, s.base, s.high)
			}
			if at := s.Deadline(); at.After(now) {
				now = at
			}
			if !s.Timeout(now) {
				return
			}
		}
	})
}

// FuzzData takes numbers of blocks as any host could send them: a block is taken
// once, and none beyond what was agreed.
func FuzzData(f *testing.F) {
	f.Add([]byte{0, 1, 0, 3, 0, 2, 0, 4}, uint8(3))
	f.Add([]byte{0xff, 0xff, 0x80, 0, 0, 1}, uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, last uint8) {
		now := time.Unix(0, 0)
		r := NewReceiver(now, 16, 4, time.Second, time.Minute, 5)
		seen := map[int64]bool{}
		for ; len(b) >= 2; b = b[2:] {
			wire := uint16(b[0])<<8 | uint16(b[1])
			next := r.Next()
			n, fresh := r.Data(now, wire, b[1] == last)
			if fresh && (seen[n] || n < next || n >= next+16) {
				t.Fatalf("block %d is taken at %d", n, next)
			}
			if fresh {
				seen[n] = true
			}
			if a := r.Ack(now, nil); a.Block != uint16(r.Next()-1) || len(a.Held) > 3 {
				t.Fatalf("%+v at %d", a, r.Next())
			}
			now = now.Add(time.Millisecond)
		}
		for n := int64(1); n < r.Next(); n++ {
			if !seen[n] {
				t.Fatalf("block %d is passed over", n)
			}
		}
	})
}
