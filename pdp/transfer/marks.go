package transfer

// Marks is a set of chunks. The zero value is empty.
type Marks []uint64

// Word returns the chunks from 64 w on, as bits: the lowest is the first.
func (m Marks) Word(w int) uint64 {
	if w >= len(m) {
		return 0
	}
	return m[w]
}

func (m Marks) has(i int) bool { return m.Word(i/64)&(1<<(i%64)) != 0 }

func (m *Marks) add(i int) {
	for i/64 >= len(*m) {
		*m = append(*m, 0)
	}
	(*m)[i/64] |= 1 << (i % 64)
}
