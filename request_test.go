package peerload_test

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload"
	"github.com/peerload/peerload/load"
)

// TestValidate: what cannot work is refused before anything begins, with a
// word on what is wrong.
func TestValidate(t *testing.T) {
	const file, signed = "http://192.0.2.1/app.bin", "http://192.0.2.1/phone.load"
	digest := peerload.SHA256(load.DigestOf([]byte("x")))
	for _, c := range []struct {
		name string
		set  func(*peerload.Request)
		want string // "": nothing is wrong
	}{
		{"one file", func(*peerload.Request) {}, ""},
		{"believed", func(r *peerload.Request) { r.Proof = peerload.Unsigned() }, ""},
		{"several believed", func(r *peerload.Request) {
			r.Proof, r.URLs = peerload.Unsigned(), []string{file, "tftp://192.0.2.1/b.bin", "192.0.2.1/c.bin"}
		}, ""},
		{"a load", func(r *peerload.Request) { r.Proof, r.URLs, r.Slots = peerload.Trust("/t"), []string{signed}, true }, ""},
		{"no proof", func(r *peerload.Request) { r.Proof = peerload.Proof{} }, "which bytes are right"},
		{"no digest", func(r *peerload.Request) { r.Proof = peerload.SHA256(load.Digest{}) },
			"SHA256 was given no digest"},
		{"no trust directory", func(r *peerload.Request) { r.Proof, r.URLs = peerload.Trust(""), []string{signed} }, "Trust"},
		{"no state", func(r *peerload.Request) { r.State = "" }, "State"},
		{"no URL", func(r *peerload.Request) { r.URLs = nil }, "URL"},
		{"no such scheme", func(r *peerload.Request) { r.URLs = []string{"ftp://192.0.2.1/f"} }, "scheme"},
		{"no file", func(r *peerload.Request) { r.URLs = []string{"http://192.0.2.1/d/"} }, "names no file"},
		{"no URL at all", func(r *peerload.Request) { r.URLs = []string{"app.bin"} }, "neither"},
		{"a digest for two", func(r *peerload.Request) { r.URLs = []string{file, file + "2"} }, "SHA256 speaks of one file"},
		{"signed files", func(r *peerload.Request) { r.Proof = peerload.Trust("/t") }, "Trust fetches one load"},
		{"slots for a file", func(r *peerload.Request) { r.Slots = true }, "Slots is for a signed load"},
		{"a load believed", func(r *peerload.Request) {
			r.Proof, r.URLs = peerload.Unsigned(), []string{signed}
		}, "Trust(dir)"},
		{"one name twice", func(r *peerload.Request) {
			r.Proof, r.URLs = peerload.Unsigned(), []string{file, "http://192.0.2.2/app.bin"}
		}, "each with its own Output"},
		{"linger", func(r *peerload.Request) { r.Linger = new(-time.Second) }, "Linger"},
		{"trees", func(r *peerload.Request) { r.Peers.Trees = 3 }, "Trees"},
		{"fewer trees than none", func(r *peerload.Request) { r.Peers.Trees = -1 }, "Trees"},
		{"both trees", func(r *peerload.Request) { r.Peers.Trees = 2 }, ""},
		{"address", func(r *peerload.Request) {
			r.Peers.Address = netip.PrefixFrom(netip.MustParseAddr("192.0.2.1"), 33)
		}, "Peers.Address"},
		{"profile", func(r *peerload.Request) { r.Peers.Profile = "wan" }, "profile"},
		{"retries", func(r *peerload.Request) { r.Server.Retries = new(-1) }, "Retries"},
		{"no retry", func(r *peerload.Request) { r.Server.Retries = new(0) }, ""},
		{"connect timeout", func(r *peerload.Request) { r.Server.ConnectTimeout = -1 }, "ConnectTimeout"},
		{"a header of two lines", func(r *peerload.Request) {
			r.Server.Header = http.Header{"X": {"a\r\nRange: bytes=0-"}}
		}, "line end"},
		{"rate", func(r *peerload.Request) { r.Server.LimitRate = -1 }, "LimitRate"},
		{"window", func(r *peerload.Request) { r.Server.TFTPWindow = -1 }, "indow"},
		{"header", func(r *peerload.Request) { r.Server.Header = http.Header{"Range": {"bytes=0-"}} }, "Range"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := peerload.Request{URLs: []string{file}, Proof: digest, State: "/s"}
			c.set(&r)
			err := r.Validate()
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (!errors.Is(err, peerload.ErrRequest) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v does not speak of %q", err, c.want)
			}
		})
	}
}
