package status

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
)

// FuzzID: a file is that of an id, which is never zero and is read again as it
// is written, or it is none.
func FuzzID(f *testing.F) {
	f.Add([]byte("00000000deadbeef\n"))
	f.Add([]byte("0x1"))
	f.Add([]byte("ffffffffffffffff0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, ok := parseID(b)
		if !ok {
			return
		}
		if again, ok := parseID(fmt.Appendf(nil, "%016x\n", id)); id == 0 || !ok || again != id {
			t.Fatalf("%q is %x, and that %x, %v", b, id, again, ok)
		}
	})
}

// FuzzProcess: a status file is read or left out, whatever is in it, and what
// was read is written as it was.
func FuzzProcess(f *testing.F) {
	f.Add([]byte(`{"pid":1,"born":"7","device":"1","files":[{"file":"a","role":"root","events":[{"event":"done"}]}]}`))
	f.Add([]byte(`{"pid":-1,"ended":true}`))
	f.Add([]byte(`{"pid":1,"files":[null]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := parseProcess(b)
		if !ok {
			return
		}
		for _, file := range p.Files {
			_ = file.File
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if again, ok := parseProcess(text); !ok || !reflect.DeepEqual(again, p) {
			t.Fatalf("%+v came back as %+v, %v", p, again, ok)
		}
	})
}
