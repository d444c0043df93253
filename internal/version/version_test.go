package version

import (
	"runtime/debug"
	"testing"
)

func TestOf(t *testing.T) {
	vcs := []debug.BuildSetting{
		{Key: "-trimpath", Value: "true"}, {Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"},
		{Key: "vcs.time", Value: "2026-11-29T23:30:00Z"},
	}
	changed := append(vcs[:len(vcs):len(vcs)], debug.BuildSetting{Key: "vcs.modified", Value: "true"})
	for want, b := range map[string]*debug.BuildInfo{
		"devel": nil,
		"0.1.0 (commit 0123456789ab, 2026-11-29)": {Main: debug.Module{Version: "v0.1.0"}, Settings: vcs},
		"0.2.0": {Main: debug.Module{Version: "v0.2.0"}}, // by the module path: the proxy has no commit
		"devel (commit 0123456789ab, 2026-11-29, changed since)": {Main: debug.Module{Version: "(devel)"}, Settings: changed},
		"0.1.1-0.20261129 (commit 0123456789ab, 2026-11-29, changed since)": {
			Main: debug.Module{Version: "v0.1.1-0.20261129+dirty"}, Settings: changed},
		"devel (commit 0123)": {Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123"}, {Key: "vcs.time", Value: "yesterday"}}},
	} {
		if got := Of(b).String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The test's own program was built by the Go command, from whatever it has.
func TestRead(t *testing.T) {
	if Read().Number == "" {
		t.Error("no version at all")
	}
}
