package origin

import (
	"net/url"
	"testing"
)

// TestShown: what may grant access is not shown, all else is.
func TestShown(t *testing.T) {
	for in, want := range map[string]string{
		"http://h/a.bin":                                "http://h/a.bin",
		"http://u:geheim@h/a.bin":                       "http://xxxxx@h/a.bin",
		"http://geheim@h/a.bin#geheim":                  "http://xxxxx@h/a.bin",
		"https://h/a%20b?X-Amz-Signature=geheim&part=2": "https://h/a%20b?X-Amz-Signature=xxxxx&part=xxxxx",
		"https://u:geheim@h/a?geheim":                   "https://xxxxx@h/a?xxxxx",
		"https://h/a?&sig=ge=heim&":                     "https://h/a?sig=xxxxx",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := Shown(u); got != want || u.String() != in {
			t.Errorf("%s is shown as %s, not %s", in, got, want)
		}
	}
}
