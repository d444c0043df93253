package report_test

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/peerload/peerload/report"
)

// A program reads what "peerload get --json" writes, line by line.
func ExampleEvent() {
	output := strings.NewReader(`
{"schema":1,"time":"2026-03-01T09:00:00.000000Z","event":"start","device":"00000000000000a1","file":"app.bin"}
{"schema":1,"time":"2026-03-01T09:00:00.410000Z","event":"role","role":"leaf","root":"10.0.0.7:4051"}
{"schema":1,"time":"2026-03-01T09:00:02.000000Z","event":"progress","bytes":524288,"size":1048576,"percent":50}
{"schema":1,"time":"2026-03-01T09:00:04.000000Z","event":"done","final":{"source":"peer","elapsed_s":3.9}}
`)
	for lines := json.NewDecoder(output); ; {
		var e report.Event
		err := lines.Decode(&e)
		if err == io.EOF {
			return
		}
		if err != nil || e.Schema != report.Schema {
			fmt.Println("not an event of this schema:", err)
			return
		}
		switch e.Event {
		case report.KindRole:
			fmt.Println("it is", e.Role, "below", e.Root)
		case report.KindProgress:
			fmt.Println("it has", e.Percent, "percent")
		case report.KindDone:
			fmt.Println("done in", e.Final.ElapsedS, "seconds, from peers:", e.Final.Source == report.SourcePeer)
		}
	}
	// Output:
	// it is leaf below 10.0.0.7:4051
	// it has 50 percent
	// done in 3.9 seconds, from peers: true
}

// A final report says where the bytes came from and what went wrong.
func ExampleFinal() {
	text := `{"file":"app.bin","url":"http://10.0.0.5/app.bin","size":1048576,"source":"origin","role":"root",
		"bytes_from_origin":1048576,"bytes_to_peers":2097152,"elections":1,"elapsed_s":8.2,
		"fallbacks":[{"at_s":1.5,"from":"10.0.0.7:4051","reason":"parent-silent"}]}`
	var f report.Final
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s: %d bytes over the WAN, %d passed on as %s\n", f.File, f.BytesFromOrigin, f.BytesToPeers, f.Role)
	for _, b := range f.Fallbacks {
		fmt.Printf("after %.1f s %s failed: %s\n", b.AtS, b.From, b.Reason)
	}
	// Output:
	// app.bin: 1048576 bytes over the WAN, 2097152 passed on as root
	// after 1.5 s 10.0.0.7:4051 failed: parent-silent
}
