package main

import (
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/policy"
)

func TestBulkRows(t *testing.T) {
	rows, err := bulkRows(
		[]byte("\xef\xbb\xbfdevice,model,peer-sharing,wan-limit,profile\r\nSEP1,7941,on,-,\r\n\"SEP2\",,,200k,-\r\n"), true)
	if err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	a, b := rows[0].Change, rows[1].Change
	if !rows[0].Create || rows[0].Device != "SEP1" || *a.Model != "7941" || a.Profile != nil ||
		a.Settings.Set[policy.PeerSharing] != "on" ||
		len(a.Settings.Unset) != 1 || a.Settings.Unset[0] != policy.WANLimit {
		t.Errorf("first row: %+v", rows[0])
	}
	if b.Model != nil || b.Profile == nil || *b.Profile != "" || len(b.Settings.Set) != 1 {
		t.Errorf("second row: %+v", rows[1])
	}
	for in, says := range map[string]string{"": "first line", "name\nx\n": `"device"`, "device,colour\nx,red\n": "colour",
		"device,model\nx\n": "wrong number"} {
		if _, err := bulkRows([]byte(in), false); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

// FuzzBulkRows: any text is read or refused, and a row changes only what its
// columns name.
func FuzzBulkRows(f *testing.F) {
	f.Add("device,model,peer-sharing\nSEP1,7941,on\n")
	f.Add("device,site,site\na,-,\n\"b\n\",c,d\n")
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := bulkRows([]byte(text), false)
		if err != nil {
			return
		}
		header, _, _ := strings.Cut(text, "\n")
		for _, r := range rows {
			if r.Change.Model != nil && !strings.Contains(header, "model") ||
				len(r.Change.Settings.Unset)+len(r.Change.Settings.Set) > strings.Count(text, ",") {
				t.Errorf("%q gives %+v", text, r)
			}
		}
	})
}
