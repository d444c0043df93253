package slot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/peerload/peerload/load"
)

// The index of a partial file, big-endian:
//
//	0   4  magic "PLIX"
//	4   2  version, 1
//	6   2  zero
//	8  32  key
//	40  8  epoch
//	48  8  size in bytes, -1 when not known
//	56  4  CRC-32C of the 56 bytes before
//	60  4  zero
//	64 32  digest of chunk 0, zero when it is not held; and so on. Where no table
//	       says what it must be: 28 times 0xFF and its CRC-32C
//
// The file may be short: chunks beyond its end are not held. Nothing in it is
// believed before the data has been hashed again.
const (
	indexMagic   = "PLIX"
	indexVersion = 1
	indexHeader  = 64
	digestSize   = len(load.Digest{})
	maxIndex     = indexHeader + load.MaxChunks*digestSize
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// standIn stands for the digest of a chunk that nobody has to be able to tell from
// another one: no table says what it must be, and the digest of the whole file
// decides. It shows what a medium has lost; it proves nothing.
func standIn(crc uint32) load.Digest {
	var d load.Digest
	for i := range d {
		d[i] = 0xff
	}
	binary.BigEndian.PutUint32(d[standInCRC:], crc)
	return d
}

// standInCRC is where the CRC-32C begins in a stand-in.
const standInCRC = digestSize - crc32.Size

// standsIn reports whether d is a stand-in, and of which CRC-32C.
func standsIn(d load.Digest) (crc uint32, ok bool) {
	crc = binary.BigEndian.Uint32(d[standInCRC:])
	return crc, d == standIn(crc)
}

// index is the content of a partial file's index file.
type index struct {
	key     load.Digest
	epoch   uint64
	g       load.Geometry
	digests []load.Digest // or stand-ins, one per chunk, zero when not held
}

// header returns the first indexHeader bytes of the index.
func (x *index) header() []byte {
	b := make([]byte, indexHeader)
	copy(b, indexMagic)
	binary.BigEndian.PutUint16(b[4:], indexVersion)
	copy(b[8:], x.key[:])
	binary.BigEndian.PutUint64(b[40:], x.epoch)
	binary.BigEndian.PutUint64(b[48:], uint64(x.g.Size))
	binary.BigEndian.PutUint32(b[56:], crc32.Checksum(b[:56], castagnoli))
	return b
}

// marshal returns the whole index, without the chunks after the last held.
func (x *index) marshal() []byte {
	b := x.header()
	last := len(x.digests)
	for last > 0 && x.digests[last-1].IsZero() {
		last--
	}
	for _, d := range x.digests[:last] {
		b = append(b, d[:]...)
	}
	return b
}

// parseIndex reads an index. A torn last digest is left out; a header without
// the magic, of another version, or damaged is an error.
func parseIndex(b []byte) (*index, error) {
	if len(b) < indexHeader || string(b[:4]) != indexMagic {
		return nil, errors.New("not the index of a partial file")
	}
	if v := binary.BigEndian.Uint16(b[4:]); v != indexVersion {
		return nil, fmt.Errorf("index version %d, this program knows %d", v, indexVersion)
	}
	if binary.BigEndian.Uint32(b[56:]) != crc32.Checksum(b[:56], castagnoli) {
		return nil, errors.New("the header of the index is damaged")
	}
	x := &index{epoch: binary.BigEndian.Uint64(b[40:])}
	copy(x.key[:], b[8:])
	x.g.Size = int64(binary.BigEndian.Uint64(b[48:]))
	if err := x.g.Validate(); err != nil {
		return nil, err
	}
	rest := b[indexHeader:]
	if n := len(rest) / digestSize; n > x.g.Chunks() {
		return nil, fmt.Errorf("index of %d chunks for a file of %d", n, x.g.Chunks())
	}
	x.digests = make([]load.Digest, x.g.Chunks())
	for i := 0; len(rest) >= digestSize; i++ {
		copy(x.digests[i][:], rest)
		rest = rest[digestSize:]
	}
	return x, nil
}

// indexOffset is the offset of the digest of chunk i in the index.
func indexOffset(i int) int64 { return indexHeader + int64(i)*int64(digestSize) }
