package sharing

import (
	"crypto/sha256"
	"slices"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/load"
)

// maxKnown bounds the files of which a digest is known: about as many as the
// largest archives of packages have. An entry takes some 150 bytes.
const maxKnown = 1 << 16

// maxTabled bounds the digests of chunks that are known, of all files together: 2 MiB,
// the tables of sixteen files of the largest kind.
const maxTabled = 1 << 16

// Known are the digests that indexes have told, by the URLs that they are of; the
// oldest make room for new ones. The zero Known is empty. It is not safe for use by
// several goroutines.
type Known struct {
	by    map[name]fact
	order []name // the oldest first, from next on
	next  int
	// tabled are the files whose chunks are known, the oldest first; chunks is how many
	// digests they have in all.
	tabled []name
	chunks int
}

// name stands for a URL, in as few bytes as are safe.
type name [16]byte

type fact struct {
	digest load.Digest
	size   int64
	why    reason.Code
	// table of the chunks, nil if it is not known. signed says that a publisher has
	// signed for it.
	table  load.Table
	signed bool
}

func nameOf(key string) (n name) {
	sum := sha256.Sum256([]byte(key))
	copy(n[:], sum[:])
	return n
}

func (k *Known) find(key string) (fact, bool) {
	if k == nil {
		return fact{}, false
	}
	f, ok := k.by[nameOf(key)]
	return f, ok && !f.digest.IsZero()
}

// add notes what is behind a URL. The zero digest is no file's.
func (k *Known) add(key string, f fact) {
	if !f.digest.IsZero() {
		k.put(nameOf(key), f)
	}
}

func (k *Known) put(n name, f fact) {
	if k.by == nil {
		k.by = map[name]fact{}
	}
	if _, there := k.by[n]; !there {
		switch {
		case len(k.order) < maxKnown:
			k.order = append(k.order, n)
		default:
			k.untable(k.order[k.next])
			delete(k.by, k.order[k.next])
			k.order[k.next] = n
			k.next = (k.next + 1) % maxKnown
		}
	}
	if old := k.by[n]; old.signed && !f.signed && !old.digest.IsZero() {
		return // a publisher's word counts more
	}
	k.untable(n)
	k.by[n] = f
	if f.table == nil {
		return
	}
	k.tabled = append(k.tabled, n)
	k.chunks += len(f.table)
	for k.chunks > maxTabled {
		k.untable(k.tabled[0])
	}
}

// untable forgets the chunks of a file.
func (k *Known) untable(n name) {
	i := slices.Index(k.tabled, n)
	if i < 0 {
		return
	}
	k.tabled = slices.Delete(k.tabled, i, i+1)
	f := k.by[n]
	k.chunks -= len(f.table)
	f.table = nil
	k.by[n] = f
}

// Len is of how many files a digest is known.
func (k *Known) Len() int { return len(k.by) }

// Forget forgets the digest of a key, which turned out to be another one's. What a
// publisher has signed stays: then it is the bytes that are wrong.
func (k *Known) Forget(key string) {
	n := nameOf(key)
	if f, ok := k.by[n]; ok && !f.signed {
		k.untable(n)
		f = k.by[n]
		f.digest = load.Digest{}
		k.by[n] = f
	}
}

// Join notes all that another one knows.
func (k *Known) Join(o *Known) {
	for i := range o.order {
		n := o.order[(o.next+i)%len(o.order)]
		if f, ok := o.by[n]; ok {
			k.put(n, f)
		}
	}
}
