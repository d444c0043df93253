package provision

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/peerload/peerload/internal/policy"
)

// sep has the shape of a real phone's file: unknown elements, comments, empty
// elements, CRLF, a byte order mark, attributes, entities.
const sep = "\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n" +
	`<device  xsi:type="axl:XIPPhone" ctiid="94" uuid="{8e8d4c6f}">
<fullConfig>true</fullConfig>
<deviceProtocol>SCCP</deviceProtocol>
<devicePool uuid="{1b1b9eb6}">
 <name>Default</name>
 <dateTimeSetting><dateTemplate>D/M/YA</dateTemplate></dateTimeSetting>
 <callManagerGroup><members><member priority="0"><callManager><name>cm1</name></callManager></member></members></callManagerGroup>
</devicePool>
<!-- <loadInformation>SCCP41.8-0-1S</loadInformation> -->
<loadInformation>SCCP41.9-4-2SR3-1S</loadInformation>
<commonProfile><phonePassword></phonePassword><callLogBlfEnabled>2</callLogBlfEnabled></commonProfile>
<vendorConfig>
 <disableSpeaker>false</disableSpeaker>
 <webAccess>0</webAccess>
 <peerFirmwareSharing>0</peerFirmwareSharing>
 <loadServer></loadServer>
 <logServer>10.1.1.9:5514</logServer>
</vendorConfig>
<commonConfig>
 <loadServer>loads.example&#46;net</loadServer>
 <peerFirmwareSharing>1</peerFirmwareSharing>
</commonConfig>
<enterpriseConfig>
 <peerFirmwareSharing>1</peerFirmwareSharing>
 <loadServer> 10.0.0.7 </loadServer>
 <logServer>10.1.1.8</logServer>
</enterpriseConfig>
<addOnModules></addOnModules>
<vendorX><vendorConfig><peerFirmwareSharing>7</peerFirmwareSharing></vendorConfig></vendorX>
</device>
`

const xmlDefault = `<Default>
<callManagerGroup><members><member priority="0"/></members></callManagerGroup>
<loadInformation30018  model="IP Phone 7961">SCCP41.9-4-2SR3-1S</loadInformation30018>
<loadInformation00115 model="Cisco IP Phone 7941">SCCP41.9-4-2SR3-1S</loadInformation00115>
<loadInformation8 model="Cisco IP Phone 7940">P00308010200</loadInformation8>
<loadInformation436 model="IP Phone 7965"></loadInformation436>
<loadInformation404>SCCP42.9-4-2SR3-1S</loadInformation404>
<authenticationURL></authenticationURL>
</Default>`

func crlf(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}

func TestRealShapes(t *testing.T) {
	for _, text := range []string{sep, crlf(sep), strings.TrimPrefix(sep, "\xef\xbb\xbf")} {
		f, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		want := policy.Levels{
			Enterprise: policy.Values{policy.PeerSharing: policy.On, policy.LoadServer: "10.0.0.7",
				policy.LogServer: "10.1.1.8"},
			Profile: policy.Values{policy.PeerSharing: policy.On, policy.LoadServer: "loads.example.net"},
			Device:  policy.Values{policy.PeerSharing: policy.Off, policy.LogServer: "10.1.1.9:5514"},
		}
		if f.Default || !reflect.DeepEqual(f.Levels, want) {
			t.Errorf("levels %+v, want %+v", f.Levels, want)
		}
		if len(f.Loads) != 1 || f.Loads[0].Load != "SCCP41.9-4-2SR3-1S" || f.Loads[0].Line != 11 {
			t.Errorf("loads %+v", f.Loads)
		}
		kept := map[string]string{}
		for _, o := range f.Others {
			kept[o.Path] = o.Value
		}
		for path, v := range map[string]string{"device/fullConfig": "true", "device/vendorConfig/webAccess": "0",
			"device/vendorX/vendorConfig/peerFirmwareSharing": "7", "device/commonProfile/callLogBlfEnabled": "2"} {
			if kept[path] != v {
				t.Errorf("%s was kept as %q, want %q", path, kept[path], v)
			}
		}
		if load, err := f.Assigned(policy.Builtin(), "CP-7941G"); load != "SCCP41.9-4-2SR3-1S" || err != nil {
			t.Errorf("assigned %q, %v", load, err)
		}
	}
}

