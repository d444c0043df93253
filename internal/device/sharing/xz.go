package sharing

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// xzMagic begins a file of xz.
var xzMagic = []byte{0xfd, '7', 'z', 'X', 'Z', 0}

// maxDict bounds what is held in memory of the text that a file refers back to, in
// bytes: that of xz -7. A device must not need as much as xz -9 does, 64 MiB.
const maxDict = 16 << 20

// xzReader reads the blocks of one stream of xz. It leaves the checks at the ends
// of blocks to whoever knows the digest of the file: what is read wrongly here costs
// a wrong digest, and so a plain download.
type xzReader struct {
	in    *countingReader
	check int // bytes of the check after each block
	block io.Reader
}

// countingReader counts what a block took. It reads byte by byte where it is asked
// to, so that nothing of the next block is taken.
type countingReader struct {
	*bufio.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *countingReader) ReadByte() (byte, error) {
	b, err := c.Reader.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// newXZ reads the header of a stream.
func newXZ(in *bufio.Reader) (*xzReader, error) {
	x := &xzReader{in: &countingReader{Reader: in}}
	var head [12]byte
	if _, err := io.ReadFull(x.in, head[:]); err != nil {
		return nil, err
	}
	sizes := map[byte]int{0: 0, 1: 4, 4: 8, 10: 32}
	size, known := sizes[head[7]]
	if !bytes.HasPrefix(head[:], xzMagic) || head[6] != 0 || !known ||
		crc32.ChecksumIEEE(head[6:8]) != binary.LittleEndian.Uint32(head[8:]) {
		return nil, errors.New("no header of xz")
	}
	x.check = size
	return x, nil
}

// Read implements io.Reader.
func (x *xzReader) Read(p []byte) (int, error) {
	for {
		if x.block == nil {
			if err := x.next(); err != nil {
				return 0, err
			}
		}
		n, err := x.block.Read(p)
		if err == io.EOF {
			err = x.end()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// end skips the padding and the check after a block.
func (x *xzReader) end() error {
	x.block = nil
	if _, err := io.CopyN(io.Discard, x.in, (4-x.in.n%4)%4+int64(x.check)); err != nil {
		return fmt.Errorf("cut off: %w", io.ErrUnexpectedEOF)
	}
	return nil
}

// next begins a block; io.EOF after the last one.
func (x *xzReader) next() error {
	size, err := x.in.ReadByte()
	if err != nil {
		return io.ErrUnexpectedEOF
	}
	if size == 0 {
		return io.EOF // the list of the blocks
	}
	head := make([]byte, (int(size)+1)*4)
	head[0] = size
	if _, err := io.ReadFull(x.in, head[1:]); err != nil {
		return io.ErrUnexpectedEOF
	}
	dict, err := dictOf(head)
	if err != nil {
		return err
	}
	x.in.n = 0
	x.block, err = lzma.Reader2Config{DictCap: dict}.NewReader2(x.in)
	return err
}

// dictOf reads the header of a block: how much of the text it refers back to.
func dictOf(head []byte) (int, error) {
	body := head[:len(head)-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(head[len(body):]) {
		return 0, errors.New("the header of a block of xz is damaged")
	}
	flags, rest := body[1], body[2:]
	if flags&0x3f != 0 {
		return 0, errors.New("a block of xz with more than one filter")
	}
	for _, there := range []bool{flags&0x40 != 0, flags&0x80 != 0} {
		if !there {
			continue
		}
		_, n := binary.Uvarint(rest)
		if n <= 0 {
			return 0, errors.New("the header of a block of xz is damaged")
		}
		rest = rest[n:]
	}
	if len(rest) < 3 || rest[0] != 0x21 || rest[1] != 1 || rest[2] > 40 {
		return 0, errors.New("a block of xz with a filter other than LZMA2")
	}
	size := int64(2|rest[2]&1) << (rest[2]/2 + 11)
	if size > maxDict {
		return 0, fmt.Errorf("it takes %d MiB of memory to read it, %d are allowed", size>>20, maxDict>>20)
	}
	return int(max(size, lzma.MinDictCap)), nil
}
