package rfc5424

import (
	"strings"
	"testing"
	"time"

	"github.com/leodido/go-syslog/v4/rfc5424"
)

// TestBytes: a parser of others reads what was meant.
func TestBytes(t *testing.T) {
	m := Message{Facility: 13, Severity: Warning, Time: time.Unix(1, 5000), Host: "a host", App: "app", Process: 7,
		ID: "id 1", Params: [][2]string{{"a", `"x]\`}, {"none", ""}}, Text: "one\ntwo"}
	got, err := rfc5424.NewParser().Parse(m.Bytes(1000))
	if err != nil {
		t.Fatal(err)
	}
	s := got.(*rfc5424.SyslogMessage)
	sd := (*s.StructuredData)["peerload@32473"]
	if *s.Facility != 13 || *s.Severity != 4 || *s.Hostname != "ahost" || *s.MsgID != "id1" || *s.ProcID != "7" ||
		sd["a"] != `"x]\` || len(sd) != 1 || !strings.HasSuffix(*s.Message, "one two") || !s.Timestamp.Equal(m.Time) {
		t.Errorf("%+v %v", s, sd)
	}
	m.Text = strings.Repeat("あ", 1000)
	if b := m.Bytes(200); len(b) > 200 || len(b) < 197 || strings.Contains(string(b), "\ufffd") {
		t.Errorf("%d bytes: %q", len(b), b)
	}
}