func TestDefaultFile(t *testing.T) {
	f, err := Parse([]byte(xmlDefault))
	if err != nil || !f.Default || len(f.Loads) != 5 {
		t.Fatalf("%+v, %v", f, err)
	}
	for model, want := range map[string]string{"7961": "SCCP41.9-4-2SR3-1S", "CP-7941G": "SCCP41.9-4-2SR3-1S",
		"Cisco 7940": "P00308010200", "CP-7965G": "", "7962": "SCCP42.9-4-2SR3-1S", "CP-7975G": "", "linux-arm": ""} {
		if got, err := f.Assigned(policy.Builtin(), model); got != want || err != nil {
			t.Errorf("%s gets %q, %v; want %q", model, got, err, want)
		}
	}
}

func TestAssignedToAnotherModel(t *testing.T) {
	f, err := Parse([]byte(`<device><loadInformation model="Cisco IP Phone 7961">A</loadInformation></device>`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Assigned(policy.Builtin(), "7941"); !errors.Is(err, ErrModel) {
		t.Errorf("%v, want ErrModel", err)
	}
}

func TestErrorsTellTheLine(t *testing.T) {
	deep := strings.Repeat("<a>", MaxDepth) + strings.Repeat("</a>", MaxDepth)
	for name, c := range map[string]struct {
		text string
		line int
		says string
	}{
		"empty":          {"", 0, "no element"},
		"a page":         {"\n<html><body>404</body></html>", 2, "<html>"},
		"torn":           {"<device>\n<vendorConfig>\n", 3, "well-formed"},
		"crossed":        {"<device>\n<a></b></device>", 2, "well-formed"},
		"unknown entity": {"<device>\n\n<a>&evil;</a></device>", 3, "evil"},
		"document type": {"<!DOCTYPE device [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>\n<device>&a;</device>", 1,
			"document type"},
		"a value": {"<device>\n<vendorConfig>\n" +
			"<peerFirmwareSharing>perhaps</peerFirmwareSharing></vendorConfig></device>", 3, "perhaps"},
		"a server":        {"<device>\n<commonConfig><loadServer>ftp://x</loadServer></commonConfig></device>", 2, "scheme"},
		"a load":          {"<device>\n<loadInformation>../x</loadInformation></device>", 2, "name"},
		"UTF-16":          {"\xff\xfe<\x00d\x00", 1, "UTF-16"},
		"another charset": {"<?xml version=\"1.0\" encoding=\"Shift_JIS\"?><device/>", 1, "Shift_JIS"},
		"two roots":       {"<device/>\n<device/>", 2, "second root"},
		"deep":            {"<device>\n" + deep + "</device>", 2, "deep"},
		"many":            {"<device>" + strings.Repeat("<a/>", MaxElements) + "</device>", 1, "elements"},
		"large":           {"<device>" + strings.Repeat(" ", MaxSize) + "</device>", 0, "bytes"},
		"a broken text":   {"<device>\n\xff</device>", 2, "UTF-8"},
	} {
		f, err := Parse([]byte(c.text))
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, ErrFile) || f != nil || !strings.Contains(err.Error(), c.says) ||
			c.line > 0 && e.Line != c.line {
			t.Errorf("%s: %v, want line %d and %q", name, err, c.line, c.says)
		}
	}
}

func TestEncodings(t *testing.T) {
	f, err := Parse([]byte("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><device><loadInformation " +
		"model=\"T\xe9l\">A</loadInformation></device>"))
	if err != nil || f.Loads[0].Model != "Tél" {
		t.Errorf("%+v, %v", f, err)
	}
}

// TestLenient: what a phone's file may have besides changes nothing.
func TestLenient(t *testing.T) {
	for _, text := range []string{sep, "<device><vendorConfig><webAccess>0</webAccess></vendorConfig></device>",
		"<device>text</device>", "<device><vendorConfig/><vendorConfig/></device>",
		"<device><vendorConfig><logServer>a</logServer><logServer>b</logServer></vendorConfig></device>"} {
		if _, err := Parse([]byte(text)); err != nil {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

// TestTableIsWhole: every setting that policy knows stands in every form. A
// setting that is missing in one place is how CSCso40251 and CSCtb49726 look.
func TestTableIsWhole(t *testing.T) {
	values := policy.Values{}
	for _, s := range policy.Settings() {
		if back, ok := policy.ByElement(s.Element); !ok || back.Name != s.Name {
			t.Errorf("%s is not found by its element %q", s.Name, s.Element)
		}
		v := s.Default
		if v == "" {
			v = "10.0.0.5"
		}
		values[s.Name] = v
	}
	f := &File{Group: "cameras", Levels: policy.Levels{Model: values, Enterprise: values, Profile: values, Device: values}}
	roundTrip(t, f)
}

// TestCSCso40251_CSCtb49726_EveryModelHasTheField: the setting of any model of
// the table survives writing and reading, in both forms, at every level.
func TestCSCso40251_CSCtb49726_EveryModelHasTheField(t *testing.T) {
	for _, m := range policy.Builtin().Models() {
		for i, s := range sections {
			f := &File{Loads: []Assignment{{Load: "L1", Model: m.Name}}}
			*s.of(&f.Levels) = policy.Values{policy.PeerSharing: policy.On}
			back := roundTrip(t, f)
			a, err := policy.Effective(policy.PeerSharing, m, back.Levels)
			if err != nil || m.CanShare && (a.Value != policy.On || a.Level != policy.LevelModel+policy.Level(i)) ||
				!m.CanShare && a.Value != policy.Off {
				t.Errorf("%s at %s: %+v, %v", m.Name, s.key, a, err)
			}
		}
	}
}

func roundTrip(t *testing.T, f *File) *File {
	t.Helper()
	b, err := f.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(b)
	if err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	// Nothing stands in the text that Parse does not know, and nothing twice.
	if again, err := back.Marshal(); err != nil || !bytes.Equal(again, b) {
		t.Fatalf("%v, written again as\n%s\nafter\n%s", err, again, b)
	}
	native := nativeText(t, f)
	fromTOML, err := ParseTOML(native)
	if err != nil {
		t.Fatalf("%v in\n%s", err, native)
	}
	for form, got := range map[string]*File{"XML": back, "TOML": fromTOML} {
		if g, w := plain(got), plain(f); g != w {
			t.Errorf("%s: %s, want %s", form, g, w)
		}
	}
	return back
}

// nativeText is the file in the native form, as an administrator would write it.
func nativeText(t *testing.T, f *File) []byte {
	t.Helper()
	top := map[string]any{"default": f.Default, "group": f.Group}
	if f.Grant != nil {
		table := map[string]any{}
		for _, g := range grantFields {
			if text := g.text(f.Grant); text != "" {
				table[g.key] = text
			}
		}
		top[grantKey] = table
	}
	var rows []map[string]string
	for _, a := range f.Loads {
		rows = append(rows, map[string]string{"load": a.Load, "model": a.Model, "type": a.Type})
	}
	if len(rows) > 0 {
		top["loads"] = rows
	}
	if by, told := f.FileSets.Told(); told {
		top["file-sets"] = by
	}
	for _, s := range sections {
		if values := *s.of(&f.Levels); len(values) > 0 {
			top[s.key] = values
		}
	}
	b, err := toml.Marshal(top)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// plain is what a file says, without lines and without what is unset.
func plain(f *File) string {
	s := fmt.Sprint(f.Default)
	for _, a := range f.Loads {
		s += fmt.Sprintf(" %q/%q/%q", a.Load, a.Model, a.Type)
	}
	by, told := f.FileSets.Told()
	return s + fmt.Sprint(f.Group, told, by, Written(f))
}

// TestFileSets: a file says which sets a device is to have, or that it is to have
// none, or nothing of them.
func TestFileSets(t *testing.T) {
	two := map[string]string{"locale": "locale-jp-9.4", "ring-tones": "rings-2"}
	for _, f := range []*File{{}, {FileSets: TellFileSets(nil)}, {FileSets: TellFileSets(two)}} {
		roundTrip(t, f)
	}
	device := func(inner string) []byte { return []byte("<device>" + inner + "</device>") }
	for text, want := range map[string]string{
		"": "false map[]", "<fileSets/>": "true map[]", "<fileSets><other/></fileSets>": "true map[]",
		"<fileSet directory='a'>x</fileSet>":                                                        "false map[]",
		"<fileSets><fileSet directory='a'>x</fileSet></fileSets>":                                   "true map[a:x]",
		"<fileSets><fileSet directory=' a '> x.load </fileSet></fileSets>":                          "true map[a:x]",
		"<fileSets><fileSet directory='a'>x</fileSet></fileSets><fileSets/>":                        "true map[a:x]",
		"<fileSets><fileSet directory='a'>x</fileSet><fileSet directory='a'/></fileSets>":           "true map[]",
		"<fileSets><fileSet directory='a'>x</fileSet><fileSet directory='a'>y</fileSet></fileSets>": "true map[a:y]",
	} {
		f, err := Parse(device(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		by, told := f.FileSets.Told()
		if got := fmt.Sprint(told, by); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	many := "<fileSets>"
	for i := range MaxFileSets + 1 {
		many += fmt.Sprintf("<fileSet directory='d%d'>x</fileSet>", i)
	}
	for _, bad := range []string{"<fileSets><fileSet>x</fileSet></fileSets>", many + "</fileSets>",
		"<fileSets><fileSet directory='../a'>x</fileSet></fileSets>",
		"<fileSets><fileSet directory='a'>a/b</fileSet></fileSets>",
	} {
		var e *Error
		if _, err := Parse(device(bad)); !errors.Is(err, ErrFile) || !errors.As(err, &e) || e.Line != 1 {
			t.Errorf("%.60s: %v", bad, err)
		}
	}
	for _, bad := range []string{"file-sets = 1", "file-sets = [\"a\"]", "[file-sets]\na = 1",
		"[file-sets]\n\"A\" = \"x\"",
		"[file-sets]\na = \"../x\""} {
		if _, err := ParseTOML([]byte(bad)); !errors.Is(err, ErrFile) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sep))
	f.Add([]byte(xmlDefault))
	f.Add([]byte("<device><fileSets><fileSet directory='locale'>x</fileSet></fileSets></device>"))
	f.Add([]byte("<device><vendorConfig><wanLimit>2M</wanLimit></vendorConfig></device>"))
	granted, err := (&File{Grant: grantOfTests()}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(granted)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrFile) {
				t.Fatalf("%v is no ErrFile", err)
			}
			return
		}
		roundTrip(t, p)
		name, err := p.Assigned(policy.Builtin(), "CP-7941G")
		if err != nil && (name != "" || !errors.Is(err, ErrModel)) {
			t.Fatalf("the load %q with %v", name, err)
		}
	})
}

func FuzzNative(f *testing.F) {
	f.Add([]byte("load = \"A.loads\"\n[enterprise]\npeer-sharing = true\nwan-limit = \"2M\"\n"))
	f.Add([]byte("default = true\n[[loads]]\nmodel = \"CP-7941G\"\nload = \"A\"\ntype = 115\n"))
	f.Add([]byte(`{"load": "A", "device": {"peer-sharing": "on", "retention": 5}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func([]byte) (*File, error){ParseTOML, ParseJSON} {
			p, err := parse(b)
			if err == nil {
				roundTrip(t, p)
			} else if !errors.Is(err, ErrFile) {
				t.Fatalf("%v is no ErrFile", err)
			}
		}
	})
}

func TestNative(t *testing.T) {
	want := &File{Loads: []Assignment{{Load: "A"}}, Levels: policy.Levels{
		Enterprise: policy.Values{policy.PeerSharing: policy.On, policy.WANLimit: "5"}}}
	a, err := ParseTOML([]byte("load = \"A.loads\"\n[enterprise]\npeer-sharing = true\nwan-limit = 5\n" +
		"log-server = \"\"\n"))
	if err != nil || plain(a) != plain(want) {
		t.Errorf("%+v, %v", a, err)
	}
	b, err := ParseJSON([]byte(`{"load": "A", "enterprise": {"peer-sharing": true, "wan-limit": 5}}`))
	if err != nil || plain(b) != plain(want) {
		t.Errorf("%+v, %v", b, err)
	}
	for text, says := range map[string]string{
		"load = 5.5":                   "load",
		"loads = 5":                    "loads",
		"\n\nload = ":                  "line 3",
		"[enterprise]\npeer = true":    "peer",
		"[enterprise]\ntiming = \"x\"": "timing",
		"[site]\n":                     "site",
		"default = 1":                  "default",
		"[[loads]]\nlod = \"A\"":       "lod",
	} {
		if _, err := ParseTOML([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q in it", text, err, says)
		}
	}
	if _, err := ParseJSON([]byte("{\n\"load\": }")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("%v", err)
	}
}

func TestLease(t *testing.T) {
	five, six := netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("10.0.0.6")
	both := []netip.Addr{five, six}
	for name, c := range map[string]struct {
		text string
		want Lease
	}{
		"dhclient, the last lease": {"lease {\n  option unknown-150 1:2:3:4;\n}\nlease {\n  interface \"eth0\";\n" +
			"  option routers 10.0.0.1;\n" +
			"  option unknown-150 a:0:0:5:a:0:0:6;\n  option tftp-server-name \"fw.example\";\n}\n", Lease{both, "fw.example"}},
		"dhclient, a named option": {"lease {\n option voip-tftp-server 10.0.0.5, 10.0.0.6;\n}\n", Lease{both, ""}},
		"systemd-networkd": {"# This is private data.\nADDRESS=10.0.0.77\nOPTION_150=0a0000050a000006\n",
			Lease{both, ""}},
		"udhcpc": {"ip=10.0.0.77\nsiaddr=10.0.0.1\nopt150=0a000005\ntftp=10.0.0.6\n",
			Lease{[]netip.Addr{five}, "10.0.0.6"}},
		"udhcpc, only 66": {"tftp=fw-1.example\n", Lease{nil, "fw-1.example"}},
		"dhclient-script": {"new_unknown_150='a:0:0:5'\n", Lease{[]netip.Addr{five}, ""}},
		"dhcpcd":          {"new_tftp_server_name=10.0.0.5\n", Lease{nil, "10.0.0.5"}},
		"dhclient, another interface after it": {"lease {\n  interface \"eth0\";\n  option tftp-server-name \"fw\";\n}\n" +
			"lease {\n  interface \"usb0\";\n  option routers 10.9.0.1;\n}\n", Lease{nil, "fw"}},
		"dhclient, two interfaces": {"lease {\n  interface \"eth0\";\n  option tftp-server-name \"old\";\n}\n" +
			"lease {\n  interface \"eth1\";\n  option tftp-server-name \"fw\\000\";\n}\n", Lease{nil, "fw"}},
		"dhclient, renewed": {"lease {\n  interface \"eth0\";\n  option tftp-server-name \"old\";\n}\n" +
			"lease {\n  interface \"eth0\";\n  option unknown-150 a:0:0:5;\n}\n", Lease{[]netip.Addr{five}, ""}},
		"dhcpcd's message": {message("\x00\x42\x0afw.example\x00\x96\x08\x0a\x00\x00\x05\x0a\x00\x00\x06\xff\x96\x04abcd"),
			Lease{both, "fw.example"}},
		"dhcpcd's message, only 66": {message("\x35\x01\x05\x42\x0afw.example\xff"), Lease{nil, "fw.example"}},
		"NetworkManager's script":   {"DHCP4_TFTP_SERVER_NAME=10.0.0.5\n", Lease{nil, "10.0.0.5"}},
		"a URL in 66":               {"new_tftp_server_name=http://10.0.0.5/fw\n", Lease{nil, "http://10.0.0.5/fw"}},
		"a port in 66":              {"new_tftp_server_name=10.0.0.5:6970\n", Lease{nil, "10.0.0.5:6970"}},
		"66 as bytes":               {"OPTION_66=66772e6578616d706c65\n", Lease{nil, "fw.example"}},
	} {
		got, err := ParseLease([]byte(c.text))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
	for _, text := range []string{"", "ip=10.0.0.1\n", "opt150=0a0000\n", "tftp=a b;rm\n",
		// udhcpc refuses a URL with this word.
		"interface=eth0\ntftp=bad\n", "tftp=ftp://10.0.0.5/\n", "tftp=http://\n", "tftp=file:///etc\n",
		"lease {\n  interface \"eth0\";\n  option tftp-server-name \"fw\";\n}\nlease {\n  interface \"eth0\";\n}\n",
		message("\x42\x0afw"), message("\xff"), message(""),
		strings.Repeat("x", MaxLeaseSize+1)} {
		if got, err := ParseLease([]byte(text)); !errors.Is(err, ErrLease) {
			t.Errorf("%.20q: %+v, %v", text, got, err)
		}
	}
	if h := (Lease{both, "fw"}).Hosts(); !reflect.DeepEqual(h, []string{"10.0.0.5", "10.0.0.6"}) {
		t.Errorf("%v", h)
	}
}

// message is a DHCP message with these options.
func message(options string) string {
	return "\x02" + strings.Repeat("\x00", cookieAt-1) + "\x63\x82\x53\x63" + options
}

func FuzzLease(f *testing.F) {
	f.Add([]byte(message("\x42\x02fw\x96\x04\x0a\x00\x00\x05\xff")))
	f.Add([]byte("lease {\n option unknown-150 a:0:0:5;\n}\nopt150=0a000005\ntftp=x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ParseLease(b)
		if err == nil && (len(l.Hosts()) == 0 || len(l.Hosts()) > maxServers) {
			t.Fatalf("%+v", l)
		}
	})
}

// TestEmptyInTheNativeForm: an empty value hides that of weaker levels; where it
// is no value it sets nothing.
func TestEmptyInTheNativeForm(t *testing.T) {
	for name, read := range map[string]func() (*File, error){
		"TOML": func() (*File, error) {
			return ParseTOML([]byte("[enterprise]\nload-server = \"10.0.0.1\"\npeer-sharing = true\n" +
				"[device]\nload-server = \"\"\npeer-sharing = \"\"\n"))
		},
		"JSON": func() (*File, error) {
			return ParseJSON([]byte(`{"enterprise": {"load-server": "10.0.0.1", "peer-sharing": true},
				"device": {"load-server": "", "peer-sharing": ""}}`))
		},
	} {
		f, err := read()
		if err != nil {
			t.Fatal(name, err)
		}
		for setting, want := range map[string]policy.At{policy.LoadServer: {Level: policy.LevelDevice},
			policy.PeerSharing: {Level: policy.LevelEnterprise, Value: policy.On}} {
			a, err := policy.Effective(setting, policy.Builtin().Lookup("7961"), f.Levels)
			if err != nil || a.At != want {
				t.Errorf("%s: %s is %+v, %v", name, setting, a.At, err)
			}
		}
		b, err := f.Marshal()
		if err != nil || strings.Contains(string(b), "10.0.0.1") {
			t.Errorf("%s: as XML %s, %v", name, b, err)
		}
	}
}
