package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// pattern is n bytes that differ from chunk to chunk.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func sampleManifest(t testing.TB) *Manifest {
	t.Helper()
	m := &Manifest{Name: "SIP41.9-4-2", Version: "9.4(2)", Models: []string{"CP-7941G", "CP-7961G"},
		Created: "2026-11-22T11:00:00Z"}
	for _, f := range []struct {
		name string
		size int
	}{{"apps41.sbn", 200_000}, {"dsp41.sbn", MinChunkSize}, {"empty.cfg", 0}, {"cnu41.sbn", 1}} {
		c, err := Describe(f.name, bytes.NewReader(pattern(f.size)), int64(f.size))
		if err != nil {
			t.Fatal(err)
		}
		m.Components = append(m.Components, c)
	}
	return m
}

func TestManifestGolden(t *testing.T) {
	m := sampleManifest(t)
	got, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/SIP41.9-4-2.load"
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the text form has changed:\n%s\nwant\n%s", got, want)
	}
	back, err := ParseManifest(want)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, m) {
		t.Errorf("parsed %+v, want %+v", back, m)
	}
	if m.Size() != 200_000+MinChunkSize+1 || m.FileName() != "SIP41.9-4-2.load" {
		t.Errorf("size %d, file %s", m.Size(), m.FileName())
	}
}

