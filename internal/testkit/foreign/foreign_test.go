package foreign

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFind: the first program of the right make is taken, one of another make
// is named as such, and a missing one as missing.
func TestFind(t *testing.T) {
	empty, atftpd, hpa := t.TempDir(), t.TempDir(), t.TempDir()
	for dir, says := range map[string]string{atftpd: "atftp-0.8.0 (server)", hpa: "tftp-hpa 5.2, with remap"} {
		script := "#!/bin/sh\n[ \"$1\" = -V ] && echo '" + says + "'\nexit 1\n"
		if err := os.WriteFile(filepath.Join(dir, "in.tftpd"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		dirs  []string
		marks []string
		want  string // the folder, or what the error says
	}{
		{[]string{empty, atftpd, hpa}, []string{TFTPHPA}, hpa},
		{[]string{empty, atftpd, hpa}, nil, atftpd},
		{[]string{atftpd}, []string{TFTPHPA}, "in.tftpd is not that of tftp-hpa: run .ci/foreign.sh"},
		{[]string{hpa}, []string{TFTPHPA, "ipv6"}, "not that of tftp-hpa with ipv6"},
		{[]string{empty}, []string{TFTPHPA}, "in.tftpd is missing: run .ci/foreign.sh"},
		{nil, nil, "in.tftpd is missing"},
	} {
		got, err := find(c.dirs, "in.tftpd", c.marks)
		if filepath.IsAbs(c.want) {
			if err != nil || filepath.Dir(got) != c.want {
				t.Errorf("%v: %q, %v, want that in %s", c.dirs, got, err, c.want)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %q, %v, want %q", c.dirs, got, err, c.want)
		}
	}
}
