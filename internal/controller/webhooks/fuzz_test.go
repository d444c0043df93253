package webhooks

import (
	"net/http"
	"strings"
	"testing"
)

// FuzzURL: what is taken as the URL of a webhook leads to a host over https, or over
// http if that is allowed, and tells nobody's password.
func FuzzURL(f *testing.F) {
	for _, s := range []string{"https://chat.example/in?a=b", "http://h", "https://u:p@h/", "https://h/#x", "ftp://h/",
		"//h/", "https://", "https://[::1]:8/", "https://h:port/", "%", "https://h/\x00", "HTTPS://H"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, text string, allow bool) {
		if (NewWebhook{Name: "n", URL: text, AllowHTTP: allow}).check() != nil {
			return
		}
		r, err := http.NewRequest(http.MethodPost, text, http.NoBody)
		if err != nil {
			t.Fatalf("%q is taken, and cannot be asked: %v", text, err)
		}
		u := r.URL
		if u.Hostname() == "" || u.User != nil || u.Fragment != "" || len(text) > maxURL ||
			u.Scheme != "https" && !(allow && u.Scheme == "http") {
			t.Errorf("%q is taken: %+v", text, u)
		}
		if strings.Contains(text, "\x00") {
			t.Errorf("%q has a NUL", text)
		}
	})
}
