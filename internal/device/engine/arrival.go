package engine

// Changed returns a channel that is closed when more of the file may have come, or
// none will. Whoever reads a file while it arrives gets the channel first, then looks
// at Partial and Ended, and waits.
func (f *File) Changed() <-chan struct{} {
	j := f.j
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.changed == nil {
		j.changed = make(chan struct{})
	}
	return j.changed
}

// stir wakes those that wait for a change.
func (j *job) stir() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
}

// Ended reports whether all of the file is here and verified, or why it is not coming.
func (f *File) Ended() (complete bool, err error) {
	select {
	case <-f.j.finished:
	default:
		return false, nil
	}
	f.j.mu.Lock()
	defer f.j.mu.Unlock()
	if f.j.complete {
		return true, nil
	}
	return false, f.j.failure()
}
