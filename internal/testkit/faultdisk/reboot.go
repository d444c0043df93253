package faultdisk

import (
	"math/rand/v2"
	"slices"
)

// Reboot returns the disk as it is found after the power came back: what was
// synced, and of the rest what the seed picks. Names: either the oldest of the
// changes up to some point, as a journal keeps them, or any of them. Contents:
// any of the pages written, some of them torn, and the length before, after or
// between, with zeros where nothing arrived. Everything on the new disk is
// durable; nothing of the old one changes.
func (d *Disk) Reboot(seed uint64) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, 0xdead))
	r := &reboot{to: New(seed), rng: rng, done: map[*node]*node{}, kept: map[*node]map[string]*node{}}
	r.to.capacity = d.capacity
	r.names(d)
	r.copyDir(d.root, r.to.root)
	return r.to
}

type reboot struct {
	to   *Disk
	rng  *rand.Rand
	done map[*node]*node            // old node to new
	kept map[*node]map[string]*node // surviving names of the old directories
	// chosen, if not nil, is what survives of each file that is not synced.
	chosen map[*node]variant
}

// survivors returns the surviving names of an old directory, to be changed.
func (r *reboot) survivors(dir *node) map[string]*node {
	m, ok := r.kept[dir]
	if !ok {
		m = make(map[string]*node, len(dir.kept))
		for name, n := range dir.kept {
			m[name] = n
		}
		r.kept[dir] = m
	}
	return m
}

// names decides which pending changes of names survive.
func (r *reboot) names(d *Disk) {
	inOrder := r.rng.IntN(2) == 0
	upTo := r.rng.IntN(len(d.pending) + 1)
	for i, c := range d.pending {
		keep := r.rng.IntN(2) == 0
		if inOrder {
			keep = i < upTo
		}
		if !keep {
			continue
		}
		if c.fromDir != nil {
			if m := r.survivors(c.fromDir); m[c.from] == c.node {
				delete(m, c.from)
			}
		}
		if c.toDir != nil {
			r.survivors(c.toDir)[c.to] = c.node
		}
	}
}

// copyDir fills the new directory with what survived of the old one.
func (r *reboot) copyDir(from, to *node) {
	m := r.survivors(from)
	for _, name := range sortedNames(m) {
		old := m[name]
		n, ok := r.done[old]
		if !ok {
			n = r.to.newNode(old.mode)
			r.done[old] = n
			n.target = old.target
			switch {
			case old.mode.IsDir():
				r.copyDir(old, n)
			case old.mode.IsRegular():
				n.data = r.content(old)
				n.stable, n.shared = n.data, true
			}
			r.to.used += n.room()
		}
		n.links++
		to.names[name], to.kept[name] = n, n
	}
}

func sortedNames(m map[string]*node) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// content decides what survives of a file.
func (r *reboot) content(n *node) []byte {
	if len(n.dirty) == 0 {
		return n.stable
	}
	if r.chosen != nil {
		return r.chosen[n].content(n)
	}
	// The length before, after, or somewhere between.
	short, long := min(len(n.stable), len(n.data)), max(len(n.stable), len(n.data))
	size := short
	switch r.rng.IntN(3) {
	case 0:
		size = long
	case 1:
		size += r.rng.IntN(long - short + 1)
	}
	b := make([]byte, size)
	copy(b, n.stable)
	pages := make([]int64, 0, len(n.dirty))
	for p := range n.dirty {
		pages = append(pages, p)
	}
	slices.Sort(pages)
	for _, p := range pages {
		from, to := p*pageSize, min((p+1)*pageSize, int64(len(n.data)))
		switch r.rng.IntN(3) {
		case 0: // lost
			continue
		case 1: // torn
			to = min(to, from+int64(r.rng.IntN(pageSize/sectorSize))*sectorSize)
		}
		if from < min(to, int64(size)) {
			copy(b[from:min(to, int64(size))], n.data[from:to])
		}
	}
	return b
}
