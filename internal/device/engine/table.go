package engine

import (
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// sendTable sends the digests of what is held over a link, in parts.
func (j *job) sendTable(l *link) {
	part, _ := j.content()
	t := part.Digests()
	for first := 0; first < len(t); first += wire.MaxTablePart {
		end := min(first+wire.MaxTablePart, len(t))
		l.send(outgoing{frame: &wire.TablePart{First: first, Total: len(t), Digests: t[first:end]}})
	}
}

// theirTable gathers the table that a parent sends.
type theirTable struct{ digests load.Table }

// add takes a part and reports whether the table is whole. A part that does
// not follow on the last one begins a new table.
func (t *theirTable) add(p *wire.TablePart) bool {
	if p.First == 0 {
		t.digests = nil
	}
	if p.First != len(t.digests) {
		return false
	}
	t.digests = append(t.digests, p.Digests...)
	return len(t.digests) == p.Total
}

// compare tells the machine which of the chunks held differ from a whole
// table.
func (j *job) compare(l pdp.Link, theirs load.Table) {
	part, gen := j.content()
	var differ []int
	for i, d := range part.Digests() {
		if i >= len(theirs) || d != theirs[i] {
			differ = append(differ, i)
		}
	}
	j.postAt(gen, pdp.Compared{Link: l, Differ: differ})
}

// drop forgets chunks that are wrong.
func (j *job) drop(indices []int) {
	part, gen := j.content()
	for _, i := range indices {
		if err := part.Drop(i); err != nil {
			j.diskFailed(gen, err)
			return
		}
	}
	j.mu.Lock()
	j.recent.clear()
	j.mu.Unlock()
}
