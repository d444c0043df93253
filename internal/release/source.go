package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/programs"
	"github.com/peerload/peerload/internal/version"
)

// source is the tree that is built: a clone of one commit.
type source struct {
	dir     string
	commit  string
	date    time.Time // of the commit
	version string    // without v
	tagged  bool      // the version is that of a tag
}

// versionTag is a tag that makes a version.
var versionTag = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$`)

// checkOut clones the commit into dir.
func checkOut(ctx context.Context, o options, dir string) (s source, err error) {
	git := func(args ...string) (string, error) { return programs.Output(ctx, ".", nil, "git", args...) }
	if s.commit, err = git("rev-parse", "--verify", "--end-of-options", o.commit+"^{commit}"); err != nil {
		return s, fmt.Errorf("-commit: there is no commit %q: %w", o.commit, err)
	}
	tags, err := git("tag", "--points-at", s.commit)
	if err != nil {
		return s, err
	}
	for tag := range strings.Lines(tags) {
		tag = strings.TrimSpace(tag)
		if !versionTag.MatchString(tag) {
			continue
		}
		if s.version != "" {
			return s, fmt.Errorf("commit %s has two versions, %s and v%s: remove one tag", s.commit, tag, s.version)
		}
		s.version = tag[1:]
	}
	root, err := git("rev-parse", "--show-toplevel")
	if err != nil {
		return s, err
	}
	s.dir = dir
	if err := programs.Command(ctx, ".", nil, "git", "clone", "--quiet", "--no-checkout", root, dir); err != nil {
		return s, err
	}
	if err := programs.Command(ctx, dir, nil, "git", "checkout", "--quiet", "--detach", s.commit); err != nil {
		return s, err
	}
	at, err := programs.Output(ctx, dir, nil, "git", "log", "-1", "--format=%cI")
	if err != nil {
		return s, err
	}
	if s.date, err = time.Parse(time.RFC3339, at); err != nil {
		return s, err
	}
	s.date = s.date.UTC()
	s.tagged = s.version != ""
	if !s.tagged {
		if !o.untagged {
			return s, fmt.Errorf("commit %s has no tag of a version, such as v0.1.0: tag it, or say -untagged to try", s.commit)
		}
		s.version = "0.0.0-" + s.date.Format("20060102150405") + "." + s.commit[:12]
		return s, nil
	}
	return s, s.told()
}

// told finds the version in the changelog: nobody should have to ask what is in it.
func (s source) told() error {
	raw, err := os.ReadFile(filepath.Join(s.dir, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	heading := "## [" + s.version + "] - "
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, heading) {
			return nil
		}
	}
	return fmt.Errorf("CHANGELOG.md of this commit has no heading %q with a date: write one, commit and tag", heading)
}

// built checks that a program says of itself what it was built from: the Go command
// writes nothing into it where it does not see the clone.
func (s source) built(program string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	v := version.Of(info)
	if v.Commit != s.commit || v.Modified || s.tagged && v.Number != s.version {
		return fmt.Errorf("%s says that it is %s, and was built from %s of commit %s", program, v, s.version, s.commit)
	}
	return nil
}
