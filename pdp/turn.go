package pdp

// OriginDone reports whether nobody needs the origin for this file any more,
// as far as this device knows: the next file of the load may have it.
func (m *Machine) OriginDone() bool {
	if m.complete || m.ended {
		return true
	}
	if !m.geo.Known() {
		return false
	}
	n := m.geo.Chunks()
	return m.held == n || m.rootWat != nil && m.el.Root() != nil && m.rootWat.Prefix() >= n
}

// Size returns the file's size in bytes as far as it is known, else
// load.UnknownSize.
func (m *Machine) Size() int64 { return m.geo.Size }
