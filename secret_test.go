package peerload_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peerload/peerload"
	"github.com/peerload/peerload/report"
)

// TestPresigned: what a query grants access by stands in no event, report, error or
// file that the device keeps, whether the server has the file or not.
func TestPresigned(t *testing.T) {
	url := files(t, map[string]string{"/a.bin": "aaa"})
	for _, u := range []string{url + "/a.bin", url + "/missing.bin", "http://127.0.0.1:1/a.bin"} {
		r := alone(t, u+"?X-Amz-Signature=geheim&part=1")
		var told []byte
		r.Events = func(e report.Event) {
			b, err := json.Marshal(e)
			if err != nil {
				t.Error(err)
			}
			told = append(told, b...)
		}
		finals, err := peerload.Fetch(t.Context(), r)
		b, errJSON := json.Marshal(finals)
		if errJSON != nil {
			t.Fatal(errJSON)
		}
		if told = append(told, b...); err != nil {
			told = append(told, err.Error()...)
		}
		err = filepath.WalkDir(r.State, func(at string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(at)
			told = append(told, b...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		text := string(told)
		if strings.Contains(text, "geheim") || !strings.Contains(text, `X-Amz-Signature=xxxxx`) {
			t.Errorf("%s: told %s", u, text)
		}
	}
}
