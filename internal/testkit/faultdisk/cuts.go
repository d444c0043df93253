package faultdisk

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	iofs "io/fs"
	"math/rand/v2"
	"slices"
)

// Cuts enumerates the states in which a disk can be found after a power cut. At
// each changing operation, Look sees those that are possible there: of the
// changes of names that are not durable, any subset; of each file that is not
// synced, any of its lengths and, page by page, any of its versions since the
// last sync, some of them torn. Where there are more than Most, the extremes
// and a random choice of the others are seen. A state is seen once for each
// promise that holds.
type Cuts struct {
	// Most states are seen at one operation; at least 1.
	Most int
	// Seed of the choice.
	Seed uint64
	// Promised says what a program has reported as durable by now, nil for
	// nothing.
	Promised func() string
	// Look sees states after the first op operations. The disks are new, and
	// everything on them is durable.
	Look func(op int, states []*Disk)

	rng    *rand.Rand
	hash   maphash.Seed
	seen   map[uint64]bool // states, by promise
	states map[uint64]bool // states alone
	made   uint64
}

// Watch lets c see the states of a power cut from now on. Everything on the
// disk so far counts as durable.
func (d *Disk) Watch(c *Cuts) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.rng = rand.New(rand.NewPCG(c.Seed, 0xc075))
	c.hash = maphash.MakeSeed()
	c.seen, c.states = map[uint64]bool{}, map[uint64]bool{}
	d.watch = c
	d.root.keepPast()
}

func (n *node) keepPast() {
	for _, c := range n.names {
		c.keepPast()
	}
	if n.mode.IsRegular() && n.past == nil {
		n.past = &past{}
	}
}

// Unwatch shows Cuts what can be found now, after the last operation, and ends
// it. It returns how many states were possible and seen in all.
func (d *Disk) Unwatch() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.watch
	c.look(d)
	d.watch = nil
	return len(c.states)
}

// past is what a file was since its last sync.
type past struct {
	pages map[int64][][]byte // its versions, the oldest first
	sizes []int64
}

func (p *past) page(n *node, at int64) {
	if p == nil {
		return
	}
	if p.pages == nil {
		p.pages = map[int64][][]byte{}
	}
	p.pages[at] = append(p.pages[at], bytes.Clone(pageOf(n.data, at)))
}

func (p *past) size(n int64) {
	if p != nil {
		p.sizes = append(p.sizes, n)
	}
}

func (p *past) forget() {
	if p != nil {
		*p = past{}
	}
}

// pageOf is one page of a content, short or empty at its end.
func pageOf(b []byte, at int64) []byte {
	from := min(at*pageSize, int64(len(b)))
	return b[from:min(from+pageSize, int64(len(b)))]
}

// look shows the states that are possible now. d is locked.
func (c *Cuts) look(d *Disk) {
	if c == nil {
		return
	}
	promise := maphash.String(c.hash, "")
	if c.Promised != nil {
		promise = maphash.String(c.hash, c.Promised())
	}
	var fresh []*Disk
	for _, ch := range c.choices(d) {
		s := c.build(d, ch)
		h := c.sum(s.root)
		c.states[h] = true
		var key [16]byte
		binary.NativeEndian.PutUint64(key[:], h)
		binary.NativeEndian.PutUint64(key[8:], promise)
		if k := maphash.Bytes(c.hash, key[:]); !c.seen[k] {
			c.seen[k] = true
			fresh = append(fresh, s)
		}
	}
	if len(fresh) > 0 {
		c.Look(d.ops, fresh)
	}
}

// choice is one way that a power cut can go.
type choice struct {
	names []bool // which changes of names survive
	files map[*node]variant
}

// variant is what survives of a file: a length, and of pages that are not
// synced a version each; a page without one is as it was.
type variant struct {
	size  int64
	pages map[int64][]byte
}