func TestManifestRefused(t *testing.T) {
	text, err := sampleManifest(t).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	// edit changes the JSON tree of a good manifest.
	edit := func(f func(m map[string]any)) []byte {
		var v map[string]any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		f(v)
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	set := func(key string, value any) []byte { return edit(func(m map[string]any) { m[key] = value }) }
	comp := func(key string, value any) []byte {
		return edit(func(m map[string]any) { m["components"].([]any)[0].(map[string]any)[key] = value })
	}
	many := make([]string, MaxModels+1)
	for i := range many {
		many[i] = fmt.Sprint("m", i)
	}
	cases := map[string][]byte{
		"empty":                 nil,
		"not JSON":              []byte("#comment\r\napps.sbn\r\n"),
		"array":                 []byte("[]"),
		"a load with directory": set("directory", "locale"),
		"a set without one":     set("schema", setSchema),
		"trailing object":       append(bytes.Clone(text), "{}"...),
		"trailing garbage":      append(bytes.Clone(text), 'x'),
		"too large":             append(bytes.Clone(text), bytes.Repeat([]byte(" "), MaxManifestSize)...),
		"no name":               set("name", ""),
		"name with a path":      set("name", "../x"),
		"no version":            set("version", ""),
		"version of two lines":  set("version", "1\n2"),
		"no models":             set("models", []string{}),
		"model named twice":     set("models", []string{"CP-7961G", "cp-7961g"}),
		"empty model":           set("models", []string{""}),
		"too many models":       set("models", many),
		"no time":               set("created", "yesterday"),
		"other hash":            set("algorithm", "md5"),
		"no components":         set("components", []any{}),
		"negative size":         comp("size", -1),
		"size as text":          comp("size", "200000"),
		"fractional size":       comp("size", 1.5),
		"size too large":        comp("size", int64(MaxFileSize)+1),
		"size beyond int64":     comp("size", 1e30),
		"size without chunks":   comp("size", 20_000_000),
		"other chunk size":      comp("chunk_size", 1024),
		"no chunk size":         comp("chunk_size", 0),
		"short table":           comp("chunks", "AAAA"),
		"table not base64":      comp("chunks", strings.Repeat("*", 172)),
		"no digest":             comp("digest", strings.Repeat("0", 64)),
		"short digest":          comp("digest", "abcd"),
		"component is NUL":      comp("name", "a\x00b"),
		"component of a parent": comp("name", ".."),
		"component is manifest": comp("name", "other.load"),
		"same name":             comp("name", "DSP41.SBN"),
		"too many components": edit(func(m map[string]any) {
			l := m["components"].([]any)
			for len(l) <= MaxComponents {
				l = append(l, l[0])
			}
			m["components"] = l
		}),
	}
	for name, b := range cases {
		if m, err := ParseManifest(b); !errors.Is(err, ErrManifest) || m != nil {
			t.Errorf("%s: got %v, want %v", name, err, ErrManifest)
		}
	}
	// A later schema is told apart even where its fields have other types.
	later := edit(func(m map[string]any) { m["schema"], m["components"] = 3, "elsewhere" })
	if _, err := ParseManifest(later); !errors.Is(err, ErrSchema) {
		t.Errorf("later schema: got %v, want %v", err, ErrSchema)
	}
	if m, err := ParseManifest(set("colour", map[string]any{"deep": []int{1}})); err != nil || m.Name != "SIP41.9-4-2" {
		t.Errorf("unknown field: %v", err)
	}
}

func TestMarshalRefusesWhatParseWould(t *testing.T) {
	m := sampleManifest(t)
	m.Components[0].Table = m.Components[0].Table[1:]
	if _, err := m.Marshal(); !errors.Is(err, ErrManifest) {
		t.Errorf("short table: %v", err)
	}
	m = sampleManifest(t)
	m.Components = nil
	big := Component{Size: MaxFileSize, Digest: DigestOf(nil), Table: make(Table, MaxChunks)}
	for i := range 12 {
		big.Name = fmt.Sprint("part", i)
		m.Components = append(m.Components, big)
	}
	if _, err := m.Marshal(); !errors.Is(err, ErrManifest) {
		t.Errorf("text beyond the limit: %v", err)
	}
	m.Components = m.Components[:11]
	if b, err := m.Marshal(); err != nil {
		t.Errorf("11 of the largest files: %v", err)
	} else if _, err := ParseManifest(b); err != nil {
		t.Error(err)
	}
}

func TestCheckName(t *testing.T) {
	for _, s := range []string{"a", "apps41.9-4-2ES26.sbn", "start_db.elf", "...x"[3:], "a..b", "SIP41.loads", "load",
		"raspberrypi,4-model-b.txt", "linux_6.1+deb12~rc1@x=y.img", strings.Repeat("x", MaxNameLen)} {
		if err := errors.Join(CheckName(s), CheckFileName(s)); err != nil {
			t.Errorf("%q is refused: %v", s, err)
		}
	}
	// Each of these means another thing somewhere: in a URL, in XML, in a shell.
	for _, s := range []string{"ld%41", "ld%2fx", "a?b", "a#b", "a b", "a&b", "a;b", "a<b", "a>b", `a"b`, "a'b", "a`b",
		"a$b", "a*b", "a|b", "a!b", "a(b", "a[b", "a{b", "a^b", "überlauf.bin", "ファーム.bin", "-rf", "~root"} {
		if err := CheckName(s); !errors.Is(err, ErrName) {
			t.Errorf("%q as the name of a component: got %v, want %v", s, err, ErrName)
		}
		if err := CheckFileName(s); err != nil {
			t.Errorf("%q as the name of a file: %v", s, err)
		}
	}
	for _, s := range []string{"", ".", "..", "...", ".hidden", "/etc/passwd", "a/b", `a\b`, `..\b`, "c:x", "....//x",
		"a\x00", "a\nb", "a\x7f", "a\u0085", "a.", "a ", " a", "x.load", "X.LOAD", "\xff", "a\u202eb", "a\u200b", "a\u2028b",
		strings.Repeat("x", MaxNameLen+1)} {
		if err := CheckName(s); !errors.Is(err, ErrName) {
			t.Errorf("%q: got %v, want %v", s, err, ErrName)
		}
		if err := CheckFileName(s); !errors.Is(err, ErrName) {
			t.Errorf("%q: got %v, want %v", s, err, ErrName)
		}
	}
}

func TestDescribe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := pattern(rapid.IntRange(0, 5*MinChunkSize).Draw(t, "size"))
		c, err := Describe("f", iotest.HalfReader(bytes.NewReader(b)), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if c.Digest != DigestOf(b) || c.Size != int64(len(b)) || len(c.Table) != c.Geometry().Chunks() {
			t.Fatalf("described as %d bytes in %d chunks, digest %s", c.Size, len(c.Table), c.Digest)
		}
		for i := range c.Table {
			off, n := c.Geometry().Span(i)
			chunk := bytes.Clone(b[off : off+int64(n)])
			if !c.Table.Check(i, chunk) {
				t.Fatalf("chunk %d is not what the table says", i)
			}
			chunk[n/2] ^= 1
			if c.Table.Check(i, chunk) {
				t.Fatalf("chunk %d passes with a wrong bit", i)
			}
		}
	})
	b := pattern(MinChunkSize + 10)
	n := int64(len(b))
	if _, err := Describe("f", bytes.NewReader(b), n+1); !errors.Is(err, ErrShort) {
		t.Errorf("short file: %v", err)
	}
	if _, err := Describe("f", bytes.NewReader(b), n-1); !errors.Is(err, ErrLong) {
		t.Errorf("long file: %v", err)
	}
	if _, err := Describe("f", bytes.NewReader(b), 0); !errors.Is(err, ErrLong) {
		t.Errorf("file not empty: %v", err)
	}
	if _, err := Describe("../f", bytes.NewReader(b), n); !errors.Is(err, ErrName) {
		t.Errorf("bad name: %v", err)
	}
	if _, err := Describe("f", bytes.NewReader(b), UnknownSize); err == nil {
		t.Error("unknown size is accepted")
	}
	if _, err := Describe("f", bytes.NewReader(b), MaxFileSize+1); err == nil {
		t.Error("a file too large is accepted")
	}
	broken := iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(b)))
	if _, err := Describe("f", broken, n); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("broken reader: %v", err)
	}
}

