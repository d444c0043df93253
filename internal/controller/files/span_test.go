package files

import (
	"net/http"
	"testing"
)

// TestRange: each form of the header Range is answered as RFC 9110 demands. The
// file has the bytes 0123456789.
func TestRange(t *testing.T) {
	base, _, _ := start(t)
	file := "/components/" + digest + ".a.bin"
	for span, want := range map[string]struct {
		status int
		body   string // "" for whatever a refusal or several parts have
		part   string
	}{
		"bytes=2-4":    {206, "234", "bytes 2-4/10"},
		"Bytes=2-4":    {206, "234", "bytes 2-4/10"},
		"BYTES=8-":     {206, "89", "bytes 8-9/10"},
		"bytes=-3":     {206, "789", "bytes 7-9/10"},
		"bytes=-30":    {206, "0123456789", "bytes 0-9/10"},
		"bytes=4-99":   {206, "456789", "bytes 4-9/10"},
		"bytes=-0,2-3": {206, "23", "bytes 2-3/10"},
		"bytes= 2-4 ":  {206, "234", "bytes 2-4/10"},
		"bytes=1-1,8-": {206, "", ""},
		"items=0-3":    {200, "0123456789", ""},
		"bytes":        {200, "0123456789", ""},
		"none=":        {200, "0123456789", ""},
		"=0-3":         {200, "0123456789", ""},
		"bytes=-0":     {416, "", "bytes */10"},
		"bytes=-0,-0":  {416, "", "bytes */10"},
		"bytes=10-":    {416, "", "bytes */10"},
		"bytes=99-100": {416, "", "bytes */10"},
		"bytes=x":      {416, "", "bytes */10"},
		"bytes=4-2":    {416, "", "bytes */10"},
		"bytes=--1":    {416, "", "bytes */10"},
	} {
		resp, body := ask(t, "GET", base, file, "Range", span)
		if resp.StatusCode != want.status || want.body != "" && body != want.body ||
			resp.Header.Get("Content-Range") != want.part {
			t.Errorf("%q: %d, %q, Content-Range %q", span, resp.StatusCode, body, resp.Header.Get("Content-Range"))
		}
	}
	// A condition that fails makes the range one that was not asked for.
	resp, body := ask(t, "GET", base, file, "Range", "bytes=-0", "If-Range", `"other"`)
	if resp.StatusCode != http.StatusOK || body != "0123456789" {
		t.Errorf("of another file: %d, %q", resp.StatusCode, body)
	}
}