// choices are the ways of now, all of them or Most.
func (c *Cuts) choices(d *Disk) []choice {
	var all []choice
	total, limit := 0, c.Most
	type group struct {
		names []bool
		files []*node
		ways  [][]variant
	}
	var groups []group
	known := map[*node][]variant{}
	for _, names := range c.subsets(len(d.pending)) {
		g := group{names: names}
		ways := 1
		for _, n := range reachable(d, names) {
			if len(n.dirty) == 0 {
				continue
			}
			if known[n] == nil {
				known[n] = c.variants(n)
			}
			g.files, g.ways = append(g.files, n), append(g.ways, known[n])
			ways = min(ways*len(known[n]), 1<<40)
		}
		groups, total = append(groups, g), min(total+ways, 1<<40)
	}
	pick := func(g group, which func(of int) int) {
		ch := choice{names: g.names, files: map[*node]variant{}}
		for i, n := range g.files {
			ch.files[n] = g.ways[i][which(len(g.ways[i]))]
		}
		all = append(all, ch)
	}
	if total <= limit {
		for _, g := range groups {
			combinations(g.ways, func(at []int) {
				i := -1
				pick(g, func(int) int { i++; return at[i] })
			})
		}
		return all
	}
	// The extremes: nothing of any content and all of it, with names from none
	// to all. Then whatever comes.
	c.rng.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
	for _, g := range groups {
		if len(all)+2 <= limit/2 {
			pick(g, func(int) int { return 0 })
			pick(g, func(int) int { return 1 })
		}
	}
	for len(all) < limit {
		pick(groups[c.rng.IntN(len(groups))], c.rng.IntN)
	}
	return all
}

// combinations calls do with every combination.
func combinations(ways [][]variant, do func(at []int)) {
	at := make([]int, len(ways))
	for {
		do(at)
		i := 0
		for ; i < len(at); i++ {
			if at[i]++; at[i] < len(ways[i]) {
				break
			}
			at[i] = 0
		}
		if i == len(at) {
			return
		}
	}
}

// allNames is up to how many changes of names every subset is tried.
const allNames = 8

// subsets says which of n changes of names survive: every subset of few, and of
// many the oldest up to each, all but each, each alone, and some at random.
func (c *Cuts) subsets(n int) [][]bool {
	var all [][]bool
	if n <= allNames {
		for bits := range 1 << n {
			s := make([]bool, n)
			for i := range s {
				s[i] = bits&(1<<i) != 0
			}
			all = append(all, s)
		}
		return all
	}
	for i := range n + 1 {
		upTo, but, alone, any := make([]bool, n), make([]bool, n), make([]bool, n), make([]bool, n)
		for k := range n {
			upTo[k], but[k], alone[k], any[k] = k < i, k != i, k == i, c.rng.IntN(2) == 0
		}
		all = append(all, upTo, but, alone, any)
	}
	return all
}

// apply makes changes of names survive and returns what each directory then
// holds.
func apply(d *Disk, survive []bool) map[*node]map[string]*node {
	r := &reboot{kept: map[*node]map[string]*node{}}
	for i, ch := range d.pending {
		if !survive[i] {
			continue
		}
		if ch.fromDir != nil {
			if m := r.survivors(ch.fromDir); m[ch.from] == ch.node {
				delete(m, ch.from)
			}
		}
		if ch.toDir != nil {
			r.survivors(ch.toDir)[ch.to] = ch.node
		}
	}
	return r.kept
}

// reachable are the files that have a name then, in a fixed order.
func reachable(d *Disk, survive []bool) []*node {
	kept := apply(d, survive)
	var files []*node
	var walk func(dir *node)
	walk = func(dir *node) {
		m, changed := kept[dir]
		if !changed {
			m = dir.kept
		}
		for _, name := range sortedNames(m) {
			switch n := m[name]; {
			case n.mode.IsDir():
				walk(n)
			case n.mode.IsRegular() && !slices.Contains(files, n):
				files = append(files, n)
			}
		}
	}
	walk(d.root)
	return files
}

// allVariants is up to how many variants of a file all are tried.
const allVariants = 64

