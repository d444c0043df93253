package load_test

import (
	"errors"
	"fmt"
	"strings"

	"github.com/peerload/peerload/load"
)

// A publisher describes a file and writes the manifest of a load.
func ExampleDescribe() {
	content := "the firmware of a phone"
	app, err := load.Describe("app.bin", strings.NewReader(content), int64(len(content)))
	if err != nil {
		fmt.Println(err)
		return
	}
	m := load.Manifest{Name: "phone-2.1", Version: "2.1", Models: []string{"7961"}, Components: []load.Component{app}}
	text, err := m.Marshal()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s:\n%s", m.FileName(), text)
	// Output:
	// phone-2.1.load:
	// {
	//   "schema": 1,
	//   "name": "phone-2.1",
	//   "version": "2.1",
	//   "models": [
	//     "7961"
	//   ],
	//   "algorithm": "sha256",
	//   "components": [
	//     {
	//       "name": "app.bin",
	//       "size": 23,
	//       "digest": "2d931e455661e17cf42a63d560d9abe392003c870c8374862ba374d00648c119",
	//       "chunk_size": 65536,
	//       "chunks": "LZMeRVZh4Xz0KmPVYNmr45IAPIcMg3SGK6N00AZIwRk="
	//     }
	//   ]
	// }
}

// A device reads a manifest that somebody has verified for it, and checks each
// chunk by itself.
func ExampleParseManifest() {
	content := strings.Repeat("firmware ", 10_000)
	m, err := load.ParseManifest(manifestOf(content))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range m.Components {
		g := c.Geometry()
		fmt.Println(c.Name, "has", c.Size, "bytes in", g.Chunks(), "chunks")
		for i := range g.Chunks() {
			off, n := g.Span(i)
			fmt.Println("chunk", i, "at", off, "is right:", c.Table.Check(i, []byte(content[off:off+int64(n)])))
		}
	}
	fmt.Println("another chunk is right:", m.Components[0].Table.Check(0, []byte("something else")))
	// Output:
	// app.bin has 90000 bytes in 2 chunks
	// chunk 0 at 0 is right: true
	// chunk 1 at 65536 is right: true
	// another chunk is right: false
}

// manifestOf is what a publisher has written.
func manifestOf(content string) []byte {
	app, err := load.Describe("app.bin", strings.NewReader(content), int64(len(content)))
	if err != nil {
		panic(err)
	}
	m := load.Manifest{Name: "phone-2.1", Version: "2.1", Models: []string{"7961"}, Components: []load.Component{app}}
	text, err := m.Marshal()
	if err != nil {
		panic(err)
	}
	return text
}

// The name of a load or of a component comes from outside and becomes a file
// name.
func ExampleCheckName() {
	for _, name := range []string{"app.bin", "../app.bin"} {
		fmt.Println(name, "is refused:", errors.Is(load.CheckName(name), load.ErrName))
	}
	// Output:
	// app.bin is refused: false
	// ../app.bin is refused: true
}