// TestDescribeMemory shows that memory does not grow with the file.
func TestDescribeMemory(t *testing.T) {
	const small, large = 8 << 20, 128 << 20
	bytesFor := func(size int64) int64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Describe("f", &zeros{n: size}, size); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return int64(after.TotalAlloc - before.TotalAlloc)
	}
	tables := int64((Geometry{Size: large}).Chunks()-(Geometry{Size: small}).Chunks()) * int64(len(Digest{}))
	if s, l := bytesFor(small), bytesFor(large); l > s+tables+16<<10 {
		t.Errorf("describing %d bytes took %d bytes of memory, %d took %d", small, s, large, l)
	}
}

// zeros is n zero bytes.
type zeros struct{ n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > z.n {
		p = p[:z.n]
	}
	clear(p)
	z.n -= int64(len(p))
	return len(p), nil
}

// TestFileSet: the manifest of a file set is one of another schema, so that no older
// program takes it for a load, and its directory is a plain name.
func TestFileSet(t *testing.T) {
	m := sampleManifest(t)
	m.Directory = "ring-tones"
	text, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(`"schema": 2`)) {
		t.Errorf("a file set of another schema: %.40s", text)
	}
	back, err := ParseManifest(text)
	if err != nil || !reflect.DeepEqual(back, m) {
		t.Errorf("read back as %+v, %v", back, err)
	}
	for _, bad := range []string{"..", "a/b", "A", "-a", "1a", "a b", strings.Repeat("a", MaxDirectoryLen+1), "a.b", "ä"} {
		m.Directory = bad
		if _, err := m.Marshal(); !errors.Is(err, ErrManifest) || !errors.Is(err, ErrName) {
			t.Errorf("directory %q: %v", bad, err)
		}
	}
	if err := CheckDirectory(""); !errors.Is(err, ErrName) {
		t.Errorf("no directory: %v", err)
	}
	if err := CheckDirectory(strings.Repeat("a", MaxDirectoryLen)); err != nil {
		t.Errorf("the longest directory: %v", err)
	}
}

func FuzzManifest(f *testing.F) {
	text, err := sampleManifest(f).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	set := sampleManifest(f)
	set.Directory = "locale"
	other, err := set.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(other)
	f.Add(
		[]byte(
			`{"schema":1,"algorithm":"sha256","name":"n","version":"1","models":["m"],"components":[{"name":"c","size":0,` +
				`"chunk_size":65536,"digest":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","chunks":""}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err != nil {
			if !errors.Is(err, ErrManifest) && !errors.Is(err, ErrSchema) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		out, err := m.Marshal()
		if err != nil {
			if len(b) < MaxManifestSize/4 {
				t.Fatal(err)
			}
			return
		}
		back, err := ParseManifest(out)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, m) {
			t.Fatalf("round trip: %+v, want %+v", back, m)
		}
	})
}

// TestManifestBounds: each bound of a manifest is taken up to it, and not beyond.
func TestManifestBounds(t *testing.T) {
	long := strings.Repeat("x", MaxTextLen+1)
	first := func(change func(*Component)) func(*Manifest) {
		return func(m *Manifest) { change(&m.Components[0]) }
	}
	for name, c := range map[string]struct {
		change func(m *Manifest)
		ok     bool
	}{
		"the longest version":   {func(m *Manifest) { m.Version = long[1:] }, true},
		"a longer version":      {func(m *Manifest) { m.Version = long }, false},
		"the longest model":     {func(m *Manifest) { m.Models = []string{long[1:]} }, true},
		"a longer model":        {func(m *Manifest) { m.Models = []string{long} }, false},
		"a version of a space":  {func(m *Manifest) { m.Version = " 1" }, false},
		"a version of no UTF-8": {func(m *Manifest) { m.Version = "\xff" }, false},
		"a hidden version":      {func(m *Manifest) { m.Version = "1\u200b2" }, false},
		"no time":               {func(m *Manifest) { m.Created = "" }, true},
		"no size":               {first(func(c *Component) { c.Size, c.Table = UnknownSize, make(Table, MaxChunks) }), false},
		"a size too large":      {first(func(c *Component) { c.Size = MaxFileSize + 1 }), false},
		"no digest":             {first(func(c *Component) { c.Digest = Digest{} }), false},
		"a table too long":      {first(func(c *Component) { c.Table = append(c.Table, Digest{}) }), false},
		"a bad component":       {first(func(c *Component) { c.Name = "a/b" }), false},
		"no components":         {func(m *Manifest) { m.Components = nil }, false},
	} {
		m := sampleManifest(t)
		c.change(m)
		b, err := m.Marshal()
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrManifest) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if _, err := ParseManifest(b); err != nil {
				t.Errorf("%s, read: %v", name, err)
			}
		}
	}
	text, err := sampleManifest(t).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	pad := func(n int) []byte { return append(bytes.Clone(text), bytes.Repeat([]byte(" "), n-len(text))...) }
	if _, err := ParseManifest(pad(MaxManifestSize)); err != nil {
		t.Errorf("the longest text: %v", err)
	}
	if _, err := ParseManifest(pad(MaxManifestSize + 1)); !errors.Is(err, ErrManifest) {
		t.Errorf("a longer text: %v", err)
	}
}