// variants are the ways in which a file that is not synced can survive: nothing
// of what was written first, all of it second.
func (c *Cuts) variants(n *node) []variant {
	pages := make([]int64, 0, len(n.dirty))
	for p := range n.dirty {
		pages = append(pages, p)
	}
	slices.Sort(pages)
	size, was := int64(len(n.data)), int64(len(n.stable))
	sizes := []int64{was, size}
	for _, s := range n.past.sizes {
		if !slices.Contains(sizes, s) {
			sizes = append(sizes, s)
		}
	}
	options := map[int64][][]byte{} // of a page: lost, whole, the versions before, torn
	latest := map[int64][]byte{}
	ways := len(sizes)
	for _, p := range pages {
		options[p] = n.versions(p)
		latest[p] = options[p][1]
		ways = min(ways*len(options[p]), 1<<40)
	}
	all := []variant{{size: was}, {size: size, pages: latest}}
	any := func() variant {
		v := variant{size: sizes[c.rng.IntN(len(sizes))], pages: map[int64][]byte{}}
		for _, p := range pages {
			if b := options[p][c.rng.IntN(len(options[p]))]; b != nil {
				v.pages[p] = b
			}
		}
		return v
	}
	if ways <= allVariants {
		return append(all, everyVariant(sizes, pages, options)...)
	}
	for _, s := range sizes {
		all = append(all, variant{size: s}, variant{size: s, pages: latest})
	}
	for _, p := range pages {
		for _, b := range options[p] {
			alone, other := variant{size: size, pages: map[int64][]byte{p: b}}, variant{size: size, pages: map[int64][]byte{}}
			for q, l := range latest {
				other.pages[q] = l
			}
			if other.pages[p] = b; b == nil {
				delete(other.pages, p)
				alone.pages = nil
			}
			all = append(all, alone, other)
		}
	}
	for range allVariants {
		all = append(all, any())
	}
	return all
}

// everyVariant combines all lengths and all versions of all pages.
func everyVariant(sizes, pages []int64, options map[int64][][]byte) []variant {
	all := []variant{}
	for _, s := range sizes {
		some := []variant{{size: s}}
		for _, p := range pages {
			var more []variant
			for _, v := range some {
				for _, b := range options[p] {
					w := variant{size: v.size, pages: map[int64][]byte{}}
					for q, l := range v.pages {
						w.pages[q] = l
					}
					if b != nil {
						w.pages[p] = b
					}
					more = append(more, w)
				}
			}
			some = more
		}
		all = append(all, some...)
	}
	return all
}

// versions are what can be found in a page: nil is what it was, then what it is,
// then what it was between, then torn: one half of the new, one of the old.
func (n *node) versions(p int64) [][]byte {
	past := n.past.pages[p]
	now := past[len(past)-1]
	all := [][]byte{nil, now}
	before := pageOf(n.stable, p)
	for _, b := range past[:len(past)-1] {
		if !slices.ContainsFunc(all[1:], func(o []byte) bool { return bytes.Equal(o, b) }) {
			all = append(all, b)
		}
		before = b
	}
	half := sectorSize * ((len(now)/sectorSize + 1) / 2)
	if half > 0 && half < len(now) {
		first, second := make([]byte, len(now)), bytes.Clone(now)
		copy(first, before)
		copy(first, now[:half])
		clear(second[:half])
		copy(second[:half], before)
		all = append(all, first, second)
	}
	return all
}

// build makes the disk that is found.
func (c *Cuts) build(d *Disk, ch choice) *Disk {
	c.made++
	r := &reboot{to: New(c.made), done: map[*node]*node{}, kept: apply(d, ch.names)}
	r.to.capacity = d.capacity
	r.chosen = ch.files
	r.copyDir(d.root, r.to.root)
	return r.to
}

// content is what is found of a file.
func (v variant) content(n *node) []byte {
	b := make([]byte, v.size)
	copy(b, n.stable)
	for p, page := range v.pages {
		if from := p * pageSize; from < v.size {
			copy(b[from:], page)
		}
	}
	return b
}

// sum identifies a state.
func (c *Cuts) sum(root *node) uint64 {
	var h maphash.Hash
	h.SetSeed(c.hash)
	number := map[*node]uint64{}
	var put func(dir *node)
	put = func(dir *node) {
		for _, name := range sortedNames(dir.names) {
			n := dir.names[name]
			_, known := number[n]
			if !known {
				number[n] = uint64(len(number))
			}
			var head [24]byte
			binary.NativeEndian.PutUint64(head[:], uint64(n.mode))
			binary.NativeEndian.PutUint64(head[8:], number[n])
			binary.NativeEndian.PutUint64(head[16:], uint64(len(n.data)))
			_, _ = h.Write(head[:])
			_, _ = h.WriteString(name + "\x00" + n.target + "\x00")
			switch {
			case n.mode.IsDir():
				put(n)
			case !known && n.mode.Type() != iofs.ModeSymlink:
				_, _ = h.Write(n.data)
			}
		}
		_, _ = h.WriteString("/")
	}
	put(root)
	return h.Sum64()
}
