package engine

import "slices"

// keepFiles bounds the files in a status: a daemon sees many loads.
const keepFiles = 600

// Status returns a copy of what the process tells of itself now.
func (r *Recorder) Status() ProcessStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := r.st
	st.Running = !st.Ended
	st.Files = nil
	for _, f := range r.st.Files {
		c := *f
		c.Children, c.Decisions = slices.Clone(f.Children), slices.Clone(f.Decisions)
		st.Files = append(st.Files, &c)
	}
	return st
}

// Forget drops files from the status.
func (r *Recorder) Forget(gone func(*FileStatus) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(gone)
}

func (r *Recorder) forget(gone func(*FileStatus) bool) {
	r.st.Files = slices.DeleteFunc(r.st.Files, func(f *FileStatus) bool {
		if gone(f) {
			delete(r.files, f.File)
			return true
		}
		return false
	})
}
