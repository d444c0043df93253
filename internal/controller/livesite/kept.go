package livesite

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/live"
)

const (
	// keepEvery is how often it is looked for sites whose upgrade has ended, or at which
	// somebody looks: they are to see little less if this process is killed.
	keepEvery = time.Minute
	// maxFile bounds the file of a site, in bytes.
	maxFile = 32 << 20
)

// keptSite is the file of a site.
type keptSite struct {
	Site    string       `json:"site"`
	Now     []live.State `json:"now"`
	Begun   time.Time    `json:"begun,omitzero"`
	Before  []live.State `json:"before,omitempty"`
	Changes []keptChange `json:"changes,omitempty"`
	Last    time.Time    `json:"last,omitzero"`
}

type keptChange struct {
	At     time.Time    `json:"at"`
	States []live.State `json:"states,omitempty"`
	Gone   []string     `json:"gone,omitempty"`
}

func (s *Service) file(site string) string {
	sum := sha256.Sum256([]byte(site))
	return filepath.Join(s.cfg.Dir, hex.EncodeToString(sum[:12])+".json")
}

// read reads what was kept of a site. Its numbers begin anew: the ids of another process
// are not known any more.
func (s *Service) read(st *site) error {
	if s.cfg.Dir == "" {
		return nil
	}
	text, err := durable.Read(s.file(st.name), maxFile)
	if errors.Is(err, fs.ErrNotExist) || err == nil && text == nil {
		return nil
	}
	if err != nil {
		return err
	}
	k, err := parseKept(text)
	if err == nil && k.Site != st.name {
		err = fmt.Errorf("it is of the site %q", k.Site)
	}
	if err != nil {
		return fmt.Errorf("%s: not what was kept of this site: %w", s.file(st.name), err)
	}
	st.restore(k)
	return nil
}

// parseKept reads the file of a site.
func parseKept(text []byte) (k keptSite, err error) {
	if err := json.Unmarshal(text, &k); err != nil {
		return k, err
	}
	all := [][]live.State{k.Now, k.Before}
	for _, c := range k.Changes {
		all = append(all, c.States)
	}
	for _, states := range all {
		for _, st := range states {
			if err := st.Validate(); err != nil {
				return k, err
			}
		}
	}
	return k, nil
}

func (s *site) restore(k keptSite) {
	for _, st := range k.Now {
		s.picture.Apply(st)
		s.old[st.Device] = k.Last
		if st.Busy() {
			s.busy[st.Device] = true
		}
	}
	s.begun, s.before, s.last = k.Begun, k.Before, k.Last
	for _, c := range k.Changes {
		s.seq++
		n := change{s.seq, c.At, c.States, c.Gone}
		s.changes, s.heavy = append(s.changes, n), s.heavy+n.weight()
	}
}

// Run keeps what is to outlive a restart, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	if s.cfg.Dir == "" {
		return
	}
	if err := (durable.Writer{}).MkdirAll(s.cfg.Dir, 0o700); err != nil {
		s.cfg.Log.Warn("the last upgrades of sites are not kept over a restart", "error", err)
		return
	}
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.keep(true)
			return
		case <-tick.C:
			s.keep(false)
		}
	}
}

// keep writes the sites that have changed and are quiet now or looked at; all of them at
// the end.
func (s *Service) keep(end bool) {
	s.mu.Lock()
	var all []*site
	for _, st := range s.sites {
		all = append(all, st)
	}
	s.mu.Unlock()
	for _, st := range all {
		text, ok := st.kept(end)
		if !ok {
			continue
		}
		if err := durable.Replace(s.file(st.name), text, 0o600); err != nil {
			s.cfg.Log.Warn("the last upgrade of a site is not kept over a restart", "site", st.name, "error", err)
		}
	}
}

// kept is the file of a site; false if it need not be written.
func (s *site) kept(end bool) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	if !s.dirty || !end && len(s.watchers) == 0 && s.now().Sub(s.last) < quietTime {
		return nil, false
	}
	k := keptSite{Site: s.name, Now: s.picture.All(), Begun: s.begun, Before: s.before, Last: s.last}
	for _, c := range s.changes {
		k.Changes = append(k.Changes, keptChange{c.at, c.states, c.gone})
	}
	text, err := json.Marshal(k)
	if err != nil || len(text) > maxFile {
		return nil, false
	}
	s.dirty = false
	return text, true
}
